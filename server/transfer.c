#include "server/transfer.h"

#include "core/checksum.h"
#include "core/codec/header.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MS            UINT64_C(1000000)
#define SECOND        (1000 * MS)
#define LONGEST       (60 * SECOND)        /* no client holds memory longer, whatever it asks for */
#define FENCE         (5 * MS)             /* the client's own deadline comes first */
#define PATIENCE      SECOND               /* for what cannot be stopped; then its session ends */
#define RATE_MIN      (UINT64_C(16) << 20) /* bytes of a busy time that says something */
#define WINDOW_PIECES 65536u
#define FREE_BYTES    (16u << 20) /* that transfers may hold while nobody uses them */

static void expired(struct mkv__worker *worker, struct mkv__timer *timer);
static void next_window(struct mkv__transfer *t);

/* ---- life --------------------------------------------------------------------------------- */

static int grow(void *array, size_t n, size_t size)
{
    void **at = array;
    void *bigger = realloc(*at, n * size);
    if (bigger == NULL) {
        return -ENOMEM;
    }
    *at = bigger;
    return 0;
}

static int room_for_keys(struct mkv__transfer *t, uint32_t n)
{
    if (n <= t->cap) {
        return 0;
    }
    if (grow(&t->objects, n, sizeof(*t->objects)) < 0 ||
        grow(&t->answers, n, sizeof(*t->answers)) < 0 ||
        grow(&t->lengths, n, sizeof(*t->lengths)) < 0 || grow(&t->sums, n, sizeof(*t->sums)) < 0) {
        return -ENOMEM;
    }
    t->cap = n;
    return 0;
}

static int room_for_pieces(struct mkv__transfer *t, uint32_t n)
{
    if (n <= t->cap_pieces) {
        return 0;
    }
    if (grow(&t->pieces, n, sizeof(*t->pieces)) < 0 ||
        grow(&t->piece_key, n, sizeof(*t->piece_key)) < 0 ||
        grow(&t->piece_after, n, sizeof(*t->piece_after)) < 0) {
        return -ENOMEM;
    }
    t->cap_pieces = n;
    return 0;
}

void mkv__transfer_free(struct mkv__transfer *t)
{
    free(t->objects);
    free(t->answers);
    free(t->lengths);
    free(t->sums);
    free(t->pieces);
    free(t->piece_key);
    free(t->piece_after);
    free(t);
}

static size_t bytes_held(const struct mkv__transfer *t)
{
    return sizeof(*t) +
           t->cap * (sizeof(*t->objects) + sizeof(*t->answers) + sizeof(*t->lengths) +
                     sizeof(*t->sums)) +
           t->cap_pieces * (sizeof(*t->pieces) + sizeof(*t->piece_key) + sizeof(*t->piece_after));
}

/* Kept for the next one, unless a storm has left more of them than calm weather needs. */
static void keep(struct mkv__service *service, struct mkv__transfer *t)
{
    size_t bytes = bytes_held(t);
    if (service->free_bytes + bytes > FREE_BYTES) {
        mkv__transfer_free(t);
        return;
    }
    service->free_bytes += bytes;
    t->session = NULL;
    t->next = service->free;
    service->free = t;
}

struct mkv__transfer *mkv__transfer_create(struct mkv__session *session, uint64_t request_id,
                                           uint8_t type, uint32_t n)
{
    struct mkv__service *service = session->service;
    struct mkv__transfer *t = service->free;
    if (t != NULL) {
        service->free = t->next;
        service->free_bytes -= bytes_held(t);
    } else {
        t = calloc(1, sizeof(*t));
    }
    if (t == NULL) {
        return NULL;
    }
    if (room_for_keys(t, n > 0 ? n : 1) < 0) {
        mkv__transfer_free(t);
        return NULL;
    }
    t->session = session;
    t->request_id = request_id;
    t->type = type;
    t->n = n;
    t->bytes = t->next_offset = 0;
    t->next_key = t->next_extent = 0;
    t->moving = t->waiting = t->forgotten = t->moved = false;
    t->answered = t->stopped = false;
    t->bulk.sent = t->checked = false;
    t->gone = NULL;
    mkv__timer_init(&t->timer, expired);
    memset(t->objects, 0, n * sizeof(*t->objects));
    memset(t->answers, 0, n * sizeof(*t->answers));
    memset(t->sums, 0, n * sizeof(*t->sums));
    t->prev = NULL;
    t->next = session->transfers;
    if (t->next != NULL) {
        t->next->prev = t;
    }
    session->transfers = t;
    session->n_transfers++;
    mkv__counter_inc(&service->figures.in_flight);
    return t;
}

