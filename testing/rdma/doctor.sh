# What memkv doctor and memkv stat say of RDMA; part of guest.sh.
# shellcheck shell=bash

# CODE WORDS OPTION...: doctor ends with this code, and says these words.
doctor_says() {
    local code=0
    MEMKV_CONNECT_TIMEOUT=1s "$memkv" doctor "${@:3}" >"$work/doctor" 2>&1 || code=$?
    cat "$work/doctor"
    [[ $code == "$1" ]] && grep -q "$2" "$work/doctor"
}

# What it says to a program.
doctor_json() { # CODE REASON OPTION...
    MEMKV_CONNECT_TIMEOUT=1s "$memkv" doctor --json "${@:3}" | grep -o '"rdma":.*' | tee "$work/doctor" |
        grep "\"reason\": *\"$2\"" | grep -q "\"code\": *$1\b"
}

# Packets that come to the server's end are dropped: those that match.
drop() {
    tc qdisc add dev right0 clsact &&
        tc filter add dev right0 ingress protocol ip u32 match ip protocol 17 0xff match ip dport 4791 0xffff "$@" action drop
}
let_pass() { tc qdisc del dev right0 clsact; }

doctor_finds_it_works() {
    doctor_says 0 "rdma: works here" && grep -q "rxe0 port 1: active, ethernet, mtu 4096" "$work/doctor" &&
        grep -q "10.0.0.1, RoCE v2" "$work/doctor" && grep -q "over rdma: rxe" "$work/doctor" &&
        doctor_says 0 "rdma: works here" --transport rdma
}

stat_shows_devices() {
    "$memkv" stat && "$memkv" stat | grep -q "rxe2 port 1: gid [0-9]* (10.0.0.2, RoCE v2), mtu 4096, windows" &&
        "$memkv" stat | grep -q "rdma: sessions 1 over rdma, 0 over tcp"
}

doctor_misses_a_device() {
    doctor_says 12 "no RDMA device called mlx5_7" --rdma-devices mlx5_7 && doctor_json 12 "no such device" --rdma-devices mlx5_7
}

doctor_sees_a_dead_port() {
    local ok=0
    rdma link add rxe9 type rxe netdev dead0 || return 1
    doctor_says 13 "rxe9: no port is up" --rdma-devices rxe9 && doctor_json 13 "port down" --rdma-devices rxe9 || ok=1
    doctor_says 0 "rxe9 port 1: down" || ok=1 # others work
    rdma link delete rxe9
    return $ok
}

doctor_hears_nothing() {
    local ok=0
    drop || return 1
    doctor_says 18 "UDP port 4791" && doctor_json 18 "silence" && doctor_json 18 "silence" --transport rdma || ok=1
    let_pass
    return $ok
}

# A total length of 4096 bytes and more: bit 12 of the IP header's second half word.
doctor_finds_long_packets_lost() {
    local ok=0
    drop match u16 0x1000 0x1000 at 2 || return 1
    doctor_says 16 "the MTU the same all the way" && doctor_json 16 "mtu" || ok=1
    let_pass
    return $ok
}

ends_with_different_mtus_agree() {
    local ok=0
    ip link set left0 mtu 1500
    doctor_says 0 "rxe0 port 1: active, ethernet, mtu 1024" && grep -q "over rdma: rxe0 .*mtu 1024, " "$work/doctor" || ok=1
    "$memkv" get value "$work/back" && cmp "$work/value" "$work/back" || ok=1
    ip link set left0 mtu 4200
    return $ok
}

# Root may lock what it likes.
doctor_may_not_lock_memory() {
    setpriv --clear-groups --reuid 65534 --regid 65534 --inh-caps=-all --bounding-set=-all \
        bash -c "ulimit -l 4000; '$memkv' doctor --connect-timeout 1s" >"$work/doctor" 2>&1
    local code=$?
    cat "$work/doctor"
    [[ $code == 15 ]] && grep -q "64 MiB of memory cannot be registered: .*4000 KiB may be locked" "$work/doctor" &&
        grep -q "ulimit -l" "$work/doctor"
}

doctor_with_rdma() {
    ip link add dead0 type veth peer name dead1
    check "doctor: it works" doctor_finds_it_works
    check "stat: devices and sessions" stat_shows_devices
    check "doctor: no such device" doctor_misses_a_device
    check "doctor: a port that is down" doctor_sees_a_dead_port
    check "doctor: nothing comes" doctor_hears_nothing
    check "doctor: long packets are lost" doctor_finds_long_packets_lost
    check "ends with different MTUs" ends_with_different_mtus_agree
    check "doctor: memory may not be locked" doctor_may_not_lock_memory
    ip link delete dead0
}

a_server_without() {
    # Who names a device asks for RDMA.
    (unset MEMKV_RDMA_DEVICES && doctor_says 0 "the server has no RDMA device, or RDMA switched off") && doctor_says 17 "to do: look at the server" --transport rdma &&
        doctor_json 17 "server without" --transport rdma
}
