/* Whether RDMA works on this machine at all. */
#ifndef TRANSPORT_RDMA_RDMA_PROBE_H
#define TRANSPORT_RDMA_RDMA_PROBE_H

#include "transport/transport.h"

/* Looks for a device with a port that is up, among those that the options name. False: why tells
 * what is missing and what to do. Any thread. */
bool mkv__rdma_probe(const struct mkv__endpoint_options *options, char *why, size_t why_len);

#endif
