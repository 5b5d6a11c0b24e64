#!/bin/sh
# doc_test.sh MAKE_DOC PAGE: the page in the repository is what the option table says.
set -eu
made=${TEST_TMPDIR:?}/configuration.md
"$1" >"$made"
if ! diff -u "$2" "$made"; then
    echo "docs/configuration.md is not up to date; write it anew:" >&2
    echo "  bazel run //core/config:make_doc >docs/configuration.md" >&2
    exit 1
fi
