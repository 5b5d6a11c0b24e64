/*
 * A completion counter: set to the number of parts before they are sent, each part counts down, the
 * waiter spins briefly and then sleeps in futex.
 *
 * The one who takes the counter to zero may have the object freed under it right after. So whether
 * somebody sleeps is a bit of the counter itself: mkv__completion_done learns it from its one
 * atomic operation, makes no system call when nobody does, and touches nothing after that
 * operation but the futex address (a spurious wake elsewhere is harmless).
 *
 * Beside each other: done | done, done | test, done | wait, done | add, wait | wait. init: alone.
 */
#ifndef CORE_COMPLETION_H
#define CORE_COMPLETION_H

#include <stdbool.h>
#include <stdint.h>

struct mkv__completion {
    uint32_t word; /* atomic: parts not done, and the top bit: somebody sleeps */
};

/* parts: below 2^31. */
void mkv__completion_init(struct mkv__completion *c, uint32_t parts);
/* Any thread. Returns true to the one that took it to zero. */
bool mkv__completion_done(struct mkv__completion *c);
/* Any thread. One part more; false: none was left, and it stays so. */
bool mkv__completion_add(struct mkv__completion *c);
bool mkv__completion_test(const struct mkv__completion *c);
/* Returns when no part is left. spin: look for some microseconds before sleeping. */
void mkv__completion_wait(struct mkv__completion *c, bool spin);

#endif
