#!/bin/bash
# perftest beside memkv bench, in turns; runs in the guest (./dev bench rdma). What it measures are
# lines "@ WHAT ROUND VALUE", which bench.py reads. Arguments: the program memkv, how many rounds,
# seconds of each bench, and what to measure: get, set, small, rails, checksums, calls.
memkv=$1 rounds=$2 seconds=$3 what=$4
work=$(mktemp -d)
port=20000
key=$(printf 'ab%.0s' {1..32})
export MEMKV_AUTH_KEY=$key MEMKV_CONNECT_TIMEOUT=8s MEMKV_EXISTS_TIMEOUT=8s MEMKV_GET_TIMEOUT=8s \
    MEMKV_SET_TIMEOUT=8s MEMKV_TRANSPORT=rdma MEMKV_CHECKSUM=no
server_at=10.0.0.2:9900

wants() { [[ ,$what, == *,$1,* ]]; }

died() {
    echo "bench.sh: $*"
    tail -n 20 "$work"/*.log
    exit 1
}

listens() { # PORT
    local _
    for _ in {1..100}; do
        [[ -n $(ss -Hltn "sport = :$1") ]] && return
        sleep 0.1
    done
    return 1
}

# DEVICES [COMMAND [ARG...]]: under that command; sets server. One server at a time, and no more rails
# than are measured, since each worker holds a CPU.
serve() {
    local devices=$1
    shift
    "$@" "$memkv" serve --listen $server_at --memory 448M --prefault wait --rdma-devices "$devices" \
        >"$work/serve" 2>>"$work/serve.log" &
    server=$!
    until grep -q listening "$work/serve"; do
        kill -0 "$server" || died "no server"
        sleep 0.2
    done
}

ended() { # PID
    kill -TERM "$1" && wait "$server"
}

# The index of the GID that is the address of the device's network device.
gid() { # DEVICE
    local table=/sys/class/infiniband/$1/ports/1/gids i
    for i in {0..15}; do
        grep -q '^0000:0000:0000:0000:0000:ffff:0a00' "$table/$i" && echo "$i" && return
    done
    echo 0
}

# perftest RAIL FILE PROGRAM ARG...: both ends of one run over a rail. Its figures are the line of
# FILE that begins with the size.
perftest() {
    local rail=$1 out=$2 ends status
    shift 2
    port=$((port + 1))
    "$@" -F -p $port -d "rxe$((rail + 2))" -x "$(gid "rxe$((rail + 2))")" >"$out.server.log" 2>&1 &
    ends=$!
    listens $port || { kill $ends; wait $ends; return 1; }
    timeout 60 "$@" -F -p $port -d "rxe$rail" -x "$(gid "rxe$rail")" "10.0.$rail.2" >"$out.log" 2>&1
    status=$?
    [[ $status == 0 ]] || kill $ends 2>/dev/null
    wait $ends
    return $status
}

# FILE COLUMN: of perftest's line of figures; nothing where it has none. A clock that it could not
# calibrate makes them 0.
figure() { sed -n 's/^ *\([0-9].*\)$/\1/p' "$1" | awk -v c="$2" 'NF >= 5 && $c + 0 > 0 {v = $c} END {if (v) print v}'; }

# NAME ROUND COLUMN PROGRAM ARG...: one line; three attempts.
ceiling() {
    local name=$1 round=$2 column=$3 value _
    shift 3
    for _ in 1 2 3; do
        value=
        perftest 0 "$work/perftest" "$@" && value=$(figure "$work/perftest.log" "$column")
        [[ -n $value ]] && echo "@ $name $round $value" && return
        echo "@ again $round $1"
    done
    died "$1 does not work: $(cat "$work/perftest.log" "$work/perftest.server.log")"
}

# ROUND: two at once, whose figures are added.
ceiling_of_two() {
    local left value _
    for _ in 1 2 3; do
        perftest 0 "$work/left" ib_write_bw -s 1048576 -n 32 &
        left=$!
        port=$((port + 1)) # which that one has taken
        perftest 1 "$work/right" ib_write_bw -s 1048576 -n 32
        wait $left
        value=$({ figure "$work/left.log" 4; figure "$work/right.log" 4; } | awk '{s += $1; n++} END {if (n == 2) print s}')
        [[ -n $value ]] && echo "@ two_write_bw $1 $value" && return
        echo "@ again $1 two of ib_write_bw"
    done
    died "two of ib_write_bw do not work: $(cat "$work/left.log" "$work/right.log")"
}

packets() { cat /sys/class/infiniband/rxe*/ports/1/hw_counters/sent_pkts | awk '{s += $1} END {print s}'; }

# NAME ROUND DEVICES OPTION...: memkv bench's own line of JSON, and how many packets the devices have
# sent meanwhile.
ours() {
    local name=$1 round=$2 devices=$3 before value _
    shift 3
    for _ in 1 2 3; do
        before=$(packets)
        value=$("$memkv" bench --json --ceiling none --seconds "$seconds" -s $server_at \
            --rdma-devices "$devices" "$@" 2>"$work/bench.log") &&
            echo "@ $name $round $(($(packets) - before)) $value" && return
        echo "@ again $round memkv bench: $(tail -n 1 "$work/bench.log")"
    done
    died "memkv bench $*"
}

