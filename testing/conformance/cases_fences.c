#include "testing/conformance/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Fences ---------------------------------------------------------------------------------------- */

static void abort_theirs(struct end *end, uint64_t id)
{
    struct memory *m = &end->rig->theirs;

    assert_true(id == m->bulk.request_id);
    if (m->done == 0) {
        end->rig->t->abort(end->conn, &m->bulk);
    }
}

void conceal_during_get(void **state)
{
    struct rig rig;
    uint8_t *copy;

    (void)state;
    case_begin(&rig, true, 50, 3, 30 * MIB);
    rig.mine.on_landed = case_conceal_now;
    rig.server.on_cancelled = abort_theirs;
    assert_true(rig_until(&rig, &rig.mine.concealed, 1));
    copy = malloc(rig.mine.size);
    memcpy(copy, rig.mine.base, rig.mine.size);
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    rig_turns(&rig, 100);
    assert_memory_equal(copy, rig.mine.base, rig.mine.size);
    assert_true(memory_canaries(&rig.mine));
    free(copy);
    case_still_works(&rig);
    rig_fini(&rig);
}

/* The caller's again: what it puts there now must not travel. */
static void overwrite(struct memory *mine)
{
    memset(mine->base, 0xee, mine->size);
}

static void conceal_mine(struct memory *theirs)
{
    struct memory *mine = &theirs->rig->mine;

    theirs->on_landed = NULL;
    mine->on_concealed = overwrite;
    theirs->rig->t->conceal(mine->end->conn, &mine->exposure, false);
}

/* checked: zeros do not have the sums of what was to leave, which the server may see before it hears that
 * the client has withdrawn. */
static void conceals_during_set(bool checked)
{
    struct rig rig;
    uint64_t real = 0;

    case_open(&rig);
    memory_init(&rig.mine, &rig.client, 50, 30 * MIB, false);
    memory_init(&rig.theirs, &rig.server, 1, 30 * MIB, false);
    memory_fill(&rig.mine, 77);
    rig.mine.checked = rig.theirs.checked = checked;
    rig.theirs.on_done = case_reply_when_done;
    rig.server.on_message = case_serve_read;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), false), 0);
    assert_int_equal(end_send(&rig.client, 33, ID(3, 5), false, "go", 2), 0);
    rig.theirs.on_landed = conceal_mine;
    assert_true(rig_until(&rig, &rig.mine.concealed, 1));
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    assert_true(rig.theirs.status == -ECANCELED || (checked && rig.theirs.status == -EBADMSG));
    for (uint64_t i = 0; i < rig.theirs.len; i++) {
        uint8_t byte = ((uint8_t *)rig.theirs.pieces[0].addr)[i];

        assert_true(byte == 0 || byte == memory_byte(i, 77));
        real += byte != 0;
    }
    assert_true(real > 0 && real < rig.theirs.len);
    assert_true(rig_until(&rig, &rig.server.cancelled, 1));
    assert_int_equal(rig.server.cancelled, 1);
    case_still_works(&rig);
    rig_fini(&rig);
}

void conceal_during_set(void **state)
{
    (void)state;
    conceals_during_set(false);
    conceals_during_set(true);
}

static void abort_now(struct memory *m)
{
    struct memory *theirs = &m->rig->theirs;

    m->on_landed = NULL;
    if (theirs->done == 0) {
        m->rig->t->abort(theirs->end->conn, &theirs->bulk);
    }
}

static void aborted(bool get)
{
    struct rig rig;

    case_begin(&rig, get, 4, 4, 30 * MIB);
    (get ? &rig.mine : &rig.theirs)->on_landed = abort_now;
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    if (!get || !case_subject->told_at_last) {
        assert_int_equal(rig.theirs.status, -ECANCELED);
    }
    memset(rig.theirs.base, 0xee, rig.theirs.size);
    rig_turns(&rig, 100);
    assert_int_equal(rig.theirs.done, 1);
    for (uint32_t i = 0; get && i < rig.mine.n; i++) {
        const struct mkv__piece *p = &rig.mine.pieces[i];

        for (uint64_t j = 0; j < p->len; j++) {
            uint8_t byte = ((uint8_t *)p->addr)[j];

            assert_true(byte == 0 || byte == memory_byte(p->offset + j, 77));
        }
    }
    case_conceal(&rig, true);
    case_still_works(&rig);
    rig_fini(&rig);
}

void aborts(void **state)
{
    (void)state;
    aborted(true);
    aborted(false);
}

static void abort_if_begun(struct end *end, uint64_t id)
{
    struct memory *m = &end->rig->theirs;

    if (m->bulk.request_id == id && m->done == 0) {
        end->rig->t->abort(end->conn, &m->bulk);
    }
}

