#include "testing/conformance/rig.h"

#include "core/checksum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CANARY      0xc5
#define CANARY_SIZE 64u

/* The ends ---------------------------------------------------------------------------------- */

static void opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    struct end *end = arg;

    assert_non_null(peer);
    assert_ptr_equal(end->conn, conn);
    end->opened++;
    if (end->on_opened) {
        end->on_opened(end);
    }
}

static void message(struct mkv__conn *conn, void *arg, const struct mkv__message *m)
{
    struct end *end = arg;
    uint64_t first = 0;

    (void)conn;
    assert_int_equal(end->closed, 0);
    end->messages++;
    end->after_bulk = m->after_bulk;
    end->body_len = m->body_len;
    memcpy(end->body, m->body, m->body_len < 64 ? m->body_len : 64);
    memcpy(&first, m->body, m->body_len < 8 ? m->body_len : 8);
    end->sum = end->sum * 31 + first;
    if (end->on_message) {
        end->on_message(end, m);
    }
}

static void cancelled(struct mkv__conn *conn, void *arg, uint64_t request_id)
{
    struct end *end = arg;

    (void)conn;
    end->cancelled++;
    end->cancelled_id = request_id;
    if (end->on_cancelled) {
        end->on_cancelled(end, request_id);
    }
}

static void writable(struct mkv__conn *conn, void *arg)
{
    struct end *end = arg;

    (void)conn;
    end->writable++;
    if (end->on_writable) {
        end->on_writable(end);
    }
}

static void closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct end *end = arg;
    struct rig *rig = end->rig;
    struct memory *m = end->server ? &rig->theirs : &rig->mine;

    assert_ptr_equal(end->conn, conn);
    assert_non_null(why);
    end->closed++;
    if (getenv("MKV_VERBOSE")) {
        print_message("%s closed: %d, %s\n", end->server ? "server" : "client", error, why);
    }
    end->error = error;
    snprintf(end->why, sizeof(end->why), "%s", why);
    end->conn = NULL;
    /* the last call: nothing of the session is left */
    if (m->exposure.request_id && m->exposure.concealed) {
        assert_int_equal(m->concealed, 1);
    }
    if (m->bulk.request_id && m->bulk.done) {
        assert_int_equal(m->done, 1);
    }
}

static const struct mkv__conn_handlers handlers = {opened, message, cancelled, writable, closed};

static int accepted(void *arg, struct mkv__worker *worker, struct mkv__conn *conn,
                    const struct mkv__hello *peer, const struct mkv__auth_key *key,
                    const struct mkv__conn_handlers **handlers_out, void **conn_arg_out)
{
    struct rig *rig = arg;

    (void)peer;
    (void)key;
    rig->sessions++;
    rig->on_worker[worker == rig->server_worker[1]]++;
    rig->server.conn = conn;
    rig->server.closed = 0;
    *handlers_out = &handlers;
    *conn_arg_out = &rig->server;
    return 0;
}

/* Workers and time ---------------------------------------------------------------------------- */

static uint64_t clock_of(void *arg)
{
    return ((struct rig *)arg)->now_ns;
}

static struct mkv__worker *worker_new(struct rig *rig)
{
    struct mkv__worker_options options = {.name = "test", .numa_node = -1};
    struct mkv__worker *worker = NULL;

    if (rig->subject->fake_clock) {
        options.clock = clock_of;
        options.clock_arg = rig;
    }
    assert_int_equal(mkv__worker_create(&options, &worker), 0);
    return worker;
}

static struct mkv__endpoint *endpoint_new(struct rig *rig, struct mkv__worker *worker,
                                          const struct mkv__auth_key *key, bool server)
{
    struct mkv__endpoint_options options = {
        .keys = key,
        .n_keys = key ? 1 : 0,
        .lanes = 2,
        .must = rig->subject->must,
        .connect_timeout_ns = 5000000000,
        .idle_ping_ns = 1000000000,
    };
    struct mkv__endpoint *ep = NULL;

    if (rig->subject->tune) {
        rig->subject->tune(&options, server);
    }
    assert_int_equal(rig->t->endpoint_open(worker, &options, &ep), 0);
    return ep;
}

