#include "core/config/cpus.h"
#include "core/config/value.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIXTYFOUR "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct row {
    enum mkv__option_id id;
    const char *text;
    const char *expected; /* as printed, or the error */
};

static void test_values_print_in_canonical_form(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {MKV_OPT_MEMORY, "1.5 GiB", "1536M"},
        {MKV_OPT_GET_TIMEOUT, "1.5s", "1500ms"},
        {MKV_OPT_GET_TIMEOUT, "8s", "8s"},
        {MKV_OPT_PLACEMENT_GRACE, "0", "0s"},
        {MKV_OPT_WORKERS, " 4 ", "4"},
        {MKV_OPT_CHECKSUM, "Yes", "true"},
        {MKV_OPT_CHECKSUM, "on", "true"},
        {MKV_OPT_CHECKSUM, "1", "true"},
        {MKV_OPT_CHECKSUM, "TRUE", "true"},
        {MKV_OPT_CHECKSUM, "no", "false"},
        {MKV_OPT_CHECKSUM, "off", "false"},
        {MKV_OPT_CHECKSUM, "0", "false"},
        {MKV_OPT_CHECKSUM, " false ", "false"},
        {MKV_OPT_TRANSPORT, "TCP", "tcp"},
        {MKV_OPT_TRANSPORT, "auto", "auto"},
        {MKV_OPT_LOG_LEVEL, "debug", "debug"},
        {MKV_OPT_NAMESPACE, " kept as it is ", " kept as it is "},
        {MKV_OPT_NAMESPACE, "", ""},
        {MKV_OPT_RDMA_DEVICES, "mlx5_0 , mlx5_1", "mlx5_0,mlx5_1"},
        {MKV_OPT_WORKERS_CPUS, "8, 3 ,0-2,2", "0-3,8"},
        {MKV_OPT_WORKERS_CPUS, "2,4-7", "2,4-7"},
        {MKV_OPT_RDMA_DEVICES, SIXTYFOUR, SIXTYFOUR},
        {MKV_OPT_LISTEN, "[::]:0", "[::]:0"},
        {MKV_OPT_SERVERS, "a = h * 2", "a=h:9900*2"},
        {MKV_OPT_AUTH_KEY, "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n",
         "fingerprint 630dcd29"}, /* sha256sum says so too */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mkv__value value;
        char error[MKV_SPAN_ERROR] = "", printed[200];
        if (mkv__value_parse(rows[i].id, rows[i].text, &value, error) != 0) {
            fail_msg("\"%s\": %s", rows[i].text, error);
        }
        size_t n = mkv__value_print(rows[i].id, &value, printed, sizeof(printed));
        assert_string_equal(printed, rows[i].expected);
        assert_int_equal(n, strlen(printed));
        mkv__value_fini(&value);
        assert_false(value.set);
    }
}

static void test_bad_values(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {MKV_OPT_GET_TIMEOUT, "2 parsecs",
         "\"2 parsecs\" is not a duration (expected e.g. 250ms, 2s)"},
        {MKV_OPT_GET_TIMEOUT, "2", "\"2\" is a duration without a unit (expected e.g. 250ms, 2s)"},
        {MKV_OPT_GET_TIMEOUT, "9s", "\"9s\" is too long (expected 1ms to 8s)"},
        {MKV_OPT_GET_TIMEOUT, "8001ms", "\"8001ms\" is too long (expected 1ms to 8s)"},
        {MKV_OPT_GET_TIMEOUT, "0", "\"0\" is too short (expected 1ms to 8s)"},
        {MKV_OPT_MEMORY, "12X", "\"12X\" is not a size (expected e.g. 64K, 1MiB, 1.5G)"},
        {MKV_OPT_MEMORY, "1023K", "\"1023K\" is too small (expected 1M to 16T)"},
        {MKV_OPT_MAX_VALUE, "65M", "\"65M\" is too large (expected 4K to 64M)"},
        {MKV_OPT_WORKERS, "many", "\"many\" is not a number (expected e.g. 4)"},
        {MKV_OPT_WORKERS, "0", "\"0\" is too small (expected 1 to 64)"},
        {MKV_OPT_WORKERS, "65", "\"65\" is too large (expected 1 to 64)"},
        {MKV_OPT_CHECKSUM, "maybe", "\"maybe\" is neither true nor false"},
        {MKV_OPT_CHECKSUM, "", "\"\" is neither true nor false"},
        {MKV_OPT_TRANSPORT, "udp", "\"udp\" is none of auto|rdma|shm|tcp"},
        {MKV_OPT_TRANSPORT, "tc", "\"tc\" is none of auto|rdma|shm|tcp"},
        {MKV_OPT_AUTH_KEY_FILE, "", "\"\" has a wrong length (expected 1 to 4095 bytes)"},
        {MKV_OPT_RDMA_DEVICES, "a,,b", "\"\" has a wrong length (expected 1 to 64 bytes)"},
        {MKV_OPT_RDMA_DEVICES, SIXTYFOUR "d",
         "\"" SIXTYFOUR "d\" has a wrong length (expected 1 to 64 bytes)"},
        {MKV_OPT_WORKERS_CPUS, "", "\"\" is not a list of CPUs (expected e.g. 2,4-7)"},
        {MKV_OPT_WORKERS_CPUS, "3-1", "\"3-1\" is not a list of CPUs (expected e.g. 2,4-7)"},
        {MKV_OPT_WORKERS_CPUS, "1,x", "\"x\" is not a list of CPUs (expected e.g. 2,4-7)"},
        {MKV_OPT_WORKERS_CPUS, "4096", "\"4096\" is not a list of CPUs (expected e.g. 2,4-7)"},
        {MKV_OPT_WORKERS_CPUS, "0-", "\"0-\" is not a list of CPUs (expected e.g. 2,4-7)"},
        {MKV_OPT_LISTEN, "0.0.0.0:70000",
         "\"0.0.0.0:70000\" has no valid port (expected 0 to 65535)"},
        {MKV_OPT_SERVERS, "10.0.0.300", "\"10.0.0.300\" is not an IPv4 address"},
        {MKV_OPT_AUTH_KEY, "secret", "not a key (expected 64 hex digits, got 6 characters)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mkv__value value = {.number = 7};
        char error[MKV_SPAN_ERROR] = "";
        int rc = mkv__value_parse(rows[i].id, rows[i].text, &value, error);
        if (rc != -EINVAL || strcmp(error, rows[i].expected) != 0) {
            fail_msg("\"%s\": %d, %s", rows[i].text, rc, error);
        }
        assert_int_equal(value.number, 7); /* untouched */
        assert_false(value.set);
    }
}

