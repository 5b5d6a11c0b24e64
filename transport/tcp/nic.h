/* Near which NUMA node a network interface is, as the kernel tells under /sys/class/net. */
#ifndef TRANSPORT_TCP_NIC_H
#define TRANSPORT_TCP_NIC_H

/* Of the interface that has, or from which packets reach, a numeric address "host:port"; -1: none,
 * or not known (loopback, names, virtual interfaces). Sends nothing. Thread: any thread. */
int mkv__tcp_numa_node(const char *address);

/* sys: "/sys/class/net". What lies on others (a bond, a VLAN) is where the first of them is. */
int mkv__tcp_interface_node(const char *sys, const char *name);

#endif
