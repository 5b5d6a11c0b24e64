#include "testing/conformance/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

const struct mkv__subject *case_subject;
const struct mkv__auth_key case_key = {.id = 1, .key = {1, 2, 3}};

void case_open(struct rig *rig)
{
    rig_init(rig, case_subject, &case_key, &case_key);
    rig_connect(rig);
}

void case_echo(struct end *end, const struct mkv__message *m)
{
    assert_int_equal(end_send(end, 68, m->request_id, false, m->body, m->body_len), 0);
}

void case_still_works(struct rig *rig)
{
    int before = rig->client.messages;

    rig->server.on_message = case_echo;
    rig->client.on_message = NULL;
    assert_int_equal(end_send(&rig->client, 36, ID(200, 9), false, "still", 5), 0);
    assert_true(rig_until(rig, &rig->client.messages, before + 1));
    assert_memory_equal(rig->client.body, "still", 5);
    rig->server.on_message = NULL;
}

void case_reply_when_done(struct memory *m)
{
    if (m->end->conn && m->status == 0) {
        assert_int_equal(end_send(m->end, 64, m->bulk.request_id, true, "done", 4), 0);
    }
}

void case_serve_write(struct end *end, const struct mkv__message *m)
{
    assert_int_equal(memory_bulk(&end->rig->theirs, m->request_id, true), 0);
    assert_int_equal(end->rig->theirs.done, 0);
}

void case_serve_write_and_reply(struct end *end, const struct mkv__message *m)
{
    end->rig->theirs.on_done = NULL;
    case_serve_write(end, m);
    assert_int_equal(end_send(end, 64, m->request_id, true, "done", 4), 0);
}

void case_serve_read(struct end *end, const struct mkv__message *m)
{
    assert_int_equal(memory_bulk(&end->rig->theirs, m->request_id, false), 0);
    assert_int_equal(end->rig->theirs.done, 0);
}

void case_begin(struct rig *rig, bool get, uint32_t n_mine, uint32_t n_theirs, uint64_t len)
{
    case_open(rig);
    memory_init(&rig->mine, &rig->client, n_mine, len, false);
    memory_init(&rig->theirs, &rig->server, n_theirs, len, false);
    memory_fill(get ? &rig->theirs : &rig->mine, 77);
    rig->theirs.on_done = case_reply_when_done;
    rig->server.on_message = get ? case_serve_write : case_serve_read;
    assert_int_equal(memory_expose(&rig->mine, ID(3, 5), get), 0);
    assert_int_equal(end_send(&rig->client, get ? 32 : 33, ID(3, 5), false, "go", 2), 0);
}

void case_conceal(struct rig *rig, bool answered)
{
    rig->t->conceal(rig->client.conn, &rig->mine.exposure, answered);
    assert_true(rig_until(rig, &rig->mine.concealed, 1));
}

void case_conceal_now(struct memory *m)
{
    m->on_landed = NULL;
    m->rig->t->conceal(m->end->conn, &m->exposure, false);
}
