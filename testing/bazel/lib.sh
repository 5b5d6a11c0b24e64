# For the tests in this folder: each works on a copy of the tree, with a Bazel of its own.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/memkv-test-XXXXXX")
started=()

cleanup() {
    local pid_file pid
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    for pid_file in "$work"/bazel/*/server/server.pid.txt; do
        [[ ! -e $pid_file ]] || kill "$(cat "$pid_file")" 2>/dev/null || true
    done
    chmod -R u+w "$work" 2>/dev/null || true
    rm -rf "$work" 2>/dev/null || true
}
trap cleanup EXIT

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# As in a build without network; 'ci': no colours, no progress.
bz() {
    bazel --output_user_root="$work/bazel" --host_jvm_args=-Xmx400m "$@"
}

# copy_tree DIRECTORY: the tree as an archive of a release would hold it, unpacked.
copy_tree() {
    mkdir -p "$1"
    (cd "$root" && git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' name; do [[ ! -f $name ]] || printf '%s\0' "$name"; done |
        tar --null --files-from=- --create) | tar --extract --directory "$1"
}

need_out() {
    [[ -x $root/out/bin/memkv ]] || fail "out/bin/memkv is missing; run ./dev build before"
}

# start_server: a server on a free port of loopback; its address goes into the variable server.
start_server() {
    need_out
    mkfifo "$work/listening"
    "$root/out/bin/memkv" serve --listen 127.0.0.1:0 --memory 64M >"$work/listening" 2>"$work/serve.log" &
    started+=($!)
    exec {listening}<"$work/listening"
    read -r -t 20 _ server <&"$listening" || {
        cat "$work/serve.log" >&2
        fail "memkv serve did not say where it listens"
    }
}
