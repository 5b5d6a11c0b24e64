# ./dev bench rdma, ./dev bench tcp: memkv beside what is the ceiling there.
# shellcheck shell=bash

bench_rdma_usage() {
    cat <<'EOT'
Usage: ./dev bench rdma [--json] [--pairs N] [--seconds S] [--only LIST]

perftest and memkv bench take turns in one guest; says whether the bars are met (exit 0, else 1).
See "Figures" in docs/rdma.md.

  --json       One object a row, as memkv bench has them.
  --pairs N    Turns of each (default 7).
  --seconds S  Of each memkv bench (default 1; a batch at least).
  --only LIST  Of get, set, small, rails, checksums, calls (default all).
EOT
}

bench_rdma() {
    local json=() pairs=7 seconds=1 only=get,set,small,rails,checksums,calls option
    while [[ $# != 0 ]]; do
        option=$1
        shift
        case $option in
        --json)
            json=(--json)
            continue
            ;;
        -h | --help) bench_rdma_usage && return ;;
        --pairs | --seconds | --only) [[ $# != 0 ]] || die "$option: what?" ;;
        *) die "bench rdma: $option? see ./dev bench rdma --help" ;;
        esac
        case $option in
        --pairs) pairs=$1 ;;
        --seconds) seconds=$1 ;;
        --only) only=$1 ;;
        esac
        shift
    done
    [[ $pairs =~ ^[1-9][0-9]*$ ]] || die "--pairs: $pairs is no number of turns"
    setup_packages testing/vm/packages.txt >&2
    build_command >&2
    MKV_VM_TIMEOUT=${MKV_VM_TIMEOUT:-1800} vm_run testing/rdma/bench.sh out/bin/memkv "$pairs" "$seconds" "$only" </dev/null |
        "$(base_python)" testing/rdma/bench.py --pairs "$pairs" "${json[@]}"
}

# memkv beside raw sockets, over loopback.
bench_tcp() {
    setup_packages testing/ceiling/packages.txt >&2
    build_command >&2
    # shellcheck disable=SC2046
    bz build --config=release $(bz_options) //testing/ceiling >&2
    place testing/ceiling/ceiling out/ceiling/ceiling 755
    exec "$(base_python)" testing/ceiling/tcp.py --memkv out/bin/memkv --program out/ceiling/ceiling "$@"
}
