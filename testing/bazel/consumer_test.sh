#!/usr/bin/env bash
# examples/consumer, with memkv as an unpacked archive elsewhere: builds and runs C and C++, also
# with -Wall -Werror and with asan; needs no Python.h; its own repositories stay in place.
. "$(dirname "$0")/lib.sh"

copy_tree "$work/memkv-0.1.0"
mv "$work/memkv-0.1.0/examples/consumer" "$work/consumer"
cd "$work/consumer"
start_server
export MEMKV_SERVERS=$server

run() {
    bz build --override_repository=memkv="$work/memkv-0.1.0" "$@" //... >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "the consumer does not build with: $*"
    }
    .bazel/bin/put_get || fail "put_get ended with $?"
    .bazel/bin/put_get_cc || fail "put_get_cc ended with $?"
}

run
run --copt=-Wall --copt=-Werror
run --config=asan
# Not by a pipe: grep -q ends at its first line, and ldd would fail of that.
[[ $(ldd .bazel/bin/put_get) == *libasan* ]] || fail "the asan build is none"

# Neither Python nor anything of the servers is among what it needs.
query() { bz query --noshow_progress --override_repository=memkv="$work/memkv-0.1.0" "$@" 2>/dev/null; }
query 'deps(//:put_get)' >"$work/deps"
grep -q '^@memkv//core' "$work/deps" || fail "the query shows nothing of memkv"
if grep -E '^@memkv_python|^@memkv//(server|cli|pyext)[:/]|^@popt|^@jansson|^@cmocka' "$work/deps"; then
    fail "a consumer of the client depends on more than the client"
fi

# A room is not for consumers.
cp BUILD BUILD.before
cat >>BUILD <<'EOF'

cc_binary(
    name = "too_deep",
    srcs = ["put_get.c"],
    deps = ["@memkv//router:memkv"],
)
EOF
if bz build --override_repository=memkv="$work/memkv-0.1.0" --nobuild //:too_deep \
    >"$work/log" 2>&1; then
    fail "a consumer can depend on a room"
fi
grep -q 'is not visible' "$work/log" || fail "the room was refused for another reason"
mv BUILD.before BUILD

# What the consumer declares first stays: its own rules_cc, liburcu and OpenSSL.
cp -r "$work/memkv-0.1.0/third_party/stand_ins" "$work/stand_ins"
mkdir -p "$work/own_rules_cc/cc"
: >"$work/own_rules_cc/WORKSPACE"
: >"$work/own_rules_cc/cc/BUILD"
{
    cat "$work/stand_ins/rules_cc.bzl.in"
    echo 'OWN = True'
} >"$work/own_rules_cc/cc/defs.bzl"
for name in liburcu libcrypto; do
    mkdir -p "$work/own_$name"
    : >"$work/own_$name/WORKSPACE"
    links='"-lcrypto"'
    [[ $name != liburcu ]] || links='"-lurcu-bp", "-lurcu-qsbr", "-lurcu-cds", "-lurcu-common"'
    cat >"$work/own_$name/BUILD" <<EOF
load("@rules_cc//cc:defs.bzl", "OWN", "cc_library")

cc_library(
    name = "$name",
    linkopts = [$links] if OWN else [],
    visibility = ["//visibility:public"],
    deps = [":own"],
)

cc_library(name = "own")
EOF
done
sed -i '/^load/i \
local_repository(name = "rules_cc", path = "../own_rules_cc")\
\
local_repository(name = "liburcu", path = "../own_liburcu")\
\
local_repository(name = "libcrypto", path = "../own_libcrypto")\
' WORKSPACE
run
query 'deps(//:put_get)' >"$work/deps"
for name in liburcu libcrypto; do
    grep -q "^@$name//:own$" "$work/deps" || fail "the consumer's own $name was not used"
done
