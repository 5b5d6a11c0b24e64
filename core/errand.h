/*
 * An errand: a call that may block for long (a name that is looked up, a peer that is looked for on the
 * network) and is about something that a worker owns. It runs on a thread of its own, which ends with
 * it, and its result comes back to the worker as a task.
 *
 * Thread rules: start, forget and wait by the owner of the worker.
 */
#ifndef CORE_ERRAND_H
#define CORE_ERRAND_H

#include "core/os/cpu.h"
#include "core/worker.h"

#include <pthread.h>
#include <stdbool.h>

/* Embedded in what it works on; borrowed until done or dropped has been called. */
struct mkv__errand {
    struct mkv__task task;
    void (*run)(struct mkv__errand *errand); /* on a thread of its own, all signals blocked */
    /* Then one of these. done: in a turn of the worker. dropped: of one that was forgotten; on any
     * thread. */
    void (*done)(struct mkv__worker *worker, struct mkv__errand *errand);
    void (*dropped)(struct mkv__errand *errand);
    struct mkv__worker *worker;
    pthread_mutex_t lock;
    pthread_cond_t came_back;
    bool forgotten, posted; /* under lock */
    bool bound;
    struct mkv__cpu_set cpus; /* where the thread may run */
};

/* run, done and dropped are set. here: it does not block, so run is called at once, and done in a later
 * turn. -EAGAIN: there is no thread; neither done nor dropped is called. */
int mkv__errand_start(struct mkv__errand *errand, struct mkv__worker *worker, bool here);
/* Nobody waits for it any more: the worker may even be destroyed, after mkv__worker_stop. */
void mkv__errand_forget(struct mkv__errand *errand);
/* Blocks until run has returned. */
void mkv__errand_wait(struct mkv__errand *errand);

#endif