void rig_init(struct rig *rig, const struct mkv__subject *subject,
              const struct mkv__auth_key *client_key, const struct mkv__auth_key *server_key)
{
    struct mkv__listen_handlers listen = {accepted, rig};

    memset(rig, 0, sizeof(*rig));
    rig->subject = subject;
    rig->t = subject->transport;
    rig->now_ns = 1000000000;
    if (subject->reset) {
        subject->reset(1);
    }
    rig->client.rig = rig;
    rig->server.rig = rig;
    rig->server.server = true;
    rig->client_worker = worker_new(rig);
    rig->client_endpoint = endpoint_new(rig, rig->client_worker, client_key, false);
    for (int i = 0; i < 2; i++) {
        rig->server_worker[i] = worker_new(rig);
        rig->server_endpoint[i] = endpoint_new(rig, rig->server_worker[i], server_key, true);
    }
    assert_int_equal(
        rig->t->listen(rig->server_endpoint, 2, subject->any_address, &listen, &rig->listener), 0);
}

void rig_fini(struct rig *rig)
{
    rig->t->endpoint_close(&rig->client_endpoint);
    assert_null(rig->client_endpoint);
    rig->t->listener_close(&rig->listener);
    for (int i = 0; i < 2; i++) {
        mkv__worker_turn(rig->server_worker[i], 0); /* lanes on their way */
        rig->t->endpoint_close(&rig->server_endpoint[i]);
    }
    mkv__worker_stop(rig->client_worker);
    mkv__worker_destroy(&rig->client_worker);
    for (int i = 0; i < 2; i++) {
        mkv__worker_stop(rig->server_worker[i]);
        mkv__worker_destroy(&rig->server_worker[i]);
    }
    assert_null(rig->client.conn);
    assert_null(rig->server.conn);
    memory_fini(&rig->mine);
    memory_fini(&rig->theirs);
}

void rig_turns(struct rig *rig, int n)
{
    for (int i = 0; i < n; i++) {
        int work = rig->client_stalls ? 0 : mkv__worker_turn(rig->client_worker, 0);

        for (int s = 0; s < 2 && !rig->server_stalls; s++) {
            work += mkv__worker_turn(rig->server_worker[s], 0);
        }
        if (rig->subject->fake_clock) {
            rig->now_ns += 100000;
        } else if (work == 0) {
            mkv__worker_turn(rig->client_stalls ? rig->server_worker[0] : rig->client_worker,
                             200000);
        }
    }
}

static uint64_t wall_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool rig_until(struct rig *rig, const int *flag, int least)
{
    uint64_t end = wall_ns() + 20000000000u;

    while (*flag < least && wall_ns() < end) {
        rig_turns(rig, 1);
    }
    return *flag >= least;
}

void rig_dial(struct rig *rig)
{
    rig->client.closed = 0;
    assert_int_equal(rig->t->connect(rig->client_endpoint, rig->t->listener_address(rig->listener),
                                     &handlers, &rig->client, &rig->client.conn),
                     0);
    assert_int_equal(rig->client.opened + rig->client.closed, 0);
}

void rig_connect(struct rig *rig)
{
    rig->client.opened = 0;
    rig->server.opened = 0;
    rig_dial(rig);
    assert_true(rig_until(rig, &rig->client.opened, 1));
    assert_true(rig_until(rig, &rig->server.opened, 1));
}

/* Memory ---------------------------------------------------------------------------------------- */

void memory_init(struct memory *m, struct end *end, uint32_t n, uint64_t len, bool gaps)
{
    uint64_t left = len;
    uint64_t offset = 0;
    uint8_t *at;

    memset(m, 0, sizeof(*m));
    m->rig = end->rig;
    m->end = end;
    m->n = n;
    m->len = len;
    m->size = len + CANARY_SIZE * (n + 1);
    m->base = malloc(m->size);
    m->pieces = calloc(n ? n : 1, sizeof(*m->pieces));
    memset(m->base, CANARY, m->size);
    at = m->base + CANARY_SIZE;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t part = i + 1 == n ? left : left / (n - i) + (i % 3 == 1 ? 7 : 0);

        part = i % 5 == 3 && n > 5 && i + 1 < n ? 0 : part < left ? part : left;
        m->pieces[i] = (struct mkv__piece){offset, at, part};
        memset(at, 0, part);
        left -= part;
        offset += part + (gaps && i % 4 == 2 ? 1000 : 0);
        at += part + CANARY_SIZE;
    }
}

void memory_fini(struct memory *m)
{
    free(m->base);
    free(m->pieces);
    m->base = NULL;
    m->pieces = NULL;
}

