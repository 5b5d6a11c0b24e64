#include "testing/conformance/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

/* Ends ------------------------------------------------------------------------------------------- */

static void close_client(struct memory *m)
{
    m->on_landed = NULL;
    m->rig->t->close(m->rig->client.conn);
}

static void close_server(struct memory *m)
{
    m->on_landed = NULL;
    m->rig->t->close(m->rig->server.conn);
}

static void dies(bool get, void (*killer)(struct memory *))
{
    struct rig rig;

    case_begin(&rig, get, 9, 9, 30 * MIB);
    (get ? &rig.mine : &rig.theirs)->on_landed = killer;
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_int_equal(rig.mine.concealed, 1);
    assert_int_equal(rig.theirs.done, 1);
    assert_true(rig.theirs.status < 0 || (get && case_subject->told_at_last));
    assert_true(memory_canaries(&rig.mine) && memory_canaries(&rig.theirs));
    rig_fini(&rig);
}

void death_in_bulk(void **state)
{
    (void)state;
    dies(true, close_client);
    dies(true, close_server);
    dies(false, close_client);
    dies(false, close_server);
}

static void end_closes(struct end *end)
{
    end->rig->t->close(end->conn);
}

static void message_closes(struct end *end, const struct mkv__message *m)
{
    (void)m;
    end->rig->t->close(end->conn);
}

static void cancelled_closes(struct end *end, uint64_t id)
{
    (void)id;
    end->rig->t->close(end->conn);
}

static void memory_closes(struct memory *m)
{
    m->rig->t->close(m->end->conn);
}

static void both_closed(struct rig *rig)
{
    assert_true(rig_until(rig, &rig->client.closed, 1));
    assert_true(rig_until(rig, &rig->server.closed, 1));
    assert_int_equal(rig->client.closed, 1);
    assert_int_equal(rig->server.closed, 1);
    rig_turns(rig, 5);
    rig_fini(rig);
}

void close_in_callbacks(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, case_subject, &case_key, &case_key);
    rig.client.on_opened = end_closes;
    rig_dial(&rig);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    rig_turns(&rig, 20);
    rig_fini(&rig);

    rig_init(&rig, case_subject, &case_key, &case_key);
    rig.server.on_opened = end_closes;
    rig_dial(&rig);
    both_closed(&rig);

    case_begin(&rig, true, 4, 4, MIB);
    rig.client.on_message = message_closes;
    both_closed(&rig);

    case_begin(&rig, true, 4, 4, MIB);
    rig.server.on_message = message_closes;
    both_closed(&rig);

    case_begin(&rig, true, 4, 4, 30 * MIB);
    rig.mine.on_landed = case_conceal_now;
    rig.mine.on_concealed = memory_closes;
    both_closed(&rig);

    case_begin(&rig, true, 4, 4, 30 * MIB);
    rig.mine.on_landed = case_conceal_now;
    rig.server.on_cancelled = cancelled_closes;
    both_closed(&rig);

    case_begin(&rig, true, 4, 4, MIB);
    rig.theirs.on_done = memory_closes;
    both_closed(&rig);

    case_begin(&rig, false, 4, 4, MIB);
    rig.theirs.on_done = memory_closes;
    both_closed(&rig);
}

static void endpoint_closes(struct memory *m)
{
    m->on_landed = NULL;
    m->rig->t->endpoint_close(&m->rig->client_endpoint);
    assert_int_equal(m->rig->client.closed, 1);
}

void endpoint_close_in_callback(void **state)
{
    struct rig rig;

    (void)state;
    case_begin(&rig, true, 4, 4, 30 * MIB);
    rig.mine.on_landed = endpoint_closes;
    both_closed(&rig);
}

void writable_closes(void **state)
{
    struct rig rig;
    static uint8_t body[100000];

    (void)state;
    case_open(&rig);
    rig.client.on_writable = end_closes;
    rig.server_stalls = true;
    while (end_send(&rig.client, 36, ID(1, 1), false, body, sizeof(body)) == 0) {
        rig_turns(&rig, 1);
    }
    rig.server_stalls = false;
    both_closed(&rig);
}
