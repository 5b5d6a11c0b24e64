/* What is RDMA's own, over fake verbs: what a failure says, what cannot overtake what, what is chosen,
 * and what keeps it from working. */
#include "core/log.h"
#include "core/os/clock.h"
#include "testing/conformance/cases.h"
#include "testing/conformance/rig.h"
#include "testing/rdma/fake_verbs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Both sides ---------------------------------------------------------------------------------------- */

/* The lines of one side. */
struct lines {
    struct mkv__log log;
    char text[8192];
};

static struct lines lines_of[2]; /* client, server */
static const char *device_of[2];
static bool must;

static void keep(void *arg, int level, const char *line, size_t len)
{
    struct lines *lines = arg;
    size_t at = strlen(lines->text);

    (void)len;
    snprintf(lines->text + at, sizeof(lines->text) - at, "%s: %s\n", mkv__log_level_name(level),
             line);
}

static void tune(struct mkv__endpoint_options *options, bool server)
{
    mkv__log_init(&lines_of[server].log, MKV__LOG_INFO, keep, &lines_of[server]);
    options->log = &lines_of[server].log;
    options->device = device_of[server];
    options->must = must;
    options->connect_timeout_ns = 300000000;
}

static struct mkv__subject subject = {
    .transport = &mkv__rdma, .any_address = "127.0.0.1:0", .told_at_last = true, .tune = tune};

static int setup(void **state)
{
    (void)state;
    fake_verbs_begin(2);
    memset(lines_of, 0, sizeof(lines_of));
    memset(device_of, 0, sizeof(device_of));
    must = false;
    subject.any_address = "127.0.0.1:0";
    subject.fake_clock = false;
    case_subject = &subject;
    return 0;
}

/* After each: nothing is left, and no rule was broken. */
static int teardown(void **state)
{
    struct fake_counts c;

    (void)state;
    fake_verbs_counts(&c);
    assert_int_equal(fake_verbs_left(), 0);
    assert_int_equal(c.misuses, 0);
    assert_int_equal(c.overruns, 0);
    assert_int_equal(c.rnrs, 0);
    fake_verbs_end();
    return 0;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) {
        n++;
    }
    return n;
}

static void goes_over(struct end *end, const char *what)
{
    char text[300];

    end->rig->t->describe(end->conn, text, sizeof(text));
    if (strncmp(text, what, strlen(what)) != 0) {
        fail_msg("goes over: %s", text);
    }
}

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
    assert_int_equal(count(text, "warning: "), 1);
    assert_int_equal(count(text, "remote access error"), 1);
    assert_int_equal(count(text, "vendor error 0x8a"), 1);
    assert_int_equal(count(text, "warning: 127.0.0.1:"), 1);
    assert_int_equal(count(text, "Flushed"), 0);
    /* The other side knows that it is over, and no more. */
    assert_int_equal(count(lines_of[0].text, "Flushed"), 0);
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
    assert_int_equal(count(lines_of[1].text, "transport retry counter exceeded"), 1);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    rig_fini(&rig);
}

static void until_on_rails(struct rig *rig)
{
    for (int i = 0; i < 5000 && rig->t->degraded(rig->client.conn); i++) {
        rig_turns(rig, 1);
        usleep(1000);
    }
    goes_over(&rig->client, "rdma: fake0");
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
    assert_int_equal(count(lines_of[0].text, "has failed"), 1);
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
    subject.fake_clock = true;
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
    subject.fake_clock = true;
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
    subject.fake_clock = true;
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

/* What is chosen -------------------------------------------------------------------------------------- */

static void the_address_chooses_the_device(void **state)
{
    struct rig rig;

    (void)state;
    subject.any_address = "127.0.0.2:0";
    rig_init(&rig, &subject, &case_key, &case_key);
    rig_connect(&rig);
    goes_over(&rig.server, "rdma: fake1 port 1 gid 2");
    goes_over(&rig.client, "rdma: fake0 port 1 gid 2");
    rig_fini(&rig);
}

static void another_network_takes_the_first(void **state)
{
    struct rig rig;

    (void)state;
    subject.any_address = "127.0.0.9:0";
    rig_init(&rig, &subject, &case_key, &case_key);
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
    subject.any_address = "127.0.0.2:0";
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

    rig_init(&rig, &subject, &case_key, &case_key);
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
    subject.any_address = "127.0.0.2:0";
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
    subject.any_address = "127.0.0.2:0";
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
    subject.any_address = "127.0.0.2:0";
    subject.fake_clock = true;
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
    rig_init(&rig, &subject, &case_key, &case_key);
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
    rig_init(&rig, &subject, &case_key, &case_key);
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
    subject.fake_clock = true;
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
    subject.fake_clock = true;
    subject.any_address = "127.0.0.2:0";
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_failure_is_told_once),
        TEST(nobody_answers),
        TEST(queue_pairs_that_fail_end_their_session),
        TEST(a_port_that_goes_and_comes),
        TEST(a_device_that_fails),
        TEST(a_server_that_is_stuck),
        TEST(a_client_that_is_stuck),
        TEST(a_reply_is_behind_its_writes),
        TEST(an_old_request_comes_late),
        TEST(both_talk_at_once),
        TEST(one_memory_in_two_requests),
        TEST(memory_over_the_borders_of_registrations),
        TEST(fences_follow_each_other),
        TEST(a_window_that_another_has_closed),
        TEST(the_address_chooses_the_device),
        TEST(another_network_takes_the_first),
        TEST(gids_of_ipv6_do),
        TEST(the_smaller_mtu_is_taken),
        TEST(a_port_that_is_down),
        TEST(a_device_that_is_not_there),
        TEST(no_devices),
        TEST(a_server_without),
        TEST(no_gid),
        TEST(gids_of_different_types),
        TEST(memory_that_cannot_be_locked),
        TEST(a_server_whose_memory_cannot_be_locked),
        TEST(packets_that_are_lost),
        TEST(packets_that_are_too_long),
        TEST(packets_that_are_too_long_one_way),
        TEST(a_server_that_says_nothing_more),
        TEST(memory_of_a_server_that_cannot_be_locked),
        TEST(figures_add_up),
        TEST(without_it_there_is_no_session),
        TEST(it_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