uint8_t memory_byte(uint64_t offset, uint64_t salt)
{
    uint64_t x = (offset + salt) * 0x9e3779b97f4a7c15u;

    return (uint8_t)(x >> 56) | 1; /* never 0: zeros are what a concealed frame is filled with */
}

void memory_fill(struct memory *m, uint64_t salt)
{
    for (uint32_t i = 0; i < m->n; i++) {
        for (uint64_t j = 0; j < m->pieces[i].len; j++) {
            ((uint8_t *)m->pieces[i].addr)[j] = memory_byte(m->pieces[i].offset + j, salt);
        }
    }
}

bool memory_is(const struct memory *m, uint64_t salt)
{
    for (uint32_t i = 0; i < m->n; i++) {
        for (uint64_t j = 0; j < m->pieces[i].len; j++) {
            if (((uint8_t *)m->pieces[i].addr)[j] != memory_byte(m->pieces[i].offset + j, salt)) {
                return false;
            }
        }
    }
    return true;
}

bool memory_canaries(const struct memory *m)
{
    const uint8_t *at = m->base;

    for (uint32_t i = 0; i <= m->n; i++) {
        for (unsigned j = 0; j < CANARY_SIZE; j++) {
            if (at[j] != CANARY) {
                return false;
            }
        }
        at += CANARY_SIZE + (i < m->n ? m->pieces[i].len : 0);
    }
    return true;
}

static void exposure_landed(struct mkv__exposure *e, uint64_t offset, const void *data, size_t len)
{
    struct memory *m = e->owner;

    assert_int_equal(m->concealed, 0);
    assert_true(offset + len <= e->len);
    assert_non_null(data);
    m->landed += len;
    if (m->on_landed) {
        m->on_landed(m);
    }
}

static void exposure_concealed(struct mkv__exposure *e)
{
    struct memory *m = e->owner;

    m->concealed++;
    if (m->on_concealed) {
        m->on_concealed(m);
    }
}

static uint64_t bulk_landed(struct mkv__bulk *b, uint32_t piece, uint64_t at, const void *data,
                            size_t len)
{
    struct memory *m = b->owner;

    assert_int_equal(m->done, 0);
    assert_true(piece < m->n && at + len <= m->pieces[piece].len);
    assert_ptr_equal(data, (uint8_t *)m->pieces[piece].addr + at);
    m->landed += len;
    if (m->on_landed) {
        m->on_landed(m);
    }
    return m->checked ? mkv__crc(0, data, len) ^ m->lie : 0;
}

static void bulk_done(struct mkv__bulk *b, int status)
{
    struct memory *m = b->owner;

    m->done++;
    m->status = status;
    if (m->on_done) {
        m->on_done(m);
    }
}

/* What was refused has no end. */
static int or_forget(int error, uint64_t *id)
{
    *id = error ? 0 : *id;
    return error;
}

int memory_expose(struct memory *m, uint64_t id, bool writable_by_peer)
{
    m->exposure = (struct mkv__exposure){
        .request_id = id,
        .writable = writable_by_peer,
        .pieces = m->pieces,
        .n_pieces = m->n,
        .len = m->len,
        .landed = exposure_landed,
        .summed = m->checked,
        .concealed = exposure_concealed,
        .owner = m,
    };
    m->concealed = 0;
    return or_forget(m->rig->t->expose(m->end->conn, &m->exposure), &m->exposure.request_id);
}

int memory_bulk(struct memory *m, uint64_t id, bool write)
{
    const struct mkv__transport *t = m->rig->t;

    m->bulk = (struct mkv__bulk){
        .request_id = id,
        .pieces = m->pieces,
        .n_pieces = m->n,
        .landed = bulk_landed,
        .sent = true,
        .checked = m->checked,
        .done = bulk_done,
        .owner = m,
    };
    m->done = 0;
    m->landed = 0;
    return or_forget(write ? t->write(m->end->conn, &m->bulk) : t->read(m->end->conn, &m->bulk),
                     &m->bulk.request_id);
}

int end_send(struct end *end, uint8_t type, uint64_t id, bool after_bulk, const void *body,
             uint32_t len)
{
    struct mkv__message m = {
        .type = type,
        .request_id = id,
        .after_bulk = after_bulk,
        .body = body,
        .body_len = len,
    };

    return end->rig->t->send(end->conn, &m);
}
