/* Lists of servers that are replaced, weights, and regions that are counted. */
#include "router/internal.h"
#include "testing/router/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 600u

static struct rig rig;

static void set_servers(unsigned n)
{
    struct mkv_error error = {0};
    if (mkv_client_set_servers(rig.client, rig_list(&rig, n), &error) < 0) {
        fail_msg("%s", error.text);
    }
}

static void lists_that_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", " , ", "a=b=c", "10.0.0.1:x", "a=10.0.0.1,a=10.0.0.2"};
    rig_init(&rig, 1, 1, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mkv_error error = {0};
        assert_int_equal(mkv_client_set_servers(rig.client, bad[i], &error), -EINVAL);
        assert_int_equal(error.code, -EINVAL);
        assert_true(strlen(error.text) > 10);
        assert_int_equal(mkv_client_set_servers(rig.client, bad[i], NULL), -EINVAL);
    }
    assert_int_equal(rig_run(&rig, MKV_OP_EXISTS, "k", 1, NULL, 0), 0);
    assert_int_equal(rig_stats(&rig).unknown, 0);
    rig_fini(&rig);
}

/* What is in flight ends on the old list, whose session goes after it. */
static void replaced_under_a_batch(void **state)
{
    (void)state;
    unsigned char memory[40 * PAGE], got[40 * PAGE];
    rig_init(&rig, 3, 3, NULL);
    rig_fill("r", 40, memory, PAGE);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "r", 40, memory, PAGE), 40);
    rig.servers[2].hold = true;
    struct mkv_batch *b = rig_batch(&rig, MKV_OP_GET, "r", 40, got, PAGE, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    rig_turns(&rig, 50);
    set_servers(2);
    assert_int_equal(rig_stats(&rig).servers, 2);
    rig_turns(&rig, 50);
    assert_non_null(rig.servers[2].conns[0]);
    rig_release(&rig.servers[2]);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_prefix(b), 40);
    assert_memory_equal(got, memory, sizeof(got));
    mkv_batch_destroy(&b);
    rig_turns(&rig, 50);
    assert_null(rig.servers[2].conns[0]);
    int before = rig.servers[2].requests;
    rig_run(&rig, MKV_OP_EXISTS, "r", 40, NULL, 0);
    assert_int_equal(rig.servers[2].requests, before);
    rig_fini(&rig);
}

/* Sessions, breakers and generations of servers that stay are kept. */
static void those_that_stay_keep_their_session(void **state)
{
    (void)state;
    rig_init(&rig, 3, 2, NULL);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 40, NULL, 0);
    for (int i = 0; i < 100; i++) {
        set_servers(i % 2 == 0 ? 3 : 2);
        rig_run(&rig, MKV_OP_EXISTS, "k", 10, NULL, 0);
    }
    assert_int_equal(rig.servers[0].accepted, 1);
    assert_int_equal(rig.servers[1].accepted, 1);
    rig_die(&rig.servers[0]);
    rig_turns(&rig, 20);
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    set_servers(3);
    assert_int_equal(rig_stats(&rig).servers_up, 2);
    rig_fini(&rig);
}

static void the_same_list_starts_no_grace(void **state)
{
    (void)state;
    rig_init(&rig, 3, 2, "placement_grace", "10s", NULL);
    rig_pass(&rig, 11 * RIG_S);
    set_servers(2);
    rig_run(&rig, MKV_OP_EXISTS, "k", 40, NULL, 0);
    assert_int_equal(rig_stats(&rig).second_rounds, 0);
    set_servers(3);
    rig_run(&rig, MKV_OP_EXISTS, "k", 40, NULL, 0);
    assert_true(rig_stats(&rig).second_rounds > 0);
    rig_pass(&rig, 11 * RIG_S);
    uint64_t before = rig_stats(&rig).second_rounds;
    char list[600];
    snprintf(list, sizeof(list), "%s*2", rig_list(&rig, 3)); /* a weight is a change */
    rig_run(&rig, MKV_OP_EXISTS, "k", 40, NULL, 0);
    assert_int_equal(rig_stats(&rig).second_rounds, before);
    assert_int_equal(mkv_client_set_servers(rig.client, list, NULL), 0);
    rig_run(&rig, MKV_OP_EXISTS, "k", 40, NULL, 0);
    assert_true(rig_stats(&rig).second_rounds > before);
    rig_fini(&rig);
}

static void weights_share_the_keys(void **state)
{
    (void)state;
    char list[200];
    rig_init(&rig, 2, 2, "placement_grace", "0", NULL);
    snprintf(list, sizeof(list), "s0=%s,s1=%s*3", rig.servers[0].address, rig.servers[1].address);
    assert_int_equal(mkv_client_set_servers(rig.client, list, NULL), 0);
    rig_run(&rig, MKV_OP_EXISTS, "w", 4000, NULL, 0);
    assert_in_range(rig.servers[0].keys, 850, 1150);
    assert_int_equal(rig.servers[0].keys + rig.servers[1].keys, 4000);
    rig_fini(&rig);
}