static void count_begin(struct mkv__transfer *t, uint64_t now)
{
    struct mkv__session *session = t->session;
    struct mkv__service_figures *f = &session->service->figures;
    mkv__counter_add(&f->in_flight_bytes, t->bytes);
    mkv__counter_add(t->type == MKV_TYPE_SET ? &f->bytes_in : &f->bytes_out, t->bytes);
    if (session->in_flight_bytes == 0) {
        session->busy_since_ns = now;
    }
    session->in_flight_bytes += t->bytes;
}

static void count_end(struct mkv__transfer *t)
{
    struct mkv__session *session = t->session;
    struct mkv__service_figures *f = &session->service->figures;
    mkv__counter_sub(&f->in_flight, 1);
    mkv__counter_sub(&f->in_flight_bytes, t->bytes);
    session->in_flight_bytes -= t->bytes;
    session->busy_bytes += t->bytes;
    if (session->in_flight_bytes == 0 && t->bytes > 0) {
        uint64_t ns = mkv__worker_now(session->service->o.worker) - session->busy_since_ns;
        if (session->busy_bytes >= RATE_MIN && ns > 0) {
            session->rate = (uint64_t)((double)session->busy_bytes * 1e9 / (double)ns);
        }
        session->busy_bytes = 0;
    }
}

/* What a SET still holds is dropped; nothing of it was visible. */
static void drop_values(struct mkv__transfer *t)
{
    struct mkv__store *store = t->session->service->o.store;
    if (t->type == MKV_TYPE_SET) {
        for (uint32_t i = 0; i < t->n; i++) {
            if (t->answers[i].status == MKV_WIRE_STORED) {
                t->answers[i] = (struct mkv__answer){.status = MKV_WIRE_LATE};
            }
        }
        mkv__store_set_end(store, t->objects, t->n, t->answers);
    } else {
        mkv__store_put(store, t->objects, t->n);
    }
}

static void unlink_waiting(struct mkv__session *session, struct mkv__transfer *t)
{
    struct mkv__transfer **at = &session->waiting;
    while (*at != NULL && *at != t) {
        at = &(*at)->next_waiting;
    }
    if (*at == t) {
        *at = t->next_waiting;
        if (*at == NULL) {
            session->waiting_end = at;
        }
    }
}

void mkv__transfer_destroy(struct mkv__transfer *t)
{
    struct mkv__session *session = t->session;
    struct mkv__service *service = session->service;
    if (t->gone != NULL) {
        *t->gone = true;
    }
    drop_values(t);
    if (mkv__timer_armed(&t->timer)) {
        mkv__timer_stop(service->o.worker, &t->timer);
    }
    if (t->waiting) {
        unlink_waiting(session, t);
    }
    if (t->prev != NULL) {
        t->prev->next = t->next;
    } else {
        session->transfers = t->next;
    }
    if (t->next != NULL) {
        t->next->prev = t->prev;
    }
    session->n_transfers--;
    count_end(t);
    keep(service, t);
}

struct mkv__transfer *mkv__transfer_find(struct mkv__session *session, uint64_t request_id)
{
    for (struct mkv__transfer *t = session->transfers; t != NULL; t = t->next) {
        if (t->request_id == request_id && !t->forgotten) {
            return t;
        }
    }
    return NULL;
}

/* ---- answer ------------------------------------------------------------------------------- */

static int send_answer(struct mkv__transfer *t)
{
    struct mkv__service *service = t->session->service;
    const struct mkv__transport *transport = service->o.transport;
    struct mkv__reply reply = {
        .type = MKV_TYPE_REPLY_TO(t->type), .n = t->n, .answers = t->answers};
    int64_t len = mkv__reply_encode(&reply, service->body, transport->limits.max_message);
    if (len < 0) {
        return (int)len;
    }
    struct mkv__message message = {
        .type = reply.type,
        .after_bulk = t->moved && t->type == MKV_TYPE_GET,
        .request_id = t->request_id,
        .body = service->body,
        .body_len = (uint32_t)len,
    };
    return transport->send(t->session->conn, &message);
}

