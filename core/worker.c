#include "core/worker.h"

#include "core/base.h"
#include "core/completion.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/os/clock.h"
#include "core/os/event.h"
#include "core/os/poll.h"
#include "core/pin.h"
#include "core/timer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS_PER_TURN 256
/* After work the next message is often near: a worker with a CPU to spare looks on for so long. */
#define LINGER_NS 20000u
/* What is only polled is looked at without a pause for so long after work, then ever more seldom;
 * at the longest pause this costs well under 1% of a core. */
#define POLL_SPIN_NS      2000000u
#define POLL_PAUSE_MIN_NS 50000u
#define POLL_PAUSE_MAX_NS 10000000u
/* While it polls without a pause, descriptors are looked at no more often: that is a system call. */
#define LOOK_NS    20000u
#define RECOUNT_NS 1000000000u /* how often a busy worker counts its neighbours */

_Static_assert((int)MKV_READABLE == MKV__POLL_IN && (int)MKV_WRITABLE == MKV__POLL_OUT &&
                   (int)MKV_HANGUP == MKV__POLL_HUP,
               "events are handed through");

struct mkv__worker {
    struct mkv__queue inbox;
    uint32_t asleep;   /* atomic: AWAKE, ASLEEP or CALLED */
    uint32_t ending;   /* atomic */
    uint32_t may_spin; /* atomic */
    int poll, event;
    uint64_t now_ns;
    uint64_t worked_ns;  /* when there was work last */
    uint64_t looked_ns;  /* when descriptors were looked at last */
    uint64_t recount_ns; /* when to look again whether it may spin */
    struct mkv__timer *timers;
    struct mkv__poller *pollers, *poller_next; /* poller_next: of the walk that is under way */
    struct mkv__deferred *deferred, **deferred_end;
    struct mkv__poll_event events[MKV__POLL_EVENTS]; /* of this turn; taken out by unwatch */
    int n_events;
    struct mkv__source event_source;
    struct mkv__worker_options options;
    char name[16];
    char *cpus;
    struct mkv__pin pin;          /* of the thread; read by others between start and stop */
    struct mkv__completion begun; /* the thread has pinned itself and run thread_begin */
    pthread_t thread, owner;      /* owner: as the thread itself wrote it, before `begun` */
    pid_t pid; /* of the process that created it: a child that was forked has no such thread */
    bool started;
};

/* AWAKE -> ASLEEP by the owner before it waits; ASLEEP -> CALLED by the one poster that writes the
 * eventfd; back to AWAKE by the owner. */
enum { AWAKE, ASLEEP, CALLED };

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

/* Errors beyond the list (EMFILE, ...) are put into words here. */
static int listed(const struct mkv__worker *w, int error, const char *what)
{
    if (mkv__error_listed(error)) {
        return error;
    }
    MKV_ERROR(w->options.log, "%s: %s: %s", w->name, what, strerror(-error));
    return -EAGAIN;
}

