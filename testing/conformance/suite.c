#include "testing/conformance/suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID(slot, generation) ((uint64_t)(slot) | (uint64_t)(generation) << 32)
#define MIB                  (1u << 20)

static const struct mkv__subject *subject;
static const struct mkv__auth_key key_a = {.id = 1, .key = {1, 2, 3}};
static const struct mkv__auth_key key_b = {.id = 1, .key = {9, 2, 3}};
static const struct mkv__auth_key key_other = {.id = 7, .key = {1, 2, 3}};

static void open_rig(struct rig *rig)
{
    rig_init(rig, subject, &key_a, &key_a);
    rig_connect(rig);
}

static void echo_back(struct end *end, const struct mkv__message *m)
{
    assert_int_equal(end_send(end, 68, m->request_id, false, m->body, m->body_len), 0);
}

static void still_works(struct rig *rig)
{
    int before = rig->client.messages;

    rig->server.on_message = echo_back;
    rig->client.on_message = NULL;
    assert_int_equal(end_send(&rig->client, 36, ID(200, 9), false, "still", 5), 0);
    assert_true(rig_until(rig, &rig->client.messages, before + 1));
    assert_memory_equal(rig->client.body, "still", 5);
    rig->server.on_message = NULL;
}

/* Connecting -------------------------------------------------------------------------------- */

static void opens_and_closes(void **state)
{
    struct rig rig;

    (void)state;
    open_rig(&rig);
    assert_non_null(strchr(rig.t->peer_name(rig.client.conn), ':'));
    rig.t->close(rig.client.conn);
    assert_int_equal(rig.client.closed, 1);
    assert_int_equal(rig.client.error, -ECANCELED);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_int_equal(rig.server.error, -ECONNRESET);
    rig_fini(&rig);
}

static void works_without_keys(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, subject, NULL, NULL);
    rig_connect(&rig);
    still_works(&rig);
    rig_fini(&rig);
}

static void nobody_listens(void **state)
{
    struct rig rig;
    char address[80];

    (void)state;
    rig_init(&rig, subject, NULL, NULL);
    rig_connect(&rig);
    snprintf(address, sizeof(address), "%s", rig.t->listener_address(rig.listener));
    rig.t->close(rig.client.conn);
    rig.t->listener_close(&rig.listener);
    assert_null(rig.listener);
    rig.client.closed = 0;
    rig.client.opened = 0;
    {
        struct mkv__listen_handlers none = {0};

        assert_int_equal(
            rig.t->listen(rig.server_endpoint, 2, subject->any_address, &none, &rig.listener), 0);
        snprintf(address, sizeof(address), "%s", rig.t->listener_address(rig.listener));
    }
    rig_dial(&rig);
    rig.t->listener_close(&rig.listener);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.opened, 0);
    assert_int_equal(rig.client.error, -ECONNRESET);
    rig_fini(&rig);
}

static void refused(const struct mkv__auth_key *client, const struct mkv__auth_key *server)
{
    struct rig rig;

    rig_init(&rig, subject, client, server);
    rig_dial(&rig);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.error, -EACCES);
    assert_int_equal(rig.client.opened, 0);
    rig_turns(&rig, 50);
    assert_int_equal(rig.sessions, 0);
    rig_fini(&rig);
}

static void wrong_keys(void **state)
{
    (void)state;
    refused(&key_b, &key_a);
    refused(&key_other, &key_a);
    refused(NULL, &key_a);
    refused(&key_a, NULL);
}

