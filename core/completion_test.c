#include "core/completion.h"

#include "core/base.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 2000

static void test_counts_down(void **state)
{
    (void)state;
    struct mkv__completion c;
    mkv__completion_init(&c, 3);
    assert_false(mkv__completion_test(&c));
    assert_false(mkv__completion_done(&c));
    assert_false(mkv__completion_done(&c));
    assert_false(mkv__completion_test(&c));
    assert_true(mkv__completion_done(&c));
    assert_true(mkv__completion_test(&c));
    mkv__completion_wait(&c, true); /* return at once */
    mkv__completion_wait(&c, false);
    assert_false(mkv__completion_add(&c)); /* none was left */
    assert_true(mkv__completion_test(&c));
    mkv__completion_init(&c, 1);
    assert_true(mkv__completion_add(&c));
    assert_false(mkv__completion_done(&c));
    assert_true(mkv__completion_done(&c));
    mkv__completion_init(&c, 0);
    mkv__completion_wait(&c, false);
}

struct job {
    struct mkv__completion done;
    int value;
};

/* Each round hands over a job on the heap, which the waiter frees as soon as it returns. */
static struct job *handed; /* atomic */

static void *finish(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct job *job;
        while ((job = __atomic_exchange_n(&handed, NULL, __ATOMIC_ACQ_REL)) == NULL) {
            sched_yield();
        }
        job->value = i;
        mkv__completion_done(&job->done);
        mkv__completion_done(&job->done);
    }
    return NULL;
}

static void waits_for_another_thread(bool spin)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, finish, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct job *job = malloc(sizeof(*job));
        mkv__completion_init(&job->done, 2);
        job->value = -1;
        __atomic_store_n(&handed, job, __ATOMIC_RELEASE);
        mkv__completion_wait(&job->done, spin);
        assert_int_equal(job->value, i);
        free(job);
    }
    pthread_join(thread, NULL);
}

static void test_wakes_a_sleeper(void **state)
{
    (void)state;
    waits_for_another_thread(false);
}

static void test_wakes_a_spinner(void **state)
{
    (void)state;
    waits_for_another_thread(true);
}

static void *spin_and_wait(void *arg)
{
    mkv__completion_wait(arg, true);
    return NULL;
}

/* Who spins goes to sleep when it takes longer; else this test does not end. */
static void test_spins_only_briefly(void **state)
{
    (void)state;
    struct mkv__completion c;
    pthread_t thread;
    mkv__completion_init(&c, 1);
    assert_int_equal(pthread_create(&thread, NULL, spin_and_wait, &c), 0);
    while (__atomic_load_n(&c.word, __ATOMIC_RELAXED) >> 31 == 0) { /* "somebody sleeps" */
        sched_yield();
    }
    assert_true(mkv__completion_done(&c));
    pthread_join(thread, NULL);
}

static void *wait_for(void *arg)
{
    mkv__completion_wait(arg, false);
    return NULL;
}

static void test_wakes_all(void **state)
{
    (void)state;
    struct mkv__completion c;
    pthread_t threads[4];
    for (int round = 0; round < 50; round++) {
        mkv__completion_init(&c, 1);
        for (size_t i = 0; i < MKV_ARRAY_LEN(threads); i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, wait_for, &c), 0);
        }
        assert_true(mkv__completion_done(&c));
        for (size_t i = 0; i < MKV_ARRAY_LEN(threads); i++) {
            pthread_join(threads[i], NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_down),     cmocka_unit_test(test_wakes_a_sleeper),
        cmocka_unit_test(test_wakes_a_spinner), cmocka_unit_test(test_spins_only_briefly),
        cmocka_unit_test(test_wakes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
