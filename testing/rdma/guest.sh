#!/bin/bash
# What is tested over real verbs devices; runs in the guest (./dev test rdma). Each case is a line
# "PASS: NAME" or "FAIL: NAME". Arguments: the folder of memkv and of the programs of this folder, and
# a Python that has sglang; without one its case is left out.
memkv=$1/memkv programs=$1 python=${2:-}
address=10.0.0.2:9900
work=$(mktemp -d)
key=$(printf 'ab%.0s' {1..32})
# Clients have the left ends of the wires, servers the right ones.
export MEMKV_RDMA_DEVICES=rxe0
export MEMKV_SERVERS=$address MEMKV_AUTH_KEY=$key MEMKV_CONNECT_TIMEOUT=8s MEMKV_EXISTS_TIMEOUT=8s \
    MEMKV_GET_TIMEOUT=8s MEMKV_SET_TIMEOUT=8s

packets() { cat "/sys/class/infiniband/$1/ports/1/hw_counters/sent_pkts"; }
resources() { rdma resource show; }

serve() { # OPTION...
    MEMKV_SERVERS='' MEMKV_RDMA_DEVICES=rxe2,rxe3 "$memkv" serve --listen "$address" --memory 64M "$@" >"$work/serve" 2>"$work/serve.log" &
    server=$!
    until grep -q listening "$work/serve"; do
        kill -0 "$server" || return 1
        sleep 0.1
    done
}

ended() { # the server drains and says 0
    kill -TERM "$server" && wait "$server"
}

# NAME COMMAND...: its output is shown when it fails.
check() {
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "PASS: $name"
    else
        echo "FAIL: $name"
        tail -n 40 "$work/out" "$work/serve.log"
    fi
}

suite() {
    "$programs/conformance" "10.0.0.2:0" >"$work/suite" 2>&1
    sed -n 's/^\[       OK \] /PASS: conformance /p; s/^\[  FAILED  \] \([a-z_]*\)$/FAIL: conformance \1/p' "$work/suite" |
        sort -u
    grep -q "PASSED" "$work/suite" || {
        echo "FAIL: conformance ended early"
        tail -n 40 "$work/suite"
    }
}

# The program has a line for each of its checks.
sglang_pages() {
    local rc=0
    [[ -n $python ]] || return 0
    PYTHONPATH=$programs/python timeout 400 "$python" -m engine_pages >"$work/sglang" 2>&1 || rc=$?
    if [[ $rc == 0 ]]; then
        grep -E '^(PASS|took): ' "$work/sglang"
    else
        cat "$work/sglang"
        echo "FAIL: sglang's pages over rdma ended with $rc"
        tail -n 40 "$work/serve.log"
    fi
}

values_go_over_queue_pairs() (
    set -e
    before=$(packets rxe0)
    head -c 3000000 /dev/urandom >"$work/value"
    "$memkv" put value "$work/value" -v 2>&1 | tee "$work/put"
    grep -q "over rdma: rxe0" "$work/put"
    "$memkv" get value "$work/back"
    cmp "$work/value" "$work/back"
    "$memkv" exists value
    printf small | "$memkv" put small -
    [[ $("$memkv" get small -) == small ]]
    ! "$memkv" get none -
    # 3 MB in packets of at most 4 KiB, each way: acknowledged or answered by either side
    (($(packets rxe0) - before > 700))
    grep -q "over rdma: rxe2" "$work/serve.log"
)

# Both sides' own copies, counted from outside and by the server itself: of messages, and of no value.
values_are_not_copied() (
    set -e
    export MEMKV_COPIES=$work/copies.server
    LD_PRELOAD=$programs/libcopies.so serve --verbose
    MEMKV_COPIES=$work/copies.client LD_PRELOAD=$programs/libcopies.so "$programs/moves" "$address" >"$work/moved"
    "$memkv" stat --json >"$work/stat"
    ended
    moved=$(cat "$work/moved") client=$(cat "$work/copies.client") server_copied=$(cat "$work/copies.server")
    python3 - "$work/stat" "$moved" "$client" "$server_copied" <<'END'
import json, sys
moved, client, server = map(int, sys.argv[2:])
rails = json.load(open(sys.argv[1]))["transport"]["rails"]
by_device, copied = (sum(r[k] for r in rails) for k in ("moved_bytes", "copied_bytes"))
print(f"{moved} bytes of values; copied: client {client}, server {server}, and as it says {copied}")
assert by_device >= moved
assert 0 < client < moved / 100 and 0 < server < moved / 100 and 0 < copied < moved / 100
END
)

