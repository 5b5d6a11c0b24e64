# ./dev test: everything, counted.
# shellcheck shell=bash

# test_bazel NAME [OPTION...] -- TARGET...: runs tests and counts each target.
test_bazel() {
    local name=$1 events rc=0
    shift
    say "bazel test: $name"
    events=$(mktemp)
    # shellcheck disable=SC2046
    bz test --keep_going $(bz_options) --build_event_json_file="$events" "$@" </dev/null || rc=$?
    "$(base_python)" testing/dev/bep.py "$events" "$name " >>"$MKV_RESULTS"
    # Bazel complained although each test that it came to has passed: something does not build.
    if [[ $rc != 0 ]] && ! grep -q "^fail $name " "$MKV_RESULTS"; then
        result fail "$name: bazel ended with $rc"
    fi
    rm -f "$events"
}

# The Python suites count themselves; their closing lines are read.
test_python() {
    local log rc=0
    say "Python suites"
    setup_sglang
    log=$(mktemp)
    testing/run_python.sh </dev/null 2>&1 | tee "$log" || rc=$?
    "$(base_python)" testing/dev/pytest_count.py "$log" "$rc" >>"$MKV_RESULTS"
    rm -f "$log"
}

# Whole workspaces: bazel inside a script, on copies of this tree.
test_workspaces() {
    local script
    for script in testing/bazel/*_test.sh; do
        check "$(basename "$script" .sh)" timeout 900 "$script"
    done
}

test_lint() {
    setup_tools
    lint_each
}

test_sanitizers() {
    local kind
    for kind in asan ubsan tsan; do
        check_sanitizer "$kind" --test_tag_filters=-no-sanitizer,-no-"$kind"
    done
}

# What Python needs in the guest beside .venv, compiled, since emulated that takes a while.
rdma_python() {
    setup_sglang
    rm -rf out/rdma/python
    mkdir -p out/rdma/python/memkv_sglang
    cp testing/rdma/engine_pages.py testing/sglang/{real_sglang,lives}.py out/rdma/python/
    cp pyext/memkv_sglang/*.py out/rdma/python/memkv_sglang/
    cp -fL .bazel/bin/pyext/_memkv.abi3.so out/rdma/python/memkv_sglang/
    "$MKV_VENV/bin/python" -m compileall -q out/rdma/python
}

# Over real verbs devices, in a guest. It counts its cases itself; one that does not boot has failed.
test_rdma() {
    local log rc=0
    setup_packages testing/vm/packages.txt
    say "in the guest: rdma"
    # shellcheck disable=SC2046
    bz build $(bz_options) //testing/conformance:rdma //testing/rdma:{fence,rails,forks,links,places,moves,libcopies.so} //cli:memkv //pyext:_memkv.abi3.so || {
        result fail "rdma: it does not build"
        return
    }
    mkdir -p out/rdma
    cp -fL .bazel/bin/testing/conformance/rdma out/rdma/conformance
    cp -fL .bazel/bin/testing/rdma/{fence,rails,forks,links,places,moves,libcopies.so} out/rdma/
    cp -fL .bazel/bin/cli/memkv out/rdma/memkv
    rdma_python
    log=$(mktemp)
    vm_run testing/rdma/guest.sh out/rdma "$MKV_VENV/bin/python" </dev/null | tee "$log" || rc=$?
    sed -n 's/^PASS: /pass rdma /p; s/^FAIL: /fail rdma /p' "$log" >>"$MKV_RESULTS"
    if [[ $rc != 0 ]] && ! grep -q '^FAIL: ' "$log"; then
        result fail "rdma: the guest ended with $rc"
    fi
    grep -q '^PASS: ' "$log" || result fail "rdma: no case was run"
    rm -f "$log"
}

# No step of each run: which mutants are tried depends on the seed. ./dev test mutants is a sample.
test_mutants() { check "mutants (a sample)" check_mutants --count 6 --seconds 240; }

# The last line, and the exit status.
test_summary() {
    local passed failed skipped
    passed=$(grep -c '^pass ' "$MKV_RESULTS") || true
    failed=$(grep -c '^fail ' "$MKV_RESULTS") || true
    skipped=$(grep -c '^skip ' "$MKV_RESULTS") || true
    if [[ $failed != 0 ]]; then
        say "failed:"
        sed -n 's/^fail /   /p' "$MKV_RESULTS"
    fi
    if [[ $skipped != 0 ]]; then
        say "skipped:"
        sed -n 's/^skip /   /p' "$MKV_RESULTS"
        printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    else
        printf '%d passed, %d failed\n' "$passed" "$failed"
    fi
    [[ $failed == 0 && $passed != 0 ]]
}

MKV_STEPS="build lint units workspaces python rdma sanitizers"

# test_all [STEP...]: without arguments all of MKV_STEPS.
test_all() {
    local step started
    MKV_RESULTS=$(mktemp)
    trap 'bz shutdown >/dev/null 2>&1 || true' EXIT
    [[ $# != 0 ]] || read -ra all <<<"$MKV_STEPS"
    for step in "${@:-${all[@]}}"; do
        started=$SECONDS
        case $step in
        build) check "build" bash -c './dev build' ;;
        lint) test_lint ;;
        units) test_bazel "units" -- //... ;;
        workspaces) test_workspaces ;;
        python) test_python ;;
        rdma) test_rdma ;;
        sanitizers) test_sanitizers ;;
        mutants) test_mutants ;;
        *) die "no such step: $step (there are: $MKV_STEPS)" ;;
        esac
        say "$step took $((SECONDS - started)) s"
    done
    test_summary
}
