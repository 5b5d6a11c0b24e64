#include "core/counter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>

#include <cmocka.h>

static void test_counts(void **state)
{
    (void)state;
    struct mkv__counter c = {0};
    mkv__counter_inc(&c);
    mkv__counter_add(&c, 41);
    assert_int_equal(mkv__counter_read(&c), 42);
    mkv__counter_sub(&c, 2);
    assert_int_equal(mkv__counter_read(&c), 40);
}

static void test_max_only_grows(void **state)
{
    (void)state;
    struct mkv__counter c = {0};
    mkv__counter_max(&c, 7);
    mkv__counter_max(&c, 3);
    assert_int_equal(mkv__counter_read(&c), 7);
    mkv__counter_max(&c, 8);
    assert_int_equal(mkv__counter_read(&c), 8);
}

static void test_sum_over_owners(void **state)
{
    (void)state;
    struct mkv__counter a[3] = {{1}, {2}, {3}};
    struct mkv__counter b[3] = {{10}, {20}, {30}};
    struct mkv__counter sums[3] = {{0}};
    mkv__counter_sum(sums, a, 3);
    mkv__counter_sum(sums, b, 3);
    assert_int_equal(sums[0].value, 11);
    assert_int_equal(sums[1].value, 22);
    assert_int_equal(sums[2].value, 33);
}

#define ROUNDS 100000

static void *count_up(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        mkv__counter_inc(arg);
    }
    return NULL;
}

/* A reader beside the writer sees a count that never goes back, and the whole count at the end. */
static void test_reader_beside_writer(void **state)
{
    (void)state;
    struct mkv__counter c = {0};
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, count_up, &c), 0);
    uint64_t last = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t now = mkv__counter_read(&c);
        assert_true(now >= last);
        last = now;
    }
    pthread_join(writer, NULL);
    assert_int_equal(mkv__counter_read(&c), ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_max_only_grows),
        cmocka_unit_test(test_sum_over_owners),
        cmocka_unit_test(test_reader_beside_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
