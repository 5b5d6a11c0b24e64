/* Rails that are poor: slow ones, NICs that make no session, what hangs on all of them. */
#include "router/internal.h"
#include "testing/router/rails.h"

#include "transport/fake/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_open(unsigned rail)
{
    uint32_t state = __atomic_load_n(&rig.client->table->servers[0]->state, __ATOMIC_RELAXED);
    return (state & RAIL_OPEN(rail)) != 0;
}

/* What hangs hangs on all rails: it does not cost some time-outs for each. */
static void a_server_that_hangs_is_left_soon(void **state)
{
    (void)state;
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 20 * RIG_MS};
    start(3, 1);
    write_pages("warm");
    rig.servers[0].stalled = true;
    unsigned paid = 0;
    for (; rig_stats(&rig).servers_up > 0; paid++) {
        struct mkv_batch *b = submit(MKV_OP_EXISTS, "warm", 1, NULL, 0, &o);
        assert_int_equal(rig_wait(&rig, b), -ETIMEDOUT);
        mkv_batch_destroy(&b);
        assert_true(paid < 100);
    }
    print_message("%u time-outs\n", paid);
    assert_in_range(paid, 3, 3 + 2);
    rig.servers[0].stalled = false;
    rig_pass(&rig, 5 * RIG_S);
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    read_pages("warm");
    rig_fini(&rig);
}

/* Rails that go over something slower ------------------------------------------------------------ */

static bool slow[MKV_RAILS_MAX], dead[MKV_RAILS_MAX]; /* dead: no session can be made */
static struct {
    struct mkv__endpoint *endpoint;
    struct mkv__conn *conn;
    unsigned rail;
} spied[MKV_RAILS_MAX];

static int spy_endpoint(struct mkv__worker *worker, const struct mkv__endpoint_options *options,
                        struct mkv__endpoint **out)
{
    int r = mkv__fake.endpoint_open(worker, options, out);
    spied[options->rail].endpoint = *out;
    return r;
}

static int spy_connect(struct mkv__endpoint *endpoint, const char *address,
                       const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out)
{
    for (unsigned i = 0; i < MKV_RAILS_MAX; i++) {
        address = spied[i].endpoint == endpoint && dead[i] ? "10.9.9.9:9900" : address;
    }
    int r = mkv__fake.connect(endpoint, address, handlers, arg, out);
    for (unsigned i = 0; i < MKV_RAILS_MAX; i++) {
        spied[i].conn = spied[i].endpoint == endpoint ? *out : spied[i].conn;
    }
    return r;
}

static bool spy_degraded(const struct mkv__conn *conn)
{
    for (unsigned i = 0; i < MKV_RAILS_MAX; i++) {
        if (spied[i].conn == conn) {
            return slow[i];
        }
    }
    return false;
}

static void start_spied(unsigned rails)
{
    static struct mkv__transport spy;
    spy = mkv__fake;
    spy.endpoint_open = spy_endpoint;
    spy.connect = spy_connect;
    spy.degraded = spy_degraded;
    memset(spied, 0, sizeof(spied));
    memset(slow, 0, sizeof(slow));
    memset(dead, 0, sizeof(dead));
    rig_setting.transport = &spy;
    start(rails, 1);
    rig_setting.transport = NULL;
}

static void a_slow_rail_is_used_when_all_are(void **state)
{
    (void)state;
    start_spied(2);
    write_pages("a");
    assert_int_equal(rig.servers[0].requests, 2);
    slow[0] = true;
    rig_run(&rig, MKV_OP_EXISTS, "a", 1, NULL, 0); /* its answer shows it */
    assert_int_equal(rig_stats(&rig).rails_up, 1);
    assert_int_equal(rig_logged(&rig, "1 s0: rail 0 lost: fake"), 1);
    int before = rig.servers[0].requests;
    read_pages("a");
    assert_int_equal(rig.servers[0].requests, before + 1); /* over the other */
    slow[1] = true;
    rig_run(&rig, MKV_OP_EXISTS, "a", 1, NULL, 0);
    before = rig.servers[0].requests;
    read_pages("a");
    assert_int_equal(rig.servers[0].requests, before + 2); /* no difference */
    assert_int_equal(rig_stats(&rig).rails_up, 0);
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    slow[0] = slow[1] = false; /* that is seen without anybody's request */
    rig_pass(&rig, 1200 * RIG_MS);
    assert_int_equal(rig_stats(&rig).rails_up, 2);
    assert_int_equal(rig_logged(&rig, " lost: "), 2);
    rig_fini(&rig);
}

/* NICs that die --------------------------------------------------------------------------------- */

static int exists_error(void)
{
    struct mkv_batch *b = submit(MKV_OP_EXISTS, "a", 1, NULL, 0, NULL);
    int error = rig_wait(&rig, b);
    mkv_batch_destroy(&b);
    return error;
}

