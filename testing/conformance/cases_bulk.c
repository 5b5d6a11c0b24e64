#include "testing/conformance/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void everything_is_here(struct end *end, const struct mkv__message *m)
{
    (void)m;
    assert_true(end->rig->mine.landed == end->rig->theirs.len);
}

static void transfer(bool get, uint32_t n_mine, uint32_t n_theirs, uint64_t len)
{
    struct rig rig;

    case_begin(&rig, get, n_mine, n_theirs, len);
    if (get) {
        rig.client.on_message = everything_is_here;
    }
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    assert_true(rig.client.after_bulk);
    case_conceal(&rig, true);
    assert_int_equal(rig.theirs.done, 1);
    assert_int_equal(rig.theirs.status, 0);
    if (!get) {
        assert_true(rig.theirs.landed == len);
    }
    assert_true(memory_is(&rig.mine, 77) && memory_is(&rig.theirs, 77));
    assert_true(memory_canaries(&rig.mine) && memory_canaries(&rig.theirs));
    rig_turns(&rig, 20);
    assert_int_equal(rig.server.cancelled, 0);
    case_still_works(&rig);
    rig_fini(&rig);
}

void gets(void **state)
{
    (void)state;
    transfer(true, 1, 1, 1);
    transfer(true, 1, 1, 4096);
    transfer(true, 100, 37, 3 * MIB + 11);
    transfer(true, 1, 1000, 3 * MIB + 11);
    transfer(true, 3000, 1, 3 * MIB + 11);
    transfer(true, 7, 9, 20 * MIB);
}

void sets(void **state)
{
    (void)state;
    transfer(false, 1, 1, 1);
    transfer(false, 1, 1, 4096);
    transfer(false, 100, 37, 3 * MIB + 11);
    transfer(false, 1, 1000, 3 * MIB + 11);
    transfer(false, 3000, 1, 3 * MIB + 11);
    transfer(false, 7, 9, 20 * MIB);
}

/* Where the client sends what is read, it sends sums of it, and what has another one ends the read. */
static void set_with_sums(uint32_t n_mine, uint32_t n_theirs, uint64_t len, uint64_t lie)
{
    struct rig rig;
    bool fenced;

    case_open(&rig);
    fenced = rig.t->limits.reads_are_fenced;
    memory_init(&rig.mine, &rig.client, n_mine, len, false);
    memory_init(&rig.theirs, &rig.server, n_theirs, len, false);
    rig.mine.checked = rig.theirs.checked = true;
    rig.theirs.lie = lie;
    memory_fill(&rig.mine, 77);
    rig.server.on_message = case_serve_read;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), false), 0);
    assert_int_equal(end_send(&rig.client, 33, ID(3, 5), false, "go", 2), 0);
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    assert_int_equal(rig.theirs.status, lie && !fenced ? -EBADMSG : 0);
    if (rig.theirs.status == 0) {
        assert_true(memory_is(&rig.theirs, 77));
    }
    memset(rig.theirs.base, 0xee, rig.theirs.size); /* it is the server's own again */
    rig_turns(&rig, 100);
    assert_int_equal(rig.theirs.done, 1);
    case_conceal(&rig, true);
    case_still_works(&rig);
    rig_fini(&rig);
}

void sets_with_sums(void **state)
{
    (void)state;
    for (uint64_t lie = 0; lie < 2; lie++) {
        set_with_sums(1, 1, 1, lie);
        set_with_sums(100, 37, 3 * MIB + 11, lie);
        set_with_sums(1, 1000, 3 * MIB + 11, lie);
        set_with_sums(3000, 1, 3 * MIB + 11, lie);
        set_with_sums(7, 9, 20 * MIB, lie);
    }
}

static void transfer_behind(uint32_t n_mine, uint32_t n_theirs, uint64_t len)
{
    struct rig rig;

    case_begin(&rig, true, n_mine, n_theirs, len);
    rig.server.on_message = case_serve_write_and_reply;
    rig.client.on_message = everything_is_here;
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    assert_true(rig.client.after_bulk);
    case_conceal(&rig, true);
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    assert_int_equal(rig.theirs.status, 0);
    assert_true(memory_is(&rig.mine, 77) && memory_canaries(&rig.mine));
    rig_turns(&rig, 20);
    assert_int_equal(rig.theirs.done, 1);
    assert_int_equal(rig.client.messages, 1);
    case_still_works(&rig);
    rig_fini(&rig);
}

/* The server need not wait for its write to end before it answers. */
void gets_with_the_reply_behind(void **state)
{
    (void)state;
    transfer_behind(1, 1, 1);
    transfer_behind(1, 1, 4096);
    transfer_behind(1, 1000, 3 * MIB + 11);
    transfer_behind(3000, 1, 3 * MIB + 11);
    transfer_behind(7, 9, 20 * MIB);
}

void nothing_to_move(void **state)
{
    (void)state;
    transfer(true, 1, 1, 0);
    transfer(true, 1, 0, 0);
    transfer(false, 1, 1, 0);
    transfer(false, 0, 0, 0);
}

