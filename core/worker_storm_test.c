/* Takers, posters, timers and pipes that close, at random: one owner at a time, and nothing is lost. How
 * late things were is printed. */
#include "core/worker.h"

#include "core/base.h"
#include "core/completion.h"
#include "core/os/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MS       UINT64_C(1000000)
#define STORM_NS (700 * MS)

static bool the_end;
static uint64_t worst_timer, worst_pipe, worst_post, n_taken, n_posts, n_pipes, n_timers;
static int running; /* turns at once: must be 0 or 1 */
static int overlaps;

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void most(uint64_t *at, uint64_t ns)
{
    uint64_t was = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (ns > was &&
           !__atomic_compare_exchange_n(at, &was, ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

struct job { /* owned by the worker from the post on */
    struct mkv__task task;
    struct mkv__timer timer;
    struct mkv__source source;
    struct mkv__completion done;
    uint64_t at_ns;
    uint64_t kind, delay;
    int ends[2];
};

static void enter(struct mkv__worker *w)
{
    if (__atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST) != 0 || !mkv__worker_is_current(w)) {
        __atomic_fetch_add(&overlaps, 1, __ATOMIC_SEQ_CST);
    }
}

static void leave(void)
{
    __atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
}

static void fire(struct mkv__worker *w, struct mkv__timer *t)
{
    struct job *j = MKV_CONTAINER_OF(t, struct job, timer);
    enter(w);
    most(&worst_timer, mkv__clock_ns() - t->due_ns);
    n_timers++;
    leave();
    mkv__completion_done(&j->done);
}

static void readable(struct mkv__worker *w, struct mkv__source *s, unsigned events)
{
    struct job *j = MKV_CONTAINER_OF(s, struct job, source);
    (void)events;
    enter(w);
    most(&worst_pipe, mkv__clock_ns() - __atomic_load_n(&j->at_ns, __ATOMIC_ACQUIRE));
    n_pipes++;
    mkv__worker_unwatch(w, s);
    close(j->ends[0]);
    leave();
    mkv__completion_done(&j->done);
}

static void start(struct mkv__worker *w, struct mkv__task *task)
{
    struct job *j = MKV_CONTAINER_OF(task, struct job, task);
    enter(w);
    if (j->kind != 2) {
        most(&worst_post, mkv__clock_ns() - __atomic_load_n(&j->at_ns, __ATOMIC_RELAXED));
    }
    n_posts++;
    if (j->kind == 1) {
        mkv__timer_init(&j->timer, fire);
        mkv__timer_set(w, &j->timer, mkv__clock_ns() + j->delay);
    } else if (j->kind == 2) {
        j->source = (struct mkv__source){.fd = j->ends[0], .ready = readable};
        if (mkv__worker_watch(w, &j->source, MKV_READABLE) < 0) {
            abort();
        }
    }
    bool now = j->kind == 0;
    leave();
    if (now) {
        mkv__completion_done(&j->done);
    }
}

struct arg {
    struct mkv__worker *worker;
    uint64_t seed;
    bool takes;
};

static void *user(void *p)
{
    struct arg *a = p;
    while (!__atomic_load_n(&the_end, __ATOMIC_RELAXED)) {
        uint64_t dice = next(&a->seed);
        struct job *j = calloc(1, sizeof(*j));
        j->task.run = start;
        j->kind = dice % 3;
        j->delay = dice / 8 % (6 * MS);
        mkv__completion_init(&j->done, 1);
        if (j->kind == 2 && pipe(j->ends) < 0) {
            abort();
        }
        bool taken = a->takes && mkv__worker_take(a->worker);
        __atomic_fetch_add(&n_taken, taken, __ATOMIC_RELAXED);
        __atomic_store_n(&j->at_ns, mkv__clock_ns(), __ATOMIC_RELAXED);
        mkv__worker_post(a->worker, &j->task);
        bool early = dice / 1024 % 4 == 0; /* gives it back before it is done */
        if (taken && early) {
            mkv__worker_turn(a->worker, 0);
            mkv__worker_give(a->worker, false);
            taken = false;
        }
        if (j->kind == 2) {
            if (!taken) {
                mkv__clock_sleep_ns(j->delay);
            }
            __atomic_store_n(&j->at_ns, mkv__clock_ns(), __ATOMIC_RELEASE);
            if (write(j->ends[1], "", 1) != 1) {
                abort();
            }
        }
        while (taken && !mkv__completion_test(&j->done)) {
            mkv__worker_turn(a->worker, UINT64_MAX);
        }
        if (taken) {
            mkv__worker_give(a->worker, dice / 4096 % 2 == 0);
        }
        mkv__completion_wait(&j->done, false);
        if (j->kind == 2) {
            close(j->ends[1]);
        }
        memset(j, 0xee, sizeof(*j));
        free(j);
        if (dice / 16384 % 8 < 3) {
            mkv__clock_sleep_ns(dice / 65536 % (dice / 16384 % 8 == 0 ? 20 * MS : MS / 10));
        }
    }
    return NULL;
}

static int looks(struct mkv__poller *poller, uint64_t now_ns)
{
    (void)poller;
    (void)now_ns;
    return 0;
}

static void storm(enum mkv__spin how, bool polls)
{
    struct mkv__worker *worker = NULL;
    struct mkv__worker_options o = {.name = "test", .numa_node = -1, .spin = how, .lends = true};
    struct mkv__poller poller = {.poll = looks};
    struct arg args[4];
    pthread_t threads[4];
    the_end = false;
    worst_timer = worst_pipe = worst_post = n_taken = n_posts = n_pipes = n_timers = 0;
    assert_int_equal(mkv__worker_create(&o, &worker), 0);
    if (polls) {
        mkv__worker_add_poller(worker, &poller);
    }
    assert_int_equal(mkv__worker_start(worker), 0);
    for (unsigned i = 0; i < 4; i++) {
        args[i] = (struct arg){worker, 88172645463325252u + i * 7919, i != 3};
        assert_int_equal(pthread_create(&threads[i], NULL, user, &args[i]), 0);
    }
    mkv__clock_sleep_ns(STORM_NS);
    __atomic_store_n(&the_end, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    mkv__worker_stop(worker);
    if (polls) {
        mkv__worker_remove_poller(worker, &poller);
    }
    mkv__worker_destroy(&worker);
    print_message(
        "spin %d polls %d: %d posts %d timers %d pipes, %d taken; worst ms: post %.2f timer "
        "%.2f pipe %.2f; %d overlaps\n",
        (int)how, (int)polls, (int)n_posts, (int)n_timers, (int)n_pipes, (int)n_taken,
        (double)worst_post / 1e6, (double)worst_timer / 1e6, (double)worst_pipe / 1e6, overlaps);
    assert_int_equal(overlaps, 0);
}

static void one_owner_at_a_time(void **state)
{
    (void)state;
    storm(MKV_SPIN_NEVER, false);
    storm(MKV_SPIN_ALWAYS, false);
    storm(MKV_SPIN_NEVER, true);
    storm(MKV_SPIN_ALWAYS, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_owner_at_a_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
