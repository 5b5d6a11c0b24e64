/*
 * A worker: one thread that owns connections, timers and an inbox, and does all work on them in
 * turns. One turn is a plain function, so that a test runs it with a clock of its own, on any
 * thread. Nothing in a turn may depend on which thread runs it: a caller that would only wait may
 * take a worker that sleeps, and run the turns itself. That saves waking the thread, and being woken
 * by it.
 *
 * Thread rules: mkv__worker_post and mkv__worker_take may be called by any thread; everything else
 * by the owner: before start the thread that created the worker, then the worker's own thread or
 * who has taken it, after stop the creator.
 */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include "core/queue.h"

#include <stdbool.h>
#include <stdint.h>

struct mkv__worker;
struct mkv__cpu_set;

/* A message to a worker: embedded in what it is about; borrowed until run. */
struct mkv__task {
    struct mkv__queue_node node;
    void (*run)(struct mkv__worker *worker, struct mkv__task *task);
};

/* A timer: embedded, no allocation. */
struct mkv__timer {
    uint64_t due_ns; /* of the worker's clock, CLOCK_MONOTONIC outside of tests */
    void (*fire)(struct mkv__worker *worker, struct mkv__timer *timer);
    struct mkv__timer *child, *next, **link; /* the worker's pairing heap; link NULL: not armed */
};

/* A descriptor in the worker's epoll. events: MKV_READABLE | MKV_WRITABLE | MKV_HANGUP. */
enum { MKV_READABLE = 1, MKV_WRITABLE = 2, MKV_HANGUP = 4 };
struct mkv__source {
    int fd;
    void (*ready)(struct mkv__worker *worker, struct mkv__source *source, unsigned events);
};

/* Polled once a turn, for what has no descriptor or is faster without (completion queues). After 2 ms
 * without work (at once, where CPUs are few) there are pauses between turns, of up to 10 ms, so that
 * idling stays cheap: who finds nothing for a while removes itself. */
struct mkv__poller {
    int (*poll)(struct mkv__poller *poller, uint64_t now_ns); /* amount of work done */
    struct mkv__poller *next;
};

/* Runs once at the end of the turn in which it was deferred: doorbells, flushes. */
struct mkv__deferred {
    void (*run)(struct mkv__worker *worker, struct mkv__deferred *deferred);
    struct mkv__deferred *next;
    bool queued;
};

enum mkv__spin {
    MKV_SPIN_AUTO, /* where there are more allowed CPUs than workers on this host */
    MKV_SPIN_ALWAYS,
    MKV_SPIN_NEVER,
};

struct mkv__log;
struct mkv__worker_options {
    const char *name;     /* of the thread, at most 15 bytes; copied */
    const char *cpus;     /* CPU list ("0-3,8"); NULL: choose one that no other worker holds */
    int numa_node;        /* -1: any */
    enum mkv__spin spin;  /* whether to look on for a while before sleeping */
    bool lends;           /* may be taken. Not with quiescent, offline and online */
    struct mkv__log *log; /* may be NULL */
    uint64_t (*clock)(void *arg); /* NULL: CLOCK_MONOTONIC */
    void *clock_arg;
    /* Called by the owner at a turn's end, before sleeping and after waking (for QSBR); or NULL */
    void (*quiescent)(void *arg);
    void (*offline)(void *arg);
    void (*online)(void *arg);
    void (*thread_begin)(void *arg); /* on the worker's thread, first and last */
    void (*thread_end)(void *arg);
    void *hook_arg;
};

int mkv__worker_create(const struct mkv__worker_options *options, struct mkv__worker **worker_out);
/* After stop (or without start). Everything watched or armed must be gone. NULL leaves NULL. */
void mkv__worker_destroy(struct mkv__worker **worker);
/* Returns when the thread is pinned and has run thread_begin. */
int mkv__worker_start(struct mkv__worker *worker);
/* Runs the inbox empty, and what is deferred, then joins. Without a thread the caller runs them. In
 * a child that was forked: does nothing, since the thread is the parent's. */
void mkv__worker_stop(struct mkv__worker *worker);

/* Any thread. Wait-free; writes the eventfd only when the worker sleeps. */
void mkv__worker_post(struct mkv__worker *worker, struct mkv__task *task);

/*
 * Any thread that is not in a turn: makes it the owner, if the worker lends itself and sleeps now. It
 * runs turns until it gives the worker back, and is not to be cancelled meanwhile. What others post is
 * done in those turns. busy: there is work under way, so the thread takes over at once; else it does
 * when nobody has taken the worker for a few milliseconds.
 */
bool mkv__worker_take(struct mkv__worker *worker);
void mkv__worker_give(struct mkv__worker *worker, bool busy);

/* One turn: inbox, descriptors (waiting at most max_wait_ns if there is nothing to do), pollers,
 * timers, deferred. Returns the amount of work done. */
int mkv__worker_turn(struct mkv__worker *worker, uint64_t max_wait_ns);

uint64_t mkv__worker_now(const struct mkv__worker *worker); /* the time of this turn's start */
bool mkv__worker_is_current(const struct mkv__worker *worker);
int mkv__worker_cpu(const struct mkv__worker *worker); /* pinned CPU, -1: a set */
/* Any thread: whether it may spin for this worker now. The worker may itself, and the caller is not
 * on its CPU. */
bool mkv__worker_may_spin(const struct mkv__worker *worker);
/* Any thread: how often it has asked the kernel for descriptors while it polled without a pause. */
uint64_t mkv__worker_looks(const struct mkv__worker *worker);
/* Owner: it polls without pauses while there is work. */
bool mkv__worker_spins(const struct mkv__worker *worker);
struct mkv__log *mkv__worker_log(const struct mkv__worker *worker);
/* Owner: the CPUs that it could have been pinned to: for threads that help it. NULL: it is not. */
const struct mkv__cpu_set *mkv__worker_cpus(const struct mkv__worker *worker);

void mkv__timer_init(struct mkv__timer *timer,
                     void (*fire)(struct mkv__worker *, struct mkv__timer *));
void mkv__timer_set(struct mkv__worker *worker, struct mkv__timer *timer, uint64_t due_ns);
void mkv__timer_stop(struct mkv__worker *worker, struct mkv__timer *timer);
static inline bool mkv__timer_armed(const struct mkv__timer *timer)
{
    return timer->link != NULL;
}

int mkv__worker_watch(struct mkv__worker *worker, struct mkv__source *source, unsigned events);
int mkv__worker_rewatch(struct mkv__worker *worker, struct mkv__source *source, unsigned events);
void mkv__worker_unwatch(struct mkv__worker *worker, struct mkv__source *source);
void mkv__worker_add_poller(struct mkv__worker *worker, struct mkv__poller *poller);
void mkv__worker_remove_poller(struct mkv__worker *worker, struct mkv__poller *poller);
void mkv__worker_defer(struct mkv__worker *worker, struct mkv__deferred *deferred);
void mkv__worker_undefer(struct mkv__worker *worker, struct mkv__deferred *deferred);

#endif