/* Holes of the server's pieces stay as they are. */
void gaps_stay(void **state)
{
    struct rig rig;
    uint64_t end;

    (void)state;
    case_open(&rig);
    memory_init(&rig.theirs, &rig.server, 20, 100000, true);
    end = rig.theirs.pieces[19].offset + rig.theirs.pieces[19].len;
    memory_init(&rig.mine, &rig.client, 3, end, false);
    memory_fill(&rig.theirs, 5);
    rig.theirs.on_done = case_reply_when_done;
    rig.server.on_message = case_serve_write;
    assert_int_equal(memory_expose(&rig.mine, ID(0, 1), true), 0);
    assert_int_equal(end_send(&rig.client, 32, ID(0, 1), false, "", 0), 0);
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    assert_true(rig.mine.landed == rig.theirs.len);
    for (uint32_t i = 0; i < rig.mine.n; i++) {
        const struct mkv__piece *p = &rig.mine.pieces[i];

        for (uint64_t j = 0; j < p->len; j++) {
            uint64_t offset = p->offset + j;
            bool written = false;

            for (uint32_t k = 0; k < 20; k++) {
                written |= offset >= rig.theirs.pieces[k].offset &&
                           offset - rig.theirs.pieces[k].offset < rig.theirs.pieces[k].len;
            }
            assert_int_equal(((uint8_t *)p->addr)[j], written ? memory_byte(offset, 5) : 0);
        }
    }
    rig_fini(&rig);
}

/* The most pieces that the table allows, on both sides; one more is refused. */
static void piece_limits(bool get)
{
    struct rig rig;
    struct mkv__piece *mine, *theirs;
    uint32_t n;
    uint8_t *memory;

    case_open(&rig);
    n = rig.t->limits.max_pieces;
    mine = calloc(n + 1, sizeof(*mine));
    theirs = calloc(n + 1, sizeof(*theirs));
    memory = calloc(2, n + 1);
    for (uint32_t i = 0; i <= n; i++) {
        mine[i] = (struct mkv__piece){i, memory + i, 1};
        theirs[i] = (struct mkv__piece){i, memory + n + 1 + i, 1};
        memory[get ? n + 1 + i : i] = memory_byte(i, 5);
    }
    rig.mine.rig = rig.theirs.rig = &rig;
    rig.mine.end = &rig.client;
    rig.theirs.end = &rig.server;
    rig.mine.pieces = mine;
    rig.theirs.pieces = theirs;
    rig.mine.n = rig.theirs.n = n + 1;
    rig.mine.len = rig.theirs.len = n + 1;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), get), -EMSGSIZE);
    assert_int_equal(memory_bulk(&rig.theirs, ID(3, 5), get), -EMSGSIZE);
    rig.mine.n = rig.theirs.n = n;
    rig.mine.len = rig.theirs.len = n;
    rig.theirs.on_done = case_reply_when_done;
    rig.server.on_message = get ? case_serve_write : case_serve_read;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), get), 0);
    assert_int_equal(end_send(&rig.client, get ? 32 : 33, ID(3, 5), false, "go", 2), 0);
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    case_conceal(&rig, true);
    assert_memory_equal(memory, memory + n + 1, n);
    assert_int_equal(memory[get ? n : 2 * n + 1], 0);
    rig_fini(&rig); /* frees both arrays of pieces */
    free(memory);
}

void limits_of_pieces(void **state)
{
    (void)state;
    piece_limits(true);
    piece_limits(false);
}

void limits_of_length(void **state)
{
    struct rig rig;
    struct mkv__piece huge, *kept;
    struct mkv__piece wraps[2];
    uint64_t most;

    (void)state;
    case_open(&rig);
    most = rig.t->limits.max_exposure;
    huge = (struct mkv__piece){0, &rig, most + 1}; /* never touched */
    wraps[0] = (struct mkv__piece){0, &rig, most};
    wraps[1] = (struct mkv__piece){most, &rig, UINT64_MAX - 5};
    memory_init(&rig.mine, &rig.client, 1, 8, false);
    memory_init(&rig.theirs, &rig.server, 1, 8, false);
    kept = rig.mine.pieces;
    rig.mine.pieces = &huge;
    rig.mine.len = most + 1;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), -EMSGSIZE);
    rig.mine.len = huge.len = most;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), true), 0);
    {
        struct mkv__exposure second = rig.mine.exposure; /* the slot is taken */

        assert_int_equal(rig.t->expose(rig.client.conn, &second), -EINVAL);
    }
    case_conceal(&rig, true);
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, true); /* nothing any more */
    assert_int_equal(rig.mine.concealed, 1);
    rig.mine.pieces = kept;
    assert_int_equal(memory_expose(&rig.mine, ID(rig.t->limits.max_requests, 5), true), -EINVAL);
    kept = rig.theirs.pieces;
    for (int write = 0; write < 2; write++) {
        rig.theirs.pieces = &huge;
        huge.len = most + 1;
        assert_int_equal(memory_bulk(&rig.theirs, ID(3, 5), write), -EMSGSIZE);
        rig.theirs.pieces = wraps;
        rig.theirs.n = 2;
        assert_int_equal(memory_bulk(&rig.theirs, ID(3, 5), write), -EMSGSIZE);
        rig.theirs.pieces = kept;
        rig.theirs.n = 1;
        assert_int_equal(memory_bulk(&rig.theirs, ID(rig.t->limits.max_requests, 5), write),
                         -EINVAL);
    }
    /* One read of a request at a time. */
    assert_int_equal(memory_bulk(&rig.theirs, ID(3, 5), false), 0);
    {
        struct mkv__bulk second = rig.theirs.bulk;

        assert_int_equal(rig.t->read(rig.server.conn, &second), -EINVAL);
    }
    rig.t->abort(rig.server.conn, &rig.theirs.bulk);
    assert_int_equal(rig.theirs.done, 1);
    case_still_works(&rig);
    rig_fini(&rig);
}