static bool only_real_or_zero(const struct memory *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct mkv__piece *p = &m->pieces[i];

        for (uint64_t j = 0; j < p->len; j++) {
            uint8_t byte = ((uint8_t *)p->addr)[j];

            if (byte != 0 && byte != memory_byte(p->offset + j, 77)) {
                return false;
            }
        }
    }
    return true;
}

/* Withdrawn after any number of turns: before the request has left, before it is known, before,
 * while and after bytes move, before and after the reply. */
static void concealed_after(bool get, bool behind, int turns)
{
    struct rig rig;
    uint8_t *copy;

    case_begin(&rig, get, 5, 3, MIB);
    if (behind) {
        rig.server.on_message = case_serve_write_and_reply;
    }
    rig.server.on_cancelled = abort_if_begun;
    rig_turns(&rig, turns);
    case_conceal(&rig, false);
    if (!get) {
        overwrite(&rig.mine);
    }
    copy = malloc(rig.mine.size);
    memcpy(copy, rig.mine.base, rig.mine.size);
    assert_true(rig_until(&rig, &rig.server.cancelled, 1));
    assert_true(rig.server.cancelled_id == ID(3, 5));
    if (rig.server.messages > 0) {
        assert_true(rig_until(&rig, &rig.theirs.done, 1));
    }
    rig_turns(&rig, 50);
    assert_memory_equal(copy, rig.mine.base, rig.mine.size);
    assert_int_equal(rig.mine.concealed, 1);
    assert_true(only_real_or_zero(&rig.theirs) && memory_canaries(&rig.theirs));
    free(copy);
    case_still_works(&rig);
    rig_fini(&rig);
}

static void aborted_after(bool get, int turns)
{
    struct rig rig;
    int done;

    case_begin(&rig, get, 3, 5, MIB);
    rig.theirs.on_done = NULL;
    assert_true(rig_until(&rig, &rig.server.messages, 1));
    rig_turns(&rig, turns);
    done = rig.theirs.done;
    if (!done) {
        rig.t->abort(rig.server.conn, &rig.theirs.bulk);
    }
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    assert_true(done ? rig.theirs.status == 0 : rig.theirs.status == -ECANCELED);
    memset(rig.theirs.base, 0xee, rig.theirs.size);
    rig_turns(&rig, 50);
    assert_int_equal(rig.theirs.done, 1);
    assert_true(!get || only_real_or_zero(&rig.mine));
    for (size_t i = 0; i < rig.theirs.size && !get; i++) {
        assert_int_equal(rig.theirs.base[i], 0xee);
    }
    case_conceal(&rig, true);
    case_still_works(&rig);
    rig_fini(&rig);
}

static void died_after(bool get, bool client, int turns)
{
    struct rig rig;

    case_begin(&rig, get, 3, 5, MIB);
    rig.theirs.on_done = NULL;
    rig_turns(&rig, turns);
    rig.t->close(client ? rig.client.conn : rig.server.conn);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_int_equal(rig.mine.concealed, 1);
    memset(rig.mine.base, 0xee, rig.mine.size);
    rig_turns(&rig, 20);
    for (size_t i = 0; i < rig.mine.size; i++) {
        assert_int_equal(rig.mine.base[i], 0xee);
    }
    assert_true(only_real_or_zero(&rig.theirs) && memory_canaries(&rig.theirs));
    rig_fini(&rig);
}

void fences_at_every_turn(void **state)
{
    (void)state;
    for (int turns = 0; turns < 24; turns += turns < 8 ? 1 : 3) {
        for (int get = 0; get < 2; get++) {
            concealed_after(get, false, turns);
            aborted_after(get, turns);
            died_after(get, true, turns);
            died_after(get, false, turns);
        }
    }
}

/* The reply is sent already: it is not delivered, or everything is. */
static void aborted_answered_after(int turns)
{
    struct rig rig;

    case_begin(&rig, true, 3, 5, 3 * MIB);
    rig.server.on_message = case_serve_write_and_reply;
    assert_true(rig_until(&rig, &rig.server.messages, 1));
    rig_turns(&rig, turns);
    if (!rig.theirs.done) {
        rig.t->abort(rig.server.conn, &rig.theirs.bulk);
    }
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    if (rig.theirs.status == 0) {
        assert_true(rig_until(&rig, &rig.client.messages, 1));
        assert_true(memory_is(&rig.mine, 77));
    } else {
        assert_int_equal(rig.theirs.status, -ECANCELED);
        rig_turns(&rig, 50);
        assert_int_equal(rig.client.messages, 0);
        assert_true(only_real_or_zero(&rig.mine));
    }
    assert_int_equal(rig.theirs.done, 1);
    case_conceal(&rig, true);
    case_still_works(&rig);
    rig_fini(&rig);
}

void fences_of_answered_gets_at_every_turn(void **state)
{
    (void)state;
    for (int turns = 0; turns < 24; turns += turns < 8 ? 1 : 3) {
        concealed_after(true, true, turns);
        aborted_answered_after(turns);
    }
}