int mkv__worker_create(const struct mkv__worker_options *options, struct mkv__worker **out)
{
    struct mkv__worker *w = MKV_FAULT("worker.memory") ? NULL : calloc(1, sizeof(*w));
    if (w == NULL) {
        return -ENOMEM;
    }
    int r = -ENOMEM;
    w->options = *options;
    snprintf(w->name, sizeof(w->name), "%s", options->name != NULL ? options->name : "memkv");
    w->pin = (struct mkv__pin){.cpu = -1, .claims = -1};
    w->pid = getpid();
    mkv__completion_init(&w->begun, 1);
    w->deferred_end = &w->deferred;
    mkv__queue_init(&w->inbox);
    if (options->cpus != NULL &&
        (MKV_FAULT("worker.cpus") || (w->cpus = strdup(options->cpus)) == NULL)) {
        goto free_worker;
    }
    w->poll = MKV_FAULT("worker.poll") ? -EMFILE : mkv__poll_open();
    if (w->poll < 0) {
        r = listed(w, w->poll, "no epoll");
        goto free_worker;
    }
    w->event = MKV_FAULT("worker.event") ? -EMFILE : mkv__event_open();
    if (w->event < 0) {
        r = listed(w, w->event, "no eventfd");
        goto close_poll;
    }
    w->event_source = (struct mkv__source){.fd = w->event, .ready = woken};
    r = MKV_FAULT("worker.watch") ? -ENOMEM : mkv__worker_watch(w, &w->event_source, MKV_READABLE);
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
    mkv__pin_drop(&w->pin); /* in a child that was forked: its share in the parent's claim */
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

/* Waits for descriptors. Pairs with mkv__worker_post: either it sees ASLEEP, or we its node. */
static void wait_events(struct mkv__worker *w, uint64_t wait_ns)
{
    bool sleeps = wait_ns > 0;
    if (!sleeps && w->pollers != NULL && __atomic_load_n(&w->may_spin, __ATOMIC_RELAXED) &&
        w->now_ns - w->looked_ns < LOOK_NS) {
        return;
    }
    w->looked_ns = w->now_ns;
    if (sleeps) {
        hook(w, w->options.offline);
        __atomic_store_n(&w->asleep, ASLEEP, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!mkv__queue_empty(&w->inbox)) {
            wait_ns = 0;
        }
    }
    w->n_events = mkv__poll_wait(w->poll, w->events, wait_ns);
    if (sleeps) {
        __atomic_store_n(&w->asleep, AWAKE, __ATOMIC_SEQ_CST);
        hook(w, w->options.online);
    }
}

/* How long to wait for descriptors although there is something to poll. */
static uint64_t poll_pause(const struct mkv__worker *w, uint64_t idle_ns, bool may_spin)
{
    if (w->pollers == NULL) {
        return may_spin && idle_ns < LINGER_NS ? 0 : UINT64_MAX;
    }
    if (may_spin && idle_ns < POLL_SPIN_NS) {
        return 0;
    }
    return MKV_MIN(MKV_MAX(idle_ns / 4, POLL_PAUSE_MIN_NS), POLL_PAUSE_MAX_NS);
}

static uint64_t time_to_wait(const struct mkv__worker *w, uint64_t max_ns)
{
    if (w->deferred != NULL) {
        return 0;
    }
    bool may_spin = __atomic_load_n(&w->may_spin, __ATOMIC_RELAXED);
    uint64_t wait_ns = poll_pause(w, w->now_ns - w->worked_ns, may_spin);
    if (w->timers != NULL) {
        uint64_t due_ns = w->timers->due_ns;
        wait_ns = MKV_MIN(wait_ns, due_ns > w->now_ns ? due_ns - w->now_ns : 0);
    }
    return MKV_MIN(wait_ns, max_ns);
}

static bool may_spin_now(const struct mkv__worker *w)
{
    return !w->options.no_spin && mkv__pin_may_spin(&w->pin);
}

static int run_pollers(struct mkv__worker *w)
{
    int n = 0;
    for (struct mkv__poller *p = w->pollers; p != NULL; p = w->poller_next) {
        w->poller_next = p->next; /* removing that one moves it on */
        n += p->poll(p, w->now_ns);
    }
    return n;
}

/* The neighbours come and go: a busy worker looks now and then whether it may still spin. */
static void note_work(struct mkv__worker *w)
{
    w->worked_ns = w->now_ns;
    if (w->pin.cpu >= 0 && w->now_ns >= w->recount_ns) {
        w->recount_ns = w->now_ns + RECOUNT_NS;
        __atomic_store_n(&w->may_spin, may_spin_now(w), __ATOMIC_RELAXED);
    }
}

int mkv__worker_turn(struct mkv__worker *w, uint64_t max_wait_ns)
{
    w->now_ns = clock_of(w);
    int n = run_inbox(w);
    wait_events(w, n > 0 ? 0 : time_to_wait(w, max_wait_ns));
    w->now_ns = clock_of(w);
    n += run_events(w);
    n += run_pollers(w);
    n += run_timers(w);
    run_deferred(w);
    if (n > 0) {
        note_work(w);
    }
    hook(w, w->options.quiescent);
    return n;
}

/* The thread ----------------------------------------------------------------------------------- */

static void settle(struct mkv__worker *w)
{
    mkv__pin_take(&w->pin,
                  &(struct mkv__pin_options){.cpus = w->cpus, .numa_node = w->options.numa_node});
    __atomic_store_n(&w->may_spin, may_spin_now(w), __ATOMIC_RELAXED);
    if (w->pin.cpu >= 0) {
        MKV_DEBUG(w->options.log, "%s: on cpu %d", w->name, w->pin.cpu);
    }
    if (w->pin.note != NULL) { /* a surprise only to who listed CPUs */
        MKV_LOG(w->options.log, w->cpus != NULL ? MKV__LOG_WARNING : MKV__LOG_DEBUG, "%s: %s",
                w->name, w->pin.note);
    }
}

/* Until it is certainly empty: a node that is just being linked is waited for. */
static void drain(struct mkv__worker *w)
{
    while (!mkv__queue_empty(&w->inbox) || w->deferred != NULL) {
        w->now_ns = clock_of(w);
        run_inbox(w);
        run_deferred(w);
    }
}

static void *thread_main(void *arg)
{
    struct mkv__worker *w = arg;
    pthread_setname_np(pthread_self(), w->name);
    w->owner = pthread_self();
    settle(w);
    hook(w, w->options.thread_begin);
    mkv__completion_done(&w->begun);
    while (!__atomic_load_n(&w->ending, __ATOMIC_ACQUIRE)) {
        mkv__worker_turn(w, UINT64_MAX);
    }
    drain(w);
    hook(w, w->options.thread_end);
    return NULL;
}

/* Signals are the host program's; but those of a fault come to the thread that made it. */
static void block_signals(sigset_t *old_out)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < MKV_ARRAY_LEN(faults); i++) {
        sigdelset(&set, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &set, old_out);
}

