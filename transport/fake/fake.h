/*
 * A transport within one process and one thread, deterministic by seed, for tests: everything that
 * the table of transport/transport.h allows to happen does happen. What it does with time it does
 * on its workers' clock, so all of them must share one.
 */
#ifndef TRANSPORT_FAKE_FAKE_H
#define TRANSPORT_FAKE_FAKE_H

#include "transport/transport.h"

struct mkv__fake_options {
    uint64_t seed;
    uint64_t delay_ns;  /* longest delay of an event */
    uint32_t chunk;     /* most bytes of bulk that move at once */
    uint32_t twice_in;  /* a write lands twice, once in so many chunks; 0: never */
    uint32_t death_in;  /* a session dies, once in so many events; 0: never */
    uint32_t linger_in; /* conceal takes its time, once in so many; 0: never */
};

/* For all sessions from now on. Call it when no endpoint is open. */
void mkv__fake_reset(const struct mkv__fake_options *options);

#endif
