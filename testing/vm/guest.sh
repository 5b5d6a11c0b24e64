#!/bin/bash
# In the guest: two rails, each a pair of network devices with a verbs device at both ends, then the
# command.
#
#   rxe0 (left0, 10.0.0.1)  ────  rxe2 (right0, 10.0.0.2)      rail 0
#   rxe1 (left1, 10.0.1.1)  ────  rxe3 (right1, 10.0.1.2)      rail 1
#
# All four are in one kernel, which would deliver to its own addresses without a wire: rules make it
# send them out.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
share=/mnt/share

rail() { # NUMBER
    local n=$1 end
    ip link add "left$n" type veth peer name "right$n"
    ip addr add "10.0.$n.1/24" dev "left$n"
    ip addr add "10.0.$n.2/24" dev "right$n"
    for end in left right; do
        sysctl -qw "net.ipv4.conf.$end$n.accept_local=1" "net.ipv4.conf.$end$n.rp_filter=0" \
            "net.ipv4.conf.$end$n.arp_ignore=1"
        ip link set "$end$n" up mtu 4200
        ip rule add pref 1 iif "$end$n" lookup local
    done
    ip route add "10.0.$n.1" dev "right$n" src "10.0.$n.2" table 100
    ip route add "10.0.$n.2" dev "left$n" src "10.0.$n.1" table 100
    rdma link add "rxe$n" type rxe netdev "left$n"
    rdma link add "rxe$((n + 2))" type rxe netdev "right$n"
}

ip link set lo up
hostname guest
sysctl -qw net.ipv4.conf.all.rp_filter=0
# Before the local table, which then comes last.
ip rule add pref 2 lookup 100
ip rule add pref 3 lookup local
ip rule del pref 0
rail 0
rail 1
ulimit -l unlimited
echo "== guest"
(. "$share/.command")
echo $? >"$share/.status"
sync
poweroff -f
