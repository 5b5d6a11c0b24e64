/* One client, real servers: what is stored comes back, and limits hold. */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fleet fleet;

static int start(void **state)
{
    (void)state;
    fleet_start(&fleet, 3, "256M");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fleet_stop(&fleet);
    return 0;
}

static void blocking_calls(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    char out[16] = "untouched";
    uint64_t length = 7;
    assert_int_equal(mkv_exists(c, "k", 1), 0);
    assert_int_equal(mkv_get(c, "k", 1, out, 5, &length), -ENOENT);
    assert_int_equal(mkv_set(c, "k", 1, "hello", 5), 1);
    assert_int_equal(mkv_set(c, "k", 1, "hello", 5), 0);
    assert_int_equal(mkv_set(c, "k", 1, "other length", 12), -EMSGSIZE);
    assert_int_equal(mkv_exists(c, "k", 1), 1);
    assert_int_equal(mkv_get(c, "k", 1, out, 9, &length), -EMSGSIZE);
    assert_int_equal(length, 5);
    assert_string_equal(out, "untouched");
    assert_int_equal(mkv_get(c, "k", 1, out, 5, &length), 5);
    assert_memory_equal(out, "hello", 5);
    assert_int_equal(mkv_client_close(&c), 0);
    assert_null(c);
}

static void kept_differs_and_replace(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    struct mkv_batch *b;
    char out[3];
    struct mkv_segment s = {"bbb", 3};
    struct mkv_batch_options replace = {.size = sizeof(replace), .flags = MKV_REPLACE};
    struct mkv_batch_options differs = {.size = sizeof(differs), .flags = MKV_DIFFERS};
    assert_int_equal(mkv_set(c, "d", 1, "aaa", 3), 1);
    assert_int_equal(mkv_batch_create(c, &b), 0);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_SET, &differs), 0);
    assert_int_equal(mkv_batch_add(b, "d", 1, &s, 1), 0);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(mkv_batch_wait(b), 0);
    assert_int_equal(mkv_batch_status(b, 0), MKV_KEPT);
    assert_true(mkv_batch_differs(b, 0));
    assert_int_equal(mkv_batch_begin(b, MKV_OP_SET, &replace), 0);
    assert_int_equal(mkv_batch_status(b, 0), MKV_PENDING);
    assert_int_equal(mkv_batch_add(b, "d", 1, &s, 1), 0);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(mkv_batch_wait(b), 0);
    assert_int_equal(mkv_batch_status(b, 0), MKV_STORED);
    assert_int_equal(mkv_get(c, "d", 1, out, 3, NULL), 3);
    assert_memory_equal(out, "bbb", 3);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_DELETE, NULL), 0);
    assert_int_equal(mkv_batch_add(b, "d", 1, NULL, 0), 0);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(mkv_batch_wait(b), 0);
    assert_int_equal(mkv_batch_status(b, 0), MKV_DELETED);
    assert_int_equal(mkv_exists(c, "d", 1), 0);
    assert_int_equal(mkv_client_close(&c), -EBUSY); /* a batch is open */
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void edges_of_values(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, "set_timeout", "8s", "get_timeout", "8s", NULL);
    size_t most = MKV_VALUE_MAX;
    unsigned char *value = malloc(most + 1), *out = calloc(1, most + 1);
    if (value == NULL || out == NULL) {
        free(value);
        free(out);
        fail_msg("no memory");
        return;
    }
    pages_fill("edge", 1, value, most + 1);
    assert_int_equal(mkv_set(c, "empty", 5, NULL, 0), 1);
    assert_int_equal(mkv_exists(c, "empty", 5), 1);
    assert_int_equal(mkv_get(c, "empty", 5, NULL, 0, NULL), 0);
    assert_int_equal(mkv_set(c, "most", 4, value, most), 1);
    assert_int_equal(mkv_get(c, "most", 4, out, most, NULL), most);
    assert_memory_equal(out, value, most);
    assert_int_equal(mkv_set(c, "more", 4, value, most + 1), -EMSGSIZE);
    assert_int_equal(mkv_get(c, "most", 4, out, most + 1, NULL), -EMSGSIZE);
    for (size_t len = 1; len < 3000000; len = len * 3 + 1) {
        char key[32];
        size_t key_len = (size_t)snprintf(key, sizeof(key), "len-%zu", len);
        memset(out, 0, len + 1);
        assert_int_equal(mkv_set(c, key, key_len, value, len), 1);
        assert_int_equal(mkv_get(c, key, key_len, out, len, NULL), len);
        assert_memory_equal(out, value, len);
        assert_int_equal(out[len], 0);
    }
    free(value);
    free(out);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void edges_of_keys(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    char key[256];
    memset(key, 'k', sizeof(key));
    key[7] = '\0'; /* bytes are opaque */
    assert_int_equal(mkv_set(c, key, 0, "v", 1), -EINVAL);
    assert_int_equal(mkv_get(c, key, 0, key, 1, NULL), -EINVAL);
    assert_int_equal(mkv_exists(c, key, 0), -EINVAL);
    assert_int_equal(mkv_set(c, key, 256, "v", 1), -EINVAL);
    assert_int_equal(mkv_exists(c, key, 256), -EINVAL);
    assert_int_equal(mkv_set(c, key, 255, "v", 1), 1);
    assert_int_equal(mkv_exists(c, key, 255), 1);
    assert_int_equal(mkv_exists(c, key, 254), 0);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void namespaces_are_apart(void **state)
{
    (void)state;
    struct mkv_client *a = fleet_client(&fleet, 2, "namespace", "a", NULL);
    struct mkv_client *b = fleet_client(&fleet, 2, "namespace", "b", NULL);
    char out[1];
    assert_int_equal(mkv_set(a, "k", 1, "a", 1), 1);
    assert_int_equal(mkv_exists(b, "k", 1), 0);
    assert_int_equal(mkv_set(b, "k", 1, "b", 1), 1);
    assert_int_equal(mkv_get(a, "k", 1, out, 1, NULL), 1);
    assert_int_equal(out[0], 'a');
    mkv_client_close(&a);
    mkv_client_close(&b);
}

static void pages_in_batches(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 3, NULL);
    assert_int_equal(pages_read(c, "batch", 300, 10000), 0);
    assert_int_equal(pages_write(c, "batch", 300, 10000), 300);
    assert_int_equal(pages_exist(c, "batch", 310), 300);
    assert_int_equal(pages_read(c, "batch", 300, 10000), 300);
    assert_int_equal(fleet_stats(c).checksum_errors, 0);
    assert_int_equal(mkv_client_close(&c), 0);
}

