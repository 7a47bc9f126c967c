#!/usr/bin/env bash
# kernel.sh   fetches by apt, without installing it, a kernel that has both nf_tables and ip_vs, for tests in a virtual
# machine; kept in the cache. STEERSMAN_TEST_KERNEL names another directory with boot/vmlinuz-* and lib/modules/*.
set -eu
cache=${STEERSMAN_TEST_KERNEL:-${XDG_CACHE_HOME:-$HOME/.cache}/steersman/kernel}
[ -z "$(ls "$cache"/lib/modules/*/modules.dep 2>/dev/null)" ] || exit 0
export PATH="$PATH:/usr/sbin:/sbin"
package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -1)
[ -n "$package" ] || { echo "no kernel for tests here: put one where STEERSMAN_TEST_KERNEL says (see $0)" >&2; exit 1; }
echo "fetching by apt for a virtual machine: $package"
mkdir -p "$cache"
cd "$cache"
apt-get download -qq "$package" 2>/dev/null || { apt-get update -qq && apt-get download -qq "$package"; }
dpkg -x "$package"_*.deb .
rm "$package"_*.deb
depmod -b . "$(ls lib/modules | head -1)"
