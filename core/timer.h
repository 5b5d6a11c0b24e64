/* The heap of a worker's timers; the rest of the world uses mkv__timer_set of core/worker.h. */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include "core/worker.h"

/* *root is the timer that is due first, or NULL. */
void mkv__timers_insert(struct mkv__timer **root, struct mkv__timer *timer);
void mkv__timers_remove(struct mkv__timer **root, struct mkv__timer *timer);

#endif
