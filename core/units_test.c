#include "core/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define KIB UINT64_C(1024)
#define SEC UINT64_C(1000000000)

static const char not_a_size[] = "is not a size (expected e.g. 64K, 1MiB, 1.5G)";
static const char size_too_large[] = "is too large a size (expected e.g. 64K, 1MiB, 1.5G)";
static const char not_a_duration[] = "is not a duration (expected e.g. 250ms, 2s)";
static const char too_long[] = "is too long a duration (expected e.g. 250ms, 2s)";
static const char no_unit[] = "is a duration without a unit (expected e.g. 250ms, 2s)";
static const char not_a_number[] = "is not a number (expected e.g. 4)";
static const char number_too_large[] = "is too large a number";

typedef int parser(const char *text, uint64_t *value_out, const char **why_out);

struct good {
    const char *text;
    uint64_t value;
};

struct bad {
    const char *text;
    const char *why;
};

static void check_good(parser *parse, const struct good *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = 77;
        const char *why = NULL;
        if (parse(cases[i].text, &value, &why) != 0 || value != cases[i].value) {
            fail_msg("\"%s\": got %llu, %s", cases[i].text, (unsigned long long)value,
                     why ? why : "no error");
        }
        assert_int_equal(parse(cases[i].text, &value, NULL), 0);
    }
}

static void check_bad(parser *parse, const struct bad *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = 77;
        const char *why = "";
        if (parse(cases[i].text, &value, &why) != -EINVAL || strcmp(why, cases[i].why) != 0) {
            fail_msg("\"%s\": got %llu, \"%s\"", cases[i].text, (unsigned long long)value, why);
        }
        assert_int_equal(value, 77); /* untouched */
        assert_int_equal(parse(cases[i].text, &value, NULL), -EINVAL);
    }
}

#define GOOD(parse, cases) check_good(parse, cases, sizeof(cases) / sizeof(cases[0]))
#define BAD(parse, cases)  check_bad(parse, cases, sizeof(cases) / sizeof(cases[0]))

static void test_sizes(void **state)
{
    (void)state;
    static const struct good cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"100B", 100},
        {"64K", 64 * KIB},
        {"64k", 64 * KIB},
        {"64KB", 64 * KIB},
        {"64KiB", 64 * KIB},
        {"1MiB", KIB * KIB},
        {"1mib", KIB * KIB},
        {"1.5G", 3 * KIB * KIB * KIB / 2},
        {"0.5K", 512},
        {"2T", 2 * KIB * KIB * KIB * KIB},
        {" 64 K ", 64 * KIB},
        {"\t1\tM\t", KIB * KIB},
        {"18446744073709551615", UINT64_MAX},
        {"16777215T", UINT64_C(16777215) << 40},
        {"0.000000001G", 1}, /* 1.07 bytes: rounded down */
    };
    GOOD(mkv__parse_size, cases);
}

static void test_bad_sizes(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"", not_a_size},
        {" ", not_a_size},
        {"K", not_a_size},
        {"-1", not_a_size},
        {"+1", not_a_size},
        {"1e9", not_a_size},
        {"0x10", not_a_size},
        {"1.5", not_a_size},
        {"1.5B", not_a_size},
        {"1.K", not_a_size},
        {".5K", not_a_size},
        {"1.0000000001K", not_a_size},
        {"1,5G", not_a_size},
        {"64 KK", not_a_size},
        {"64K 1", not_a_size},
        {"64KiBs", not_a_size},
        {"1\n", not_a_size},
        {"12X", not_a_size},
        {"18446744073709551616", size_too_large},
        {"16777216T", size_too_large},
        {"99999999999999999999999999999999999999999999K", size_too_large},
    };
    BAD(mkv__parse_size, cases);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct good cases[] = {
        {"0", 0},
        {"0.0", 0},
        {"0s", 0},
        {"1ns", 1},
        {"10us", 10000},
        {"10\xc2\xb5s", 10000},
        {"250ms", 250 * SEC / 1000},
        {"250 ms", 250 * SEC / 1000},
        {"2s", 2 * SEC},
        {"2S", 2 * SEC},
        {"1.5s", 3 * SEC / 2},
        {"5m", 300 * SEC},
        {"5min", 300 * SEC},
        {"1h", 3600 * SEC},
        {"1.5h", 5400 * SEC},
        {"1d", 86400 * SEC},
        {"213503d", UINT64_C(213503) * 86400 * SEC},
    };
    GOOD(mkv__parse_duration, cases);
}

