#include "core/worker.h"

#include "core/base.h"
#include "core/completion.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/lookout.h"
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
/* While it polls without a pause, descriptors are looked at no more often, since that is a system call:
 * the longer nothing comes from there, the more seldom; then somebody else looks out for them. */
#define LOOK_MIN_NS 20000u
#define LOOK_MAX_NS 1000000u
#define RECOUNT_NS  1000000000u /* how often a busy worker counts its neighbours */
/* Where callers take a worker one after the other its thread looks so often whether that goes on. */
#define STAND_BY_MIN_NS 1000000u
#define STAND_BY_MAX_NS 4000000u

_Static_assert((int)MKV_READABLE == MKV__POLL_IN && (int)MKV_WRITABLE == MKV__POLL_OUT &&
                   (int)MKV_HANGUP == MKV__POLL_HUP,
               "events are handed through");

struct mkv__worker {
    struct mkv__queue inbox;
    uint32_t state;    /* atomic: AWAKE, ASLEEP or CALLED, and TAKEN */
    uint32_t takes;    /* atomic: how often it was taken */
    bool stands_by;    /* atomic: the thread waits only for its eventfd */
    uint64_t until_ns; /* when the thread's wait for descriptors ends */
    uint32_t ending;   /* atomic */
    uint32_t may_spin; /* atomic */
    int poll, event;
    uint64_t now_ns;
    uint64_t worked_ns;           /* when there was work last */
    uint64_t looked_ns;           /* when descriptors were looked at last */
    uint64_t look_ns;             /* how long until they are looked at again, while it polls */
    uint64_t looks;               /* atomic: how often they were, while it polled */
    struct mkv__lookout *lookout; /* NULL: not needed so far */
    bool watched, no_lookout;     /* watched: by it; no_lookout: there can be none */
    uint64_t recount_ns;          /* when to look again whether it may spin */
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
    pthread_t thread, self;       /* self: as the thread itself wrote it, before `begun` */
    pthread_t owner;              /* atomic, valid from `begun` on: who writes it is the owner */
    pid_t pid; /* of the process that created it: a child that was forked has no such thread */
    bool started;
};

/*
 * AWAKE -> ASLEEP by the owner before it waits; ASLEEP -> CALLED by the one poster that writes the
 * eventfd; back to AWAKE by the owner. With TAKEN the owner is not the thread: ASLEEP -> TAKEN | AWAKE
 * by a caller that takes it, back to ASLEEP when that gives it back.
 */
enum { AWAKE, ASLEEP, CALLED, TAKEN = 4 };

/* A thread that is not the owner may read what is old, but never itself. */
static void own(struct mkv__worker *w, pthread_t thread)
{
    __atomic_store_n(&w->owner, thread, __ATOMIC_RELAXED);
}

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
    mkv__lookout_destroy(&w->lookout);
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

