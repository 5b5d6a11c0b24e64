/* What is RDMA's own, over fake verbs: what a failure says, what cannot overtake what, whose memory is whose,
 * and fences. */
#include "core/os/clock.h"
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

/* Failures ------------------------------------------------------------------------------------------- */

static void a_failure_is_told_once(void **state)
{
    struct rig rig;
    const char *text = lines_of[1].text;

    (void)state;
    case_begin(&rig, true, 1, 1, 16 * MIB);
    fake_verbs_fail(IBV_WR_RDMA_WRITE, 3, IBV_WC_REM_ACCESS_ERR, 0x8a);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.mine.concealed, 1);
    assert_int_equal(rig.theirs.done, 1);
    assert_int_equal(count_of(text, "warning: "), 1);
    assert_int_equal(count_of(text, "remote access error"), 1);
    assert_int_equal(count_of(text, "vendor error 0x8a"), 1);
    assert_int_equal(count_of(text, "warning: 127.0.0.1:"), 1);
    assert_int_equal(count_of(text, "Flushed"), 0);
    /* The other side knows that it is over, and no more. */
    assert_int_equal(count_of(lines_of[0].text, "Flushed"), 0);
    assert_null(strstr(rig.client.why, "Flushed"));
    rig_connect(&rig);
    case_still_works(&rig);
    rig_fini(&rig);
}

static void nobody_answers(void **state)
{
    struct rig rig;

    (void)state;
    case_begin(&rig, false, 1, 1, 4 * MIB);
    fake_verbs_fail(IBV_WR_RDMA_READ, 1, IBV_WC_RETRY_EXC_ERR, 0x81);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_int_equal(rig.server.error, -ECONNRESET);
    assert_int_equal(count_of(lines_of[1].text, "transport retry counter exceeded"), 1);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    rig_fini(&rig);
}

/* The next session does not wait for queue pairs, and gets some later. */
static void comes_back_by_tcp(struct rig *rig)
{
    rig_connect(rig);
    goes_over(&rig->client, "tcp, not rdma: its queue pairs broke");
    case_still_works(rig);
    until_on_rails(rig);
    case_still_works(rig);
}

static void queue_pairs_that_fail_end_their_session(void **state)
{
    struct rig rig;

    (void)state;
    case_begin(&rig, true, 1, 1, 4 * MIB);
    fake_verbs_event(0, IBV_EVENT_QP_FATAL);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    comes_back_by_tcp(&rig);
    rig_fini(&rig);
}

static void a_port_that_goes_and_comes(void **state)
{
    struct rig rig;
    uint64_t start;

    (void)state;
    case_begin(&rig, true, 1, 1, 4 * MIB);
    fake_verbs_event(0, IBV_EVENT_PORT_ERR);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.mine.concealed, 1);
    rig_connect(&rig);
    goes_over(&rig.client, "tcp, not rdma: ");
    fake_verbs_event(0, IBV_EVENT_PORT_ACTIVE);
    start = mkv__clock_ns();
    until_on_rails(&rig);
    assert_true(mkv__clock_ns() - start <
                2000000000u); /* and not when it would look again anyway */
    case_still_works(&rig);
    rig_fini(&rig);
}

static void a_device_that_fails(void **state)
{
    struct rig rig;

    (void)state;
    case_begin(&rig, true, 1, 1, 4 * MIB);
    fake_verbs_event(0, IBV_EVENT_DEVICE_FATAL);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    rig_connect(&rig);
    goes_over(&rig.client, "tcp, not rdma: ");
    case_still_works(&rig);
    assert_int_equal(count_of(lines_of[0].text, "has failed"), 1);
    rig_fini(&rig);
}

/* No more than 5 s on the clock of both. */
static void ends_in_time(struct rig *rig, const struct end *end)
{
    uint64_t start = rig->now_ns;

    assert_true(rig_until(rig, &end->closed, 1));
    assert_true(rig->now_ns - start >= 4000000000u);
    assert_true(rig->now_ns - start <= 5100000000u);
    assert_int_equal(end->error, -ECONNRESET);
}

static void a_server_that_is_stuck(void **state)
{
    struct rig rig;

    (void)state;
    sides_subject.fake_clock = true;
    case_begin(&rig, true, 1, 1, 4 * MIB);
    rig.theirs.on_done = NULL;
    while (rig.server.messages == 0) {
        rig_turns(&rig, 1);
    }
    /* The WRITEs have gone out; the reply never does. */
    fake_verbs_device(0)->stuck = true;
    assert_int_equal(end_send(&rig.server, 64, ID(3, 5), true, "done", 4), 0);
    ends_in_time(&rig, &rig.server);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.mine.concealed, 1);
    rig_fini(&rig);
}

