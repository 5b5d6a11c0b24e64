/* Rails: what is split and what is not, rails that are lost and come back, batches that end while
 * parts of them are on several workers. */
#include "router/internal.h"
#include "testing/router/rails.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void touched_by_nobody(void)
{
    memset(got, 0xc5, sizeof(got));
    rig_turns(&rig, 100);
    for (size_t i = 0; i < sizeof(got); i++) {
        if (got[i] != 0xc5) {
            fail_msg("byte %zu was written", i);
        }
    }
}

/* Dealing --------------------------------------------------------------------------------------- */

/* One message over each rail, as many bytes in each, in runs. */
static void bytes_are_dealt_over_the_rails(void **state)
{
    (void)state;
    for (unsigned rails = 2; rails <= 3; rails++) {
        start(rails, 1);
        write_pages("split");
        assert_int_equal(rig.servers[0].requests, rails);
        assert_int_equal(rig.servers[0].accepted, rails);
        read_pages("split");
        assert_int_equal(rig.servers[0].requests, 2 * rails);
        uint32_t keys = 0;
        for (unsigned i = 0; i < rails; i++) {
            const struct rig_seen *seen = &rig.servers[0].seen[i];
            assert_int_equal(seen->requests, 2);
            assert_in_range(seen->bytes, 2 * (PAGES / rails) * PAGE,
                            2 * (PAGES / rails + 1) * PAGE);
            assert_int_equal(seen->last - seen->first + 1, seen->keys / 2);
            keys += seen->keys / 2;
        }
        assert_int_equal(keys, PAGES);
        assert_int_equal(rig_stats(&rig).rails, rails);
        assert_int_equal(rig_stats(&rig).rails_up, rails);
        assert_int_equal(rig_stats(&rig).reissued, 0);
        rig_fini(&rig);
    }
}

/* By bytes, not by keys. */
static void a_large_value_outweighs_many(void **state)
{
    (void)state;
    start(2, 1);
    struct mkv_batch *b;
    assert_int_equal(mkv_batch_create(rig.client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_SET, NULL), 0);
    for (unsigned i = 0; i < 17; i++) {
        struct mkv_segment s = {memory + (i == 0 ? 0 : 1024 * KIB), i == 0 ? 1024 * KIB : PAGE};
        char key[16];
        assert_int_equal(
            mkv_batch_add(b, key, (size_t)snprintf(key, sizeof(key), "w-%u", i), &s, 1), i);
    }
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    mkv_batch_destroy(&b);
    unsigned large = rig.servers[0].seen[0].first == 0 ? 0 : 1;
    assert_int_equal(rig.servers[0].seen[large].keys, 1);
    assert_int_equal(rig.servers[0].seen[1 - large].keys, 16);
    rig_fini(&rig);
}

static void what_is_small_stays_on_one_rail(void **state)
{
    (void)state;
    start(3, 1);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "small", 7, memory, PAGE), 7); /* 448 KiB */
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "small", 7, got, PAGE), 7);
    rig_run(&rig, MKV_OP_EXISTS, "many", 4000, NULL, 0);
    rig_run(&rig, MKV_OP_DELETE, "many", 4000, NULL, 0);
    struct mkv_batch *b = rig_one(&rig, MKV_OP_SET, "one", memory, sizeof(memory), NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    mkv_batch_destroy(&b);
    assert_int_equal(rig.servers[0].accepted, 1);
    assert_int_equal(rig.servers[0].requests, 5);
    /* As many rails as get enough. */
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "two", 8, memory, PAGE), 8);
    assert_int_equal(rig.servers[0].accepted, 2);
    rig_fini(&rig);
}

static void each_server_is_dealt_over_all_rails(void **state)
{
    (void)state;
    start(2, 2);
    write_pages("both");
    read_pages("both");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(rig.servers[i].accepted, 2);
        assert_int_equal(rig.servers[i].requests, 4);
    }
    rig_fini(&rig);
}

static bool is_open_at(unsigned server, unsigned rail)
{
    uint32_t state = __atomic_load_n(&rig.client->table->servers[server]->state, __ATOMIC_RELAXED);
    return (state & RAIL_OPEN(rail)) != 0;
}

