# Two commands set everything up on a fresh Debian or Ubuntu machine (root or sudo; Rust toolchain there):
#   make up     build and start a whole cluster
#   make test   everything CI runs
# Both install what they need by apt and say so. `make help` lists the rest.

SHELL := /bin/bash
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DATA_DIR ?= /var/lib/steersman
PORT ?= 6443
# What a node needs beside our binary, and what the tests build their images and networks with.
PACKAGES_UP := containerd:containerd runc:runc iptables:iptables ip:iproute2 /usr/lib/cni/bridge:containernetworking-plugins
PACKAGES_TEST := $(PACKAGES_UP) busybox:busybox-static socat:socat nft:nftables linux.uml:user-mode-linux kmod:kmod \
	qemu-system-x86_64:qemu-system-x86 strip:binutils

.PHONY: help up build image test lint bench bench-dns bench-proxy bench-scheduler fuzz-scheduler needs-up needs-test golden
help:
	@grep -E '^[a-z-]+: *.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 18

up: needs-up build ## a running cluster: API server, scheduler, controllers, node, containerd
	$(SUDO) target/release/steersman up --data-dir $(DATA_DIR) --secure-port $(PORT)

build: ## the release binary, target/release/steersman
	cargo build --release -p steersman

IMAGE ?= localhost/steersman:0.1.0
image: build ## target/steersman.tar: the release binary as a container image, which charts/steersman runs
	charts/image.sh target/release/steersman $(IMAGE) target/steersman.tar

test: needs-test lint ## unit, conformance, simulation, crash, end-to-end and tidy tests
	cargo build -p steersman
	cargo test --workspace --no-fail-fast

lint: ## formatting and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: ## every benchmark: prints tables, writes target/bench/NAME.json
	cargo build --release -p steersman
	cargo bench -p tests

bench-dns: ## questions a second and the time of one with 10,000 Services, beside a UDP echo server
	cargo bench -p tests --bench dns

bench-proxy: ## the service proxy at 1,000 to 30,000 services, both back ends, beside kube-proxy's layouts (root); ONLY=ipvs cuts
	@tests/install.sh ip:iproute2 nft:nftables ipvsadm:ipvsadm linux.uml:user-mode-linux kmod:kmod busybox:busybox-static
	cargo bench -p tests --bench proxy -- $(if $(ONLY),--only "$(ONLY)")

bench-scheduler: ## the scheduler end to end; ONLY=text NODES=n LIMIT=seconds choose and cut rows
	cargo bench -p tests --bench scheduler -- $(if $(ONLY),--only "$(ONLY)") $(if $(NODES),--nodes $(NODES)) $(if $(LIMIT),--limit $(LIMIT))

PODS ?= 1000000
SEED ?= 1
fuzz-scheduler: ## the scheduler's engine against its plain definition, PODS=1000000 random pods (SEED=1)
	STEERSMAN_FUZZ_PODS=$(PODS) STEERSMAN_FUZZ_SEED=$(SEED) \
		cargo test --release -p scheduler --lib engine::fuzz -- --nocapture

golden: ## replay recorded upstream answers (../shared/golden) against our API server alone
	tests/golden.sh

needs-up: ; @tests/install.sh $(PACKAGES_UP)
needs-test: ; @tests/install.sh $(PACKAGES_TEST) && tests/kernel.sh
