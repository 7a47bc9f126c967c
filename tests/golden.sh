#!/usr/bin/env bash
# golden.sh [replay.py's arguments]: replays upstream's recorded answers against our API server alone.
# The recordings are not part of this repository; GOLDEN names their folder.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
golden=${GOLDEN:-$root/../shared/golden}
[ -e "$golden/replay.py" ] || { echo "no recordings at $golden: set GOLDEN" >&2; exit 1; }
cargo build --quiet --manifest-path "$root/Cargo.toml" -p steersman
data=$(mktemp -d)
"${CARGO_TARGET_DIR:-$root/target}/debug/steersman" apiserver --data-dir "$data" --secure-port "${PORT:-16443}" >"$data/out" 2>"$data/err" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$data"' EXIT
until grep -q '^ready' "$data/out"; do
    kill -0 $server 2>/dev/null || { cat "$data/err" >&2; exit 1; }
    sleep 0.05
done
failed=0
for file in "$golden"/scenarios/*.json; do
    printf '%-20s' "$(basename "$file" .json)"
    python3 "$golden/replay.py" "$data/admin.kubeconfig" --ignore managedFields "$@" "$file" | { [ -n "${VERBOSE:-}" ] && cat || tail -1; } || failed=1
done
exit $failed
