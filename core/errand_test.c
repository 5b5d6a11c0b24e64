#include "core/errand.h"

#include "core/base.h"
#include "core/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct walk {
    struct mkv__errand errand;
    pthread_t thread;
    uint32_t may_end;         /* atomic */
    int runs, dones, dropped; /* atomic */
    bool on_worker;
};

static void run(struct mkv__errand *errand)
{
    struct walk *w = MKV_CONTAINER_OF(errand, struct walk, errand);

    w->thread = pthread_self();
    __atomic_add_fetch(&w->runs, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&w->may_end, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

static void done(struct mkv__worker *worker, struct mkv__errand *errand)
{
    struct walk *w = MKV_CONTAINER_OF(errand, struct walk, errand);

    w->on_worker = worker == errand->worker;
    __atomic_add_fetch(&w->dones, 1, __ATOMIC_RELEASE);
}

static void dropped(struct mkv__errand *errand)
{
    struct walk *w = MKV_CONTAINER_OF(errand, struct walk, errand);

    __atomic_add_fetch(&w->dropped, 1, __ATOMIC_RELEASE);
}

static struct walk walk_that(bool ends)
{
    return (struct walk){.errand = {.run = run, .done = done, .dropped = dropped}, .may_end = ends};
}

static struct mkv__worker *worker_new(void)
{
    struct mkv__worker_options options = {.name = "test", .numa_node = -1};
    struct mkv__worker *worker = NULL;

    assert_int_equal(mkv__worker_create(&options, &worker), 0);
    return worker;
}

static void until(struct mkv__worker *worker, const int *flag)
{
    for (int i = 0; i < 100000 && !__atomic_load_n(flag, __ATOMIC_ACQUIRE); i++) {
        if (worker) {
            mkv__worker_turn(worker, 1000000);
        } else {
            usleep(100);
        }
    }
    assert_int_equal(__atomic_load_n(flag, __ATOMIC_ACQUIRE), 1);
}

static void comes_back_to_its_worker(void **state)
{
    struct mkv__worker *worker = worker_new();
    struct walk w = walk_that(false);

    (void)state;
    assert_int_equal(mkv__errand_start(&w.errand, worker, false), 0);
    until(NULL, &w.runs);
    for (int i = 0; i < 100; i++) {
        mkv__worker_turn(worker, 0);
    }
    assert_int_equal(w.dones, 0);
    __atomic_store_n(&w.may_end, 1, __ATOMIC_RELEASE);
    until(worker, &w.dones);
    assert_true(w.on_worker);
    assert_false(pthread_equal(w.thread, pthread_self()));
    assert_int_equal(w.runs + w.dropped, 1);
    mkv__worker_destroy(&worker);
}

static void runs_here(void **state)
{
    struct mkv__worker *worker = worker_new();
    struct walk w = walk_that(true);

    (void)state;
    assert_int_equal(mkv__errand_start(&w.errand, worker, true), 0);
    assert_true(pthread_equal(w.thread, pthread_self()));
    assert_int_equal(w.dones, 0);
    mkv__worker_turn(worker, 0);
    assert_int_equal(w.dones, 1);
    mkv__worker_destroy(&worker);
}

/* It outlives its worker. */
static void forgotten_while_it_runs(void **state)
{
    struct mkv__worker *worker = worker_new();
    struct walk w = walk_that(false);

    (void)state;
    assert_int_equal(mkv__errand_start(&w.errand, worker, false), 0);
    until(NULL, &w.runs);
    mkv__errand_forget(&w.errand);
    mkv__worker_stop(worker);
    mkv__worker_destroy(&worker);
    __atomic_store_n(&w.may_end, 1, __ATOMIC_RELEASE);
    until(NULL, &w.dropped);
    assert_int_equal(w.dones, 0);
}

static void forgotten_on_its_way_back(void **state)
{
    struct mkv__worker *worker = worker_new();
    struct walk w = walk_that(true);

    (void)state;
    assert_int_equal(mkv__errand_start(&w.errand, worker, false), 0);
    mkv__errand_wait(&w.errand);
    assert_int_equal(w.runs, 1);
    mkv__errand_forget(&w.errand);
    assert_int_equal(w.dropped, 0);
    mkv__worker_stop(worker);
    assert_int_equal(w.dropped, 1);
    assert_int_equal(w.dones, 0);
    mkv__worker_destroy(&worker);
}

/* Forgotten at any time: one of done and dropped, once. */
static void at_any_time(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        struct mkv__worker *worker = worker_new();
        struct walk w = walk_that(true);

        assert_int_equal(mkv__errand_start(&w.errand, worker, false), 0);
        usleep((useconds_t)(i % 50) * 3);
        if (i % 2) {
            mkv__worker_turn(worker, 0);
        }
        if (w.dones == 0) {
            mkv__errand_forget(&w.errand);
            mkv__worker_stop(worker);
            until(NULL, &w.dropped);
        }
        assert_int_equal(w.dones + w.dropped, 1);
        mkv__worker_destroy(&worker);
    }
}

static void no_thread(void **state)
{
    struct mkv__worker *worker = worker_new();
    struct walk w = walk_that(true);

    (void)state;
    mkv__fault_arm("errand.thread", 1, 1);
    assert_int_equal(mkv__errand_start(&w.errand, worker, false), -EAGAIN);
    assert_int_equal(mkv__fault_disarm(), 1);
    mkv__worker_turn(worker, 0);
    assert_int_equal(w.runs + w.dones + w.dropped, 0);
    mkv__worker_destroy(&worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_to_its_worker),
        cmocka_unit_test(runs_here),
        cmocka_unit_test(forgotten_while_it_runs),
        cmocka_unit_test(forgotten_on_its_way_back),
        cmocka_unit_test(at_any_time),
        cmocka_unit_test(no_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