/* Nothing that is small has ever used the other one: it is tried, and the server is not given up. */
static void a_dead_nic_takes_no_server_away(void **state)
{
    (void)state;
    for (int warm = 0; warm < 2; warm++) {
        start_spied(2);
        if (warm) {
            assert_int_equal(exists_error(), 0);
        }
        dead[0] = true;
        if (warm) {
            rig_cut(&rig.servers[0], 0);
            rig_turns(&rig, 50);
        } else {
            (void)exists_error(); /* finds it out */
        }
        rig_turns(&rig, 50);
        assert_int_equal(rig_stats(&rig).servers_up, 1);
        assert_int_equal(rig_stats(&rig).rails_up, 1);
        for (int i = 0; i < 20; i++) { /* rail 0 is tried again, and fails */
            assert_int_equal(exists_error(), 0);
            rig_pass(&rig, 100 * RIG_MS);
        }
        write_pages("a");
        dead[0] = false;
        rig_pass(&rig, 20 * RIG_S);
        assert_int_equal(rig_stats(&rig).rails_up, 2);
        read_pages("a");
        rig_fini(&rig);
    }
}

/* What one rail was refused is no reason to leave a third alone for ever. */
static void a_dead_nic_leaves_the_others(void **state)
{
    (void)state;
    start_spied(3);
    memset(&rig.client->rails[1].near, 0xff, sizeof(rig.client->rails[1].near));
    assert_int_equal(exists_error(), 0);
    dead[0] = true;
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "two", 8, memory, PAGE), 8);
    rig_pass(&rig, 2 * RIG_S);
    int before = rig.servers[0].requests;
    write_pages("a");
    assert_int_equal(rig.servers[0].requests, before + 2);
    assert_true(is_open(1) && is_open(2));
    assert_int_equal(rig_stats(&rig).rails_up, 2);
    rig_fini(&rig);
}

/* Nor for asking another server when the session of the one that works is made anew. */
static void a_dead_nic_and_a_lost_session(void **state)
{
    (void)state;
    start_spied(2);
    dead[1] = true;
    assert_int_equal(exists_error(), 0);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "two", 8, memory, PAGE), 8);
    rig_pass(&rig, RIG_S); /* it is probed, and fails */
    assert_int_equal(rig_stats(&rig).rails_up, 1);
    rig.servers[0].hold = true;
    struct mkv_batch *b = submit(MKV_OP_EXISTS, "a", 1, NULL, 0, NULL);
    rig_turns(&rig, 50);
    assert_int_equal(rig.servers[0].n_held, 1);
    rig_cut(&rig.servers[0], 0);
    rig.servers[0].hold = false;
    assert_int_equal(rig_wait(&rig, b), 0);
    mkv_batch_destroy(&b);
    assert_int_equal(rig_stats(&rig).reissued, 1);
    assert_int_equal(rig_logged(&rig, "not used"), 0);
    rig_fini(&rig);
}

/* Replaced while its rails are still finding out. */
static void retired_while_rails_are_tried(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        start_spied(3);
        assert_int_equal(exists_error(), 0);
        dead[0] = dead[1] = dead[2] = true;
        rig_die(&rig.servers[0]);
        rig_turns(&rig, turns);
        assert_int_equal(mkv_client_set_servers(rig.client, "s9=10.9.9.8:9900", NULL), 0);
        rig_turns(&rig, turns % 3 * 20);
        rig_fini(&rig);
    }
}

/* STAT over another rail than the one that has failed. */
static void a_second_look_forgets_the_first(void **state)
{
    (void)state;
    char *text = NULL;
    struct mkv_batch *b;
    start(2, 1);
    assert_int_equal(mkv_batch_create(rig.client, &b), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, NULL), 0);
        b->stat_out = &text;
        b->stat_server = rig.client->table->servers[0];
        rig.servers[0].hold = i == 0;
        assert_int_equal(mkv_batch_submit(b), 0);
        if (i == 0) {
            rig_turns(&rig, 50);
            rig_cut(&rig.servers[0], 0);
        }
        assert_int_equal(rig_wait(&rig, b), i == 0 ? -ECONNRESET : 0);
        b->stat_out = NULL;
    }
    assert_string_equal(text, "{}");
    free(text);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_hangs_is_left_soon),
        cmocka_unit_test(a_slow_rail_is_used_when_all_are),
        cmocka_unit_test(a_dead_nic_takes_no_server_away),
        cmocka_unit_test(a_dead_nic_leaves_the_others),
        cmocka_unit_test(a_dead_nic_and_a_lost_session),
        cmocka_unit_test(retired_while_rails_are_tried),
        cmocka_unit_test(a_second_look_forgets_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
