/* The worker without a thread: turns with a clock of the test's own. */
#include "core/worker.h"

#include "core/base.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/os/clock.h"
#include "core/os/event.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t now;    /* the clock */
static char trace[256]; /* what happened, a letter each */
static int hooks[3];    /* quiescent, offline, online */

static void note(char letter)
{
    size_t len = strlen(trace);
    assert_true(len + 1 < sizeof(trace));
    trace[len] = letter;
    trace[len + 1] = '\0';
}

static uint64_t fake_clock(void *arg)
{
    (void)arg;
    return now;
}
static void on_quiescent(void *arg)
{
    (void)arg;
    hooks[0]++;
}
static void on_offline(void *arg)
{
    (void)arg;
    hooks[1]++;
}
static void on_online(void *arg)
{
    (void)arg;
    hooks[2]++;
}

static struct mkv__worker *worker_with(uint64_t (*clock)(void *))
{
    struct mkv__worker *worker = NULL;
    struct mkv__worker_options options = {
        .name = "test",
        .numa_node = -1,
        .clock = clock,
        .quiescent = on_quiescent,
        .offline = on_offline,
        .online = on_online,
    };
    now = 1000;
    trace[0] = '\0';
    memset(hooks, 0, sizeof(hooks));
    assert_int_equal(mkv__worker_create(&options, &worker), 0);
    return worker;
}

/* Creation ------------------------------------------------------------------------------------- */

static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void test_create_fails_cleanly(void **state)
{
    (void)state;
    int before = descriptors();
    uint64_t n;
    for (n = 1;; n++) {
        struct mkv__worker *worker = NULL;
        struct mkv__worker_options options = {.cpus = "0", .numa_node = -1};
        mkv__fault_arm("worker.", n, 1);
        int r = mkv__worker_create(&options, &worker);
        if (mkv__fault_disarm() == 0) {
            assert_int_equal(r, 0);
            mkv__worker_destroy(&worker);
            assert_null(worker);
            mkv__worker_destroy(&worker);
            break;
        }
        assert_true(r < 0 && mkv__error_listed(r));
        assert_null(worker);
        assert_int_equal(descriptors(), before);
    }
    assert_int_equal(n, 6); /* five points were reached */
    assert_int_equal(descriptors(), before);
}

static void test_start_fails_cleanly(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(NULL);
    mkv__fault_arm("worker.thread", 1, 1);
    assert_int_equal(mkv__worker_start(worker), -EAGAIN);
    assert_int_equal(mkv__fault_disarm(), 1);
    assert_int_equal(mkv__worker_start(worker), 0);
    mkv__worker_stop(worker);
    mkv__worker_destroy(&worker);
}

/* Inbox ---------------------------------------------------------------------------------------- */

struct letter {
    struct mkv__task task;
    struct mkv__task *then;
    char letter;
};

static void run_letter(struct mkv__worker *worker, struct mkv__task *task)
{
    struct letter *l = MKV_CONTAINER_OF(task, struct letter, task);
    note(l->letter);
    if (l->then != NULL) {
        mkv__worker_post(worker, l->then);
    }
}

static void test_tasks_run_in_order(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    struct letter c = {.task.run = run_letter, .letter = 'c'};
    struct letter a = {.task.run = run_letter, .letter = 'a', .then = &c.task};
    struct letter b = {.task.run = run_letter, .letter = 'b'};
    mkv__worker_post(worker, &a.task);
    mkv__worker_post(worker, &b.task);
    assert_int_equal(mkv__worker_turn(worker, 0), 3);
    assert_string_equal(trace, "abc");
    assert_int_equal(mkv__worker_turn(worker, 0), 0);
    mkv__worker_destroy(&worker);
}

static void test_stop_without_a_thread_runs_the_inbox(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    struct letter b = {.task.run = run_letter, .letter = 'b'};
    struct letter a = {.task.run = run_letter, .letter = 'a', .then = &b.task};
    mkv__worker_post(worker, &a.task);
    mkv__worker_stop(worker);
    assert_string_equal(trace, "ab");
    mkv__worker_destroy(&worker);
}