static bool is_open(unsigned rail)
{
    return is_open_at(0, rail);
}

/* Too little for each server to be dealt, and enough in all. */
static void many_servers_share_the_rails(void **state)
{
    (void)state;
    start(2, RIG_SERVERS);
    write_pages("many");
    uint64_t bytes[2] = {0};
    for (unsigned i = 0; i < RIG_SERVERS; i++) {
        struct rig_server *s = &rig.servers[i];
        assert_in_range(s->requests, 1, 2);
        for (unsigned rail = 0; s->requests == 1 && rail < 2; rail++) {
            bytes[rail] += is_open_at(i, rail) ? s->seen[0].bytes : 0;
        }
    }
    assert_true(bytes[0] >= 256 * KIB && bytes[1] >= 256 * KIB);
    read_pages("many");
    for (unsigned i = 0; i < RIG_SERVERS; i++) {
        rig.servers[i].requests = 0;
    }
    rig_run(&rig, MKV_OP_EXISTS, "many", 4000, NULL, 0);
    for (unsigned i = 0; i < RIG_SERVERS; i++) {
        assert_int_equal(rig.servers[i].requests, 1);
    }
    rig_fini(&rig);
}

/* The rail whose NIC is near the caller's CPU comes first. */
static void the_nearest_rail_is_taken(void **state)
{
    (void)state;
    start(3, 1);
    memset(&rig.client->rails[2].near, 0xff, sizeof(rig.client->rails[2].near));
    rig_run(&rig, MKV_OP_EXISTS, "k", 1, NULL, 0);
    assert_true(is_open(2) && !is_open(0) && !is_open(1));
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "two", 8, memory, PAGE), 8);
    assert_true(is_open(2) && is_open(0) && !is_open(1));
    rig_fini(&rig);
}

/* A server that has an address for each NIC. */
static void rails_begin_at_different_addresses(void **state)
{
    (void)state;
    char list[128];
    start(2, 2);
    snprintf(list, sizeof(list), "s0=%s|%s", rig.servers[0].address, rig.servers[1].address);
    assert_int_equal(mkv_client_set_servers(rig.client, list, NULL), 0);
    write_pages("both");
    assert_int_equal(rig.servers[0].requests, 1);
    assert_int_equal(rig.servers[1].requests, 1);
    rig_die(&rig.servers[1]); /* that way is gone: the rail takes the other */
    rig_turns(&rig, 50);
    write_pages("more");
    assert_int_equal(rig.servers[0].requests, 3);
    assert_int_equal(rig_stats(&rig).rails_up, 2);
    rig_fini(&rig);
}

/* Losing a rail --------------------------------------------------------------------------------- */

/* Both rails have a request out; one session breaks. */
static struct mkv_batch *cut_one(enum mkv_op op, uint64_t timeout_ns)
{
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = timeout_ns};
    rig_fill("cut", PAGES, memory, PAGE);
    rig.servers[0].hold = true;
    struct mkv_batch *b = submit(op, "cut", PAGES, op == MKV_OP_SET ? memory : got, PAGE, &o);
    rig_turns(&rig, 50);
    assert_int_equal(rig.servers[0].n_held, 2);
    rig_cut(&rig.servers[0], 0);
    rig_turns(&rig, 50);
    return b;
}

