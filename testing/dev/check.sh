# ./dev check: sanitizers and mutants.
# shellcheck shell=bash

# Unit and conformance tests live in these rooms.
MKV_CHECKED="//core/... //transport/... //router/... //server/... //cli/... //testing/..."

# check_sanitizer KIND [OPTION...]
check_sanitizer() {
    local kind=$1
    shift
    # shellcheck disable=SC2046,SC2086
    test_bazel "$kind" --config="$kind" "$@" -- $MKV_CHECKED
}

check_mutants() { "$(base_python)" testing/mutants/mutants.py "$@"; }

check_run() {
    local kind=${1:-}
    shift || true
    case $kind in
    asan | tsan | ubsan)
        MKV_RESULTS=$(mktemp)
        check_sanitizer "$kind" "$@"
        test_summary
        ;;
    mutants) check_mutants "$@" ;;
    *) die "check what? asan, tsan, ubsan or mutants" ;;
    esac
}
