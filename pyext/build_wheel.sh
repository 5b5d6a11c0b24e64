#!/bin/bash
# build_wheel.sh OUTDIR SO COMMAND [PYTHON]: packs the Python files, the extension SO and the program
# COMMAND into a wheel and lets auditwheel put the libraries that they need inside it; and the sdist.
set -euo pipefail
out=$1 so=$2 command=$3 python=${4:-python3}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1
mkdir -p "$out"
rm -f "$out"/memkv_sglang-*
"$python" "$here/make_wheel.py" --bundled --extension "$so" --command "$command" --out "$work"
"$python" -m auditwheel repair --plat "manylinux_2_34_$(uname -m)" -w "$out" "$work"/*.whl
PYTHONPATH=$here "$python" -c 'import build_backend, sys; build_backend.build_sdist(sys.argv[1])' "$out"
ls "$out"/memkv_sglang-*