/* The other server is not asked for them. */
static void a_lost_rails_keys_go_over_the_other(void **state)
{
    (void)state;
    for (int get = 0; get < 2; get++) {
        start(2, 2);
        write_pages(get ? "cut" : "warm");
        int elsewhere = rig.servers[1].requests;
        struct mkv_batch *b = cut_one(get ? MKV_OP_GET : MKV_OP_SET, 0);
        assert_int_equal(rig.servers[0].n_held, 2); /* the other rail's, and what was lost */
        assert_int_equal(rig_stats(&rig).servers_up, 2);
        rig_release(&rig.servers[0]);
        assert_int_equal(rig_wait(&rig, b), 0);
        assert_int_equal(mkv_batch_prefix(b), PAGES);
        assert_int_equal(rig_stats(&rig).reissued, 1);
        assert_int_equal(rig_stats(&rig).second_rounds, 0);
        assert_int_equal(rig.servers[1].requests, elsewhere + 2);
        if (get) {
            assert_memory_equal(got, memory, sizeof(got));
        }
        mkv_batch_destroy(&b);
        read_pages("cut");
        /* The rail has come back by itself, and each was told once. */
        assert_int_equal(rig_stats(&rig).rails_up, 2);
        assert_int_equal(rig_logged(&rig, "1 s0: rail 0 lost: connection closed by the peer") +
                             rig_logged(&rig, "1 s0: rail 1 lost: connection closed by the peer"),
                         1);
        assert_int_equal(rig_logged(&rig, "2 s0: rail"), 1);
        assert_int_equal(rig_logged(&rig, " is back"), 1);
        assert_int_equal(rig_logged(&rig, "not used"), 0);
        rig_fini(&rig);
    }
}

/* The server reads the values from the session that was lost until it notices. */
static void a_set_waits_for_itself(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        start(2, 1);
        write_pages("warm");
        uint64_t begin = rig.now_ns;
        struct mkv_batch *b = cut_one(MKV_OP_SET, 200 * RIG_MS);
        rig.servers[0].say = MKV_WIRE_BUSY;
        rig_release(&rig.servers[0]);
        rig_pass(&rig, 20 * RIG_MS);
        assert_int_equal(mkv_batch_test(b), 0);
        rig.servers[0].say = late ? MKV_WIRE_BUSY : 0;
        assert_int_equal(rig_wait(&rig, b), -EAGAIN); /* of those that were never lost */
        unsigned stored = 0;
        for (unsigned i = 0; i < PAGES; i++) {
            stored += mkv_batch_status(b, i) == MKV_STORED;
        }
        assert_int_equal(stored, late ? 0 : PAGES / 2);
        assert_true(rig.now_ns - begin <= 200 * RIG_MS + 60000);
        assert_in_range(rig.servers[0].requests, 2 + 3 + 3, 2 + 3 + 20);
        assert_int_equal(rig_stats(&rig).reissued, 1);
        mkv_batch_destroy(&b);
        rig_fini(&rig);
    }
}

static void all_rails_are_lost_at_once(void **state)
{
    (void)state;
    for (unsigned rails = 1; rails <= 3; rails++) {
        start(rails, 1);
        write_pages("warm");
        rig_fill("all", PAGES, memory, PAGE);
        rig.servers[0].hold = true;
        struct mkv_batch *b = submit(MKV_OP_SET, "all", PAGES, memory, PAGE, NULL);
        rig_turns(&rig, 50);
        assert_int_equal(rig.servers[0].n_held, rails);
        for (unsigned i = 0; i < rails; i++) {
            rig_cut(&rig.servers[0], i);
        }
        rig.servers[0].hold = false;
        assert_int_equal(rig_wait(&rig, b), 0);
        assert_int_equal(mkv_batch_prefix(b), PAGES);
        mkv_batch_destroy(&b);
        assert_in_range(rig_stats(&rig).reissued, rails, rails * rails);
        assert_int_equal(rig_logged(&rig, "not used"), 0);
        read_pages("all");
        assert_int_equal(rig_stats(&rig).rails_up, rails);
        rig_fini(&rig);
    }
}

/* A request is sent twice, not more: the second loss counts against the server. */
static void once_only(void **state)
{
    (void)state;
    start(1, 1);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 1, NULL, 0);
    rig.servers[0].hold = true;
    struct mkv_batch *b = submit(MKV_OP_EXISTS, "k", 1, NULL, 0, NULL);
    for (int i = 0; i < 2; i++) {
        rig_turns(&rig, 50);
        assert_int_equal(rig.servers[0].n_held, 1);
        assert_int_equal(rig_stats(&rig).servers_up, 1);
        rig_cut(&rig.servers[0], 0);
    }
    assert_int_equal(rig_wait(&rig, b), -ECONNRESET);
    assert_int_equal(rig_stats(&rig).reissued, 1);
    assert_int_equal(rig_stats(&rig).servers_up, 0);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

