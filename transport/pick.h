/* Which transport a configuration means on this machine. */
#ifndef TRANSPORT_PICK_H
#define TRANSPORT_PICK_H

#include "core/config/config.h"
#include "transport/transport.h"

/*
 * auto: rdma where a device works, else tcp; a session between two that do not both have rdma stays
 * on tcp. Sets the transport, what of the endpoint's options comes from the configuration (must),
 * and the rails: one for each device that works; one for tcp. Errors: -EINVAL. why: what is wanted
 * does not work here; with auto and tcp, why it is not rdma; else empty.
 */
int mkv__transport_pick(const struct mkv__config *config, const struct mkv__transport **out,
                        struct mkv__endpoint_options *options, struct mkv__rails *rails_out,
                        char *why, size_t why_len);
/* Tells why it is not rdma after all; who has named devices is warned. */
void mkv__transport_tell(const struct mkv__config *config, const char *why, struct mkv__log *log);
/* Sets what of the endpoint's options is rail i's own; borrows from rails. */
void mkv__rail_options(const struct mkv__rails *rails, unsigned i,
                       struct mkv__endpoint_options *options);

#endif
