/* Over fake verbs: which way a session takes, what keeps it from RDMA, and what is told about it. */
#include "testing/rdma/fake_verbs.h"
#include "testing/rdma/sides.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is chosen -------------------------------------------------------------------------------------- */

static void the_address_chooses_the_device(void **state)
{
    struct rig rig;

    (void)state;
    sides_subject.any_address = "127.0.0.2:0";
    rig_init(&rig, &sides_subject, &case_key, &case_key);
    rig_connect(&rig);
    goes_over(&rig.server, "rdma: fake1 port 1 gid 2");
    goes_over(&rig.client, "rdma: fake0 port 1 gid 2");
    rig_fini(&rig);
}

static void another_network_takes_the_first(void **state)
{
    struct rig rig;

    (void)state;
    sides_subject.any_address = "127.0.0.9:0";
    rig_init(&rig, &sides_subject, &case_key, &case_key);
    rig_connect(&rig);
    goes_over(&rig.server, "rdma: fake0 port 1 gid 2");
    rig_fini(&rig);
}

static void gids_of_ipv6_do(void **state)
{
    static const struct fake_gid gids[] = {{"fe80::1", IBV_GID_TYPE_ROCE_V1},
                                           {"fe80::1", IBV_GID_TYPE_ROCE_V2}};
    struct rig rig;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        memcpy(fake_verbs_device(i)->gids, gids, sizeof(gids));
        fake_verbs_device(i)->n_gids = 2;
    }
    case_open(&rig);
    goes_over(&rig.client, "rdma: fake0 port 1 gid 1");
    rig_fini(&rig);
}

static void the_smaller_mtu_is_taken(void **state)
{
    struct rig rig;

    (void)state;
    sides_subject.any_address = "127.0.0.2:0";
    fake_verbs_device(1)->mtu = IBV_MTU_1024;
    fake_verbs_wire_mtu(1024);
    case_open(&rig);
    goes_over(&rig.client, "rdma: fake0");
    goes_over(&rig.server, "rdma: fake1");
    case_still_works(&rig);
    rig_fini(&rig);
}

/* What keeps it from working --------------------------------------------------------------------------- */

/* The session is on tcp, and works; the client says why. */
static void stays_on_tcp(enum mkv__rdma_reason reason, bool of_peer, const char *why)
{
    struct rig rig;
    char text[300];
    bool theirs;

    rig_init(&rig, &sides_subject, &case_key, &case_key);
    rig_connect(&rig);
    rig.t->describe(rig.client.conn, text, sizeof(text));
    if (strncmp(text, "tcp, not rdma: ", 15) != 0 || !strstr(text, why)) {
        fail_msg("goes over: %s", text);
    }
    assert_int_equal(rig.t->reason(rig.client.conn, &theirs), reason);
    assert_int_equal(theirs, of_peer);
    case_still_works(&rig);
    rig_fini(&rig);
}

static void a_port_that_is_down(void **state)
{
    (void)state;
    device_of[0] = device_of[1] = "fake0";
    fake_verbs_device(0)->state = IBV_PORT_DOWN;
    stays_on_tcp(MKV_REASON_PORT_DOWN, false, "fake0: no port is up");
}

static void a_device_that_is_not_there(void **state)
{
    (void)state;
    device_of[0] = "mlx5_7";
    stays_on_tcp(MKV_REASON_NOT_NAMED, false, "no RDMA device of those that rdma_devices names");
}

static void no_devices(void **state)
{
    (void)state;
    fake_verbs_device(0)->gone = fake_verbs_device(1)->gone = true;
    stays_on_tcp(MKV_REASON_NO_DEVICE, false, "this machine has no RDMA device");
}

static void a_server_without(void **state)
{
    (void)state;
    device_of[1] = "none";
    stays_on_tcp(MKV_REASON_PEER_HAS_NO, true,
                 "the server has no RDMA device, or RDMA switched off");
}

static void no_gid(void **state)
{
    (void)state;
    fake_verbs_device(0)->n_gids = fake_verbs_device(1)->n_gids = 0;
    stays_on_tcp(MKV_REASON_NO_GID, false, "no device has a GID");
}

