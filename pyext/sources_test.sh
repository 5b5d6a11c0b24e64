#!/bin/sh
# sources_test.sh KEPT MADE: sources.txt is what Bazel's graph says.
diff -u "$1" "$2" || {
    echo "pyext/sources.txt is not what Bazel's graph says: run ./dev sources" >&2
    exit 1
}