/* With nothing out a lost session is made anew, too, before anybody needs it. */
static void an_idle_session_is_lost(void **state)
{
    (void)state;
    start(2, 1);
    write_pages("warm");
    rig_cut(&rig.servers[0], 1);
    rig_turns(&rig, 50);
    assert_int_equal(rig.servers[0].accepted, 3);
    assert_int_equal(rig_stats(&rig).rails_up, 2);
    assert_int_equal(rig_stats(&rig).unknown, 0);
    read_pages("warm");
    assert_int_equal(rig.servers[0].accepted, 3);
    rig_fini(&rig);
}

static void deadlines_hold_meanwhile(void **state)
{
    (void)state;
    const uint64_t timeout_ns = 30 * RIG_MS;
    for (int stalled = 0; stalled < 2; stalled++) {
        start(2, 1);
        write_pages("cut");
        uint64_t begin = rig.now_ns;
        struct mkv_batch *b = cut_one(MKV_OP_GET, timeout_ns);
        if (stalled) { /* no session can be made either */
            rig_cut(&rig.servers[0], 1);
            rig.servers[0].stalled = true;
        }
        assert_int_equal(rig_wait(&rig, b), -ETIMEDOUT);
        assert_in_range(rig.now_ns - begin, timeout_ns, timeout_ns + 60000);
        for (unsigned i = 0; i < PAGES; i++) {
            assert_int_equal(mkv_batch_error(b, i), -ETIMEDOUT);
        }
        rig.servers[0].stalled = false;
        rig_release(&rig.servers[0]);
        touched_by_nobody();
        mkv_batch_destroy(&b);
        rig_fini(&rig);
    }
}

static void a_dead_server_is_found_out_by_one_batch(void **state)
{
    (void)state;
    for (int warm = 0; warm < 2; warm++) {
        start(3, 2);
        if (warm) {
            write_pages("warm");
            rig_turns(&rig, 50);
        }
        rig_die(&rig.servers[0]);
        write_pages("dead");
        assert_int_equal(rig_stats(&rig).servers_up, 1);
        assert_int_equal(rig_stats(&rig).unknown, 0);
        assert_int_equal(rig_logged(&rig, "s0: not used until it answers again"), 1);
        read_pages("dead");
        uint64_t errors = rig_stats(&rig).connection_errors;
        for (int i = 0; i < 50; i++) {
            rig_run(&rig, MKV_OP_EXISTS, "dead", 40, NULL, 0);
        }
        assert_int_equal(rig_stats(&rig).connection_errors, errors); /* nobody pays for it */
        /* It returns, and all of its rails are used again. */
        rig_live(&rig.servers[0]);
        rig_pass(&rig, RIG_S);
        assert_int_equal(rig_stats(&rig).servers_up, 2);
        assert_int_equal(rig_logged(&rig, "s0: answers again"), 1);
        write_pages("back");
        write_pages("more");
        assert_int_equal(rig_stats(&rig).rails_up, 3);
        int open = 0;
        for (unsigned i = 0; i < RIG_CONNS; i++) {
            open += rig.servers[0].conns[i] != NULL;
        }
        assert_int_equal(open, 3);
        rig_fini(&rig);
    }
}

static void goaway_comes_over_each_rail(void **state)
{
    (void)state;
    start(2, 2);
    write_pages("warm");
    rig_goaway(&rig.servers[0]);
    rig_turns(&rig, 50);
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    int before = rig.servers[0].requests;
    write_pages("next");
    assert_int_equal(rig.servers[0].requests, before);
    rig_pass(&rig, 2 * RIG_S);
    assert_int_equal(rig_stats(&rig).servers_up, 2);
    rig_fini(&rig);
}

/* Ends ------------------------------------------------------------------------------------------ */

