/* Where tests take the client apart: another transport, another clock, turns by hand. The command
 * hands over the configuration that it has loaded itself. */
#ifndef ROUTER_SEAM_H
#define ROUTER_SEAM_H

#include "core/worker.h"
#include "transport/transport.h"

#include <memkv/memkv.h>

struct mkv__config;

struct mkv__client_seam {
    const struct mkv__transport *transport; /* NULL: as configured */
    struct mkv__config *config;   /* loaded, its warnings told; transferred, always; NULL: none */
    uint64_t (*clock)(void *arg); /* NULL: CLOCK_MONOTONIC */
    void *clock_arg;
    unsigned rails; /* so many, whatever the transport says; 0: as it says */
    bool manual;    /* no thread: the test turns the workers; mkv_batch_wait must not be called */
};

/* mkv_client_open; seam NULL: as it is configured. */
int mkv__client_open_on(const struct mkv_client_options *options,
                        const struct mkv__client_seam *seam, struct mkv_client **client_out,
                        struct mkv_error *error_out);
unsigned mkv__client_n_rails(const struct mkv_client *client);
struct mkv__worker *mkv__client_worker(struct mkv_client *client, unsigned rail);

#endif
