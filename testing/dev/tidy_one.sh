#!/usr/bin/env bash
# tidy_one.sh FILE: clang-tidy, unless it has found this very content clean before.
set -euo pipefail
stamp=$STAMPS/$(printf '%s' "$BASE $1 $(sha256sum <"$1")" | sha256sum | cut -c1-24)
[[ ! -e $stamp ]] || exit 0
clang-tidy --quiet -p . "$1" 2>/dev/null || exit 1
touch "$stamp"
