#include "core/error.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const int list[] = {ENOENT,    EAGAIN, ETIMEDOUT, ECONNRESET, EPROTO, EMSGSIZE, ENOSPC,
                           ECANCELED, EINVAL, ENOMEM,    EACCES,     EBUSY,  ENOTSUP};

static void test_every_error_of_the_list_has_its_own_text(void **state)
{
    (void)state;
    size_t n = sizeof(list) / sizeof(list[0]);
    for (size_t i = 0; i < n; i++) {
        assert_true(mkv__error_listed(-list[i]));
        assert_non_null(mkv__error_name(-list[i]));
        assert_string_not_equal(mkv__error_text(-list[i]), "unknown error");
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(mkv__error_text(-list[i]), mkv__error_text(-list[j]));
        }
    }
}

static void test_texts_and_names(void **state)
{
    (void)state;
    assert_string_equal(mkv__error_text(0), "success");
    assert_string_equal(mkv__error_text(-ENOENT), "not found");
    assert_string_equal(mkv__error_text(ENOENT), "not found");
    assert_string_equal(mkv__error_text(-ETIMEDOUT), "the deadline has passed");
    assert_string_equal(mkv__error_name(-ECONNRESET), "ECONNRESET");
}

static void test_the_list_is_closed(void **state)
{
    (void)state;
    static const int others[] = {EPERM, EIO, ERANGE, EADDRINUSE, 12345, INT_MAX};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(mkv__error_listed(-others[i]));
        assert_string_equal(mkv__error_text(-others[i]), "unknown error");
        assert_null(mkv__error_name(-others[i]));
    }
    assert_false(mkv__error_listed(INT_MIN));
    assert_string_equal(mkv__error_text(INT_MIN), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_of_the_list_has_its_own_text),
        cmocka_unit_test(test_texts_and_names),
        cmocka_unit_test(test_the_list_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
