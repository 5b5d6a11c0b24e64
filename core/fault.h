/*
 * Fault points: places where a test makes a call fail that hardly ever fails by itself.
 *
 *     if (MKV_FAULT("worker.poll") || (fd = epoll_create1(EPOLL_CLOEXEC)) < 0) { ... }
 *
 * Always compiled in, off by default: a point that is not armed costs one relaxed load. A test runs
 * the same work again and again, with the 1st, 2nd, 3rd ... point failing, until none was reached:
 *
 *     for (uint64_t n = 1;; n++) {
 *         mkv__fault_arm("", n, 1);
 *         int r = work();
 *         if (mkv__fault_disarm() == 0) { break; }
 *         ... r is one of the listed errors, nothing leaks, nothing hangs ...
 *     }
 *
 * The state is the process's: one test at a time. Points may be passed by any thread.
 */
#ifndef CORE_FAULT_H
#define CORE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Points whose names begin with `prefix` ("": all) fail from the nth pass on (1: the next one),
 * `count` times (UINT64_MAX: for ever). prefix is borrowed until disarm.
 * Thread: while no other thread passes a point, as is disarm. */
void mkv__fault_arm(const char *prefix, uint64_t nth, uint64_t count);

/* Returns how many passes failed since arm. */
uint64_t mkv__fault_disarm(void);

extern uint32_t mkv__fault_armed; /* atomic; use the macro */
bool mkv__fault_hit(const char *point);

#define MKV_FAULT(point)                                                               \
    (__builtin_expect(__atomic_load_n(&mkv__fault_armed, __ATOMIC_ACQUIRE) != 0, 0) && \
     mkv__fault_hit(point))

#endif