static void listens_on_any_port(void **state)
{
    struct rig rig;
    struct mkv__listener *second = NULL, *third = NULL;
    struct mkv__listen_handlers none = {0};
    const char *port;

    (void)state;
    rig_init(&rig, subject, NULL, NULL);
    port = strrchr(rig.t->listener_address(rig.listener), ':');
    assert_non_null(port);
    assert_int_not_equal(atoi(port + 1), 0);
    assert_int_equal(rig.t->listen(rig.server_endpoint, 2, subject->any_address, &none, &second),
                     0);
    assert_string_not_equal(rig.t->listener_address(rig.listener), rig.t->listener_address(second));
    assert_int_equal(
        rig.t->listen(rig.server_endpoint, 2, rig.t->listener_address(second), &none, &third),
        -EADDRINUSE);
    assert_null(third);
    rig.t->listener_close(&second);
    assert_int_equal(rig.t->listen(rig.server_endpoint, 2, "nonsense", &none, &third), -EINVAL);
    rig_fini(&rig);
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static void thousand_cycles(void **state)
{
    struct rig rig;
    int before;

    (void)state;
    open_rig(&rig);
    rig.t->close(rig.client.conn);
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    rig_turns(&rig, 20);
    before = open_descriptors();
    for (int i = 0; i < 1000; i++) {
        rig_connect(&rig);
        rig.t->close(i % 2 ? rig.client.conn : rig.server.conn);
        assert_true(rig_until(&rig, &rig.server.closed, 1));
        assert_true(rig_until(&rig, &rig.client.closed, 1));
    }
    rig_turns(&rig, 20);
    assert_int_equal(open_descriptors(), before);
    assert_true(rig.on_worker[0] > 100 && rig.on_worker[1] > 100);
    rig_fini(&rig);
}

/* Messages ------------------------------------------------------------------------------------ */

static void echoes(void **state)
{
    struct rig rig;
    uint32_t sizes[] = {0, 1, 8, 1000, 65536, 0};
    uint8_t *body;

    (void)state;
    open_rig(&rig);
    sizes[5] = rig.t->limits.max_message;
    body = malloc(rig.t->limits.max_message + 1);
    memset(body, 0x5a, rig.t->limits.max_message + 1);
    rig.server.on_message = echo_back;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(end_send(&rig.client, 36, ID(i, 1), false, body, sizes[i]), 0);
        assert_true(rig_until(&rig, &rig.client.messages, i + 1));
        assert_int_equal(rig.client.body_len, sizes[i]);
    }
    assert_int_equal(
        end_send(&rig.client, 36, ID(1, 1), false, body, rig.t->limits.max_message + 1), -EMSGSIZE);
    assert_int_equal(end_send(&rig.client, 36, ID(rig.t->limits.max_requests, 1), false, body, 1),
                     -EINVAL);
    free(body);
    rig_fini(&rig);
}

static void full_then_writable(void **state)
{
    struct rig rig;
    static uint8_t body[100000];
    uint64_t sum = 0;
    int sent = 0;
    int error;

    (void)state;
    open_rig(&rig);
    rig.server_stalls = true;
    for (;;) {
        uint64_t n = (uint64_t)sent;

        memcpy(body, &n, sizeof(n));
        error = end_send(&rig.client, 36, ID(sent % 256, 1), false, body, sizeof(body));
        if (error) {
            break;
        }
        sum = sum * 31 + n;
        sent++;
        rig_turns(&rig, 1);
        assert_true(sent < 10000);
    }
    assert_int_equal(error, -EAGAIN);
    assert_int_equal(rig.client.writable, 0);
    rig.server_stalls = false;
    assert_true(rig_until(&rig, &rig.client.writable, 1));
    assert_true(rig_until(&rig, &rig.server.messages, sent));
    assert_true(rig.server.sum == sum); /* in order */
    rig_fini(&rig);
}

/* The other way round. */
static void full_then_writable_at_the_server(void **state)
{
    struct rig rig;
    static uint8_t body[100000];
    uint64_t sum = 0;
    int sent = 0;

    (void)state;
    open_rig(&rig);
    rig.client_stalls = true;
    for (;; sent++) {
        uint64_t n = (uint64_t)sent;

        memcpy(body, &n, sizeof(n));
        if (end_send(&rig.server, 68, ID(sent % 256, 1), false, body, sizeof(body)) != 0) {
            break;
        }
        sum = sum * 31 + n;
        rig_turns(&rig, 1);
        assert_true(sent < 10000);
    }
    assert_int_equal(end_send(&rig.server, 68, ID(0, 1), false, body, sizeof(body)), -EAGAIN);
    assert_true(rig.t->unsent(rig.server.conn) > 0);
    assert_int_equal(rig.server.writable, 0);
    rig.client_stalls = false;
    assert_true(rig_until(&rig, &rig.server.writable, 1));
    assert_true(rig_until(&rig, &rig.client.messages, sent));
    assert_true(rig.client.sum == sum);
    for (int i = 0; i < 10000 && rig.t->unsent(rig.server.conn) > 0; i++) {
        rig_turns(&rig, 1);
    }
    assert_true(rig.t->unsent(rig.server.conn) == 0);
    still_works(&rig);
    rig_fini(&rig);
}

