#include "core/worker.h"

#include "core/base.h"
#include "core/os/clock.h"
#include "core/os/event.h"
#include "core/os/poll.h"
#include "core/pin.h"
#include "core/timer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS_PER_TURN 256

struct mkv__worker {
    struct mkv__queue inbox;
    uint32_t asleep; /* atomic: the owner is about to wait, or waits */
    uint32_t ending; /* atomic */
    int poll, event;
    uint64_t now_ns;
    struct mkv__timer *timers;
    struct mkv__poller *pollers;
    struct mkv__deferred *deferred, **deferred_end;
    struct mkv__poll_event events[MKV__POLL_EVENTS]; /* of this turn; taken out by unwatch */
    int n_events;
    struct mkv__source event_source;
    struct mkv__worker_options options;
    char name[16];
    char *cpus;
    struct mkv__pin pin;
    pthread_t thread;
    bool started;
};

static uint64_t clock_of(const struct mkv__worker *w)
{
    return w->options.clock != NULL ? w->options.clock(w->options.clock_arg) : mkv__clock_ns();
}

static void hook(const struct mkv__worker *w, void (*fn)(void *))
{
    if (fn != NULL) {
        fn(w->options.hook_arg);
    }
}

static void woken(struct mkv__worker *w, struct mkv__source *source, unsigned events)
{
    (void)w;
    (void)events;
    mkv__event_clear(source->fd);
}

int mkv__worker_create(const struct mkv__worker_options *options, struct mkv__worker **out)
{
    struct mkv__worker *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return -ENOMEM;
    }
    int r = -ENOMEM;
    w->options = *options;
    snprintf(w->name, sizeof(w->name), "%s", options->name != NULL ? options->name : "memkv");
    w->pin = (struct mkv__pin){.cpu = -1, .lock_fd = -1};
    w->deferred_end = &w->deferred;
    mkv__queue_init(&w->inbox);
    if (options->cpus != NULL && (w->cpus = strdup(options->cpus)) == NULL) {
        goto free_worker;
    }
    r = w->poll = mkv__poll_open();
    if (r < 0) {
        goto free_worker;
    }
    r = w->event = mkv__event_open();
    if (r < 0) {
        goto close_poll;
    }
    w->event_source = (struct mkv__source){.fd = w->event, .ready = woken};
    r = mkv__worker_watch(w, &w->event_source, MKV_READABLE);
    if (r < 0) {
        goto close_event;
    }
    w->now_ns = clock_of(w);
    *out = w;
    return 0;
close_event:
    close(w->event);
close_poll:
    close(w->poll);
free_worker:
    free(w->cpus);
    free(w);
    return r;
}

void mkv__worker_destroy(struct mkv__worker **worker)
{
    struct mkv__worker *w = *worker;
    if (w == NULL) {
        return;
    }
    close(w->event);
    close(w->poll);
    free(w->cpus);
    free(w);
    *worker = NULL;
}

/* Turns -------------------------------------------------------------------------------------- */

static int run_inbox(struct mkv__worker *w)
{
    int n = 0;
    struct mkv__queue_node *node;
    while (n < TASKS_PER_TURN && (node = mkv__queue_take(&w->inbox)) != NULL) {
        struct mkv__task *task = MKV_CONTAINER_OF(node, struct mkv__task, node);
        task->run(w, task);
        n++;
    }
    return n;
}

static int run_timers(struct mkv__worker *w)
{
    int n = 0;
    while (w->timers != NULL && w->timers->due_ns <= w->now_ns && n < TASKS_PER_TURN) {
        struct mkv__timer *t = w->timers;
        mkv__timers_remove(&w->timers, t);
        t->fire(w, t);
        n++;
    }
    return n;
}

static void run_deferred(struct mkv__worker *w)
{
    /* What is deferred from here runs in this turn too: a flush may cause a close. */
    while (w->deferred != NULL) {
        struct mkv__deferred *d = w->deferred;
        w->deferred = d->next;
        if (w->deferred == NULL) {
            w->deferred_end = &w->deferred;
        }
        d->queued = false;
        d->run(w, d);
    }
}

static int run_events(struct mkv__worker *w)
{
    int n = 0;
    for (int i = 0; i < w->n_events; i++) {
        struct mkv__source *source = w->events[i].data;
        if (source != NULL) {
            n += source != &w->event_source;
            source->ready(w, source, w->events[i].events);
        }
    }
    w->n_events = 0;
    return n;
}

/* Waits for descriptors. Pairs with mkv__worker_post: either it sees `asleep`, or we see its node. */
static void wait_events(struct mkv__worker *w, uint64_t wait_ns)
{
    if (wait_ns > 0) {
        hook(w, w->options.offline);
        __atomic_store_n(&w->asleep, 1, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!mkv__queue_empty(&w->inbox)) {
            wait_ns = 0;
        }
    }
    w->n_events = mkv__poll_wait(w->poll, w->events, wait_ns);
    if (__atomic_load_n(&w->asleep, __ATOMIC_RELAXED)) {
        __atomic_store_n(&w->asleep, 0, __ATOMIC_SEQ_CST);
        hook(w, w->options.online);
    }
}

