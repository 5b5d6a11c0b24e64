/* Small values come with the reply to their get, over fake verbs: no window, no WRITE, no fence. */
#include "testing/rdma/fake_verbs.h"
#include "testing/rdma/sides.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#define MOST 4096u /* bytes of them */

static struct fake_counts counts(void)
{
    struct fake_counts c;

    fake_verbs_counts(&c);
    return c;
}

static void which_do(void **state)
{
    static const uint64_t lens[] = {1, 17, MOST - 1, MOST, MOST + 1};

    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        for (uint32_t pieces = 1; pieces <= 5; pieces += 4) {
            bool small = lens[i] <= MOST;
            struct fake_counts before, after;
            struct rig rig;

            case_open(&rig);
            before = counts();
            memory_init(&rig.mine, &rig.client, lens[i] < pieces ? 1 : pieces, lens[i], false);
            memory_init(&rig.theirs, &rig.server, lens[i] < pieces ? 1 : 6 - pieces, lens[i],
                        false);
            memory_fill(&rig.theirs, 77);
            rig.server.on_message = i % 2 ? case_serve_write_and_reply : case_serve_write;
            rig.theirs.on_done = case_reply_when_done;
            assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
            assert_int_equal(end_send(&rig.client, 32, ID(3, 5), false, "go", 2), 0);
            assert_true(rig_until(&rig, &rig.client.messages, 1));
            assert_true(rig.client.after_bulk);
            assert_memory_equal(rig.client.body, "done", 4);
            assert_int_equal(rig.client.body_len, 4);
            assert_int_equal(rig.mine.landed, lens[i]);
            assert_true(memory_is(&rig.mine, 77) && memory_canaries(&rig.mine));
            assert_true(rig_until(&rig, &rig.theirs.done, 1));
            assert_int_equal(rig.theirs.status, 0);
            after = counts();
            assert_int_equal(after.writes - before.writes == 0, small);
            assert_int_equal(after.binds - before.binds == 0, small);
            assert_int_equal(after.registered - before.registered == 0, small);
            case_conceal(&rig, true);
            rig_fini(&rig);
        }
    }
}

/* What is missing leaves gaps. */
static struct mkv__piece some_pieces[2];
static uint8_t some_bytes[100];

static void serve_some(struct end *end, const struct mkv__message *m)
{
    struct memory *theirs = &end->rig->theirs;

    memset(some_bytes, 0xab, sizeof(some_bytes));
    some_pieces[0] = (struct mkv__piece){10, some_bytes, 50};
    some_pieces[1] = (struct mkv__piece){1000, some_bytes + 50, 50};
    assert_int_equal(memory_bulk(theirs, m->request_id, true), 0); /* for its callbacks */
    end->rig->t->abort(end->conn, &theirs->bulk);
    assert_int_equal(theirs->status, -ECANCELED);
    theirs->done = 0;
    theirs->on_done = NULL;
    theirs->bulk.pieces = some_pieces;
    theirs->bulk.n_pieces = 2;
    assert_int_equal(end->rig->t->write(end->conn, &theirs->bulk), 0);
    assert_int_equal(end_send(end, 64, m->request_id, true, "done", 4), 0);
}

static void gaps_stay_gaps(void **state)
{
    struct rig rig;
    struct mkv__piece *p;

    (void)state;
    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 1, 2000, false);
    memory_init(&rig.theirs, &rig.server, 2, 2000, false);
    rig.server.on_message = serve_some;
    p = &rig.mine.pieces[0];
    memset(p->addr, 0x55, p->len);
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(3, 5), false, "go", 2), 0);
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    assert_int_equal(rig.mine.landed, 100);
    for (uint64_t i = 0; i < p->len; i++) {
        bool given = (i >= 10 && i < 60) || (i >= 1000 && i < 1050);

        assert_int_equal(((uint8_t *)p->addr)[i], given ? 0xab : 0x55);
    }
    case_conceal(&rig, true);
    case_still_works(&rig);
    rig_fini(&rig);
}