int mkv__worker_start(struct mkv__worker *w)
{
    sigset_t old;
    __atomic_store_n(&w->ending, 0, __ATOMIC_RELAXED);
    mkv__completion_init(&w->begun, 1);
    block_signals(&old);
    int r = MKV_FAULT("worker.thread") ? EAGAIN : pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0) {
        mkv__completion_wait(&w->begun, false);
        w->started = true;
    }
    return -r;
}

void mkv__worker_stop(struct mkv__worker *w)
{
    if (w->pid != getpid()) {
        return;
    }
    if (!w->started) {
        drain(w);
        return;
    }
    assert(!mkv__worker_is_current(w));
    __atomic_store_n(&w->ending, 1, __ATOMIC_RELEASE);
    mkv__event_signal(w->event);
    pthread_join(w->thread, NULL);
    w->started = false;
    mkv__completion_init(&w->begun, 1);
    __atomic_store_n(&w->may_spin, 0, __ATOMIC_RELAXED);
    mkv__pin_drop(&w->pin);
}

void mkv__worker_post(struct mkv__worker *w, struct mkv__task *task)
{
    mkv__queue_enqueue(&w->inbox, &task->node);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the one of wait_events */
    uint32_t asleep = ASLEEP;
    if (__atomic_load_n(&w->asleep, __ATOMIC_RELAXED) == ASLEEP &&
        __atomic_compare_exchange_n(&w->asleep, &asleep, CALLED, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED)) {
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
    /* The system call last: most who ask are other threads. */
    return mkv__completion_test(&w->begun) && pthread_equal(w->owner, pthread_self()) &&
           w->pid == getpid();
}

int mkv__worker_cpu(const struct mkv__worker *w)
{
    return w->pin.cpu;
}

bool mkv__worker_spins(const struct mkv__worker *w)
{
    return __atomic_load_n(&w->may_spin, __ATOMIC_RELAXED);
}

bool mkv__worker_may_spin(const struct mkv__worker *w)
{
    /* Not beside the worker on its own CPU: it could not get on meanwhile. */
    return __atomic_load_n(&w->may_spin, __ATOMIC_RELAXED) &&
           (mkv__cpu_current() != w->pin.cpu || mkv__worker_is_current(w));
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
    return listed(w, mkv__poll_add(w->poll, source->fd, events, source),
                  "a descriptor not watched");
}

int mkv__worker_rewatch(struct mkv__worker *w, struct mkv__source *source, unsigned events)
{
    return listed(w, mkv__poll_change(w->poll, source->fd, events, source),
                  "a descriptor not watched");
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
            if (w->poller_next == poller) {
                w->poller_next = poller->next;
            }
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
