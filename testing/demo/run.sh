#!/bin/bash
# ./dev demo: see demo.py. Everything it needs has been installed and built by ./dev.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
venv=${MKV_VENV:-$PWD/.venv}
"$venv/bin/python" -m pip install --disable-pip-version-check -qq --no-deps --no-index \
    --force-reinstall out/wheel/memkv_sglang-*.whl
exec "$venv/bin/python" testing/demo/demo.py "$@"
