/* Over fake verbs: a peer that takes long to be found, or is not found, holds up nobody else. */
#include "core/fault.h"
#include "testing/rdma/fake_verbs.h"
#include "testing/rdma/sides.h"
#include "transport/rdma/rdma.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static uint64_t connecting(void)
{
    struct fake_counts c;

    fake_verbs_counts(&c);
    return c.connecting;
}

/* The client's device is fake0, the server's fake1. */
static void begin(struct rig *rig)
{
    sides_subject.any_address = "127.0.0.2:0";
    rig_init(rig, &sides_subject, &case_key, &case_key);
}

static void until_connecting(struct rig *rig)
{
    rig_dial(rig);
    for (int i = 0; i < 10000 && connecting() == 0; i++) {
        rig_turns(rig, 1);
    }
    assert_true(connecting() > 0);
}

static void until_it_says(struct rig *rig, const char *what, int ms)
{
    char text[300] = "";

    for (int i = 0; i < ms && strncmp(text, what, strlen(what)) != 0; i++) {
        rig_turns(rig, 1);
        usleep(1000);
        rig->t->describe(rig->client.conn, text, sizeof(text));
    }
    goes_over(&rig->client, what);
}

static void comes_up_when_it_is_found(void **state)
{
    (void)state;
    for (unsigned far = 0; far < 2; far++) {
        struct rig rig;

        fake_verbs_far(far, 20, 0);
        begin(&rig);
        rig_connect(&rig);
        goes_over(&rig.client, "rdma: fake0");
        goes_over(&rig.server, "rdma: fake1");
        case_still_works(&rig);
        rig_fini(&rig);
    }
}

/* On the same workers as those that look for a peer. */
static void others_go_on_meanwhile(void **state)
{
    (void)state;
    for (unsigned far = 0; far < 2; far++) {
        struct rig rig;

        fake_verbs_far(0, 0, 0);
        fake_verbs_far(1, 0, 0);
        fake_verbs_far(far, 60000, ETIMEDOUT);
        begin(&rig);
        rig_connect(&rig); /* on tcp, after the time for connecting, which is 300 ms */
        goes_over(&rig.client, "tcp, not rdma");
        assert_true(connecting() > 0);
        case_still_works(&rig);
        assert_true(connecting() > 0);
        fake_verbs_far(far, 1, 0);
        rig_fini(&rig);
        assert_int_equal(connecting(), 0); /* waited for, before the device is closed */
    }
}

/* The client has guessed by then; the server knows. */
static void the_cause_is_told_late(void **state)
{
    const char *why = "tcp, not rdma: the peer says: fake1 does not reach 127.0.0.1: "
                      "Connection timed out";
    struct rig rig;

    (void)state;
    fake_verbs_far(1, 600, ETIMEDOUT);
    begin(&rig);
    rig_connect(&rig);
    until_it_says(&rig, why, 3000);
    case_still_works(&rig);
    assert_int_equal(count_of(lines_of[0].text, "over tcp, not rdma: fake"), 0);
    assert_int_equal(count_of(lines_of[0].text, "does not reach"), 1);
    rig_fini(&rig);
}

static void our_own_device_finds_no_way(void **state)
{
    struct rig rig;
    bool of_peer = true;

    (void)state;
    fake_verbs_far(0, 600, ETIMEDOUT);
    begin(&rig);
    rig_connect(&rig);
    goes_over(&rig.client, "tcp, not rdma: fake0 has found no way to the server in time");
    assert_int_equal(rig.t->reason(rig.client.conn, &of_peer), MKV_REASON_SILENCE);
    assert_false(of_peer);
    rig_fini(&rig);
}

/* What cannot be destroyed yet stays behind, and goes when it can. */
static void sessions_end_meanwhile(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct rig rig;

        fake_verbs_far(0, 0, 0);
        fake_verbs_far(1, 0, 0);
        fake_verbs_far(i % 2, 50, i & 2 ? EHOSTUNREACH : 0);
        begin(&rig);
        until_connecting(&rig);
        rig.t->close(rig.client.conn);
        for (int n = 0; n < 10000 && (connecting() > 0 || rig.server.closed == 0); n++) {
            rig_turns(&rig, 1);
        }
        rig_turns(&rig, 20);
        assert_int_equal(connecting(), 0);
        if (i & 4) { /* and the next one comes up */
            fake_verbs_far(i % 2, 1, 0);
            rig_connect(&rig);
            goes_over(&rig.client, "rdma: fake0");
        }
        rig_fini(&rig);
    }
}

static void endpoints_end_meanwhile(void **state)
{
    (void)state;
    for (unsigned far = 0; far < 2; far++) {
        struct rig rig;

        fake_verbs_far(0, 0, 0);
        fake_verbs_far(1, 0, 0);
        fake_verbs_far(far, 50, 0);
        begin(&rig);
        until_connecting(&rig);
        rig_fini(&rig);
        assert_int_equal(connecting(), 0);
    }
}

/* The next try comes after 3 s. */
static void one_try_at_a_time(void **state)
{
    const char *why = "tcp, not rdma: the peer says: the way to the peer is still looked for";
    struct rig rig;

    (void)state;
    fake_verbs_far(1, 60000, ETIMEDOUT);
    begin(&rig);
    rig_connect(&rig);
    until_it_says(&rig, why, 5000);
    assert_int_equal(connecting(), 2);
    case_still_works(&rig);
    fake_verbs_far(1, 0, 0);
    rig_fini(&rig);
}

/* A client that comes and goes makes the server look for it again and again, but not without end. */
static void not_for_any_number_of_them(void **state)
{
    struct rig rig;
    uint64_t most = 0;

    (void)state;
    fake_verbs_far(1, 60000, ETIMEDOUT);
    begin(&rig);
    for (int i = 0; i < 100; i++) {
        rig_dial(&rig);
        for (int n = 0; n < 2000 && connecting() < 2 * (uint64_t)(i + 1) && rig.client.opened == 0;
             n++) {
            rig_turns(&rig, 1);
        }
        most = connecting() > most ? connecting() : most;
        if (rig.client.opened) {
            break;
        }
        rig.t->close(rig.client.conn);
    }
    assert_true(most >= 64 && most <= 2 * (2 * MKV_RDMA_LEFTOVERS + 1)); /* of two workers */
    goes_over(&rig.client,
              "tcp, not rdma: the peer says: the way to too many other peers is still");
    case_still_works(&rig);
    fake_verbs_far(1, 0, 0);
    rig_fini(&rig);
}

static void without_a_thread_it_is_tcp(void **state)
{
    struct rig rig;

    (void)state;
    fake_verbs_far(0, 1, 0);
    begin(&rig);
    mkv__fault_arm("errand.thread", 1, UINT64_MAX);
    rig_connect(&rig);
    assert_true(mkv__fault_disarm() > 0);
    goes_over(&rig.client, "tcp, not rdma");
    case_still_works(&rig);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SIDES_TEST(comes_up_when_it_is_found),  SIDES_TEST(others_go_on_meanwhile),
        SIDES_TEST(the_cause_is_told_late),     SIDES_TEST(our_own_device_finds_no_way),
        SIDES_TEST(sessions_end_meanwhile),     SIDES_TEST(endpoints_end_meanwhile),
        SIDES_TEST(one_try_at_a_time),          SIDES_TEST(not_for_any_number_of_them),
        SIDES_TEST(without_a_thread_it_is_tcp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
