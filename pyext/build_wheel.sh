#!/bin/bash
# build_wheel.sh OUTDIR SO COMMAND [PYTHON]: packs the Python files, the extension SO and the program
# COMMAND into a wheel and lets auditwheel put the libraries that they need inside it.
set -euo pipefail
out=$1 so=$2 command=$3 python=${4:-python3}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/raw" "$work/tree/memkv_sglang/bin" "$out"
cp "$here"/memkv_sglang/*.py "$here"/memkv_sglang/*.pyi "$here"/memkv_sglang/py.typed "$work/tree/memkv_sglang/"
install -m 755 "$so" "$work/tree/memkv_sglang/_memkv.abi3.so"
install -m 755 "$command" "$work/tree/memkv_sglang/bin/memkv"
"$python" "$here/make_wheel.py" --tree "$work/tree" --out "$work/raw"
rm -f "$out"/memkv_sglang-*.whl
"$python" -m auditwheel repair --plat manylinux_2_34_x86_64 -w "$out" "$work"/raw/*.whl
ls "$out"/memkv_sglang-*.whl