static void gids_of_different_types(void **state)
{
    (void)state;
    sides_subject.any_address = "127.0.0.2:0";
    device_of[1] = "fake1";
    fake_verbs_device(1)->n_gids = 2; /* of RoCE v1 */
    stays_on_tcp(MKV_REASON_NO_GID, true,
                 "the peer says: fake1 has a GID of RoCE v1, the peer one of RoCE v2");
}

static void memory_that_cannot_be_locked(void **state)
{
    (void)state;
    fake_verbs_device(0)->failing_mrs = -1;
    stays_on_tcp(MKV_REASON_MEMORY, false, "ulimit -l");
}

static void a_server_whose_memory_cannot_be_locked(void **state)
{
    (void)state;
    sides_subject.any_address = "127.0.0.2:0";
    fake_verbs_device(1)->failing_mrs = -1;
    stays_on_tcp(MKV_REASON_MEMORY, true, "the peer says: fake1 gives no queue pairs");
}

static void packets_that_are_lost(void **state)
{
    (void)state;
    fake_verbs_device(0)->deaf = true;
    stays_on_tcp(MKV_REASON_SILENCE, false, "UDP port 4791");
}

static void packets_that_are_too_long(void **state)
{
    (void)state;
    fake_verbs_wire_mtu(1024);
    stays_on_tcp(MKV_REASON_MTU, false, "no long ones");
}

/* The server hears all, and its long answers are lost: the session does not end of that. */
static void packets_that_are_too_long_one_way(void **state)
{
    struct rig rig;

    (void)state;
    sides_subject.any_address = "127.0.0.2:0";
    sides_subject.fake_clock = true;
    fake_verbs_device(0)->narrow = 1024;
    case_open(&rig);
    goes_over(&rig.client, "tcp, not rdma: short messages came over the queue pairs, and no long");
    rig_turns(&rig, 60000); /* 6 s */
    assert_int_equal(rig.client.closed + rig.server.closed, 0);
    goes_over(&rig.client, "tcp, not rdma");
    goes_over(&rig.server, "tcp, not rdma");
    fake_verbs_device(0)->narrow = 0;
    for (int i = 0; i < 100000 && rig.t->degraded(rig.client.conn); i++) {
        rig_turns(&rig, 1);
    }
    goes_over(&rig.client, "rdma: fake0");
    case_still_works(&rig);
    rig_fini(&rig);
}

static void a_server_that_says_nothing_more(void **state)
{
    (void)state;
    fake_verbs_fail(IBV_WR_SEND, 1, IBV_WC_RETRY_EXC_ERR, 0x81);
    stays_on_tcp(MKV_REASON_SILENCE, false, "UDP port 4791");
}

static void memory_of_a_server_that_cannot_be_locked(void **state)
{
    static uint8_t memory[1 << 20];
    struct rig rig;
    bool theirs;

    (void)state;
    rig_init(&rig, &sides_subject, &case_key, &case_key);
    fake_verbs_device(0)->memlock = 1 << 19;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rig.t->region_add(rig.server_endpoint[i], memory, sizeof(memory)), 0);
    }
    fake_verbs_device(0)->memlock = 0;
    rig_connect(&rig);
    goes_over(&rig.client, "tcp, not rdma: the peer says: 1 MiB of memory cannot be registered");
    assert_int_equal(rig.t->reason(rig.client.conn, &theirs), MKV_REASON_MEMORY);
    assert_true(theirs);
    rig_fini(&rig);
}

static void without_it_there_is_no_session(void **state)
{
    struct rig rig;

    (void)state;
    must = true;
    fake_verbs_device(0)->deaf = true;
    rig_init(&rig, &sides_subject, &case_key, &case_key);
    rig_dial(&rig);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.opened, 0);
    assert_non_null(strstr(rig.client.why, "UDP port 4791"));
    rig_turns(&rig, 100);
    rig_fini(&rig);
}

/* It comes back when the reason is gone. */
static void it_comes_back(void **state)
{
    struct rig rig;

    (void)state;
    sides_subject.fake_clock = true;
    fake_verbs_device(0)->deaf = true;
    case_open(&rig);
    goes_over(&rig.client, "tcp, not rdma");
    fake_verbs_device(0)->deaf = false;
    for (int i = 0; i < 100000 && rig.t->degraded(rig.client.conn); i++) {
        rig_turns(&rig, 1);
    }
    goes_over(&rig.client, "rdma: fake0");
    case_still_works(&rig);
    rig_fini(&rig);
}

