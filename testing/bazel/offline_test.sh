#!/usr/bin/env bash
# From an empty Bazel, everything is loaded and analysed with downloads forbidden.
. "$(dirname "$0")/lib.sh"

copy_tree "$work/tree"
cd "$work/tree"
bz build --config=ci --nobuild --experimental_repository_disable_download //... >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "something wants to be downloaded"
}
tail -n 3 "$work/log"

# The same flag does refuse a download: the check above can fail.
cat >>WORKSPACE <<EOF

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")

http_archive(
    name = "elsewhere",
    sha256 = "$(printf 'a%.0s' {1..64})",
    urls = ["https://localhost:1/elsewhere.tar.gz"],
)
EOF
if bz build --config=ci --nobuild --experimental_repository_disable_download @elsewhere//... \
    >"$work/log" 2>&1; then
    fail "a download was not refused"
fi
grep -q 'download is disabled' "$work/log" || {
    cat "$work/log" >&2
    fail "the download was refused for another reason"
}