another_key_is_refused() {
    MEMKV_AUTH_KEY=${key//ab/ba} "$memkv" get value -
    [[ $? == 4 ]]
}

tcp_is_enough_for_auto() {
    MEMKV_TRANSPORT=tcp "$memkv" get value "$work/back" && cmp "$work/value" "$work/back"
}

resident() { sed -n 's/^VmRSS: *\([0-9]*\) kB/\1/p' "/proc/$server/status"; }

# Sessions over queue pairs so far, and bytes of values that devices have moved.
moved_so_far() {
    "$memkv" stat --json --transport tcp | python3 -c 'import json, sys
rails = json.load(sys.stdin)["transport"]["rails"]
print(sum(r["sessions"] for r in rails), sum(r["moved_bytes"] for r in rails))'
}

# Four at a time, in turns while the server reads and while it writes: what is 24 MiB takes longer.
killed_clients_leave_nothing() (
    set -e
    before=$(resources)
    descriptors=$(ls "/proc/$server/fd" | wc -l)
    read -r sessions moved < <(moved_so_far)
    head -c 24M /dev/urandom >"$work/large"
    for i in {1..25}; do
        ((i % 2)) || "$memkv" put large "$work/large"
        clients=()
        for _ in {1..4}; do
            if ((i % 2)); then
                "$memkv" bench --op set --size 1M --batch 8 --seconds 9 -s "$address" --transport rdma >/dev/null 2>&1 &
            else
                "$memkv" get large --transport rdma >/dev/null 2>&1 &
            fi
            clients+=($!)
        done
        sleep 1.$((i % 10))
        kill -9 "${clients[@]}" && wait "${clients[@]}" 2>/dev/null || true
        ((i != 1)) || warm=$(resident)
    done
    read -r sessions_now moved_now < <(moved_so_far)
    echo "$((sessions_now - sessions)) sessions, $(((moved_now - moved) >> 20)) MiB moved"
    ((sessions_now - sessions > 80 && (moved_now - moved) >> 20 > 500))
    for _ in {1..100}; do
        [[ $(resources) == "$before" ]] && break
        sleep 0.1
    done
    [[ $(resources) == "$before" ]] || { resources; echo "$before"; false; }
    [[ $(ls "/proc/$server/fd" | wc -l) == "$descriptors" ]]
    echo "resident KiB after 4 and after 100: $warm $(resident)"
    (($(resident) < warm + 8192))
    "$memkv" get value "$work/back" && cmp "$work/value" "$work/back"
)

# The other wire does not lead to it: the kernel looks for the way for a second or two, each time.
strangers_hold_nobody_up() (
    set -e
    there=10.0.0.2:9902
    MEMKV_SERVERS='' MEMKV_RDMA_DEVICES=rxe2 "$memkv" serve --listen "$there" --memory 64M >"$work/one" 2>"$work/one.log" &
    one=$!
    trap 'kill -TERM $one $stranger 2>/dev/null' EXIT
    until grep -q listening "$work/one"; do sleep 0.1; done
    MEMKV_CONNECT_TIMEOUT=500ms MEMKV_RDMA_DEVICES=rxe1 "$memkv" bench -s "$there" --op exists --batch 1 \
        --seconds 12 --ceiling none -v >/dev/null 2>"$work/stranger" &
    stranger=$!
    "$memkv" bench -s "$there" --transport rdma --op get --size 4K --batch 1 --seconds 10 --ceiling none \
        --json | tee "$work/neighbour"
    wait "$stranger"
    cat "$work/stranger"
    grep -q "rxe2 does not reach 10.0.1.1" "$work/one.log"
    grep -q "rxe[12] does not reach 10.0" "$work/stranger"
    longest=$(sed -n 's/.*"max_us": *\([0-9.e+]*\).*/\1/p' "$work/neighbour" | awk '{print int($1)}')
    echo "longest get: $longest us"
    ((longest < 700000))
)

auto_stays_on_tcp() (
    set -e
    "$memkv" put there - -v <<<yes 2>&1 | tee "$work/put"
    grep -q "the server has no RDMA device, or RDMA switched off" <("$memkv" get there - -v 2>&1)
    [[ $("$memkv" get there -) == yes ]]
)

rdma_is_not_tcp() {
    "$memkv" get there - --transport rdma
    [[ $? == 3 ]]
}

too_little_may_be_locked() (
    ulimit -l 1000
    # Root may lock what it likes.
    setpriv --clear-groups --reuid 65534 --regid 65534 --inh-caps=-all --bounding-set=-all \
        bash -c "ulimit -l 1000; MEMKV_SERVERS= '$memkv' serve --listen 10.0.0.2:9901 --memory 64M --verbose" \
        >"$work/serve2" 2>"$work/serve2.log" &
    until grep -q listening "$work/serve2"; do
        kill -0 $! || { cat "$work/serve2.log"; return 1; }
        sleep 0.1
    done
    [[ $(printf yes | "$memkv" put locked - -s 10.0.0.2:9901 -v 2>"$work/put" && "$memkv" get locked - -s 10.0.0.2:9901) == *yes ]]
    ok=$?
    cat "$work/serve2.log" "$work/put"
    grep -q "over tcp from now on, not rdma: .*ulimit -l" "$work/serve2.log" || ok=1
    grep -q "over tcp, not rdma: the peer says: 64 MiB of memory cannot be registered" "$work/put" || ok=1
    kill $! && wait $! || ok=1
    return $ok
)

no_such_device() {
    "$memkv" get there - --transport rdma --rdma-devices mlx5_7
    [[ $? == 2 ]] && grep -q "no RDMA device of those that rdma_devices names" "$work/out"
}

. "$(dirname "$0")/doctor.sh"

empty=$(resources)
suite
check "which device has an address" "$programs/places"
check "server over rdma" serve --verbose
check "values go over queue pairs" values_go_over_queue_pairs
sglang_pages
check "another key is refused" another_key_is_refused
check "a client on tcp, a server with rdma" tcp_is_enough_for_auto
doctor_with_rdma
check "killed clients leave nothing" killed_clients_leave_nothing
check "strangers hold nobody up" strangers_hold_nobody_up
check "forks with transfers in flight" "$programs/forks" "$address"
check "a rail goes down and comes up" "$programs/links" "$address"
check "over to tcp and back" "$programs/rails" "$address"
check "late packets find no buffer" "$programs/fence" "$address" "$server"
check "without the fence they would" "$programs/fence" "$address" "$server" none
check "the server ends" ended
check "too little memory may be locked" too_little_may_be_locked
check "values are not copied" values_are_not_copied
check "server without rdma" serve --transport tcp
check "auto stays on tcp" auto_stays_on_tcp
check "rdma is not tcp" rdma_is_not_tcp
check "no such device" no_such_device
check "doctor: a server without" a_server_without
check "the server without rdma ends" ended
check "nothing is left of queue pairs and memory regions" [ "$(resources)" == "$empty" ]