/* exists of n keys over s servers is s messages, for each 4,096 keys. */
static void messages_are_counted(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 3, "placement_grace", "0", "exists_timeout", "8s",
                                        NULL);
    uint64_t before = fleet_stats(c).requests;
    pages_exist(c, "counted", 10000);
    assert_int_equal(fleet_stats(c).requests - before, 3);
    before = fleet_stats(c).requests;
    pages_exist(c, "counted", 36000); /* 12,000 each, give or take 300 */
    assert_int_equal(fleet_stats(c).requests - before, 9);
    assert_int_equal(fleet_stats(c).second_rounds, 0);
    assert_int_equal(fleet_stats(c).unknown, 0);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void empty_batch(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    struct mkv_batch *b;
    assert_int_equal(mkv_batch_create(c, &b), 0);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, NULL), 0);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(mkv_batch_wait(b), 0);
    assert_int_equal(mkv_batch_count(b), 0);
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void bad_configuration(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "10.0.0.300", "a=127.0.0.1,a=127.0.0.2", "127.0.0.1:x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mkv_option option = {"servers", bad[i]};
        struct mkv_client_options o = {
            .size = sizeof(o), .options = &option, .n_options = 1, .ignore_environment = true};
        struct mkv_client *c = NULL;
        struct mkv_error error = {0};
        assert_int_equal(mkv_client_open(&o, &c, &error), -EINVAL);
        assert_null(c);
        assert_true(strlen(error.text) > 10);
    }
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    struct mkv_error error = {0};
    assert_int_equal(mkv_client_set_servers(c, "a=b=c", &error), -EINVAL);
    assert_int_equal(mkv_set(c, "still", 5, "x", 1), 1);
    assert_int_equal(mkv_client_close(&c), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocking_calls),       cmocka_unit_test(kept_differs_and_replace),
        cmocka_unit_test(edges_of_values),      cmocka_unit_test(edges_of_keys),
        cmocka_unit_test(namespaces_are_apart), cmocka_unit_test(pages_in_batches),
        cmocka_unit_test(messages_are_counted), cmocka_unit_test(empty_batch),
        cmocka_unit_test(bad_configuration),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, start, stop);
}
