#!/usr/bin/env bash
# out/lib as a package manager would take it: exports, soname, needs; and the gcc line of the
# README, run as it stands.
. "$(dirname "$0")/lib.sh"

need_out
start_server
lib=$root/out/lib

sed -nE 's/^[a-z].*[ *](mkv_[a-z_]+)\(.*/\1/p' "$root/out/include/memkv/memkv.h" | sort -u >"$work/declared"
[[ $(wc -l <"$work/declared") -ge 20 ]] || fail "the header's functions were not found"

# Exactly the functions of the header are exported.
nm -D --defined-only "$lib/libmemkv.so" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | sort -u >"$work/so"
diff "$work/declared" "$work/so" || fail "libmemkv.so does not export exactly what the header declares"
nm -g --defined-only "$lib/libmemkv.a" | awk 'NF == 3 { print $3 }' | sort -u >"$work/a"
diff "$work/declared" "$work/a" || fail "libmemkv.a does not show exactly what the header declares"
echo "exports: $(wc -l <"$work/so") functions, those of the header"

readelf -d "$lib/libmemkv.so" >"$work/dynamic"
grep -q 'SONAME.*\[libmemkv\.so\.0\]' "$work/dynamic" || fail "the soname is not libmemkv.so.0"
[[ $(readlink -f "$lib/libmemkv.so.0") == "$lib/libmemkv.so.0.1.0" ]] || fail "libmemkv.so.0 leads astray"
if grep -E 'libstdc|libpopt|libjansson|libpython|libcmocka' "$work/dynamic"; then
    fail "libmemkv.so needs what a client does not use"
fi

# The README's line as it stands, in a directory with the out/ and the program that it speaks of.
mkdir "$work/try"
cd "$work/try"
ln -s "$root/out" "$root/examples" .
line=$(grep -m 1 -E '^ *gcc .*pkg-config .*memkv' "$root/README.md")
[[ -n $line ]] || fail "README.md shows no line with gcc and pkg-config"
echo "$line"
bash -euc "$line" || fail "the README's line does not work"
MEMKV_SERVERS=$server ./a.out || fail "the program ended with $?"

# And linked with the archive.
export PKG_CONFIG_PATH=$lib/pkgconfig
# shellcheck disable=SC2046
gcc examples/consumer/put_get.c $(pkg-config --cflags memkv) "$lib/libmemkv.a" \
    $(pkg-config --static --libs-only-l memkv | sed 's/-lmemkv//') -o static_put_get
MEMKV_SERVERS=$server ./static_put_get || fail "static_put_get ended with $?"
if ldd ./static_put_get | grep libmemkv; then fail "the archive was not used"; fi
