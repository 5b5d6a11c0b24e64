#include "core/fault.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int passes(int n)
{
    int failed = 0;
    for (int i = 0; i < n; i++) {
        failed += MKV_FAULT("a.one");
        failed += MKV_FAULT("b.two");
    }
    return failed;
}

static void test_off(void **state)
{
    (void)state;
    assert_int_equal(passes(100), 0);
    assert_int_equal(mkv__fault_disarm(), 0);
}

static void test_the_nth_pass_fails_once(void **state)
{
    (void)state;
    mkv__fault_arm("", 3, 1);
    assert_false(MKV_FAULT("a"));
    assert_false(MKV_FAULT("b"));
    assert_true(MKV_FAULT("c"));
    assert_false(MKV_FAULT("d"));
    assert_int_equal(mkv__fault_disarm(), 1);
    assert_false(MKV_FAULT("c"));
}

static void test_prefix_and_count(void **state)
{
    (void)state;
    mkv__fault_arm("b.", 2, 3);
    assert_int_equal(passes(10), 3);
    assert_int_equal(mkv__fault_disarm(), 3);
    mkv__fault_arm("b.", 2, UINT64_MAX);
    assert_int_equal(passes(10), 9);
    assert_int_equal(mkv__fault_disarm(), 9);
    mkv__fault_arm("c", 1, UINT64_MAX);
    assert_int_equal(passes(10), 0);
    assert_int_equal(mkv__fault_disarm(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_the_nth_pass_fails_once),
        cmocka_unit_test(test_prefix_and_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
