/* Callers that take a sleeping worker and run its turns. */
#include "core/worker.h"

#include "core/base.h"
#include "core/completion.h"
#include "core/os/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define MS     UINT64_C(1000000)
#define LONG   (10000 * MS)
#define ROUNDS 2000

static struct mkv__worker *started(bool lends)
{
    struct mkv__worker *worker = NULL;
    struct mkv__worker_options options = {
        .name = "test", .numa_node = -1, .spin = MKV_SPIN_NEVER, .lends = lends};
    assert_int_equal(mkv__worker_create(&options, &worker), 0);
    assert_int_equal(mkv__worker_start(worker), 0);
    return worker;
}

static void ended(struct mkv__worker **worker)
{
    mkv__worker_stop(*worker);
    mkv__worker_destroy(worker);
}

/* As soon as it sleeps. */
static void take(struct mkv__worker *worker)
{
    uint64_t end = mkv__clock_ns() + LONG;
    while (!mkv__worker_take(worker)) {
        assert_true(mkv__clock_ns() < end);
        mkv__clock_sleep_ns(MS / 10);
    }
    assert_true(mkv__worker_is_current(worker));
}

struct call {
    struct mkv__task task;
    struct mkv__completion done;
    pthread_t by;
    bool current;
};

static void answer(struct mkv__worker *worker, struct mkv__task *task)
{
    struct call *call = MKV_CONTAINER_OF(task, struct call, task);
    call->by = pthread_self();
    call->current = mkv__worker_is_current(worker);
    mkv__completion_done(&call->done);
}

static void prepare(struct call *call)
{
    *call = (struct call){.task.run = answer};
    mkv__completion_init(&call->done, 1);
}

static void post(struct mkv__worker *worker, struct call *call)
{
    prepare(call);
    mkv__worker_post(worker, &call->task);
}

static void run_until(struct mkv__worker *worker, const struct mkv__completion *done)
{
    uint64_t end = mkv__clock_ns() + LONG;
    while (!mkv__completion_test(done)) {
        assert_true(mkv__clock_ns() < end);
        mkv__worker_turn(worker, LONG);
    }
}

static void only_what_sleeps_and_lends_itself(void **state)
{
    (void)state;
    struct mkv__worker *worker = started(false);
    mkv__clock_sleep_ns(20 * MS);
    assert_false(mkv__worker_take(worker));
    ended(&worker);
    worker = started(true);
    take(worker);
    assert_false(mkv__worker_take(worker)); /* once */
    mkv__worker_give(worker, false);
    assert_false(mkv__worker_is_current(worker));
    mkv__worker_stop(worker);
    assert_false(mkv__worker_take(worker)); /* nobody waits in it */
    mkv__worker_destroy(&worker);
}

struct other {
    struct mkv__worker *worker;
    uint64_t after_ns;
    struct call call;
    int fd;
};

static void *call_from_another_thread(void *arg)
{
    struct other *o = arg;
    mkv__clock_sleep_ns(o->after_ns);
    mkv__worker_post(o->worker, &o->call.task);
    mkv__completion_wait(&o->call.done, false);
    return NULL;
}

/* Whether it is in a turn just then, or waits in one. */
static void posts_come_to_who_has_taken_it(void **state)
{
    (void)state;
    struct mkv__worker *worker = started(true);
    for (int i = 0; i < 20; i++) {
        struct other o = {.worker = worker, .after_ns = i % 4 * MS};
        pthread_t thread;
        struct call mine;
        take(worker);
        post(worker, &mine);
        prepare(&o.call);
        assert_int_equal(pthread_create(&thread, NULL, call_from_another_thread, &o), 0);
        run_until(worker, &mine.done);
        run_until(worker, &o.call.done);
        assert_true(mine.current && pthread_equal(mine.by, pthread_self()));
        assert_true(o.call.current && pthread_equal(o.call.by, pthread_self()));
        mkv__worker_give(worker, i % 2 == 0);
        pthread_join(thread, NULL);
        post(worker, &mine);
        mkv__completion_wait(&mine.done, false);
        assert_true(mine.current && !pthread_equal(mine.by, pthread_self()));
    }
    ended(&worker);
}

struct alarm {
    struct mkv__timer timer;
    struct mkv__source source;
    struct mkv__completion done;
    uint64_t at_ns;
    pthread_t by;
};

static void ring(struct alarm *alarm)
{
    alarm->at_ns = mkv__clock_ns();
    alarm->by = pthread_self();
    mkv__completion_done(&alarm->done);
}

static void fire(struct mkv__worker *worker, struct mkv__timer *timer)
{
    (void)worker;
    ring(MKV_CONTAINER_OF(timer, struct alarm, timer));
}