static void a_client_that_is_stuck(void **state)
{
    struct rig rig;

    (void)state;
    sides_subject.fake_clock = true;
    case_open(&rig);
    fake_verbs_device(0)->stuck = true;
    assert_int_equal(end_send(&rig.client, 36, ID(1, 1), false, "to nobody", 9), 0);
    ends_in_time(&rig, &rig.client);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    rig_fini(&rig);
}

/* Order and credits ---------------------------------------------------------------------------------- */

static int in_place;

static void look_at_memory(struct end *end, const struct mkv__message *m)
{
    (void)m;
    in_place = memory_is(&end->rig->mine, 77) ? 1 : 0;
}

/* WRITEs are late, and a SEND of another queue pair never is. */
static void a_reply_is_behind_its_writes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 30; seed++) {
        struct rig rig;

        fake_verbs_late(1000, seed);
        fake_verbs_relaxed(true);
        case_begin(&rig, true, 3, 2, 300000);
        in_place = -1;
        rig.client.on_message = look_at_memory;
        assert_true(rig_until(&rig, &rig.client.messages, 1));
        assert_int_equal(in_place, 1);
        case_conceal(&rig, true);
        rig_fini(&rig);
    }
}

static void serve_gets(struct end *end, const struct mkv__message *m)
{
    if (m->type == 32) {
        case_serve_write_and_reply(end, m);
    }
}

/* A request that nobody waits for comes behind the next one of its slot, over the other queue pair. */
static void an_old_request_comes_late(void **state)
{
    struct rig rig;

    (void)state;
    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 1, 300000, false);
    memory_init(&rig.theirs, &rig.server, 1, 300000, false);
    memory_fill(&rig.theirs, 77);
    rig.server.on_message = serve_gets;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 6), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(3, 6), false, "go", 2), 0);
    rig.server_stalls = true;
    rig_turns(&rig, 5);
    assert_int_equal(end_send(&rig.client, 36, ID(3, 5), false, "late", 4), 0);
    rig_turns(&rig, 5);
    rig.server_stalls = false;
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    assert_int_equal(rig.theirs.status, 0);
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    assert_int_equal(rig.mine.landed, 300000);
    assert_true(memory_is(&rig.mine, 77));
    case_conceal(&rig, true);
    rig_fini(&rig);
}

static void both_talk_at_once(void **state)
{
    static const uint32_t lens[] = {1, 100, 8192, 30000};
    static const uint8_t body[30000] = {1};
    struct rig rig;
    int sent[2] = {0, 0};
    struct fake_counts c;

    (void)state;
    case_open(&rig);
    for (int i = 0; i < 3000; i++) {
        uint32_t len = lens[i % 4];

        sent[0] += end_send(&rig.client, 36, ID(i % 256, 1), false, body, len) == 0;
        sent[1] += end_send(&rig.server, 68, ID(i % 256, 1), i % 2, body, len) == 0;
        rig.client_stalls = i % 100 < 30;
        rig.server_stalls = i % 100 > 60 && i % 100 < 90;
        if (i % 7 == 0) {
            rig_turns(&rig, 1);
        }
    }
    rig.client_stalls = rig.server_stalls = false;
    assert_true(rig_until(&rig, &rig.server.messages, sent[0]));
    assert_true(rig_until(&rig, &rig.client.messages, sent[1]));
    fake_verbs_counts(&c);
    assert_int_equal(c.rnrs, 0);
    assert_true(c.signaled * 2 < c.work_requests);
    rig_fini(&rig);
}

/* Memory ---------------------------------------------------------------------------------------------- */

/* Registered for each of them, and given back with each of them. */
static void one_memory_in_two_requests(void **state)
{
    (void)state;
    for (int windows = 0; windows < 2; windows++) {
        struct rig rig;
        struct memory other;

        fake_verbs_device(0)->windows = windows;
        case_open(&rig);
        memory_init(&rig.mine, &rig.client, 1, 300000, false);
        memory_init(&rig.theirs, &rig.server, 1, 300000, false);
        memory_fill(&rig.mine, 77);
        other = rig.mine;
        assert_int_equal(memory_expose(&rig.mine, ID(3, 5), false), 0);
        assert_int_equal(end_send(&rig.client, 33, ID(3, 5), false, "go", 2), 0);
        assert_int_equal(memory_expose(&other, ID(4, 5), false), 0);
        other.exposure.owner = &other;
        assert_int_equal(end_send(&rig.client, 33, ID(4, 5), false, "go", 2), 0);
        assert_true(rig_until(&rig, &rig.server.messages, 2));
        case_conceal(&rig, true);
        assert_int_equal(memory_bulk(&rig.theirs, ID(4, 5), false), 0);
        assert_true(rig_until(&rig, &rig.theirs.done, 1));
        assert_int_equal(rig.theirs.status, 0);
        assert_true(memory_is(&rig.theirs, 77));
        rig_fini(&rig);
    }
}

