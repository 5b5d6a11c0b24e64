#!/bin/bash
# All Python suites, against what ./dev build has put into out/. The wheel is installed into .venv by
# its path.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
venv=${MKV_VENV:-$PWD/.venv}
"$venv/bin/python" -m pip install --disable-pip-version-check -qq --no-deps --no-index \
    --force-reinstall out/wheel/memkv_sglang-*.whl
export PYTHONDONTWRITEBYTECODE=1
"$venv/bin/python" -m pytest -q -p no:cacheprovider testing/cli pyext/tests testing/sglang "$@"