void mkv__transfer_answer(struct mkv__transfer *t)
{
    struct mkv__session *session = t->session;
    if (t->forgotten) {
        mkv__transfer_destroy(t);
        return;
    }
    mkv__store_put(session->service->o.store, t->objects, t->n); /* none left of a SET */
    if (t->answered) {
        mkv__transfer_destroy(t);
        return;
    }
    if (session->waiting == NULL && send_answer(t) != -EAGAIN) {
        mkv__transfer_destroy(t); /* sent, or the connection is dead, which `closed` will tell */
        return;
    }
    t->waiting = true;
    t->next_waiting = NULL;
    *session->waiting_end = t;
    session->waiting_end = &t->next_waiting;
}

void mkv__session_writable(struct mkv__session *session)
{
    struct mkv__transfer *t;
    while ((t = session->waiting) != NULL && send_answer(t) != -EAGAIN) {
        mkv__transfer_destroy(t);
        assert(session->waiting != t);
    }
}

/* ---- values ------------------------------------------------------------------------------- */

static void finish_set(struct mkv__transfer *t)
{
    struct mkv__service *service = t->session->service;
    bool summed = service->o.verify || t->bulk.sent;
    for (uint32_t i = 0; i < t->n; i++) {
        struct mkv__object *o = t->objects[i];
        if (o == NULL || t->answers[i].status != MKV_WIRE_STORED || !summed) {
            continue;
        }
        uint64_t sum = t->sums[i] ^ mkv__sum_seed(mkv__object_namespace(o), o->namespace_len,
                                                  mkv__object_key(o), o->key_len, o->length);
        if (o->unsummed) { /* nobody has seen it yet */
            o->checksum = sum;
            o->unsummed = 0;
            t->answers[i].checksum = sum;
            t->answers[i].flags &= (uint8_t)~MKV_ANSWER_UNSUMMED;
        } else if (sum != o->checksum) {
            t->answers[i] = (struct mkv__answer){.status = MKV_WIRE_DAMAGED};
        }
    }
    mkv__store_set_end(service->o.store, t->objects, t->n, t->answers);
}

static void finish(struct mkv__transfer *t)
{
    if (t->forgotten) {
        mkv__transfer_destroy(t);
        return;
    }
    if (t->type == MKV_TYPE_SET) {
        finish_set(t);
    }
    mkv__transfer_answer(t);
}

/* No more bytes will move: what had to move is late. */
static void fail(struct mkv__transfer *t, uint8_t status)
{
    uint8_t hoped = t->type == MKV_TYPE_SET ? MKV_WIRE_STORED : MKV_WIRE_HIT;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->answers[i].status == hoped) {
            t->answers[i] = (struct mkv__answer){.status = status};
        }
    }
    if (t->type == MKV_TYPE_SET) {
        mkv__store_set_end(t->session->service->o.store, t->objects, t->n, t->answers);
    }
    mkv__transfer_answer(t);
}

static uint64_t landed(struct mkv__bulk *bulk, uint32_t piece, uint64_t offset, const void *data,
                       size_t len)
{
    struct mkv__transfer *t = bulk->owner;
    uint64_t after = t->piece_after[piece] - offset - len;
    if (!bulk->sent && !t->session->service->o.verify) {
        return 0;
    }
    uint64_t crc = mkv__crc(0, data, len);
    t->sums[t->piece_key[piece]] ^= mkv__crc_shift(crc, after);
    return crc;
}

static void done(struct mkv__bulk *bulk, int status)
{
    struct mkv__transfer *t = bulk->owner;
    t->moving = false;
    if (status == 0 && !t->forgotten) {
        next_window(t);
    } else if (t->forgotten || status == -ECONNRESET) {
        mkv__transfer_destroy(t);
    } else if (status == -EBADMSG) {
        fail(t, MKV_WIRE_DAMAGED);
    } else {
        t->answered = false; /* the reply is not delivered */
        mkv__counter_inc(&t->session->service->figures.late);
        fail(t, MKV_WIRE_LATE);
    }
}

