/* Whether RDMA works on this machine at all. */
#ifndef TRANSPORT_RDMA_RDMA_PROBE_H
#define TRANSPORT_RDMA_RDMA_PROBE_H

#include "transport/transport.h"

/* Finds the devices with a port that is up, of those that are named (none are: of all), in the order
 * of the names: rails_out, at most MKV_RAILS_MAX. False, with 0 rails: there is none; why tells what
 * is missing and what to do. Any thread. */
bool mkv__rdma_probe(const char *const *names, size_t n_names, struct mkv__rails *rails_out,
                     char *why, size_t why_len);

#define MKV_RDMA_PORTS_MAX 16u

struct mkv__rdma_port {
    char device[64];
    bool used; /* its device is named, or none is */
    bool active;
    uint8_t port;
    const char *state, *link_layer; /* "active", "ethernet" */
    char gid[48];                   /* "" where there is none; that which knows no addresses */
    uint32_t gid_index;
    const char *gid_type; /* "RoCE v2" */
    uint32_t mtu;         /* bytes */
    int numa_node;        /* -1: not known */
};

/* What there is, and what keeps it from working. */
struct mkv__rdma_survey {
    bool works; /* a device that is used does */
    enum mkv__rdma_reason reason;
    char why[300];
    unsigned n;
    struct mkv__rdma_port ports[MKV_RDMA_PORTS_MAX];
};

/* memory: bytes that are registered for a moment on each device that is used. Any thread. Blocks. */
void mkv__rdma_survey(const char *const *names, size_t n_names, size_t memory,
                      struct mkv__rdma_survey *out);

#endif