/* Figures ---------------------------------------------------------------------------------------------- */

static void look_at_figures(const struct rig *rig, struct mkv__transport_figures *out)
{
    *out = (struct mkv__transport_figures){0};
    for (int i = 0; i < 2; i++) {
        rig->t->figures(rig->server_endpoint[i], out);
    }
}

static void figures_add_up(void **state)
{
    struct rig rig;
    struct mkv__transport_figures f, mine = {0};
    struct fake_counts c;

    (void)state;
    sides_subject.fake_clock = true;
    sides_subject.any_address = "127.0.0.2:0";
    fake_verbs_device(1)->deaf = true;
    fake_verbs_device(1)->mtu = IBV_MTU_1024;
    case_open(&rig);
    look_at_figures(&rig, &f);
    assert_int_equal(f.over_tcp, 1);
    assert_int_equal(f.over_rdma + f.to_rdma + f.to_tcp, 0);
    assert_int_equal(f.n, 2);
    fake_verbs_device(1)->deaf = false;
    for (int i = 0; i < 100000 && rig.t->degraded(rig.client.conn); i++) {
        rig_turns(&rig, 1);
    }
    goes_over(&rig.client,
              "rdma: fake0 port 1 gid 2 (RoCE v2), mtu 1024, 2 queue pairs (the peer's "
              "mtu; ours is 4096)");
    goes_over(&rig.server, "rdma: fake1 port 1 gid 2 (RoCE v2), mtu 1024, 2 queue pairs");
    look_at_figures(&rig, &f);
    assert_int_equal(f.over_tcp, 0);
    assert_int_equal(f.over_rdma, 1);
    assert_int_equal(f.to_rdma, 1);
    assert_string_equal(f.rails[1].device, "fake1");
    assert_string_equal(f.rails[1].gid, "127.0.0.2");
    assert_string_equal(f.rails[1].gid_type, "RoCE v2");
    assert_int_equal(f.rails[1].mtu, 1024);
    assert_int_equal(f.rails[1].queue_pairs, 2);
    assert_int_equal(f.rails[0].sessions, 0);
    case_still_works(&rig);
    rig.t->figures(rig.client_endpoint, &mine);
    look_at_figures(&rig, &f);
    fake_verbs_counts(&c);
    assert_int_equal(mine.rails[0].doorbells + f.rails[1].doorbells, c.doorbells);
    assert_int_equal(mine.rails[0].signaled + f.rails[1].signaled, c.signaled);
    fake_verbs_event(1, IBV_EVENT_QP_FATAL);
    fake_verbs_fail(IBV_WR_SEND, 1, IBV_WC_RETRY_EXC_ERR, 0x81);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    look_at_figures(&rig, &f);
    assert_int_equal(f.over_rdma + f.over_tcp, 0);
    assert_int_equal(f.to_tcp, 1);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SIDES_TEST(the_address_chooses_the_device),
        SIDES_TEST(another_network_takes_the_first),
        SIDES_TEST(gids_of_ipv6_do),
        SIDES_TEST(the_smaller_mtu_is_taken),
        SIDES_TEST(a_port_that_is_down),
        SIDES_TEST(a_device_that_is_not_there),
        SIDES_TEST(no_devices),
        SIDES_TEST(a_server_without),
        SIDES_TEST(no_gid),
        SIDES_TEST(gids_of_different_types),
        SIDES_TEST(memory_that_cannot_be_locked),
        SIDES_TEST(a_server_whose_memory_cannot_be_locked),
        SIDES_TEST(packets_that_are_lost),
        SIDES_TEST(packets_that_are_too_long),
        SIDES_TEST(packets_that_are_too_long_one_way),
        SIDES_TEST(a_server_that_says_nothing_more),
        SIDES_TEST(memory_of_a_server_that_cannot_be_locked),
        SIDES_TEST(figures_add_up),
        SIDES_TEST(without_it_there_is_no_session),
        SIDES_TEST(it_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