many=(--size 1M --batch 32)

round() {
    wants get && {
        ceiling write_bw "$1" 4 ib_write_bw -s 1048576 -n 32
        ours get "$1" rxe0 --op get "${many[@]}"
    }
    wants set && {
        ceiling read_bw "$1" 4 ib_read_bw -s 1048576 -n 32
        ours set "$1" rxe0 --op set "${many[@]}"
    }
}

round_small() {
    ceiling send_lat "$1" 5 ib_send_lat -s 64 -n 1000
    ceiling write_lat "$1" 5 ib_write_lat -s 4096 -n 1000
    ours small "$1" rxe0 --op get --size 4K --batch 1 --spin always
}

round_of_rails() {
    ceiling one_write_bw "$1" 4 ib_write_bw -s 1048576 -n 32
    ours get_rail "$1" rxe0 --op get "${many[@]}"
    ceiling_of_two "$1"
    ours get_rails "$1" rxe0,rxe1 --op get "${many[@]}"
}

round_checked() {
    ceiling write_bw_checked "$1" 4 ib_write_bw -s 1048576 -n 32
    ours get_checked "$1" rxe0 --op get "${many[@]}" --checksum=yes
    ceiling read_bw_checked "$1" 4 ib_read_bw -s 1048576 -n 32
    ours set_checked "$1" rxe0 --op set "${many[@]}" --checksum=yes
}

# The calls of the thread that rings, from its nth doorbell to its last. POST_SEND is command 28 of verbs,
# REQ_NOTIFY_CQ 23. Of a worker that polls (NTH is not 0) what lies between a pause (a wait that takes
# time) and the 8th doorbell after it is left out, and pauses are counted.
count_calls() { # TRACE NAME NTH
    awk '/uverbs.*"\\34/ {print $1; exit}' "$1" >"$work/thread"
    awk -v thread="$(cat "$work/thread")" -v name="$2" -v skip="$3" -v polls="$3" '$1 != thread {next}
        skip > 0 {skip -= /uverbs.*"\\34/; next}
        /uverbs/ && /write\(/ {n = /"\\34/ ? "doorbell" : /"\\27/ ? "notify" : "other_verb"}
        !/uverbs/ || !/write\(/ {n = match($0, /[a-z_0-9]+\(/) ? substr($0, RSTART, RLENGTH - 1) : ""}
        polls && n == "epoll_pwait2" && !/tv_sec=0, tv_nsec=0}/ {pauses++; after = 8}
        n == "doorbell" && after > 0 {after--; split("", near); next}
        n == "doorbell" {for (m in near) c[m] += near[m]; split("", near); c[n]++; rung = 1; next}
        rung && n != "" {near[n]++}
        END {if (polls) print "@ " name "_pauses", 0, pauses + 0; for (n in c) print "@ " name "_" n, 0, c[n]}' "$1"
}

stat_of() { # NAME
    echo "@ stat_$1 0 $("$memkv" stat --json -s $server_at --transport tcp 2>/dev/null)"
}

# NAME SPIN OPTION...: system calls of a server that is traced. Its runs are short: a trace takes its time.
calls() {
    local name=$1 spin=$2 trace=$work/strace before rung spin_only=0 seconds=3
    shift 2
    [[ $spin == always ]] && spin_only=1
    serve rxe2 env MEMKV_LOG_LEVEL=debug "MEMKV_SPIN=$spin" strace -f -y -o "$trace"
    ours "${name}_prepare" 0 rxe0 --op get "$@" --spin "$spin"
    stat_of "${name}_before"
    before=$(wc -l <"$trace")
    ours "$name" 0 rxe0 --op get "$@" --spin "$spin"
    tail -n "+$before" "$trace" >"$work/gets"
    stat_of "${name}_after"
    ended "$(pgrep -P "$server")"
    rung=$(grep -c 'uverbs.*"\\34' "$work/gets")
    # Of a client that polls the second half: before lie its connection, and the sets of what it gets.
    count_calls "$work/gets" "$name" $((spin_only * rung / 2))
    echo "@ traced_$name 0 $(grep -c 'uverbs.*"\\34' "$trace") $(grep -h ' doorbells, ' "$work/serve.log" | tail -n 1)"
}

if wants get || wants set; then
    serve rxe2
    for ((n = 0; n < rounds; n++)); do
        round "$n"
    done
    ended "$server"
fi
if wants small; then # both ends spin, as perftest's do
    serve rxe2 env MEMKV_SPIN=always
    for ((n = 0; n < rounds; n++)); do
        round_small "$n"
    done
    ended "$server"
fi
if wants calls; then
    calls calls auto "${many[@]}"
    calls polls always --size 4K --batch 1
fi
if wants rails; then
    serve rxe2,rxe3
    for ((n = 0; n < rounds; n++)); do
        round_of_rails "$n"
    done
    ended "$server"
fi
if wants checksums; then
    serve rxe2 env MEMKV_CHECKSUM=yes
    for ((n = 0; n < rounds; n++)); do
        round_checked "$n"
    done
    ended "$server"
fi
echo "@ end 0 0"