static uint64_t time_to_wait(const struct mkv__worker *w, uint64_t max_ns)
{
    if (w->pollers != NULL || w->deferred != NULL) {
        return 0;
    }
    if (w->timers == NULL) {
        return max_ns;
    }
    uint64_t left = w->timers->due_ns > w->now_ns ? w->timers->due_ns - w->now_ns : 0;
    return MKV_MIN(left, max_ns);
}

int mkv__worker_turn(struct mkv__worker *w, uint64_t max_wait_ns)
{
    w->now_ns = clock_of(w);
    int n = run_inbox(w);
    wait_events(w, n > 0 ? 0 : time_to_wait(w, max_wait_ns));
    w->now_ns = clock_of(w);
    n += run_events(w);
    for (struct mkv__poller *p = w->pollers, *next; p != NULL; p = next) {
        next = p->next;
        n += p->poll(p, w->now_ns);
    }
    n += run_timers(w);
    run_deferred(w);
    hook(w, w->options.quiescent);
    return n;
}

/* The thread ----------------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
    struct mkv__worker *w = arg;
    pthread_setname_np(pthread_self(), w->name);
    mkv__pin_take(&w->pin, w->cpus, w->options.numa_node);
    hook(w, w->options.thread_begin);
    while (!__atomic_load_n(&w->ending, __ATOMIC_ACQUIRE)) {
        mkv__worker_turn(w, UINT64_MAX);
    }
    while (run_inbox(w) > 0) {
        run_deferred(w);
    }
    run_deferred(w);
    hook(w, w->options.thread_end);
    mkv__pin_drop(&w->pin);
    return NULL;
}

int mkv__worker_start(struct mkv__worker *w)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the host program's */
    int r = pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    w->started = r == 0;
    return -r;
}

void mkv__worker_stop(struct mkv__worker *w)
{
    if (w->started) {
        __atomic_store_n(&w->ending, 1, __ATOMIC_RELEASE);
        mkv__event_signal(w->event);
        pthread_join(w->thread, NULL);
        w->started = false;
    }
}

void mkv__worker_post(struct mkv__worker *w, struct mkv__task *task)
{
    mkv__queue_enqueue(&w->inbox, &task->node);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* The first poster to find the worker asleep wakes it; the others need not. */
    if (__atomic_load_n(&w->asleep, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&w->asleep, 2, __ATOMIC_SEQ_CST) == 1) {
        mkv__event_signal(w->event);
    }
}

/* Looks --------------------------------------------------------------------------------------- */

uint64_t mkv__worker_now(const struct mkv__worker *w)
{
    return w->now_ns;
}

bool mkv__worker_is_current(const struct mkv__worker *w)
{
    return w->started && pthread_equal(w->thread, pthread_self());
}

int mkv__worker_cpu(const struct mkv__worker *w)
{
    return w->pin.cpu;
}

bool mkv__worker_may_spin(const struct mkv__worker *w)
{
    return w->pin.may_spin;
}

struct mkv__log *mkv__worker_log(const struct mkv__worker *w)
{
    return w->options.log;
}

/* Timers, sources, pollers, deferred ------------------------------------------------------------ */

void mkv__timer_init(struct mkv__timer *t, void (*fire)(struct mkv__worker *, struct mkv__timer *))
{
    *t = (struct mkv__timer){.fire = fire};
}

void mkv__timer_set(struct mkv__worker *w, struct mkv__timer *t, uint64_t due_ns)
{
    mkv__timer_stop(w, t);
    t->due_ns = due_ns;
    mkv__timers_insert(&w->timers, t);
}

void mkv__timer_stop(struct mkv__worker *w, struct mkv__timer *t)
{
    if (mkv__timer_armed(t)) {
        mkv__timers_remove(&w->timers, t);
    }
}

int mkv__worker_watch(struct mkv__worker *w, struct mkv__source *source, unsigned events)
{
    return mkv__poll_add(w->poll, source->fd, events, source);
}

int mkv__worker_rewatch(struct mkv__worker *w, struct mkv__source *source, unsigned events)
{
    return mkv__poll_change(w->poll, source->fd, events, source);
}

void mkv__worker_unwatch(struct mkv__worker *w, struct mkv__source *source)
{
    mkv__poll_remove(w->poll, source->fd);
    for (int i = 0; i < w->n_events; i++) {
        if (w->events[i].data == source) {
            w->events[i].data = NULL;
        }
    }
}

void mkv__worker_add_poller(struct mkv__worker *w, struct mkv__poller *poller)
{
    poller->next = w->pollers;
    w->pollers = poller;
}

void mkv__worker_remove_poller(struct mkv__worker *w, struct mkv__poller *poller)
{
    for (struct mkv__poller **p = &w->pollers; *p != NULL; p = &(*p)->next) {
        if (*p == poller) {
            *p = poller->next;
            return;
        }
    }
}

void mkv__worker_defer(struct mkv__worker *w, struct mkv__deferred *d)
{
    if (!d->queued) {
        d->queued = true;
        d->next = NULL;
        *w->deferred_end = d;
        w->deferred_end = &d->next;
    }
}

void mkv__worker_undefer(struct mkv__worker *w, struct mkv__deferred *d)
{
    for (struct mkv__deferred **p = &w->deferred; *p != NULL; p = &(*p)->next) {
        if (*p == d) {
            *p = d->next;
            if (w->deferred_end == &d->next) {
                w->deferred_end = p;
            }
            d->queued = false;
            return;
        }
    }
}