/* What has been sent and has not arrived is told. */
static void unsent_is_told(void **state)
{
    struct rig rig;

    (void)state;
    open_rig(&rig);
    for (int i = 0; i < 10000 && rig.t->unsent(rig.client.conn) > 0; i++) {
        rig_turns(&rig, 1);
    }
    assert_true(rig.t->unsent(rig.client.conn) == 0);
    assert_int_equal(end_send(&rig.client, 36, ID(1, 1), false, "", 0), 0);
    assert_true(rig.t->unsent(rig.client.conn) > 0);
    assert_true(rig_until(&rig, &rig.server.messages, 1));
    for (int i = 0; i < 10000 && rig.t->unsent(rig.client.conn) > 0; i++) {
        rig_turns(&rig, 1);
    }
    assert_true(rig.t->unsent(rig.client.conn) == 0);
    rig_fini(&rig);
}

/* Nobody answers the greeting. */
static void slow_handshake(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, subject, &key_a, &key_a);
    rig.server_stalls = true;
    rig_dial(&rig);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_int_equal(rig.client.error, -ETIMEDOUT);
    assert_int_equal(rig.client.opened, 0);
    rig.server_stalls = false;
    rig_turns(&rig, 50);
    assert_null(rig.server.conn);
    rig_connect(&rig);
    still_works(&rig);
    rig_fini(&rig);
}

/* Bulk ---------------------------------------------------------------------------------------- */

static void reply_when_done(struct memory *m)
{
    if (m->end->conn && m->status == 0) {
        assert_int_equal(end_send(m->end, 64, m->bulk.request_id, true, "done", 4), 0);
    }
}

static void serve_write(struct end *end, const struct mkv__message *m)
{
    assert_int_equal(memory_bulk(&end->rig->theirs, m->request_id, true), 0);
    assert_int_equal(end->rig->theirs.done, 0);
}

static void serve_read(struct end *end, const struct mkv__message *m)
{
    assert_int_equal(memory_bulk(&end->rig->theirs, m->request_id, false), 0);
    assert_int_equal(end->rig->theirs.done, 0);
}

static void everything_is_here(struct end *end, const struct mkv__message *m)
{
    (void)m;
    assert_true(end->rig->mine.landed == end->rig->theirs.len);
}

static void begin(struct rig *rig, bool get, uint32_t n_mine, uint32_t n_theirs, uint64_t len)
{
    open_rig(rig);
    memory_init(&rig->mine, &rig->client, n_mine, len, false);
    memory_init(&rig->theirs, &rig->server, n_theirs, len, false);
    memory_fill(get ? &rig->theirs : &rig->mine, 77);
    rig->theirs.on_done = reply_when_done;
    rig->server.on_message = get ? serve_write : serve_read;
    assert_int_equal(memory_expose(&rig->mine, ID(3, 5), get), 0);
    assert_int_equal(end_send(&rig->client, get ? 32 : 33, ID(3, 5), false, "go", 2), 0);
}