static void test_not_set_prints_nothing(void **state)
{
    (void)state;
    struct mkv__value value = {0};
    char out[4] = "xyz";
    for (enum mkv__option_id id = 0; id < MKV_OPT_COUNT; id++) {
        assert_int_equal(mkv__value_print(id, &value, out, sizeof(out)), 0);
        assert_string_equal(out, "");
    }
}

static void test_lists(void **state)
{
    (void)state;
    struct mkv__value value;
    char error[MKV_SPAN_ERROR];
    char text[65 * 2 + 1] = "";
    assert_int_equal(mkv__value_parse(MKV_OPT_RDMA_DEVICES, " a , b ", &value, error), 0);
    assert_int_equal(value.n, 2);
    assert_string_equal(value.items[0], "a");
    assert_string_equal(value.items[1], "b");
    assert_string_equal(value.text, "a,b");
    mkv__value_fini(&value);
    for (size_t i = 0; i < 65; i++) {
        memcpy(text + 2 * i, "d,", 3);
    }
    text[2 * 64 - 1] = '\0';
    assert_int_equal(mkv__value_parse(MKV_OPT_RDMA_DEVICES, text, &value, error), 0);
    assert_int_equal(value.n, 64);
    mkv__value_fini(&value);
    text[2 * 64 - 1] = ',';
    text[2 * 65 - 1] = '\0';
    assert_int_equal(mkv__value_parse(MKV_OPT_RDMA_DEVICES, text, &value, error), -EINVAL);
    assert_string_equal(error, "\"d\" is one too many (expected at most 64)");
}

static void test_cpus(void **state)
{
    (void)state;
    unsigned *cpus = NULL;
    size_t n = 0;
    char error[MKV_SPAN_ERROR];
    assert_int_equal(mkv__cpus_parse("4095,0-4095", &cpus, &n, error), 0);
    assert_int_equal(n, MKV_CPUS_MAX);
    char *text = mkv__cpus_text(cpus, n);
    assert_string_equal(text, "0-4095");
    free(text);
    for (size_t i = 0; i < n / 2; i++) {
        cpus[i] = (unsigned)(2 * i); /* the longest text there is */
    }
    text = mkv__cpus_text(cpus, n / 2);
    assert_string_equal(text + strlen(text) - 10, ",4092,4094");
    free(text);
    free(cpus);
}

static void test_a_secret_is_never_in_an_error(void **state)
{
    (void)state;
    struct mkv__value value;
    char error[MKV_SPAN_ERROR];
    const char *almost = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg";
    assert_int_equal(mkv__value_parse(MKV_OPT_AUTH_KEY, almost, &value, error), -EINVAL);
    assert_string_equal(error, "not a key (expected 64 hex digits, character 64 is none)");
}

static void test_longest_text(void **state)
{
    (void)state;
    struct mkv__value value;
    char error[MKV_SPAN_ERROR], text[257];
    memset(text, 'n', sizeof(text));
    text[255] = '\0';
    assert_int_equal(mkv__value_parse(MKV_OPT_NAMESPACE, text, &value, error), 0);
    assert_string_equal(value.text, text);
    mkv__value_fini(&value);
    text[255] = 'n';
    text[256] = '\0';
    assert_int_equal(mkv__value_parse(MKV_OPT_NAMESPACE, text, &value, error), -EINVAL);
}

static void test_long_values_are_cut_in_errors(void **state)
{
    (void)state;
    struct mkv__value value;
    char error[MKV_SPAN_ERROR], text[5000];
    memset(text, '9', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(mkv__value_parse(MKV_OPT_MEMORY, text, &value, error), -EINVAL);
    assert_non_null(strstr(error, "999...\" is too large a size"));
    assert_int_equal(mkv__value_parse(MKV_OPT_NAMESPACE, text, &value, error), -EINVAL);
    assert_non_null(strstr(error, "999...\" has a wrong length (expected 0 to 255 bytes)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_print_in_canonical_form),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_not_set_prints_nothing),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_a_secret_is_never_in_an_error),
        cmocka_unit_test(test_longest_text),
        cmocka_unit_test(test_long_values_are_cut_in_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