/* The thread: the owner again, unless a caller is. */
static bool regain(struct mkv__worker *w)
{
    uint32_t state = __atomic_load_n(&w->state, __ATOMIC_RELAXED);
    while (!(state & TAKEN)) {
        if (__atomic_compare_exchange_n(&w->state, &state, AWAKE, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            return true;
        }
    }
    return false;
}

/* The thread, after a caller has taken the worker: most likely it will again. Until it does not for a
 * while, or something is posted while it has not. */
static void stand_by(struct mkv__worker *w)
{
    uint64_t pause_ns = STAND_BY_MIN_NS;
    bool over = false;
    __atomic_store_n(&w->stands_by, true, __ATOMIC_RELAXED);
    while (!over) {
        uint32_t takes = __atomic_load_n(&w->takes, __ATOMIC_RELAXED);
        bool signalled = mkv__event_wait(w->event, pause_ns);
        uint32_t state = __atomic_load_n(&w->state, __ATOMIC_RELAXED);
        bool called = state == CALLED || __atomic_load_n(&w->ending, __ATOMIC_ACQUIRE);
        bool again = takes != __atomic_load_n(&w->takes, __ATOMIC_RELAXED);
        if (signalled && state & TAKEN) {
            mkv__clock_sleep_ns(STAND_BY_MIN_NS / 16); /* the eventfd is for who has taken it */
        }
        over = (called || !again) && regain(w);
        pause_ns = MKV_MIN(2 * pause_ns, STAND_BY_MAX_NS);
    }
    __atomic_store_n(&w->stands_by, false, __ATOMIC_RELAXED);
}

/* Sleeps in the name of the owner, which may lose the worker meanwhile: so what it hears of comes into
 * memory of its own, and counts only if nobody has run a turn. */
static void sleep_for(struct mkv__worker *w, uint64_t wait_ns)
{
    struct mkv__poll_event events[MKV__POLL_EVENTS];
    uint32_t mine = __atomic_load_n(&w->state, __ATOMIC_RELAXED) & TAKEN, takes = w->takes;
    bool more = !mkv__queue_empty(&w->inbox);
    if (mine == 0) {
        w->until_ns = w->now_ns + MKV_MIN(wait_ns, UINT64_MAX - w->now_ns);
    }
    hook(w, w->options.offline);
    __atomic_store_n(&w->state, mine | ASLEEP, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    int n = mkv__poll_wait(w->poll, events, more || mkv__queue_posted(&w->inbox) ? 0 : wait_ns);
    if (mine != 0) {
        __atomic_store_n(&w->state, TAKEN | AWAKE, __ATOMIC_SEQ_CST);
    } else if (__atomic_load_n(&w->takes, __ATOMIC_RELAXED) != takes || !regain(w)) {
        stand_by(w);
    }
    if (w->takes == takes) {
        memcpy(w->events, events, (size_t)n * sizeof(*events));
        w->n_events = n;
    }
    hook(w, w->options.online);
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

/* Where it cannot be had the worker goes on looking itself. */
static void have_watched(struct mkv__worker *w)
{
    if (w->lookout == NULL && !w->no_lookout) {
        sigset_t old;
        block_signals(&old);
        w->no_lookout = mkv__lookout_create(w->poll, &w->pin.allowed, &w->lookout) < 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (w->lookout != NULL) {
        mkv__lookout_watch(w->lookout);
        w->watched = true;
    }
}

/* While it polls without a pause: whether to look at descriptors in this turn. */
static bool is_time_to_look(struct mkv__worker *w)
{
    if (w->watched) {
        w->watched = mkv__lookout_quiet(w->lookout);
        w->look_ns = w->watched ? w->look_ns : LOOK_MIN_NS;
        return !w->watched;
    }
    return w->now_ns - w->looked_ns >= w->look_ns;
}

static void look(struct mkv__worker *w)
{
    w->looked_ns = w->now_ns;
    w->n_events = mkv__poll_wait(w->poll, w->events, 0);
    __atomic_store_n(&w->looks, w->looks + 1, __ATOMIC_RELAXED);
    if (w->n_events > 0) {
        w->look_ns = LOOK_MIN_NS;
    } else if (w->look_ns < LOOK_MAX_NS) {
        w->look_ns = MKV_MAX(2 * w->look_ns, LOOK_MIN_NS);
    } else {
        have_watched(w);
    }
}

/* Waits for descriptors. Pairs with mkv__worker_post: either it sees ASLEEP, or we its node. */
static void wait_events(struct mkv__worker *w, uint64_t wait_ns)
{
    bool polls = w->pollers != NULL && __atomic_load_n(&w->may_spin, __ATOMIC_RELAXED);
    if (wait_ns > 0) {
        w->looked_ns = w->now_ns;
        w->look_ns = LOOK_MIN_NS;
        w->watched = false;
        sleep_for(w, wait_ns);
    } else if (!polls) {
        w->n_events = mkv__poll_wait(w->poll, w->events, 0);
    } else if (is_time_to_look(w)) {
        look(w);
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
    return w->options.spin == MKV_SPIN_ALWAYS ||
           (w->options.spin == MKV_SPIN_AUTO && mkv__pin_may_spin(&w->pin));
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
    w->self = pthread_self();
    own(w, w->self);
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
    mkv__event_signal(w->event); /* it may have cleared it */
    mkv__lookout_destroy(&w->lookout);
    w->watched = false;
    w->started = false;
    mkv__completion_init(&w->begun, 1);
    __atomic_store_n(&w->may_spin, 0, __ATOMIC_RELAXED);
    mkv__pin_drop(&w->pin);
}

/* The one that finds it asleep wakes it. */
static void call_owner(struct mkv__worker *w)
{
    uint32_t state = __atomic_load_n(&w->state, __ATOMIC_RELAXED);
    if ((state & ~(uint32_t)TAKEN) == ASLEEP &&
        __atomic_compare_exchange_n(&w->state, &state, (state & TAKEN) | CALLED, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        mkv__event_signal(w->event);
    }
}

void mkv__worker_post(struct mkv__worker *w, struct mkv__task *task)
{
    mkv__queue_enqueue(&w->inbox, &task->node);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the one of sleep_for */
    call_owner(w);
}

bool mkv__worker_take(struct mkv__worker *w)
{
    uint32_t asleep = ASLEEP;
    if (!w->options.lends || __atomic_load_n(&w->state, __ATOMIC_RELAXED) != ASLEEP ||
        !__atomic_compare_exchange_n(&w->state, &asleep, TAKEN | AWAKE, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED)) {
        return false;
    }
    __atomic_store_n(&w->takes, w->takes + 1, __ATOMIC_RELAXED);
    own(w, pthread_self());
    return true;
}

void mkv__worker_give(struct mkv__worker *w, bool busy)
{
    /* What the thread's sleep does not look after. */
    bool news = w->pollers != NULL || (w->timers != NULL && w->timers->due_ns < w->until_ns);
    news = news && !__atomic_load_n(&w->stands_by, __ATOMIC_RELAXED);
    bool call = busy || news || w->deferred != NULL || !mkv__queue_empty(&w->inbox) ||
                __atomic_load_n(&w->ending,
                                __ATOMIC_ACQUIRE); /* a turn may have cleared its call */
    own(w, w->self);
    __atomic_store_n(&w->state, ASLEEP, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (call || mkv__queue_posted(&w->inbox)) {
        call_owner(w);
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
    return mkv__completion_test(&w->begun) &&
           pthread_equal(__atomic_load_n(&w->owner, __ATOMIC_RELAXED), pthread_self()) &&
           w->pid == getpid();
}

int mkv__worker_cpu(const struct mkv__worker *w)
{
    return w->pin.cpu;
}

uint64_t mkv__worker_looks(const struct mkv__worker *w)
{
    return __atomic_load_n(&w->looks, __ATOMIC_RELAXED);
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

const struct mkv__cpu_set *mkv__worker_cpus(const struct mkv__worker *w)
{
    return w->pin.cpu >= 0 ? &w->pin.allowed : NULL;
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