/* Memory is the owner's at once, though the server is silent; and so is the slot. */
static void withdrawn_at_once(void **state)
{
    struct rig rig;
    struct memory next;

    (void)state;
    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 1, 3000, false);
    memory_init(&rig.theirs, &rig.server, 1, 3000, false);
    memory_init(&next, &rig.client, 1, 3000, false);
    memory_fill(&rig.theirs, 77);
    rig.server.on_message = case_serve_write_and_reply;
    rig.server_stalls = true;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(3, 5), false, "go", 2), 0);
    rig_turns(&rig, 5);
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, false);
    assert_int_equal(rig.mine.concealed, 1);
    memset(rig.mine.base, 0xee, rig.mine.size);
    assert_int_equal(memory_expose(&next, ID(3, 6), true), 0);
    next.exposure.owner = &next;
    rig.server_stalls = false;
    assert_true(rig_until(&rig, &rig.server.cancelled, 1));
    rig.theirs.on_done = NULL;
    rig.theirs.done = 0;
    assert_int_equal(end_send(&rig.client, 32, ID(3, 6), false, "go", 2), 0);
    for (int i = 0; i < 100 && next.landed < 3000; i++) {
        rig_turns(&rig, 1);
    }
    assert_true(memory_is(&next, 77));
    for (size_t i = 0; i < rig.mine.size; i++) {
        assert_int_equal(rig.mine.base[i], 0xee);
    }
    rig.t->conceal(rig.client.conn, &next.exposure, true);
    assert_int_equal(rig.client.closed, 0);
    case_still_works(&rig);
    memory_fini(&next);
    rig_fini(&rig);
}

static void endpoint_closes_now(struct memory *m)
{
    m->on_concealed = NULL;
    m->rig->t->endpoint_close(&m->rig->client_endpoint);
}

/* Callbacks may call any function of the table. */
static void concealed_closes_endpoint(void **state)
{
    struct rig rig;

    (void)state;
    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 1, 3000, false);
    rig.server_stalls = true;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(3, 5), false, "go", 2), 0);
    rig_turns(&rig, 5);
    rig.mine.on_concealed = endpoint_closes_now;
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, false);
    assert_int_equal(rig.mine.concealed, 1);
    assert_int_equal(rig.client.closed, 1);
    rig.server_stalls = false;
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    rig_fini(&rig);
}

static int refused;

static void serve_too_much(struct end *end, const struct mkv__message *m)
{
    refused = memory_bulk(&end->rig->theirs, m->request_id, true);
    assert_int_equal(end_send(end, 64, m->request_id, true, "late", 4), 0);
}

/* More than was asked for: the server's own fault, and told to it. */
static void too_much_is_refused(void **state)
{
    struct rig rig;

    (void)state;
    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 1, 3000, false);
    memory_init(&rig.theirs, &rig.server, 1, MOST + 1, false);
    rig.server.on_message = serve_too_much;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(3, 5), false, "go", 2), 0);
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    assert_int_equal(refused, -EPROTO);
    assert_int_equal(rig.mine.landed, 0);
    case_conceal(&rig, true);
    case_still_works(&rig);
    rig_fini(&rig);
}

/* A set's bytes are read, however few: who withdraws it waits until nobody reads. */
static void sets_are_read(void **state)
{
    struct fake_counts before, after;
    struct rig rig;

    (void)state;
    before = counts();
    case_begin(&rig, false, 1, 1, 100);
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    after = counts();
    assert_int_equal(after.reads - before.reads, 1);
    assert_true(memory_is(&rig.theirs, 77));
    case_conceal(&rig, true);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SIDES_TEST(which_do),          SIDES_TEST(gaps_stay_gaps),
        SIDES_TEST(withdrawn_at_once), SIDES_TEST(too_much_is_refused),
        SIDES_TEST(sets_are_read),     SIDES_TEST(concealed_closes_endpoint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