static void readable(struct mkv__worker *worker, struct mkv__source *source, unsigned events)
{
    (void)events;
    mkv__worker_unwatch(worker, source);
    ring(MKV_CONTAINER_OF(source, struct alarm, source));
}

/* What was armed in taken turns is the thread's to look after when the worker is given back: at once
 * where it would sleep too long for it. */
static void the_thread_goes_on_with_it(void **state)
{
    (void)state;
    struct mkv__worker *worker = started(true);
    for (int i = 0; i < 6; i++) {
        struct alarm timer = {0}, source = {0};
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        mkv__completion_init(&timer.done, 1);
        mkv__completion_init(&source.done, 1);
        mkv__timer_init(&timer.timer, fire);
        source.source = (struct mkv__source){.fd = ends[0], .ready = readable};
        take(worker);
        uint64_t due_ns = mkv__clock_ns() + 30 * MS;
        mkv__worker_turn(worker, 0);
        mkv__timer_set(worker, &timer.timer, due_ns);
        assert_int_equal(mkv__worker_watch(worker, &source.source, MKV_READABLE), 0);
        mkv__worker_give(worker, i % 2 == 0);
        if (i > 3) { /* taken again, for a moment */
            take(worker);
            mkv__worker_give(worker, false);
        }
        assert_int_equal(write(ends[1], "", 1), 1);
        mkv__completion_wait(&source.done, false);
        mkv__completion_wait(&timer.done, false);
        assert_true(timer.at_ns >= due_ns && timer.at_ns < due_ns + LONG);
        assert_false(pthread_equal(timer.by, pthread_self()));
        assert_false(pthread_equal(source.by, pthread_self()));
        close(ends[0]);
        close(ends[1]);
    }
    ended(&worker);
}

/* A descriptor that another thread's taken turns have closed and freed is not called. */
static void what_a_sleep_has_heard_of_may_be_gone(void **state)
{
    (void)state;
    struct mkv__worker *worker = started(true);
    for (int i = 0; i < 200; i++) {
        struct alarm *source = test_calloc(1, sizeof(*source));
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        mkv__completion_init(&source->done, 1);
        source->source = (struct mkv__source){.fd = ends[0], .ready = readable};
        take(worker);
        assert_int_equal(mkv__worker_watch(worker, &source->source, MKV_READABLE), 0);
        assert_int_equal(write(ends[1], "", 1), 1); /* wakes the thread, too */
        run_until(worker, &source->done);
        close(ends[0]);
        close(ends[1]);
        test_free(source);
        mkv__worker_give(worker, i % 3 == 0);
    }
    ended(&worker);
}

static void *stop(void *arg)
{
    struct other *o = arg;
    mkv__worker_stop(o->worker);
    mkv__completion_done(&o->call.done);
    return NULL;
}

static void it_may_be_stopped_meanwhile(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct other o = {.worker = started(true)};
        pthread_t thread;
        mkv__completion_init(&o.call.done, 1);
        take(o.worker);
        assert_int_equal(pthread_create(&thread, NULL, stop, &o), 0);
        mkv__worker_turn(o.worker, LONG); /* until the eventfd is signalled, and cleared */
        mkv__worker_give(o.worker, false);
        mkv__completion_wait(&o.call.done, false);
        pthread_join(thread, NULL);
        mkv__worker_destroy(&o.worker);
    }
}

static void *calls(void *arg)
{
    struct mkv__worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct call call;
        bool taken = mkv__worker_take(worker);
        post(worker, &call);
        while (taken && !mkv__completion_test(&call.done)) {
            mkv__worker_turn(worker, UINT64_MAX);
        }
        if (taken) {
            mkv__worker_give(worker, i % 5 == 0);
        }
        mkv__completion_wait(&call.done, false);
        if (!call.current) {
            return worker;
        }
        if (i % 16 == 0) {
            mkv__clock_sleep_ns(i % 256 == 0 ? 3 * MS : MS / 50);
        }
    }
    return NULL;
}

/* A wake-up that is lost hangs it. */
static void callers_take_turns(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n++) {
        struct mkv__worker *worker = started(true);
        pthread_t threads[4];
        void *wrong;
        for (int i = 0; i < n; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, calls, worker), 0);
        }
        for (int i = 0; i < n; i++) {
            pthread_join(threads[i], &wrong);
            assert_null(wrong);
        }
        ended(&worker);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_sleeps_and_lends_itself),
        cmocka_unit_test(posts_come_to_who_has_taken_it),
        cmocka_unit_test(the_thread_goes_on_with_it),
        cmocka_unit_test(what_a_sleep_has_heard_of_may_be_gone),
        cmocka_unit_test(it_may_be_stopped_meanwhile),
        cmocka_unit_test(callers_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