static void test_bad_durations(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"", not_a_duration},
        {"s", not_a_duration},
        {"2 parsecs", not_a_duration},
        {"-1s", not_a_duration},
        {"1h30m", not_a_duration},
        {"1s 1s", not_a_duration},
        {"1.5ns", not_a_duration},
        {"1.s", not_a_duration},
        {"inf", not_a_duration},
        {"nan", not_a_duration},
        {"2", no_unit},
        {"0.5", no_unit},
        {"213504d", too_long},
        {"18446744073709551616ns", too_long},
        {"18446744073709551616", no_unit},
    };
    BAD(mkv__parse_duration, cases);
}

static void test_counts(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"0", 0}, {"8", 8}, {" 1000000 ", 1000000}, {"18446744073709551615", UINT64_MAX}};
    static const struct bad bad[] = {
        {"", not_a_number},
        {"-1", not_a_number},
        {"1.5", not_a_number},
        {"1k", not_a_number},
        {"1 2", not_a_number},
        {"eight", not_a_number},
        {"18446744073709551616", number_too_large},
    };
    GOOD(mkv__parse_count, good);
    BAD(mkv__parse_count, bad);
}

static void test_print_exactly(void **state)
{
    (void)state;
    char out[MKV_UNIT_TEXT];
    assert_string_equal(mkv__print_size(out, 0), "0");
    assert_string_equal(mkv__print_size(out, 1023), "1023");
    assert_string_equal(mkv__print_size(out, 65536), "64K");
    assert_string_equal(mkv__print_size(out, 3 * KIB * KIB * KIB / 2), "1536M");
    assert_string_equal(mkv__print_size(out, UINT64_MAX), "18446744073709551615");
    assert_string_equal(mkv__print_duration(out, 0), "0s");
    assert_string_equal(mkv__print_duration(out, 1), "1ns");
    assert_string_equal(mkv__print_duration(out, 10000), "10us");
    assert_string_equal(mkv__print_duration(out, 250 * SEC / 1000), "250ms");
    assert_string_equal(mkv__print_duration(out, 90 * SEC), "90s");
    assert_string_equal(mkv__print_duration(out, 3600 * SEC), "1h");
    assert_string_equal(mkv__print_duration(out, 420 * SEC), "7m");
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> (*seed % 64);
}

static void test_what_is_printed_is_read_back(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        uint64_t value = next_random(&seed);
        value = i % 3 == 0 ? value & ~(KIB * KIB - 1) : i % 3 == 1 ? value / SEC * SEC : value;
        uint64_t back;
        char out[MKV_UNIT_TEXT];
        assert_int_equal(mkv__parse_size(mkv__print_size(out, value), &back, NULL), 0);
        assert_true(back == value);
        assert_int_equal(mkv__parse_duration(mkv__print_duration(out, value), &back, NULL), 0);
        assert_true(back == value);
    }
}

static void test_print_for_people(void **state)
{
    (void)state;
    char out[MKV_UNIT_TEXT];
    assert_string_equal(mkv__people_size(out, 0), "0 B");
    assert_string_equal(mkv__people_size(out, 1000), "1000 B");
    assert_string_equal(mkv__people_size(out, 1024), "1.00 KiB");
    assert_string_equal(mkv__people_size(out, 3 * KIB * KIB * KIB / 2), "1.50 GiB");
    assert_string_equal(mkv__people_size(out, 100 * KIB), "100 KiB");
    assert_string_equal(mkv__people_size(out, KIB * KIB - 1), "1.00 MiB");
    assert_string_equal(mkv__people_size(out, UINT64_MAX), "16777216 TiB");
    assert_string_equal(mkv__people_duration(out, 12345), "12.3 us");
    assert_string_equal(mkv__people_duration(out, 999), "999 ns");
    assert_string_equal(mkv__people_duration(out, 999999), "1.00 ms");
    assert_string_equal(mkv__people_duration(out, 90 * SEC), "1.50 min");
    assert_string_equal(mkv__people_duration(out, 7200 * SEC), "2.00 h");
    assert_string_equal(mkv__people_count(out, 999400), "999k");
    assert_string_equal(mkv__people_count(out, 999), "999");
    assert_string_equal(mkv__people_count(out, 1234567), "1.23M");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_bad_durations),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_print_exactly),
        cmocka_unit_test(test_what_is_printed_is_read_back),
        cmocka_unit_test(test_print_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