/* A piece may begin in one registration of its region and end in another. */
static void memory_over_the_borders_of_registrations(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct rig rig;
        bool get = i % 2;

        fake_verbs_device(0)->max_mr_size = 2 * MIB;
        fake_verbs_device(0)->windows = i / 2;
        case_open(&rig);
        memory_init(&rig.mine, &rig.client, 3, 9 * MIB, false);
        memory_init(&rig.theirs, &rig.server, 4, 9 * MIB, false);
        memory_fill(get ? &rig.theirs : &rig.mine, 77);
        assert_int_equal(rig.t->region_add(rig.client_endpoint, rig.mine.base, rig.mine.size), 0);
        for (int s = 0; s < 2; s++) {
            assert_int_equal(
                rig.t->region_add(rig.server_endpoint[s], rig.theirs.base, rig.theirs.size), 0);
        }
        rig.theirs.on_done = case_reply_when_done;
        rig.server.on_message = get ? case_serve_write : case_serve_read;
        assert_int_equal(memory_expose(&rig.mine, ID(3, 5), get), 0);
        assert_int_equal(end_send(&rig.client, get ? 32 : 33, ID(3, 5), false, "go", 2), 0);
        assert_true(rig_until(&rig, &rig.client.messages, 1));
        assert_true(memory_is(get ? &rig.mine : &rig.theirs, 77));
        case_conceal(&rig, true);
        rig_fini(&rig);
    }
}

/* Fences ----------------------------------------------------------------------------------------------- */

/* The server takes turns of its own: what is withdrawn meanwhile has not left yet. */
static void server_turns(struct rig *rig)
{
    rig->client_stalls = true;
    rig->server_stalls = false;
    rig_turns(rig, 5);
    rig->client_stalls = false;
    rig->server_stalls = true;
}

/* There is always one that waits for FENCED; each waits less than may be. */
static void fences_follow_each_other(void **state)
{
    struct rig rig;
    struct memory m[9];

    (void)state;
    sides_subject.fake_clock = true;
    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 1, 1000, false);
    rig.server_stalls = true;
    for (uint32_t i = 0; i < 9; i++) {
        m[i] = rig.mine;
        assert_int_equal(memory_expose(&m[i], ID(i, 1), false), 0);
        assert_int_equal(end_send(&rig.client, 33, ID(i, 1), false, "go", 2), 0);
        rig_turns(&rig, 1);
        rig.t->conceal(rig.client.conn, &m[i].exposure, false);
        server_turns(&rig);
        rig_turns(&rig, 2000); /* 200 ms */
        assert_int_equal(m[i].concealed, 0);
        assert_int_equal(i == 0 || m[i - 1].concealed, 1);
    }
    assert_int_equal(rig.client.closed, 0);
    rig.server_stalls = false;
    assert_true(rig_until(&rig, &m[8].concealed, 1));
    rig_fini(&rig);
}

/* A server that closes another window than its reply says. */
static void a_window_that_another_has_closed(void **state)
{
    struct rig rig;
    struct memory other;

    (void)state;
    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 1, 300000, false);
    memory_init(&rig.theirs, &rig.server, 1, 300000, false);
    other = rig.mine;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(3, 5), false, "go", 2), 0);
    assert_int_equal(memory_expose(&other, ID(4, 5), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(4, 5), false, "go", 2), 0);
    assert_true(rig_until(&rig, &rig.server.messages, 2));
    fake_verbs_wrong_window(true);
    assert_int_equal(end_send(&rig.server, 64, ID(3, 5), true, "done", 4), 0);
    for (int i = 0; i < 200 && rig.client.messages == 0 && rig.client.closed == 0; i++) {
        rig_turns(&rig, 1);
    }
    if (rig.client.conn) {
        rig.t->conceal(rig.client.conn, &other.exposure, true);
    }
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.error, -EPROTO);
    assert_int_equal(rig.mine.concealed, 1);
    assert_int_equal(other.concealed, 1);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SIDES_TEST(a_failure_is_told_once),
        SIDES_TEST(nobody_answers),
        SIDES_TEST(queue_pairs_that_fail_end_their_session),
        SIDES_TEST(a_port_that_goes_and_comes),
        SIDES_TEST(a_device_that_fails),
        SIDES_TEST(a_server_that_is_stuck),
        SIDES_TEST(a_client_that_is_stuck),
        SIDES_TEST(a_reply_is_behind_its_writes),
        SIDES_TEST(an_old_request_comes_late),
        SIDES_TEST(both_talk_at_once),
        SIDES_TEST(one_memory_in_two_requests),
        SIDES_TEST(memory_over_the_borders_of_registrations),
        SIDES_TEST(fences_follow_each_other),
        SIDES_TEST(a_window_that_another_has_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