static void transfer(bool get, uint32_t n_mine, uint32_t n_theirs, uint64_t len)
{
    struct rig rig;

    begin(&rig, get, n_mine, n_theirs, len);
    if (get) {
        rig.client.on_message = everything_is_here;
    }
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    assert_true(rig.client.after_bulk);
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, true);
    assert_true(rig_until(&rig, &rig.mine.concealed, 1));
    assert_int_equal(rig.theirs.done, 1);
    assert_int_equal(rig.theirs.status, 0);
    if (!get) {
        assert_true(rig.theirs.landed == len);
    }
    assert_true(memory_is(&rig.mine, 77) && memory_is(&rig.theirs, 77));
    assert_true(memory_canaries(&rig.mine) && memory_canaries(&rig.theirs));
    rig_turns(&rig, 20);
    assert_int_equal(rig.server.cancelled, 0);
    still_works(&rig);
    rig_fini(&rig);
}

static void gets(void **state)
{
    (void)state;
    transfer(true, 1, 1, 1);
    transfer(true, 1, 1, 4096);
    transfer(true, 100, 37, 3 * MIB + 11);
    transfer(true, 1, 1000, 3 * MIB + 11);
    transfer(true, 3000, 1, 3 * MIB + 11);
    transfer(true, 7, 9, 20 * MIB);
}

static void sets(void **state)
{
    (void)state;
    transfer(false, 1, 1, 1);
    transfer(false, 1, 1, 4096);
    transfer(false, 100, 37, 3 * MIB + 11);
    transfer(false, 1, 1000, 3 * MIB + 11);
    transfer(false, 3000, 1, 3 * MIB + 11);
    transfer(false, 7, 9, 20 * MIB);
}

static void nothing_to_move(void **state)
{
    (void)state;
    transfer(true, 1, 1, 0);
    transfer(true, 1, 0, 0);
    transfer(false, 1, 1, 0);
    transfer(false, 0, 0, 0);
}

/* Holes of the server's pieces stay as they are. */
static void gaps_stay(void **state)
{
    struct rig rig;
    uint64_t end;

    (void)state;
    open_rig(&rig);
    memory_init(&rig.theirs, &rig.server, 20, 100000, true);
    end = rig.theirs.pieces[19].offset + rig.theirs.pieces[19].len;
    memory_init(&rig.mine, &rig.client, 3, end, false);
    memory_fill(&rig.theirs, 5);
    rig.theirs.on_done = reply_when_done;
    rig.server.on_message = serve_write;
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

    open_rig(&rig);
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
    rig.theirs.on_done = reply_when_done;
    assert_int_equal(memory_expose(&rig.mine, ID(3, 5), get), 0);
    assert_int_equal(memory_bulk(&rig.theirs, ID(3, 5), get), 0);
    assert_true(rig_until(&rig, &rig.client.messages, 1));
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, true);
    assert_memory_equal(memory, memory + n + 1, n);
    assert_int_equal(memory[get ? n : 2 * n + 1], 0);
    rig_fini(&rig); /* frees both arrays of pieces */
    free(memory);
}

static void limits_of_pieces(void **state)
{
    (void)state;
    piece_limits(true);
    piece_limits(false);
}

static void limits_of_length(void **state)
{
    struct rig rig;
    struct mkv__piece huge, *kept;
    struct mkv__piece wraps[2];
    uint64_t most;

    (void)state;
    open_rig(&rig);
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
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, true);
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
    still_works(&rig);
    rig_fini(&rig);
}

/* Fences ---------------------------------------------------------------------------------------- */

static void conceal_now(struct memory *m)
{
    m->on_landed = NULL;
    m->rig->t->conceal(m->end->conn, &m->exposure, false);
}

static void abort_theirs(struct end *end, uint64_t id)
{
    struct memory *m = &end->rig->theirs;

    assert_true(id == m->bulk.request_id);
    if (m->done == 0) {
        end->rig->t->abort(end->conn, &m->bulk);
    }
}

static void conceal_during_get(void **state)
{
    struct rig rig;
    uint8_t *copy;

    (void)state;
    begin(&rig, true, 50, 3, 30 * MIB);
    rig.mine.on_landed = conceal_now;
    rig.server.on_cancelled = abort_theirs;
    assert_true(rig_until(&rig, &rig.mine.concealed, 1));
    copy = malloc(rig.mine.size);
    memcpy(copy, rig.mine.base, rig.mine.size);
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    rig_turns(&rig, 100);
    assert_memory_equal(copy, rig.mine.base, rig.mine.size);
    assert_true(memory_canaries(&rig.mine));
    free(copy);
    still_works(&rig);
    rig_fini(&rig);
}