static void test_a_turn_does_not_wait_when_there_is_work(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    struct letter a = {.task.run = run_letter, .letter = 'a'};
    mkv__worker_post(worker, &a.task);
    mkv__worker_turn(worker, UINT64_MAX); /* hangs when it does */
    assert_int_equal(hooks[0], 1);
    assert_int_equal(hooks[1], 0);
    mkv__worker_turn(worker, 1000); /* sleeps */
    assert_int_equal(hooks[0], 2);
    assert_int_equal(hooks[1], 1);
    assert_int_equal(hooks[2], 1);
    mkv__worker_turn(worker, 0);
    assert_int_equal(hooks[1], 1);
    assert_int_equal(hooks[2], 1);
    mkv__worker_destroy(&worker);
}

/* Timers --------------------------------------------------------------------------------------- */

struct alarm {
    struct mkv__timer timer;
    struct mkv__timer *stops, *sets;
    char letter;
};

static void ring(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct alarm *a = MKV_CONTAINER_OF(timer, struct alarm, timer);
    assert_false(mkv__timer_armed(timer));
    note(a->letter);
    if (a->stops != NULL) {
        mkv__timer_stop(worker, a->stops);
    }
    if (a->sets != NULL) {
        mkv__timer_set(worker, a->sets, mkv__worker_now(worker) + 100);
    }
}

static void set_alarm(struct mkv__worker *worker, struct alarm *a, char letter, uint64_t due_ns)
{
    a->letter = letter;
    mkv__timer_init(&a->timer, ring);
    mkv__timer_set(worker, &a->timer, due_ns);
}

static void test_timers_fire_in_order_of_the_clock(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    struct alarm a = {0}, b = {0}, c = {0};
    set_alarm(worker, &c, 'c', 1300);
    set_alarm(worker, &a, 'a', 1100);
    set_alarm(worker, &b, 'b', 1200);
    mkv__worker_turn(worker, 0);
    assert_string_equal(trace, "");
    now = 1099;
    mkv__worker_turn(worker, 0);
    assert_string_equal(trace, "");
    now = 1100;
    assert_int_equal(mkv__worker_turn(worker, 0), 1);
    assert_int_equal(mkv__worker_now(worker), 1100);
    assert_string_equal(trace, "a");
    now = 5000;
    assert_int_equal(mkv__worker_turn(worker, UINT64_MAX), 2);
    assert_string_equal(trace, "abc");
    mkv__worker_destroy(&worker);
}

static void test_timers_stop_and_set_in_fire(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    struct alarm a = {0}, b = {0}, c = {0};
    set_alarm(worker, &a, 'a', 1100);
    set_alarm(worker, &b, 'b', 1100);
    set_alarm(worker, &c, 'c', 1101);
    a.stops = &b.timer; /* whichever of the two is first ends the other */
    b.stops = &a.timer;
    c.sets = &c.timer;  /* again and again */
    c.stops = &c.timer; /* of one that is not armed: nothing */
    now = 1200;
    assert_int_equal(mkv__worker_turn(worker, 0), 2);
    assert_true(strcmp(trace, "ac") == 0 || strcmp(trace, "bc") == 0);
    assert_false(mkv__timer_armed(&a.timer));
    assert_false(mkv__timer_armed(&b.timer));
    assert_true(mkv__timer_armed(&c.timer));
    now = 1299;
    assert_int_equal(mkv__worker_turn(worker, 0), 0);
    now = 1300;
    assert_int_equal(mkv__worker_turn(worker, 0), 1);
    mkv__timer_set(worker, &c.timer, 1350); /* earlier than it was set */
    now = 1350;
    assert_int_equal(mkv__worker_turn(worker, 0), 1);
    mkv__timer_stop(worker, &c.timer);
    now = 9999;
    assert_int_equal(mkv__worker_turn(worker, 0), 0);
    mkv__worker_destroy(&worker);
}

