/* What the command asks of single servers: its statistics, and whether it can be used. */
#ifndef ROUTER_PROBE_H
#define ROUTER_PROBE_H

#include <memkv/memkv.h>

#include <stdbool.h>

struct mkv__probe {
    char name[280], address[280];
    int error;         /* 0: it answered */
    char why[200];     /* with an error */
    double connect_us; /* first request, connection and handshake included */
    double latency_us; /* the least of a few requests on the open connection */
    char path[200];    /* what the session goes over; "" without one */
    int reason;        /* enum mkv__rdma_reason: why it does not go over RDMA, though it might */
    bool of_peer;      /* the reason is the server's */
    unsigned version;  /* highest protocol version of the server */
    char *stat;        /* its JSON; free() it */
};

unsigned mkv__client_n_servers(struct mkv_client *client);
/* Blocking. Any thread. i < mkv__client_n_servers. */
int mkv__client_probe(struct mkv_client *client, unsigned i, uint64_t timeout_ns,
                      struct mkv__probe *out);
/* The configuration that the client runs with. */
struct mkv__config;
const struct mkv__config *mkv__client_config(const struct mkv_client *client);

#endif
