/*
 * A log sink that never waits: lines go into a bounded ring, and a thread that may block (on
 * Python's lock, on a disk) takes them out. When the ring is full lines are dropped and counted, and
 * the reader is told.
 *
 *     mkv__log_ring_create(256, &ring);
 *     mkv__log_init(&log, level, mkv__log_ring_put, ring);
 *     reader: while (mkv__log_ring_wait(ring)) { mkv__log_ring_drain(ring, fn, arg); }
 *             mkv__log_ring_drain(ring, fn, arg);              (what came before the stop)
 *     at the end: mkv__log_ring_stop(ring); join the reader; mkv__log_ring_destroy(&ring);
 *
 *                 put     wait, drain   stop
 *     put         yes     yes           yes      any number of threads, lock-free
 *     wait, drain         no            yes      one reader at a time
 *
 * A bounded queue after Dmitry Vyukov: a cell's sequence says whose turn it is. put's release of a
 * cell pairs with drain's acquire of it, and the other way round. Only a put that finds the reader
 * asleep makes a system call.
 */
#ifndef CORE_LOG_RING_H
#define CORE_LOG_RING_H

#include "core/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mkv__log_ring;

/* lines: a power of two from 2 to 65536. Errors: -EINVAL, -ENOMEM. */
int mkv__log_ring_create(unsigned lines, struct mkv__log_ring **ring_out);
/* Nobody uses it any more. NULL leaves NULL. */
void mkv__log_ring_destroy(struct mkv__log_ring **ring);

/* An mkv__log_fn; arg is the ring. Thread: any thread. */
void mkv__log_ring_put(void *arg, int level, const char *line, size_t len);

/* Sleeps until there is a line or a stop. False: stopped. Thread: the reader. */
bool mkv__log_ring_wait(struct mkv__log_ring *ring);

/* Hands every line that is there to fn, oldest first, then a line of its own if some were dropped.
 * Returns their number. Thread: the reader. */
size_t mkv__log_ring_drain(struct mkv__log_ring *ring, mkv__log_fn fn, void *arg);

/* Ends the reader's wait for good; lines may still be put and drained. Thread: any thread. */
void mkv__log_ring_stop(struct mkv__log_ring *ring);

/* Lines dropped so far. Thread: any thread. */
uint64_t mkv__log_ring_dropped(const struct mkv__log_ring *ring);

#endif