/* Fills pieces from where the last window ended; returns their number, or -ENOMEM. */
static int64_t fill_window(struct mkv__transfer *t)
{
    struct mkv__service *service = t->session->service;
    uint32_t max = service->o.transport->limits.max_pieces;
    uint32_t n = 0;
    max = max < WINDOW_PIECES ? max : WINDOW_PIECES;
    while (t->next_key < t->n) {
        const struct mkv__object *o = t->objects[t->next_key];
        uint64_t offset = t->next_offset, after = t->lengths[t->next_key];
        for (uint32_t e = 0; o != NULL && e < o->n_extents; e++) {
            const struct mkv__extent *extent = &o->extents[e];
            if (e >= t->next_extent) {
                if (n == max) {
                    t->next_extent = e;
                    return n;
                }
                if (n == t->cap_pieces && room_for_pieces(t, n < 16 ? 32 : 2 * n) < 0) {
                    return -ENOMEM;
                }
                t->pieces[n] = (struct mkv__piece){
                    offset, mkv__store_at(service->o.store, extent->offset), extent->len};
                t->piece_key[n] = t->next_key;
                t->piece_after[n++] = after;
            }
            offset += extent->len;
            after -= extent->len;
        }
        t->next_offset += t->lengths[t->next_key++];
        t->next_extent = 0;
    }
    return n;
}

static void next_window(struct mkv__transfer *t)
{
    const struct mkv__transport *transport = t->session->service->o.transport;
    int64_t n = fill_window(t);
    if (n == 0) {
        finish(t);
        return;
    }
    if (n < 0) {
        fail(t, MKV_WIRE_FULL);
        return;
    }
    bool set = t->type == MKV_TYPE_SET;
    memset(&t->bulk, 0, sizeof(t->bulk));
    t->bulk.request_id = t->request_id;
    t->bulk.pieces = t->pieces;
    t->bulk.n_pieces = (uint32_t)n;
    t->bulk.landed = set ? landed : NULL;
    t->bulk.sent = set;
    t->bulk.checked = t->checked;
    t->bulk.done = done;
    t->bulk.owner = t;
    t->moving = t->moved = true;
    struct mkv__conn *conn = t->session->conn;
    bool gone = false;
    t->gone = &gone;
    int r = set ? transport->read(conn, &t->bulk) : transport->write(conn, &t->bulk);
    if (gone) {
        return;
    }
    t->gone = NULL;
    if (r < 0) { /* otherwise `done` may have been called already */
        t->moving = false;
        fail(t, MKV_WIRE_LATE);
    } else if (!set && t->moving && t->next_key == t->n && t->session->waiting == NULL) {
        t->answered = send_answer(t) == 0; /* if not now, then when all has moved */
    }
}

bool mkv__session_in_time(const struct mkv__session *session, uint64_t bytes, uint32_t deadline_ms)
{
    uint64_t queued = session->in_flight_bytes;
    if (deadline_ms == 0 || session->rate == 0 || queued < RATE_MIN) {
        return true;
    }
    /* Twice: a guess that is wrong costs a prefill, one that is late costs the deadline. */
    return (double)(queued + bytes) * 1e3 / (double)session->rate <= 2.0 * deadline_ms;
}

void mkv__transfer_start(struct mkv__transfer *t, uint32_t deadline_ms)
{
    struct mkv__service *service = t->session->service;
    for (uint32_t i = 0; i < t->n; i++) {
        t->bytes += t->objects[i] != NULL ? t->objects[i]->length : 0;
    }
    if (t->bytes == 0) {
        finish(t);
        return;
    }
    uint64_t now = mkv__worker_now(service->o.worker);
    uint64_t left = deadline_ms != 0 ? deadline_ms * MS : LONGEST;
    count_begin(t, now);
    mkv__timer_set(service->o.worker, &t->timer, now + (left < LONGEST ? left : LONGEST) + FENCE);
    next_window(t);
}

static void expired(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__transfer *t = (struct mkv__transfer *)((char *)timer -
                                                       offsetof(struct mkv__transfer, timer));
    struct mkv__service *service = t->session->service;
    bool gone = false;
    if (!t->moving) {
        return;
    }
    if (t->stopped) { /* a client that neither takes its bytes nor withdraws */
        service->o.transport->close(t->session->conn);
        return;
    }
    t->stopped = true;
    t->gone = &gone;
    service->o.transport->abort(t->session->conn, &t->bulk);
    if (!gone) {
        t->gone = NULL;
        mkv__timer_set(worker, &t->timer, mkv__worker_now(worker) + PATIENCE);
    }
}

void mkv__transfer_forget(struct mkv__transfer *t)
{
    mkv__counter_inc(&t->session->service->figures.cancelled);
    t->forgotten = true;
    if (t->moving) {
        t->session->service->o.transport->abort(t->session->conn, &t->bulk);
    } else {
        mkv__transfer_destroy(t);
    }
}