/* The worker neither sleeps past a timer of less than a millisecond nor turns idly up to it. */
static void test_short_timers_of_the_real_clock(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(NULL);
    for (int i = 0; i < 20; i++) {
        struct alarm a = {0};
        trace[0] = '\0';
        mkv__worker_turn(worker, 0);
        uint64_t due = mkv__clock_ns() + 300000;
        set_alarm(worker, &a, 'a', due);
        int turns = 0;
        while (trace[0] == '\0') {
            mkv__worker_turn(worker, UINT64_MAX);
            turns++;
        }
        assert_true(mkv__clock_ns() >= due);
        assert_true(turns <= 2);
    }
    mkv__worker_destroy(&worker);
}

/* Sources -------------------------------------------------------------------------------------- */

struct pair {
    struct mkv__source *sources[2];
};
static struct pair pair;

static void drop_both(struct mkv__worker *worker, struct mkv__source *source, unsigned events)
{
    assert_true(events & MKV_READABLE);
    assert_true(source == pair.sources[0] || source == pair.sources[1]);
    note('x');
    for (int i = 0; i < 2; i++) {
        mkv__worker_unwatch(worker, pair.sources[i]);
        close(pair.sources[i]->fd);
        free(pair.sources[i]);
        pair.sources[i] = NULL;
    }
}

static void test_unwatch_in_a_callback(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    for (int i = 0; i < 2; i++) {
        pair.sources[i] = calloc(1, sizeof(struct mkv__source));
        pair.sources[i]->fd = mkv__event_open();
        pair.sources[i]->ready = drop_both;
        mkv__event_signal(pair.sources[i]->fd);
        assert_int_equal(mkv__worker_watch(worker, pair.sources[i], MKV_READABLE), 0);
    }
    /* Both are in one batch of events; the first frees the second. */
    assert_int_equal(mkv__worker_turn(worker, UINT64_MAX), 1);
    assert_string_equal(trace, "x");
    assert_int_equal(mkv__worker_turn(worker, 0), 0);
    mkv__worker_destroy(&worker);
}

struct end {
    struct mkv__source source;
    unsigned events;
};

static void remember(struct mkv__worker *worker, struct mkv__source *source, unsigned events)
{
    (void)worker;
    MKV_CONTAINER_OF(source, struct end, source)->events |= events;
}

static void test_events_wanted(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    struct end in = {.source = {.fd = fds[0], .ready = remember}};
    struct end out = {.source = {.fd = fds[1], .ready = remember}};
    assert_int_equal(mkv__worker_watch(worker, &in.source, MKV_READABLE), 0);
    assert_int_equal(mkv__worker_watch(worker, &out.source, 0), 0);
    assert_int_equal(mkv__worker_watch(worker, &in.source, 0), -EAGAIN); /* EEXIST, in words */
    assert_int_equal(mkv__worker_turn(worker, 0), 0);
    assert_int_equal(mkv__worker_rewatch(worker, &out.source, MKV_WRITABLE), 0);
    assert_int_equal(mkv__worker_turn(worker, 0), 1);
    assert_int_equal(out.events, MKV_WRITABLE);
    assert_int_equal(in.events, 0);
    mkv__worker_unwatch(worker, &out.source);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(mkv__worker_turn(worker, 0), 1);
    assert_int_equal(in.events, MKV_READABLE);
    close(fds[1]);
    assert_int_equal(mkv__worker_turn(worker, 0), 1);
    assert_int_equal(in.events, MKV_READABLE | MKV_HANGUP);
    mkv__worker_unwatch(worker, &in.source);
    close(fds[0]);
    mkv__worker_destroy(&worker);
}

/* Pollers and deferred ------------------------------------------------------------------------- */

struct looker {
    struct mkv__poller poller;
    struct mkv__worker *worker;
    struct looker *removes;
    int work;
    char letter;
};