/* Another address of the same name is another session, not another place. */
static void a_name_moves_to_another_address(void **state)
{
    (void)state;
    unsigned char memory[40 * PAGE];
    char list[200];
    rig_init(&rig, 3, 2, "placement_grace", "0", NULL);
    rig_fill("m", 40, memory, PAGE);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "m", 40, memory, PAGE), 40);
    int there = rig.servers[0].requests;
    snprintf(list, sizeof(list), "s0=%s,s1=%s", rig.servers[0].address, rig.servers[2].address);
    assert_int_equal(mkv_client_set_servers(rig.client, list, NULL), 0);
    uint32_t keys = rig.servers[0].keys;
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "m", 40, memory, PAGE), 40);
    assert_int_equal(rig.servers[0].requests, there + 1);
    assert_int_equal(rig.servers[0].keys, 2 * keys);
    assert_int_equal(rig.servers[2].keys, 40 - keys);
    rig_fini(&rig);
}

/* Regions ---------------------------------------------------------------------------------------- */

static void regions_are_counted(void **state)
{
    (void)state;
    static unsigned char memory[8 * PAGE];
    struct mkv_region *region = NULL, *all = NULL, *aside = NULL;
    rig_init(&rig, 1, 1, NULL);
    const struct {
        enum mkv_memory_kind kind;
        int want;
    } kinds[] = {{MKV_MEMORY_HOST, 0},
                 {MKV_MEMORY_CUDA, -ENOTSUP},
                 {MKV_MEMORY_DMABUF, -ENOTSUP},
                 {(enum mkv_memory_kind)77, -ENOTSUP}};
    for (size_t i = 0; i < 4; i++) {
        struct mkv_region_options o = {.size = sizeof(o), .kind = kinds[i].kind};
        assert_int_equal(mkv_region_open(rig.client, memory, 10, &o, &region), kinds[i].want);
        assert_int_equal(mkv_region_close(&region), 0);
        assert_null(region);
    }
    assert_int_equal(mkv_region_open(rig.client, NULL, 1, NULL, &region), -EINVAL);
    assert_int_equal(mkv_region_open(rig.client, memory, 0, NULL, &region), -EINVAL);
    assert_int_equal(mkv_region_open(rig.client, memory, SIZE_MAX, NULL, &region), -EINVAL);
    assert_int_equal(mkv_region_open(rig.client, memory, 4 * PAGE, NULL, &region), 0);
    assert_int_equal(mkv_region_open(rig.client, memory, 8 * PAGE, NULL, &all), 0); /* overlap */
    assert_int_equal(mkv_region_open(rig.client, memory + 6 * PAGE, PAGE, NULL, &aside), 0);
    assert_int_equal(mkv_client_close(&rig.client), -EBUSY);
    rig.servers[0].hold = true;
    struct mkv_batch *b[2];
    for (int i = 0; i < 2; i++) {
        b[i] = rig_batch(&rig, MKV_OP_GET, "k", 2, memory + PAGE, PAGE, NULL);
        assert_int_equal(mkv_batch_submit(b[i]), 0);
    }
    rig_turns(&rig, 20);
    assert_int_equal(mkv_region_close(&region), -EBUSY);
    assert_int_equal(mkv_region_close(&all), -EBUSY);
    assert_int_equal(mkv_region_close(&aside), 0);
    assert_non_null(region);
    mkv_batch_destroy(&b[0]);
    assert_int_equal(mkv_region_close(&region), -EBUSY); /* of the second */
    rig_release(&rig.servers[0]);
    rig_wait(&rig, b[1]);
    assert_int_equal(mkv_region_close(&region), 0); /* done, though not yet destroyed */
    assert_int_equal(mkv_region_close(&region), 0);
    mkv_batch_destroy(&b[1]);
    assert_int_equal(mkv_region_close(&all), 0);
    rig_fini(&rig);
}

static char asked_for[64];

static int spy_node(const char *address)
{
    snprintf(asked_for, sizeof(asked_for), "%s", address);
    return -1;
}

/* The worker is to run near the NIC that reaches the first server. */
static void the_nic_is_asked_for(void **state)
{
    (void)state;
    struct mkv__transport spy = mkv__fake;
    struct mkv__client_seam seam = {.transport = &spy, .manual = true};
    struct mkv_option servers = {"servers", "a=10.0.0.7:1,b=10.0.0.8:2"};
    struct mkv_client_options o = {
        .size = sizeof(o), .options = &servers, .n_options = 1, .ignore_environment = true};
    struct mkv_client *client;
    spy.numa_node = spy_node;
    assert_int_equal(mkv__client_open_on(&o, &seam, &client, NULL), 0);
    assert_string_equal(asked_for, "10.0.0.7:1");
    assert_int_equal(mkv_client_close(&client), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_that_are_refused),
        cmocka_unit_test(replaced_under_a_batch),
        cmocka_unit_test(those_that_stay_keep_their_session),
        cmocka_unit_test(the_same_list_starts_no_grace),
        cmocka_unit_test(weights_share_the_keys),
        cmocka_unit_test(a_name_moves_to_another_address),
        cmocka_unit_test(regions_are_counted),
        cmocka_unit_test(the_nic_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
