#!/usr/bin/env bash
# Compiles each header alone, and the public one as C11 and as C++ with every warning on.
set -euo pipefail

fail=0
one() {
    "$@" -fsyntax-only -Werror || {
        printf 'does not compile alone: %s\n' "${*: -1}" >&2
        fail=1
    }
}

flags=$(pkg-config --cflags liburcu-bp libcrypto yaml-0.1 libisal jansson popt)
python=$(/usr/bin/python3-config --includes 2>/dev/null || python3-config --includes)
while read -r header; do
    extra=()
    case $header in
    router/include/*) continue ;;
    pyext/*) read -ra extra <<<"$python" ;;
    esac
    # shellcheck disable=SC2086
    one gcc -x c -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -I. -Irouter/include $flags "${extra[@]}" "$header"
done < <(git ls-files --cached --others --exclude-standard -- '*.h')

for header in router/include/memkv/*.h; do
    one gcc -x c -std=c11 -pedantic -Wall -Wextra "$header"
    for std in c++11 c++17 c++20; do
        one g++ -x c++ "-std=$std" -pedantic -Wall -Wextra "$header"
    done
done
exit "$fail"
