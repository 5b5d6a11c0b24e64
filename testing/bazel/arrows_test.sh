#!/usr/bin/env bash
# Breaking an arrow between the rooms fails the build, for every library of the room that may not
# be seen; the arrows that exist hold.
. "$(dirname "$0")/lib.sh"

copy_tree "$work/tree"
cd "$work/tree"

libraries() { bz query --noshow_progress "kind(cc_library, //$1/...)" 2>/dev/null; }

# declare_user ROOM NAME LABEL: a library NAME in ROOM that depends on LABEL. It is for tests only,
# so that nothing but visibility can refuse it.
declare_user() {
    cat >>"$1/BUILD" <<EOF
load("@rules_cc//cc:defs.bzl", _$2 = "cc_library")

_$2(
    name = "$2",
    testonly = True,
    deps = ["$3"],
)
EOF
}

# forbidden FROM TO: no library of TO can be depended on from FROM.
forbidden() {
    local from=$1 to=$2 labels label count=0 i
    labels=$(libraries "$to")
    [[ -n $labels ]] || fail "room $to has no library: nothing was tested"
    cp "$from/BUILD" "$work/BUILD.before"
    for label in $labels; do
        count=$((count + 1))
        declare_user "$from" "arrow_$count" "$label"
    done
    if bz build --config=ci --nobuild --keep_going "//$from:all" >"$work/log" 2>&1; then
        fail "$from may depend on all of $to"
    fi
    for ((i = 1; i <= count; i++)); do
        grep -q "is not visible from target '//$from:arrow_$i'" "$work/log" || {
            cat "$work/log" >&2
            fail "$from may depend on $(sed -n "${i}p" <<<"$labels")"
        }
    done
    cp "$work/BUILD.before" "$from/BUILD"
    echo "$from -> $to: refused, $count libraries"
}

# allowed FROM LABEL
allowed() {
    cp "$1/BUILD" "$work/BUILD.before"
    declare_user "$1" arrow "$2"
    bz build --config=ci --nobuild "//$1:arrow" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "$1 may not depend on $2"
    }
    cp "$work/BUILD.before" "$1/BUILD"
    echo "$1 -> $2: allowed"
}

mkdir -p stranger
: >stranger/BUILD
forbidden core transport
forbidden core router
forbidden core server
forbidden transport router
forbidden transport server
forbidden router server
forbidden server router
forbidden pyext server
forbidden stranger core
forbidden stranger transport
forbidden stranger router
forbidden stranger server
allowed cli //router:memkv
allowed router //transport:transport
allowed server //transport:transport
allowed transport //core:worker

# An include without the dependency fails as well: the sandbox does not show the header.
[[ -f router/include/memkv/memkv.h && -f core/worker.h ]] || fail "a header has moved"
cat >>stranger/BUILD <<'EOF'
load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "peek",
    srcs = ["peek.c"],
    deps = ["//:memkv"],
)
EOF
echo '#include <memkv/memkv.h>' >stranger/peek.c
bz build --config=ci //stranger:peek >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "a stranger cannot use the public header"
}
echo '#include "core/worker.h"' >>stranger/peek.c
if bz build --config=ci //stranger:peek >"$work/log" 2>&1; then
    fail "a stranger sees core/worker.h through //:memkv"
fi
grep -q 'core/worker.h' "$work/log" || fail "the stranger fails for another reason"
echo "the public header alone is public"
