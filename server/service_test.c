/* One worker's share of a server, over the fake transport: time is the test's own. */
#include "testing/server/world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- memory that a client can hold --------------------------------------------------------- */

/* It announces a value, and no byte of it ever comes. */
static void no_deadline_is_longer_than_the_servers(void **state)
{
    (void)state;
    struct client c;
    struct batch b = {0};
    static uint8_t value[1000];
    open_world((struct setting){.seed = 1});
    connect_to(&c, NULL);
    add(&b, "k", sizeof(value), value);
    send_batch(&c, &b, MKV_TYPE_SET, NULL, UINT32_MAX);
    turn_for(10 * MS, MS);
    assert_int_equal(in_flight(), 1);
    assert_true(stat_now().bytes_used > 0);
    turn_for(61 * SECOND, 100 * MS);
    assert_true(c.replied);
    assert_int_equal(c.answers[0].status, MKV_WIRE_LATE);
    assert_int_equal(in_flight(), 0);
    (void)mkv__store_reclaim(world.store);
    assert_int_equal(stat_now().bytes_used, 0);
    disconnect(&c);
    close_world();
}

/* One that is slow says nothing about the others. */
static void a_slow_client_makes_nobody_else_late(void **state)
{
    (void)state;
    struct client slow, quick;
    struct batch big = {0};
    uint8_t *value = calloc(1, 20 * MIB);
    void *memory[] = {value};
    open_world((struct setting){.seed = 1, .memory = 128 * MIB, .chunk = 1 << 22});
    connect_to(&slow, NULL);
    connect_to(&quick, NULL);
    add(&big, "slow", 20 * MIB, value);
    send_batch(&slow, &big, MKV_TYPE_SET, NULL, 50000);
    turn_for(51 * SECOND, 100 * MS);
    assert_int_equal(slow.answers[0].status, MKV_WIRE_LATE);
    /* It is told at once what it cannot have; the other one is served meanwhile. */
    struct batch again = {0}, other = {0}, more = {0};
    add(&again, "a", 20 * MIB, value);
    send_batch(&slow, &again, MKV_TYPE_SET, NULL, 2000);
    turn_for(5 * MS, MS);
    assert_false(slow.replied);
    add(&more, "b", 20 * MIB, value);
    send_batch(&slow, &more, MKV_TYPE_SET, NULL, 2000);
    add(&other, "c", 20 * MIB, value);
    assert_int_equal(ask(&quick, &other, MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    assert_true(slow.replied);
    assert_int_equal(slow.answers[0].status, MKV_WIRE_LATE);
    disconnect(&slow);
    disconnect(&quick);
    close_world();
    free(value);
}

/* ---- what moves, and what is published ---------------------------------------------------- */

/* The memory of a kept value may not even be read: it cannot be. */
static void kept_moves_no_bytes(void **state)
{
    (void)state;
    struct client c;
    struct batch first = {0}, second = {0};
    static uint8_t value[5000];
    void *forbidden = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(forbidden != MAP_FAILED);
    memset(value, 3, sizeof(value));
    void *memory[] = {value, forbidden, value};
    open_world((struct setting){.seed = 1, .chunk = 700});
    connect_to(&c, NULL);
    add(&first, "k1", sizeof(value), value);
    assert_int_equal(ask(&c, &first, MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    const struct mkv__service_figures *f = mkv__service_figures(world.service);
    assert_int_equal(mkv__counter_read(&f->bytes_in), 5000);
    add(&second, "k0", 5000, value);
    add(&second, "k1", 5000, value);
    add(&second, "k2", 5000, value);
    assert_int_equal(ask(&c, &second, MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    assert_int_equal(c.answers[1].status, MKV_WIRE_KEPT);
    assert_int_equal(c.answers[2].status, MKV_WIRE_STORED);
    assert_int_equal(mkv__counter_read(&f->bytes_in), 15000);
    munmap(forbidden, 8192);
    disconnect(&c);
    close_world();
}

/* Withdrawn, or dead, at any moment: what is there afterwards is right to the last bit. */
static void withdrawn_is_whole_or_not_there(void **state)
{
    (void)state;
    unsigned there = 0, gone = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        static uint8_t value[3][9000];
        void *memory[] = {value[0], value[1], value[2]};
        struct client c;
        struct batch b = {0}, look = {0};
        open_world((struct setting){.seed = seed, .chunk = 2000});
        connect_to(&c, NULL);
        for (int i = 0; i < 3; i++) {
            char name[] = {'k', (char)('0' + i), '\0'};
            memset(value[i], (int)seed + i, sizeof(value[i]));
            add(&b, name, sizeof(value[i]), value[i]);
            add(&look, name, 0, NULL);
        }
        send_batch(&c, &b, MKV_TYPE_SET, memory, 8000);
        turn_for(seed % 40 * MS / 20, MS / 20);
        if (seed % 2) {
            mkv__fake.conceal(c.conn, &c.exposure, c.replied);
        } else {
            mkv__fake.close(c.conn);
        }
        memset(value, 0xee, sizeof(value)); /* the caller's again */
        turn_for(20 * MS, MS / 10);
        assert_int_equal(in_flight(), 0);
        disconnect(&c);
        connect_to(&c, NULL);
        for (uint32_t i = 0; i < 3; i++) {
            look.keys[i].checksum = b.keys[i].checksum;
        }
        (void)ask(&c, &look, MKV_TYPE_REPORT, NULL); /* the server looks at its bytes */
        for (int i = 0; i < 3; i++) {
            assert_true(c.answers[i].status == MKV_WIRE_HIT ||
                        c.answers[i].status == MKV_WIRE_MISS);
            there += c.answers[i].status == MKV_WIRE_HIT;
            gone += c.answers[i].status == MKV_WIRE_MISS;
            assert_int_equal(c.answers[i].status, c.answers[0].status); /* a batch at once */
        }
        disconnect(&c);
        close_world();
    }
    print_message("%u values there, %u not\n", there, gone);
    assert_true(there > 100 && gone > 100);
}

/* The largest value that is taken, one byte more, and none. */
static void limits_of_values(void **state)
{
    (void)state;
    struct client c;
    struct batch b = {0}, get = {0};
    uint8_t *value = calloc(1, 64 * MIB + 1);
    void *memory[] = {value, value, value};
    open_world((struct setting){.seed = 1, .memory = 256 * MIB, .chunk = 1 << 22});
    connect_to(&c, NULL);
    memset(value, 7, 64 * MIB + 1);
    add(&b, "most", 64 * MIB, value);
    add(&b, "none", 0, value);
    assert_int_equal(ask(&c, &b, MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    assert_int_equal(c.answers[1].status, MKV_WIRE_STORED);
    memset(value, 0, 64 * MIB);
    assert_int_equal(ask(&c, &b, MKV_TYPE_GET, memory), MKV_WIRE_HIT);
    assert_int_equal(c.answers[1].status, MKV_WIRE_HIT);
    assert_int_equal(value[0] + value[64 * MIB - 1] + value[64 * MIB], 21);
    add(&get, "more", 64 * MIB + 1, value);
    assert_int_equal(ask(&c, &get, MKV_TYPE_SET, NULL), MKV_WIRE_ERROR); /* nothing is pulled */
    assert_int_equal(ask(&c, &get, MKV_TYPE_GET, NULL), MKV_WIRE_MISS);
    disconnect(&c);
    close_world();
    free(value);
}

/* What nobody asked for is not sent: 40 hits are 40 bits, and 40 more for their leases. */
static void exists_is_a_bitmap(void **state)
{
    (void)state;
    struct client c;
    struct batch b = {0};
    open_world((struct setting){.seed = 1});
    connect_to(&c, NULL);
    for (int i = 0; i < 40; i++) {
        char name[] = {(char)('0' + i), '\0'};
        add(&b, name, 0, "");
    }
    assert_int_equal(ask(&c, &b, MKV_TYPE_SET, NULL), MKV_WIRE_STORED);
    assert_int_equal(ask(&c, &b, MKV_TYPE_EXISTS, NULL), MKV_WIRE_HIT);
    assert_int_equal(c.body_len, 4 + 1 + 1 + 5);
    b.request.flags = MKV_REQ_LEASE;
    assert_int_equal(ask(&c, &b, MKV_TYPE_EXISTS, NULL), MKV_WIRE_HIT);
    assert_int_equal(c.body_len, 4 + 1 + 1 + 5 + 4 + 5);
    assert_int_equal(c.answers[39].lease_ms, 10000);
    b.request.flags = MKV_REQ_WANT_LEN;
    assert_int_equal(ask(&c, &b, MKV_TYPE_EXISTS, NULL), MKV_WIRE_HIT);
    assert_int_equal(c.answers[39].checksum, b.keys[39].checksum);
    disconnect(&c);
    close_world();
}

static void conflicts_are_told_once_for_each_namespace(void **state)
{
    (void)state;
    struct client c;
    struct batch b[2] = {{.request = {.namespace_ = (const uint8_t *)"one"}},
                         {.request = {.namespace_ = (const uint8_t *)"two"}}};
    open_world((struct setting){.seed = 1});
    connect_to(&c, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask_one(&c, MKV_TYPE_SET, i ? "two" : "one", "k", 0), MKV_WIRE_STORED);
        assert_int_equal(ask_one(&c, MKV_TYPE_SET, i ? "two" : "one", "k", 0), MKV_WIRE_KEPT);
        add(&b[i], "new", 0, NULL);
        add(&b[i], "k", 3, NULL);
    }
    for (int i = 0; i < 6; i++) {
        assert_int_equal(world.told, i < 2 ? i : 2);
        ask(&c, &b[i % 2], MKV_TYPE_SET, NULL);
        assert_int_equal(c.answers[1].status, MKV_WIRE_CONFLICT);
    }
    assert_int_equal(world.told, 2);
    disconnect(&c);
    close_world();
}

/* Everything is leased: FULL, and nobody is hurt; leases end, and there is room again. */
static void full_when_all_is_leased(void **state)
{
    (void)state;
    struct client c;
    uint8_t *value = calloc(1, 3 * MIB);
    void *memory[] = {value};
    open_world((struct setting){.seed = 1, .memory = 4 * MIB});
    connect_to(&c, NULL);
    struct batch b[5];
    memset(b, 0, sizeof(b));
    for (int i = 0; i < 5; i++) {
        char name[] = {'k', (char)('0' + i), '\0'};
        add(&b[i], name, MIB - 8192, value);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&c, &b[i], MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    }
    /* A get leases, too: its caller may not have asked before. Half of the memory at most. */
    assert_int_equal(ask(&c, &b[0], MKV_TYPE_GET, memory), MKV_WIRE_HIT);
    assert_int_equal(c.answers[0].flags, MKV_ANSWER_LEASED);
    assert_int_equal(ask(&c, &b[1], MKV_TYPE_GET, memory), MKV_WIRE_HIT);
    assert_int_equal(ask(&c, &b[2], MKV_TYPE_GET, memory), MKV_WIRE_HIT);
    assert_int_equal(c.answers[0].flags, 0);
    assert_int_equal(ask(&c, &b[3], MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    assert_int_equal(ask(&c, &b[4], MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    assert_int_equal(ask(&c, &b[0], MKV_TYPE_GET, memory), MKV_WIRE_HIT);
    assert_int_equal(ask(&c, &b[1], MKV_TYPE_GET, memory), MKV_WIRE_HIT);
    struct batch large = {0};
    add(&large, "large", 3 * MIB, value);
    assert_int_equal(ask(&c, &large, MKV_TYPE_SET, NULL), MKV_WIRE_FULL);
    assert_int_equal(ask(&c, &b[0], MKV_TYPE_GET, memory), MKV_WIRE_HIT);
    turn_for(11 * SECOND, SECOND);
    struct batch half = {0};
    add(&half, "half", MIB - 8192, value);
    assert_int_equal(ask(&c, &half, MKV_TYPE_SET, memory), MKV_WIRE_STORED);
    disconnect(&c);
    close_world();
    free(value);
}

/* ---- rights ------------------------------------------------------------------------------- */

static void a_key_is_good_for_its_namespaces(void **state)
{
    (void)state;
    struct client one, two;
    static const uint8_t types[] = {MKV_TYPE_SET, MKV_TYPE_GET, MKV_TYPE_EXISTS, MKV_TYPE_REPORT,
                                    MKV_TYPE_DELETE};
    open_world((struct setting){.seed = 1, .keys = true, .admin = MKV__ADMIN_ALL});
    connect_to(&one, &all);
    connect_to(&two, &team);
    for (size_t i = 0; i < MKV_ARRAY_LEN(types); i++) {
        assert_int_equal(ask_one(&two, types[i], "team-b/x", "k", 0), MKV_WIRE_DENIED);
        assert_int_equal(ask_one(&two, types[i], "team-a", "k", 0), MKV_WIRE_DENIED);
        assert_int_equal(ask_one(&two, types[i], "", "k", 0), MKV_WIRE_DENIED);
    }
    /* The byte after this namespace is the number of keys, 47, which is the missing slash. */
    struct batch trick = {.request = {.namespace_ = (const uint8_t *)"team-a"}};
    for (int i = 0; i < '/'; i++) {
        char name[] = {(char)('0' + i), '\0'};
        add(&trick, name, 0, NULL);
    }
    assert_int_equal(ask(&two, &trick, MKV_TYPE_EXISTS, NULL), MKV_WIRE_DENIED);
    assert_int_equal(ask_one(&one, MKV_TYPE_SET, "team-b/x", "k", 0), MKV_WIRE_STORED);
    assert_int_equal(ask_one(&two, MKV_TYPE_EXISTS, "team-b/x", "k", 0), MKV_WIRE_DENIED);
    assert_int_equal(ask_one(&two, MKV_TYPE_SET, "team-a/x", "k", 0), MKV_WIRE_STORED);
    assert_int_equal(ask_one(&two, MKV_TYPE_GET, "team-a/x", "k", 0), MKV_WIRE_HIT);
    assert_int_equal(ask_one(&one, MKV_TYPE_EXISTS, "team-a/", "k", 0), MKV_WIRE_MISS);
    assert_int_equal(ask_one(&two, MKV_TYPE_DELETE, "team-a/x", "k", 0), MKV_WIRE_DELETED);
    assert_int_equal(mkv__counter_read(&mkv__service_figures(world.service)->denied), 17);
    disconnect(&one);
    disconnect(&two);
    close_world();
}

/* The fake's clients are never on this host. */
static void deleting_and_replacing_take_rights(void **state)
{
    (void)state;
    static const int without[] = {MKV__ADMIN_NONE, MKV__ADMIN_LOOPBACK};
    struct client c;
    for (size_t i = 0; i < MKV_ARRAY_LEN(without); i++) {
        open_world((struct setting){.seed = 1, .admin = without[i]});
        connect_to(&c, NULL);
        assert_int_equal(ask_one(&c, MKV_TYPE_SET, "ns", "k", 0), MKV_WIRE_STORED);
        assert_int_equal(ask_one(&c, MKV_TYPE_SET, "ns", "k", MKV_REQ_REPLACE), MKV_WIRE_DENIED);
        assert_int_equal(ask_one(&c, MKV_TYPE_DELETE, "ns", "k", 0), MKV_WIRE_DENIED);
        assert_int_equal(ask_one(&c, MKV_TYPE_REPORT, "ns", "k", 0), MKV_WIRE_HIT);
        assert_int_equal(ask_one(&c, MKV_TYPE_GET, "ns", "k", 0), MKV_WIRE_HIT);
        disconnect(&c);
        close_world();
    }
}

/* ---- draining ----------------------------------------------------------------------------- */

static void idle(void *arg)
{
    struct client *c = arg;
    assert_true(c == NULL || c->replied); /* the answer has arrived, not only left */
    world.idle++;
}

static void draining_lets_answers_arrive(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct client c, late;
        struct batch b = {0}, set = {0};
        static uint8_t value[60000], back[60000];
        void *memory[] = {value}, *into[] = {back};
        open_world((struct setting){.seed = seed, .chunk = 5000, .delay_ns = 20 * MS});
        connect_to(&c, NULL);
        memset(value, (int)seed, sizeof(value));
        add(&b, "k", sizeof(value), value);
        assert_int_equal(ask(&c, &b, MKV_TYPE_SET, memory), MKV_WIRE_STORED);
        send_batch(&c, &b, MKV_TYPE_GET, into, 8000);
        while (in_flight() == 0) {
            turn(MS / 10);
        }
        dial(&late, NULL); /* shakes hands while the others are told */
        mkv__service_drain(world.service, idle, &c);
        assert_int_equal(world.idle, 0);
        for (int i = 0; i < 10000 && (world.idle == 0 || !late.opened); i++) {
            turn(MS / 10);
        }
        assert_int_equal(world.idle, 1);
        assert_int_equal(c.answers[0].status, MKV_WIRE_HIT);
        assert_memory_equal(value, back, sizeof(value));
        mkv__fake.conceal(c.conn, &c.exposure, true);
        until(&c.goaway);
        until(&late.goaway);
        add(&set, "other", sizeof(value), value);
        assert_int_equal(ask(&late, &set, MKV_TYPE_SET, memory), MKV_WIRE_LATE);
        assert_int_equal(ask(&late, &b, MKV_TYPE_GET, into), MKV_WIRE_HIT);
        assert_int_equal(world.idle, 1);
        disconnect(&c);
        disconnect(&late);
        close_world();
    }
}

static void draining_without_clients_ends_at_once(void **state)
{
    (void)state;
    open_world((struct setting){.seed = 1});
    mkv__service_drain(world.service, idle, NULL);
    turn_for(3 * MS, MS);
    assert_int_equal(world.idle, 1);
    close_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_deadline_is_longer_than_the_servers),
        cmocka_unit_test(a_slow_client_makes_nobody_else_late),
        cmocka_unit_test(kept_moves_no_bytes),
        cmocka_unit_test(withdrawn_is_whole_or_not_there),
        cmocka_unit_test(limits_of_values),
        cmocka_unit_test(exists_is_a_bitmap),
        cmocka_unit_test(conflicts_are_told_once_for_each_namespace),
        cmocka_unit_test(full_when_all_is_leased),
        cmocka_unit_test(a_key_is_good_for_its_namespaces),
        cmocka_unit_test(deleting_and_replacing_take_rights),
        cmocka_unit_test(draining_lets_answers_arrive),
        cmocka_unit_test(draining_without_clients_ends_at_once),
    };
    mkv__store_thread_begin(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mkv__store_thread_end(NULL);
    return failed;
}