static void conceal_mine(struct memory *theirs)
{
    struct memory *mine = &theirs->rig->mine;

    theirs->on_landed = NULL;
    theirs->rig->t->conceal(mine->end->conn, &mine->exposure, false);
    /* the caller's again: what it puts there now must not travel */
    memset(mine->base, 0xee, mine->size);
}

static void conceal_during_set(void **state)
{
    struct rig rig;
    uint64_t real = 0;

    (void)state;
    begin(&rig, false, 50, 1, 30 * MIB);
    rig.theirs.on_landed = conceal_mine;
    assert_true(rig_until(&rig, &rig.mine.concealed, 1));
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    assert_int_equal(rig.theirs.status, -ECANCELED);
    for (uint64_t i = 0; i < rig.theirs.len; i++) {
        uint8_t byte = ((uint8_t *)rig.theirs.pieces[0].addr)[i];

        assert_true(byte == 0 || byte == memory_byte(i, 77));
        real += byte != 0;
    }
    assert_true(real > 0 && real < rig.theirs.len);
    assert_int_equal(rig.server.cancelled, 1);
    still_works(&rig);
    rig_fini(&rig);
}

static void abort_now(struct memory *m)
{
    struct memory *theirs = &m->rig->theirs;

    m->on_landed = NULL;
    m->rig->t->abort(theirs->end->conn, &theirs->bulk);
}

static void aborted(bool get)
{
    struct rig rig;

    begin(&rig, get, 4, 4, 30 * MIB);
    (get ? &rig.mine : &rig.theirs)->on_landed = abort_now;
    assert_true(rig_until(&rig, &rig.theirs.done, 1));
    assert_int_equal(rig.theirs.status, -ECANCELED);
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
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, true);
    still_works(&rig);
    rig_fini(&rig);
}

static void aborts(void **state)
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
static void concealed_after(bool get, int turns)
{
    struct rig rig;
    uint8_t *copy;

    begin(&rig, get, 5, 3, MIB);
    rig.server.on_cancelled = abort_if_begun;
    rig_turns(&rig, turns);
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, false);
    assert_int_equal(rig.mine.concealed, 1);
    if (!get) {
        memset(rig.mine.base, 0xee, rig.mine.size); /* what is put there now must not travel */
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
    still_works(&rig);
    rig_fini(&rig);
}

static void aborted_after(bool get, int turns)
{
    struct rig rig;
    int done;

    begin(&rig, get, 3, 5, MIB);
    rig.theirs.on_done = NULL;
    assert_true(rig_until(&rig, &rig.server.messages, 1));
    rig_turns(&rig, turns);
    done = rig.theirs.done;
    rig.t->abort(rig.server.conn, &rig.theirs.bulk);
    assert_int_equal(rig.theirs.done, 1);
    assert_true(done ? rig.theirs.status == 0 : rig.theirs.status == -ECANCELED);
    memset(rig.theirs.base, 0xee, rig.theirs.size);
    rig_turns(&rig, 50);
    assert_int_equal(rig.theirs.done, 1);
    assert_true(!get || only_real_or_zero(&rig.mine));
    for (size_t i = 0; i < rig.theirs.size && !get; i++) {
        assert_int_equal(rig.theirs.base[i], 0xee);
    }
    rig.t->conceal(rig.client.conn, &rig.mine.exposure, true);
    still_works(&rig);
    rig_fini(&rig);
}

static void died_after(bool get, bool client, int turns)
{
    struct rig rig;

    begin(&rig, get, 3, 5, MIB);
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

static void fences_at_every_turn(void **state)
{
    (void)state;
    for (int turns = 0; turns < 24; turns += turns < 8 ? 1 : 3) {
        for (int get = 0; get < 2; get++) {
            concealed_after(get, turns);
            aborted_after(get, turns);
            died_after(get, true, turns);
            died_after(get, false, turns);
        }
    }
}

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

    begin(&rig, get, 9, 9, 30 * MIB);
    (get ? &rig.mine : &rig.theirs)->on_landed = killer;
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    assert_true(rig_until(&rig, &rig.server.closed, 1));
    assert_int_equal(rig.mine.concealed, 1);
    assert_int_equal(rig.theirs.done, 1);
    assert_true(rig.theirs.status < 0);
    assert_true(memory_canaries(&rig.mine) && memory_canaries(&rig.theirs));
    rig_fini(&rig);
}

