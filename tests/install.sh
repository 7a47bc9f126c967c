#!/usr/bin/env bash
# install.sh COMMAND:PACKAGE ...   installs by apt the packages whose command (or file) is missing, and says so.
set -eu
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
missing=()
have() { case "$1" in /*) [ -e "$1" ] ;; *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;; esac; }
for need in "$@" kubectl:kubernetes-client; do
    have "${need%%:*}" || missing+=("${need#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing by apt: ${missing[*]}"
command -v apt-get >/dev/null || { echo "no apt-get here: install ${missing[*]} by hand" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# A package's own service would take over the machine's containerd: only the programs are wanted.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null; $sudo chmod +x $policy; trap '$sudo rm -f '$policy EXIT; fi
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
