/*
 * A completion counter: set to the number of parts before they are sent, each part counts down, the
 * waiter spins briefly and then sleeps in futex.
 *
 * The one who takes the counter to zero may have the object freed under it right after; so
 * mkv__completion_done touches nothing after its last store but the futex address (a spurious wake
 * elsewhere is harmless).
 */
#ifndef CORE_COMPLETION_H
#define CORE_COMPLETION_H

#include <stdbool.h>
#include <stdint.h>

struct mkv__completion {
    uint32_t left;    /* parts not done; atomic */
    uint32_t waiters; /* atomic */
};

void mkv__completion_init(struct mkv__completion *c, uint32_t parts);
/* Any thread. Returns true to the one that took it to zero. */
bool mkv__completion_done(struct mkv__completion *c);
bool mkv__completion_test(const struct mkv__completion *c);
/* Returns when left is zero. spin: look for some microseconds before sleeping. */
void mkv__completion_wait(struct mkv__completion *c, bool spin);

#endif