static void cancelled_with_parts_on_two_rails(void **state)
{
    (void)state;
    start(2, 1);
    write_pages("p");
    for (int turns = 0; turns < 40; turns++) {
        struct mkv_batch *b = submit(MKV_OP_GET, "p", PAGES, got, PAGE, NULL);
        rig_turns(&rig, turns);
        if (turns % 3 == 0 && rig.servers[0].conns[0] != NULL && turns > 0) {
            rig_cut(&rig.servers[0], 0); /* a part moves meanwhile */
            rig_turns(&rig, turns % 7);
        }
        assert_int_equal(mkv_batch_cancel(b), 0);
        assert_int_equal(mkv_batch_cancel(b), 0);
        rig_wait(&rig, b);
        touched_by_nobody();
        mkv_batch_destroy(&b);
        rig_pass(&rig, 200 * RIG_MS);
    }
    read_pages("p");
    rig_fini(&rig);
}

struct call {
    int n;
    bool destroy, again;
    struct mkv_batch *other;
};

static void called(void *arg, struct mkv_batch *b)
{
    struct call *c = arg;
    c->n++;
    assert_int_equal(mkv_batch_test(b), 1);
    if (c->again) {
        struct mkv_batch_options o = {.size = sizeof(o), .done = called, .done_arg = c};
        c->again = false;
        assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, &o), 0);
        for (unsigned i = 0; i < PAGES; i++) {
            char key[16];
            struct mkv_segment s = {got + i * PAGE, PAGE};
            int len = snprintf(key, sizeof(key), "p-%u", i);
            assert_int_equal(mkv_batch_add(b, key, (size_t)len, &s, 1), i);
        }
        assert_int_equal(mkv_batch_submit(b), 0);
        return;
    }
    mkv_batch_destroy(&c->other);
    if (c->destroy) {
        mkv_batch_destroy(&b);
    }
}

static void destroyed_in_callbacks(void **state)
{
    (void)state;
    start(2, 1);
    write_pages("p");
    for (int turns = 0; turns < 40; turns++) {
        struct call call = {.destroy = true, .again = turns % 2 == 0};
        struct mkv_batch_options o = {.size = sizeof(o), .done = called, .done_arg = &call};
        struct mkv_batch_options notify = {.size = sizeof(notify), .flags = MKV_NOTIFY};
        struct mkv_batch *b = rig_batch(&rig, MKV_OP_GET, "p", PAGES, got, PAGE, &o);
        call.other = rig_batch(&rig, MKV_OP_GET, "p", PAGES, got, PAGE,
                               turns % 4 == 1 ? &notify : NULL);
        assert_int_equal(mkv_batch_submit(turns % 3 == 0 ? b : call.other), 0);
        rig_turns(&rig, turns % 3 == 0 ? 0 : turns / 2);
        assert_int_equal(mkv_batch_submit(turns % 3 == 0 ? call.other : b), 0);
        int calls = call.again ? 2 : 1;
        for (int i = 0; call.n < calls; i++) {
            rig_turn(&rig);
            assert_true(i < 100000);
        }
        assert_null(call.other);
        rig_turns(&rig, 2); /* other workers are told */
        touched_by_nobody();
    }
    struct mkv_batch *done[1];
    assert_int_equal(mkv_client_reap(rig.client, done, 1), 0);
    read_pages("p");
    rig_fini(&rig); /* it would be -EBUSY if a batch were still there */
}

static void replaced_under_a_batch(void **state)
{
    (void)state;
    start(2, 3);
    write_pages("r");
    rig.servers[2].hold = true;
    struct mkv_batch *b = submit(MKV_OP_GET, "r", PAGES, got, PAGE, NULL);
    rig_turns(&rig, 50);
    assert_int_equal(mkv_client_set_servers(rig.client, rig_list(&rig, 2), NULL), 0);
    rig_turns(&rig, 50);
    assert_non_null(rig.servers[2].conns[0]);
    rig_release(&rig.servers[2]);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_prefix(b), PAGES);
    mkv_batch_destroy(&b);
    rig_turns(&rig, 50);
    for (unsigned i = 0; i < RIG_CONNS; i++) {
        assert_null(rig.servers[2].conns[i]);
    }
    rig_fini(&rig);
}

