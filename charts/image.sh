#!/bin/bash
# image.sh BINARY IMAGE ARCHIVE: writes a container image of the binary and the shared libraries it needs, and nothing
# else, as a docker-archive. No docker, no registry, no base image. `ctr images import`, `docker load` and `kind load
# image-archive` read it.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 BINARY IMAGE ARCHIVE" >&2; exit 2; }
binary=$1 image=$2 archive=$(realpath -m "$3")
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
root=$folder/root; mkdir -p "$root/usr/local/bin" "$root/tmp"; chmod 1777 "$root/tmp"
install -m 755 "$binary" "$root/usr/local/bin/steersman"
strip "$root/usr/local/bin/steersman" 2>/dev/null || true
# A line of ldd is `name => /path (address)` or `/path (address)`.
ldd "$binary" | grep -oE '/[^ ]+' | sort -u | while read -r library; do
    install -D -m 755 "$(realpath "$library")" "$root$library"
done
pack=(tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf)
"${pack[@]}" "$folder/layer.tar" -C "$root" .
case $(uname -m) in aarch64) architecture=arm64 ;; *) architecture=amd64 ;; esac
cat > "$folder/config.json" <<END
{"architecture": "$architecture", "os": "linux", "config": {"Entrypoint": ["/usr/local/bin/steersman"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum "$folder/layer.tar" | cut -d ' ' -f 1)"]}}
END
printf '[{"Config": "config.json", "RepoTags": ["%s"], "Layers": ["layer.tar"]}]\n' "$image" > "$folder/manifest.json"
"${pack[@]}" "$archive" -C "$folder" manifest.json config.json layer.tar
