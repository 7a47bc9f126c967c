//! A whole cluster on real containerd, driven by the machine's own kubectl.
//!
//! Needs root, containerd, runc, CNI plugins, kubectl and busybox-static; `make test` installs them. One cluster serves
//! all tests; each test has a namespace of its own. A test that disturbs the node or the process has the cluster alone.

mod bad_starts;
mod cluster;
mod in_pods;
mod names;
mod nodes;
mod policies;
mod ports;
mod questions;
mod reads;
mod streams;
mod survival;
mod two_machines;
mod workloads;
