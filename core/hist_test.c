#include "core/hist.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mkv__hist *make(int digits)
{
    struct mkv__hist *hist;
    assert_int_equal(mkv__hist_create(digits, &hist), 0);
    return hist;
}

static void test_only_two_or_three_digits(void **state)
{
    (void)state;
    struct mkv__hist *hist = NULL;
    assert_int_equal(mkv__hist_create(1, &hist), -EINVAL);
    assert_int_equal(mkv__hist_create(4, &hist), -EINVAL);
    assert_null(hist);
    mkv__hist_destroy(&hist); /* takes NULL */
}

static void test_empty(void **state)
{
    (void)state;
    struct mkv__hist *hist = make(2);
    assert_int_equal(mkv__hist_count(hist), 0);
    assert_int_equal(mkv__hist_min(hist), 0);
    assert_int_equal(mkv__hist_max(hist), 0);
    assert_int_equal(mkv__hist_percentile(hist, 99), 0);
    assert_true(mkv__hist_mean(hist) == 0);
    mkv__hist_destroy(&hist);
    assert_null(hist);
}

/* Every value, alone, comes back within the error that the header promises. */
static void test_error_of_single_values(void **state)
{
    (void)state;
    static const double errors[] = {[2] = 0.01, [3] = 0.001};
    for (int digits = 2; digits <= 3; digits++) {
        struct mkv__hist *hist = make(digits);
        for (uint64_t value = 1; value <= MKV_HIST_MAX_NS; value += 1 + value / 37) {
            mkv__hist_reset(hist);
            mkv__hist_record(hist, value);
            mkv__hist_record(hist, MKV_HIST_MAX_NS); /* so that max does not help */
            uint64_t got = mkv__hist_percentile(hist, 50);
            assert_true(got >= value);
            assert_true((double)(got - value) <= errors[digits] * (double)value);
        }
        mkv__hist_destroy(&hist);
    }
}

/* The borders of buckets, where an index that is off by one would show. */
static void test_powers_of_two(void **state)
{
    (void)state;
    struct mkv__hist *hist = make(3);
    for (unsigned shift = 0; shift < 36; shift++) {
        for (int64_t off = -1; off <= 1; off++) {
            uint64_t value = (UINT64_C(1) << shift) + (uint64_t)off;
            if (value == 0 || value > MKV_HIST_MAX_NS) {
                continue;
            }
            mkv__hist_reset(hist);
            mkv__hist_record(hist, value);
            assert_int_equal(mkv__hist_percentile(hist, 100), value);
            assert_int_equal(mkv__hist_min(hist), value);
            assert_int_equal(mkv__hist_max(hist), value);
        }
    }
    mkv__hist_destroy(&hist);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Against a sorted array, over values of many magnitudes. */
static void test_percentiles(void **state)
{
    (void)state;
    enum { N = 20000 };
    static const double percents[] = {0, 0.01, 1, 25, 50, 90, 99, 99.9, 99.99, 100};
    uint64_t *values = malloc(N * sizeof(values[0]));
    assert_non_null(values);
    struct mkv__hist *hist = make(3);
    uint64_t seed = 1234567;
    double sum = 0;
    for (int i = 0; i < N; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        values[i] = (seed >> 40) << (seed >> 20 & 7);
        sum += (double)values[i];
        mkv__hist_record(hist, values[i]);
    }
    qsort(values, N, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        size_t rank = (size_t)ceil(percents[i] / 100 * N);
        uint64_t exact = values[rank > 0 ? rank - 1 : 0];
        uint64_t got = mkv__hist_percentile(hist, percents[i]);
        assert_true(got >= exact);
        assert_true((double)(got - exact) <= 0.001 * (double)exact + 1);
    }
    assert_int_equal(mkv__hist_min(hist), values[0]);
    assert_int_equal(mkv__hist_max(hist), values[N - 1]);
    assert_true(fabs(mkv__hist_mean(hist) - sum / N) < 1);
    free(values);
    mkv__hist_destroy(&hist);
}

static void test_over_a_minute_is_clamped(void **state)
{
    (void)state;
    struct mkv__hist *hist = make(2);
    mkv__hist_record(hist, UINT64_MAX);
    mkv__hist_record(hist, MKV_HIST_MAX_NS + 1);
    mkv__hist_record(hist, MKV_HIST_MAX_NS);
    assert_int_equal(mkv__hist_count(hist), 3);
    assert_int_equal(mkv__hist_clamped(hist), 2);
    assert_int_equal(mkv__hist_max(hist), MKV_HIST_MAX_NS);
    assert_int_equal(mkv__hist_percentile(hist, 50), MKV_HIST_MAX_NS);
    mkv__hist_destroy(&hist);
}

static void test_zero_is_a_value(void **state)
{
    (void)state;
    struct mkv__hist *hist = make(2);
    mkv__hist_record(hist, 0);
    mkv__hist_record(hist, 10);
    assert_int_equal(mkv__hist_count(hist), 2);
    assert_int_equal(mkv__hist_min(hist), 0);
    assert_int_equal(mkv__hist_percentile(hist, 50), 0);
    mkv__hist_destroy(&hist);
}

static void test_merge(void **state)
{
    (void)state;
    struct mkv__hist *a = make(2);
    struct mkv__hist *b = make(2);
    struct mkv__hist *other = make(3);
    for (uint64_t i = 1; i <= 50; i++) {
        mkv__hist_record(a, i);
        mkv__hist_record(b, i + 50);
    }
    mkv__hist_record(b, UINT64_MAX);
    assert_int_equal(mkv__hist_merge(a, other), -EINVAL);
    assert_int_equal(mkv__hist_merge(a, b), 0);
    assert_int_equal(mkv__hist_count(a), 101);
    assert_int_equal(mkv__hist_clamped(a), 1);
    assert_int_equal(mkv__hist_min(a), 1);
    assert_int_equal(mkv__hist_max(a), MKV_HIST_MAX_NS);
    assert_int_equal(mkv__hist_percentile(a, 50), 51);
    assert_int_equal(mkv__hist_percentile(a, 99), 100);
    mkv__hist_reset(b);
    assert_int_equal(mkv__hist_merge(a, b), 0); /* empty: changes nothing */
    assert_int_equal(mkv__hist_count(a), 101);
    assert_int_equal(mkv__hist_min(a), 1);
    mkv__hist_destroy(&a);
    mkv__hist_destroy(&b);
    mkv__hist_destroy(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_two_or_three_digits),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_error_of_single_values),
        cmocka_unit_test(test_powers_of_two),
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_over_a_minute_is_clamped),
        cmocka_unit_test(test_zero_is_a_value),
        cmocka_unit_test(test_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