static void death_in_bulk(void **state)
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

static void close_in_callbacks(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, subject, &key_a, &key_a);
    rig.client.on_opened = end_closes;
    rig_dial(&rig);
    assert_true(rig_until(&rig, &rig.client.closed, 1));
    rig_turns(&rig, 20);
    rig_fini(&rig);

    rig_init(&rig, subject, &key_a, &key_a);
    rig.server.on_opened = end_closes;
    rig_dial(&rig);
    both_closed(&rig);

    begin(&rig, true, 4, 4, MIB);
    rig.client.on_message = message_closes;
    both_closed(&rig);

    begin(&rig, true, 4, 4, MIB);
    rig.server.on_message = message_closes;
    both_closed(&rig);

    begin(&rig, true, 4, 4, 30 * MIB);
    rig.mine.on_landed = conceal_now;
    rig.mine.on_concealed = memory_closes;
    both_closed(&rig);

    begin(&rig, true, 4, 4, 30 * MIB);
    rig.mine.on_landed = conceal_now;
    rig.server.on_cancelled = cancelled_closes;
    both_closed(&rig);

    begin(&rig, true, 4, 4, MIB);
    rig.theirs.on_done = memory_closes;
    both_closed(&rig);

    begin(&rig, false, 4, 4, MIB);
    rig.theirs.on_done = memory_closes;
    both_closed(&rig);
}

static void endpoint_closes(struct memory *m)
{
    m->on_landed = NULL;
    m->rig->t->endpoint_close(&m->rig->client_endpoint);
    assert_int_equal(m->rig->client.closed, 1);
}

static void endpoint_close_in_callback(void **state)
{
    struct rig rig;

    (void)state;
    begin(&rig, true, 4, 4, 30 * MIB);
    rig.mine.on_landed = endpoint_closes;
    both_closed(&rig);
}

static void writable_closes(void **state)
{
    struct rig rig;
    static uint8_t body[100000];

    (void)state;
    open_rig(&rig);
    rig.client.on_writable = end_closes;
    rig.server_stalls = true;
    while (end_send(&rig.client, 36, ID(1, 1), false, body, sizeof(body)) == 0) {
        rig_turns(&rig, 1);
    }
    rig.server_stalls = false;
    both_closed(&rig);
}

int mkv__conformance(const struct mkv__subject *s)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_and_closes),
        cmocka_unit_test(works_without_keys),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(wrong_keys),
        cmocka_unit_test(listens_on_any_port),
        cmocka_unit_test(echoes),
        cmocka_unit_test(full_then_writable),
        cmocka_unit_test(full_then_writable_at_the_server),
        cmocka_unit_test(unsent_is_told),
        cmocka_unit_test(slow_handshake),
        cmocka_unit_test(gets),
        cmocka_unit_test(sets),
        cmocka_unit_test(nothing_to_move),
        cmocka_unit_test(gaps_stay),
        cmocka_unit_test(limits_of_pieces),
        cmocka_unit_test(limits_of_length),
        cmocka_unit_test(conceal_during_get),
        cmocka_unit_test(conceal_during_set),
        cmocka_unit_test(aborts),
        cmocka_unit_test(fences_at_every_turn),
        cmocka_unit_test(death_in_bulk),
        cmocka_unit_test(close_in_callbacks),
        cmocka_unit_test(endpoint_close_in_callback),
        cmocka_unit_test(writable_closes),
        cmocka_unit_test(thousand_cycles),
    };

    subject = s;
    return cmocka_run_group_tests_name(s->transport->name, tests, NULL, NULL);
}