static int look(struct mkv__poller *poller, uint64_t now_ns)
{
    struct looker *l = MKV_CONTAINER_OF(poller, struct looker, poller);
    assert_int_equal(now_ns, now);
    note(l->letter);
    if (l->removes != NULL) {
        mkv__worker_remove_poller(l->worker, &l->removes->poller);
        memset(&l->removes->poller, 0xa5, sizeof(l->removes->poller));
    }
    return l->work;
}

static void test_pollers_may_be_removed_in_poll(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    struct looker c = {{look, NULL}, worker, NULL, 1, 'c'};
    struct looker b = {{look, NULL}, worker, NULL, 1, 'b'};
    struct looker a = {{look, NULL}, worker, &b, 1, 'a'};
    mkv__worker_add_poller(worker, &c.poller);
    mkv__worker_add_poller(worker, &b.poller);
    mkv__worker_add_poller(worker, &a.poller);
    assert_int_equal(mkv__worker_turn(worker, 0), 2);
    assert_string_equal(trace, "ac");
    a.removes = NULL;
    c.removes = &c; /* itself, the last */
    assert_int_equal(mkv__worker_turn(worker, 0), 2);
    assert_int_equal(mkv__worker_turn(worker, 0), 1);
    assert_string_equal(trace, "acaca");
    mkv__worker_remove_poller(worker, &a.poller);
    assert_int_equal(mkv__worker_turn(worker, 0), 0);
    mkv__worker_destroy(&worker);
}

struct later {
    struct mkv__deferred deferred;
    struct mkv__deferred *then;
    char letter;
};

static void run_later(struct mkv__worker *worker, struct mkv__deferred *deferred)
{
    struct later *l = MKV_CONTAINER_OF(deferred, struct later, deferred);
    note(l->letter);
    if (l->then != NULL) {
        mkv__worker_defer(worker, l->then);
        l->then = NULL;
    }
}

static void test_deferred_runs_once_at_the_turns_end(void **state)
{
    (void)state;
    struct mkv__worker *worker = worker_with(fake_clock);
    struct later a = {.deferred.run = run_later, .letter = 'a'};
    struct later b = {.deferred.run = run_later, .letter = 'b'};
    struct later c = {.deferred.run = run_later, .letter = 'c'};
    struct letter task = {.task.run = run_letter, .letter = 't'};
    a.then = &a.deferred; /* once more, in the same turn */
    mkv__worker_defer(worker, &a.deferred);
    mkv__worker_defer(worker, &b.deferred);
    mkv__worker_defer(worker, &c.deferred);
    mkv__worker_defer(worker, &a.deferred);
    mkv__worker_undefer(worker, &c.deferred); /* the last */
    mkv__worker_undefer(worker, &c.deferred);
    mkv__worker_post(worker, &task.task);
    mkv__worker_turn(worker, UINT64_MAX);
    assert_string_equal(trace, "taba");
    mkv__worker_defer(worker, &c.deferred);
    mkv__worker_undefer(worker, &c.deferred);
    mkv__worker_defer(worker, &b.deferred);
    mkv__worker_turn(worker, UINT64_MAX);
    assert_string_equal(trace, "tabab");
    mkv__worker_destroy(&worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_fails_cleanly),
        cmocka_unit_test(test_start_fails_cleanly),
        cmocka_unit_test(test_tasks_run_in_order),
        cmocka_unit_test(test_stop_without_a_thread_runs_the_inbox),
        cmocka_unit_test(test_a_turn_does_not_wait_when_there_is_work),
        cmocka_unit_test(test_timers_fire_in_order_of_the_clock),
        cmocka_unit_test(test_timers_stop_and_set_in_fire),
        cmocka_unit_test(test_short_timers_of_the_real_clock),
        cmocka_unit_test(test_unwatch_in_a_callback),
        cmocka_unit_test(test_events_wanted),
        cmocka_unit_test(test_pollers_may_be_removed_in_poll),
        cmocka_unit_test(test_deferred_runs_once_at_the_turns_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
