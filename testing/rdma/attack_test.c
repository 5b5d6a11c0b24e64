/* Peers that do not keep to the protocol, and queue pairs that overtake each other, over fake verbs. */
#include "core/auth/auth.h"
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

static void raw(struct mkv__conn *conn, int q, uint8_t type, uint64_t id, const void *before,
                size_t before_len, const void *body, uint32_t len, const void *values, size_t vlen)
{
    struct mkv__header h = {
        .version = MKV_WIRE_VERSION, .type = type, .request_id = id, .body_len = len};
    struct mkv__rdma_extra extra = {
        .before = before, .before_len = before_len, .values = values, .values_len = vlen};

    assert_int_equal(mkv__rdma_put_message(conn->qps[q], &h, body, &extra), 0);
}

static int replies;

static void count_done(struct memory *m)
{
    if (m->status != 0 && m->end->conn) { /* as server/transfer.c does */
        (void)end_send(m->end, 64, m->bulk.request_id, true, "late", 4);
    }
}

static void serve(struct end *end, const struct mkv__message *m)
{
    struct memory *t = &end->rig->theirs;

    t->on_done = count_done;
    assert_int_equal(memory_bulk(t, m->request_id, true), 0);
    if (t->done == 0) {
        assert_int_equal(end_send(end, 64, m->request_id, true, "done", 4), 0);
    }
}

static void got(struct end *end, const struct mkv__message *m)
{
    (void)end;
    replies += m->request_id == ID(3, 6);
}

/* CANCEL(6) comes ahead of GET(6), where 5 was exposing and answered. */
static void a_cancel_comes_first(void **state)
{
    struct rig rig;

    (void)state;
    replies = 0;
    case_begin(&rig, true, 1, 1, 9000);
    rig.server.on_message = serve;
    rig.client.on_message = got;
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    case_conceal(&rig, true);
    raw(rig.client.conn, 1, MKV_TYPE_CANCEL, ID(3, 6), NULL, 0, NULL, 0, NULL, 0);
    rig_turns(&rig, 10);
    raw(rig.client.conn, 0, 32, ID(3, 6), NULL, 0, "go", 2, NULL, 0);
    rig_turns(&rig, 20);
    rig.theirs.on_done = NULL;
    assert_int_equal(rig.client.closed, 0);
    case_still_works(&rig);
    assert_int_equal(replies, 1);
    rig_fini(&rig);
}

static uint64_t bad_ranges[70000];
static uint8_t bad_values[8192];
static size_t bad_n, bad_v;

static void serve_bad(struct end *end, const struct mkv__message *m)
{
    raw(end->conn, 0, 64, m->request_id, bad_ranges, 8 * bad_n, "done", 4, bad_values, bad_v);
}

static void a_server_that_lies(void **state)
{
    static const struct {
        uint64_t ranges[6];
        size_t n, v;
        bool small, ok;
    } cases[] = {
        {{0}, 0, 100, true, false},           {{0, 100}, 2, 100, true, true},
        {{0, 100}, 2, 99, true, false},       {{0, 100}, 2, 101, true, false},
        {{0, 100}, 2, 0, true, false},        {{0, 0}, 2, 0, true, false},
        {{3000, 0}, 2, 0, true, false},       {{0, 100, 50, 100}, 4, 200, true, true},
        {{2999, 2}, 2, 2, true, false},       {{UINT64_MAX, 2}, 2, 2, true, false},
        {{1, UINT64_MAX}, 2, 2, true, false}, {{0, 3000, 0, 3000}, 4, 6000, true, true},
        {{0, 100}, 2, 100, false, false},     {{0, 100}, 1, 100, true, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;

        case_open(&rig);
        memory_init(&rig.mine, &rig.client, 5, cases[i].small ? 3000 : 9000, false);
        memory_init(&rig.theirs, &rig.server, 1, 3000, false);
        memcpy(bad_ranges, cases[i].ranges, sizeof(cases[i].ranges));
        bad_n = cases[i].n;
        bad_v = cases[i].v;
        rig.server.on_message = serve_bad;
        assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
        assert_int_equal(end_send(&rig.client, 32, ID(3, 5), false, "go", 2), 0);
        rig_turns(&rig, 30);
        if (rig.client.closed == cases[i].ok) {
            print_message("case %zu: closed %d messages %d %s\n", i, rig.client.closed,
                          rig.client.messages, rig.client.why);
        }
        assert_int_equal(rig.client.closed, !cases[i].ok);
        assert_int_equal(rig.client.messages, cases[i].ok);
        assert_true(memory_canaries(&rig.mine));
        rig_fini(&rig);
    }
}

/* Many messages both ways, short and long mixed: all buffers come back. */
static uint8_t big[100000];
static unsigned server_sent, sent_n, server_got, client_got;

static void answer_at_length(struct end *end, const struct mkv__message *m)
{
    static unsigned x;

    server_got++;
    x = x * 1664525u + 1013904223u;
    server_sent += end_send(end, 64, m->request_id, x >> 30 == 0, big,
                            (x >> 20) % 5 == 0 ? 20000 + (x >> 8) % 60000 : (x >> 8) % 9000) == 0;
}

static void count_answers(struct end *end, const struct mkv__message *m)
{
    (void)end;
    (void)m;
    client_got++;
}

static void all_buffers_come_back(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct rig rig;
        unsigned x = 7 + (unsigned)variant;
        unsigned turns = 0;

        fake_verbs_device(0)->srqs = variant & 1;
        fake_verbs_late(variant & 2 ? 40 : 0, 5);
        fake_verbs_late_sends(variant & 2);
        case_open(&rig);
        server_sent = sent_n = server_got = client_got = 0;
        rig.server.on_message = answer_at_length;
        rig.client.on_message = count_answers;
        while (sent_n < 4000) {
            for (int burst = 0; burst < 60 && sent_n < 4000; burst++) {
                uint64_t id;

                x = x * 1664525u + 1013904223u;
                id = ID((x >> 10) % 256, sent_n + 1);
                if ((x >> 18) % 4 == 0) {
                    raw(rig.client.conn, 1, MKV_TYPE_CANCEL, id, NULL, 0, NULL, 0, NULL, 0);
                }
                if (end_send(&rig.client, 36, id, false, big,
                             (x >> 20) % 5 == 0 ? 20000 + (x >> 8) % 60000 : (x >> 8) % 9000) ==
                    0) {
                    sent_n++;
                }
            }
            rig_turns(&rig, 1 + (x >> 28));
            assert_int_equal(rig.client.closed + rig.server.closed, 0);
        }
        while ((client_got < server_sent || server_got < sent_n) && turns++ < 30000) {
            rig_turns(&rig, 1);
        }
        rig_turns(&rig, 300);
        assert_int_equal(server_got, sent_n);
        assert_int_equal(client_got, server_sent);
        for (int q = 0; q < 2; q++) {
            assert_int_equal(rig.client.conn->qps[q]->buffers, 0xffff);
            assert_int_equal(rig.server.conn->qps[q]->buffers, 0xffff);
            assert_null(rig.client.conn->qps[q]->all);
            assert_null(rig.server.conn->qps[q]->all);
        }
        assert_int_equal(rig.client.conn->waiting, 0);
        assert_int_equal(rig.server.conn->waiting, 0);
        rig_fini(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {SIDES_TEST(a_server_that_lies),
                                       SIDES_TEST(all_buffers_come_back),
                                       SIDES_TEST(a_cancel_comes_first)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
