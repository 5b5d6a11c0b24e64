/* Whether RDMA works on this machine at all. */
#ifndef TRANSPORT_RDMA_RDMA_PROBE_H
#define TRANSPORT_RDMA_RDMA_PROBE_H

#include "transport/transport.h"

/* Finds the devices with a port that is up, of those that are named (none are: of all), in the order
 * of the names: rails_out, at most MKV_RAILS_MAX. False, with 0 rails: there is none; why tells what
 * is missing and what to do. Any thread. */
bool mkv__rdma_probe(const char *const *names, size_t n_names, struct mkv__rails *rails_out,
                     char *why, size_t why_len);

#endif