static void regions_are_on_all_rails(void **state)
{
    (void)state;
    struct mkv_region *region = NULL;
    start(3, 1);
    assert_int_equal(mkv_region_open(rig.client, got, sizeof(got), NULL, &region), 0);
    rig.servers[0].hold = true;
    struct mkv_batch *b = submit(MKV_OP_GET, "r", PAGES, got, PAGE, NULL);
    rig_turns(&rig, 50);
    assert_int_equal(mkv_region_close(&region), -EBUSY);
    rig_release(&rig.servers[0]);
    rig_wait(&rig, b);
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_region_close(&region), 0);
    rig_fini(&rig);
}

static void opened_and_closed_a_thousand_times(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        start(1 + (unsigned)i % 3, 1);
        if (i % 4 == 0) {
            rig_run(&rig, MKV_OP_SET, "k", 8, memory, PAGE);
        }
        if (i % 8 == 0) {
            rig_die(&rig.servers[0]);
            rig_turns(&rig, i / 8 % 5);
        }
        rig_fini(&rig);
    }
}

/* Sessions die at any moment: all ends, and what is there is right. */
static void sessions_that_die_all_the_time(void **state)
{
    (void)state;
    unsigned hits = 0, stored = 0;
    uint64_t reissued = 0;
    for (unsigned seed = 0; seed < 6; seed++) {
        rig_setting.seed = seed;
        rig_setting.death_in = 60 + 20 * (seed % 5);
        rig_setting.linger_in = seed % 2 == 0 ? 0 : 2;
        start(1 + seed % 3, 2);
        for (unsigned i = 0; i < 12; i++) {
            char tag[16];
            snprintf(tag, sizeof(tag), "d%u", i / 2);
            rig_fill(tag, PAGES, memory, PAGE);
            memset(got, 0, sizeof(got));
            bool set = i % 2 == 0;
            struct mkv_batch *b = submit(set ? MKV_OP_SET : MKV_OP_GET, tag, PAGES,
                                         set ? memory : got, PAGE, NULL);
            rig_wait(&rig, b);
            for (unsigned k = 0; k < PAGES; k++) {
                enum mkv_status status = mkv_batch_status(b, k);
                assert_int_not_equal(status, MKV_PENDING);
                stored += status == MKV_STORED;
                if (!set && status == MKV_HIT) {
                    hits++;
                    assert_memory_equal(got + k * PAGE, memory + k * PAGE, PAGE);
                }
            }
            mkv_batch_destroy(&b);
            rig_pass(&rig, 50 * RIG_MS);
        }
        reissued += rig_stats(&rig).reissued;
        rig_fini(&rig);
    }
    rig_setting = (struct rig_setting){0};
    print_message("%u stored, %u hits, %d requests issued again\n", stored, hits, (int)reissued);
    assert_true(stored > 150 && hits > 100 && reissued > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_dealt_over_the_rails),
        cmocka_unit_test(a_large_value_outweighs_many),
        cmocka_unit_test(what_is_small_stays_on_one_rail),
        cmocka_unit_test(each_server_is_dealt_over_all_rails),
        cmocka_unit_test(many_servers_share_the_rails),
        cmocka_unit_test(the_nearest_rail_is_taken),
        cmocka_unit_test(rails_begin_at_different_addresses),
        cmocka_unit_test(a_lost_rails_keys_go_over_the_other),
        cmocka_unit_test(a_set_waits_for_itself),
        cmocka_unit_test(all_rails_are_lost_at_once),
        cmocka_unit_test(once_only),
        cmocka_unit_test(an_idle_session_is_lost),
        cmocka_unit_test(deadlines_hold_meanwhile),
        cmocka_unit_test(a_dead_server_is_found_out_by_one_batch),
        cmocka_unit_test(goaway_comes_over_each_rail),
        cmocka_unit_test(cancelled_with_parts_on_two_rails),
        cmocka_unit_test(destroyed_in_callbacks),
        cmocka_unit_test(replaced_under_a_batch),
        cmocka_unit_test(regions_are_on_all_rails),
        cmocka_unit_test(opened_and_closed_a_thousand_times),
        cmocka_unit_test(sessions_that_die_all_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
