# ./dev lint: how the code looks, and rules that no compiler checks.
# shellcheck shell=bash

tracked() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do
    [[ ! -f $f ]] || printf '%s\n' "$f"
done; }

lint_clang_format() { tracked '*.c' '*.h' '*.cc' | xargs -r clang-format --dry-run -Werror; }

# What clang-tidy has found clean is not looked at again: a stamp per content of a file, of all
# headers, and of the settings.
lint_clang_tidy() {
    local stamps=out/tidy base
    # The public header lies where a build puts it.
    # shellcheck disable=SC2046
    bz build $(bz_options) //... >/dev/null 2>&1 || return 1
    bz run --noshow_progress --ui_event_filters=-info //third_party/bazel:compile_commands || return 1
    mkdir -p "$stamps"
    base=$(tracked '*.h' .clang-tidy | xargs cat | sha256sum | cut -c1-16)
    "$(base_python)" testing/dev/each_file.py compile_commands.json |
        STAMPS=$stamps BASE=$base xargs -r -P 2 -n 1 testing/dev/tidy_one.sh
}

# Variables of a sourced file, and cd under set -e, are beyond shellcheck.
lint_shellcheck() {
    tracked '*.sh' dev .ci/run | xargs -r shellcheck --severity warning --exclude SC2034,SC2154,SC2164
}

lint_ruff() {
    tracked '*.py' '*.pyi' | xargs -r "$MKV_VENV/bin/ruff" check --quiet &&
        tracked '*.py' '*.pyi' | xargs -r "$MKV_VENV/bin/ruff" format --quiet --check
}

lint_mypy() {
    "$MKV_VENV/bin/mypy" --no-error-summary --cache-dir out/mypy pyext/memkv_sglang \
        testing/rules/rules.py testing/mutants/mutants.py testing/rdma/bench.py
}

lint_rules() { "$(base_python)" testing/rules/rules.py; }

# Each header compiles alone; the public one also as strict C11 and as C++.
lint_headers() { testing/rules/headers.sh; }

lint_each() {
    check "clang-format" lint_clang_format
    check "ruff" lint_ruff
    check "mypy" lint_mypy
    check "shellcheck" lint_shellcheck
    check "rules of our own" lint_rules
    check "headers compile alone" lint_headers
    check "clang-tidy" lint_clang_tidy
}

# For the command line: exit status 1 when any of them complains.
lint_all() {
    MKV_RESULTS=$(mktemp)
    lint_each
    ! grep -q '^fail' "$MKV_RESULTS"
}

format_all() {
    tracked '*.c' '*.h' '*.cc' | xargs -r clang-format -i
    tracked '*.py' '*.pyi' | xargs -r "$MKV_VENV/bin/ruff" format --quiet
}
