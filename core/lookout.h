/*
 * A thread that watches a worker's descriptors while the worker polls without a pause, so that the
 * worker need not ask the kernel whether something came. Between watches it sleeps.
 *
 * Thread rules: one owner, which is the worker's.
 */
#ifndef CORE_LOOKOUT_H
#define CORE_LOOKOUT_H

#include "core/os/cpu.h"

#include <stdbool.h>

struct mkv__lookout;

/* poll: the worker's epoll, borrowed until destroy. cpus: where the thread may run: elsewhere than a
 * worker that leaves its CPU no time. Errors: -ENOMEM, -EAGAIN (no thread). */
int mkv__lookout_create(int poll, const struct mkv__cpu_set *cpus, struct mkv__lookout **out);
/* Something in the epoll must be readable. In a child that was forked, where the thread is the
 * parent's, it need not. NULL leaves NULL. */
void mkv__lookout_destroy(struct mkv__lookout **lookout);
/* From now on; what is readable already counts. */
void mkv__lookout_watch(struct mkv__lookout *lookout);
/* Nothing has come since. */
bool mkv__lookout_quiet(const struct mkv__lookout *lookout);

#endif
