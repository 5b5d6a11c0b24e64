#include "transport/fake/internal.h"

#include "core/checksum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t serials;

/* The client's memory --------------------------------------------------------------------------- */

int mkv__fake_expose(struct mkv__conn *conn, struct mkv__exposure *exposure)
{
    uint32_t slot = mkv__fake_slot(exposure->request_id);

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (conn->server || slot >= MKV_REQUESTS_MAX || conn->exposures[slot]) {
        return -EINVAL;
    }
    if (exposure->n_pieces > mkv__fake.limits.max_pieces ||
        exposure->len > mkv__fake.limits.max_exposure) {
        return -EMSGSIZE;
    }
    conn->exposures[slot] = exposure;
    return 0;
}

void mkv__fake_conceal(struct mkv__conn *conn, struct mkv__exposure *exposure, bool answered)
{
    uint32_t slot = mkv__fake_slot(exposure->request_id);

    if (slot >= MKV_REQUESTS_MAX || conn->exposures[slot] != exposure || conn->lingers[slot]) {
        return;
    }
    if (!answered) {
        mkv__fake_later(conn->peer, 0,
                        mkv__fake_event_new(MKV_FAKE_CANCEL, exposure->request_id, 0));
    }
    if (!conn->closing && mkv__fake_options.linger_in &&
        mkv__fake_random(mkv__fake_options.linger_in) == 0) {
        conn->lingers[slot] = true; /* bytes that are on their way still land */
        mkv__fake_later(conn, 1 + slot,
                        mkv__fake_event_new(MKV_FAKE_CONCEALED, exposure->request_id, 0));
        return;
    }
    conn->exposures[slot] = NULL;
    exposure->concealed(exposure);
}

static void concealed(struct mkv__conn *conn, uint64_t request_id)
{
    uint32_t slot = mkv__fake_slot(request_id);
    struct mkv__exposure *e = conn->exposures[slot];

    if (e && conn->lingers[slot]) {
        conn->exposures[slot] = NULL;
        conn->lingers[slot] = false;
        e->concealed(e);
    }
}

static struct mkv__exposure *exposed(const struct mkv__conn *conn, uint64_t request_id)
{
    struct mkv__exposure *e = conn->exposures[mkv__fake_slot(request_id)];

    return e && e->request_id == request_id ? e : NULL;
}

/* The first piece that ends after offset. */
static uint32_t piece_at(const struct mkv__exposure *e, uint64_t offset)
{
    uint32_t low = 0, high = e->n_pieces;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (e->pieces[middle].offset + e->pieces[middle].len > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Copies between an exposure and bytes; tells landed unless quiet. Stops when it is concealed. Returns
 * the CRC64 of what leaves. */
static uint64_t copy(struct mkv__conn *conn, uint64_t id, uint64_t offset, uint8_t *bytes,
                     uint64_t len, bool in, bool quiet)
{
    struct mkv__exposure *e = exposed(conn, id);
    uint64_t crc = MKV_CRC_BEGIN;

    for (uint32_t i = e ? piece_at(e, offset) : 0; e && len > 0 && i < e->n_pieces; i++) {
        const struct mkv__piece *p = &e->pieces[i];
        uint64_t at = offset - p->offset;
        uint64_t here;

        if (offset < p->offset || at >= p->len) {
            continue;
        }
        here = p->len - at < len ? p->len - at : len;
        if (in) {
            memcpy((uint8_t *)p->addr + at, bytes, here);
        } else {
            memcpy(bytes, (uint8_t *)p->addr + at, here);
            crc = mkv__crc(crc, bytes, here);
        }
        bytes += here;
        len -= here;
        offset += here;
        if (in && !quiet && e->landed && !conn->lingers[mkv__fake_slot(id)]) {
            e->landed(e, offset - here, (uint8_t *)p->addr + at, here);
            e = conn->closing ? NULL : exposed(conn, id);
        }
    }
    return e && e->summed ? ~crc : 0;
}

/* The server's bulk ------------------------------------------------------------------------------ */

static bool too_long(const struct mkv__bulk *bulk)
{
    uint64_t left = mkv__fake.limits.max_exposure;

    if (bulk->n_pieces > mkv__fake.limits.max_pieces) {
        return true;
    }
    for (uint32_t i = 0; i < bulk->n_pieces; i++) {
        if (bulk->pieces[i].len > left) {
            return true;
        }
        left -= bulk->pieces[i].len;
    }
    return false;
}

static int begin(struct mkv__conn *conn, struct mkv__bulk *bulk, bool write)
{
    struct mkv__fake_flight *flight;
    struct mkv__fake_event *event;

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (!conn->server || mkv__fake_slot(bulk->request_id) >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (too_long(bulk)) {
        return -EMSGSIZE;
    }
    for (flight = conn->flights; flight && !write; flight = flight->next) {
        if (!flight->write &&
            mkv__fake_slot(flight->bulk->request_id) == mkv__fake_slot(bulk->request_id)) {
            return -EINVAL;
        }
    }
    flight = calloc(1, sizeof(*flight));
    event = mkv__fake_event_new(write ? MKV_FAKE_PUSH : MKV_FAKE_ASK, bulk->request_id, 0);
    if (!flight || !event) {
        free(flight);
        free(event);
        return -ENOMEM;
    }
    flight->bulk = bulk;
    flight->serial = ++serials;
    flight->write = write;
    flight->next = conn->flights;
    conn->flights = flight;
    event->bulk = bulk;
    event->serial = flight->serial;
    mkv__fake_later(conn, 1 + mkv__fake_slot(bulk->request_id), event);
    return 0;
}

int mkv__fake_write(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    return begin(conn, bulk, true);
}

int mkv__fake_read(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    return begin(conn, bulk, false);
}

static void finish(struct mkv__conn *conn, struct mkv__fake_flight *flight, int status)
{
    struct mkv__bulk *bulk = flight->bulk;
    struct mkv__fake_event *reply = flight->reply;
    struct mkv__fake_flight **at = &conn->flights;

    while (*at != flight) {
        at = &(*at)->next;
    }
    *at = flight->next;
    free(flight);
    if (reply && status == 0) {
        mkv__fake_later(conn->peer, 1 + mkv__fake_slot(reply->request_id), reply);
    } else {
        free(reply);
    }
    bulk->done(bulk, status);
}

void mkv__fake_abort(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    for (struct mkv__fake_flight *f = conn->flights; f; f = f->next) {
        if (f->bulk == bulk) {
            finish(conn, f, -ECANCELED);
            return;
        }
    }
}

static struct mkv__fake_flight *of_request(struct mkv__conn *conn, uint64_t request_id)
{
    struct mkv__fake_flight *f = conn->flights;

    while (f && f->bulk->request_id != request_id) {
        f = f->next;
    }
    return f;
}

bool mkv__fake_behind(struct mkv__conn *conn, struct mkv__fake_event *reply)
{
    struct mkv__fake_flight *f = of_request(conn, reply->request_id);

    if (!f || !f->write || f->reply) {
        return false;
    }
    f->reply = reply;
    return true;
}

void mkv__fake_withdrawn(struct mkv__conn *conn, uint64_t request_id)
{
    struct mkv__fake_flight *f;

    if (conn->handlers->cancelled) {
        conn->handlers->cancelled(conn, conn->arg, request_id);
    }
    while (!conn->closing && (f = of_request(conn, request_id)) != NULL) {
        finish(conn, f, -ECANCELED);
    }
}

void mkv__fake_bulk_end(struct mkv__conn *conn, int error)
{
    for (uint32_t slot = 0; slot < MKV_REQUESTS_MAX; slot++) {
        struct mkv__exposure *e = conn->exposures[slot];

        if (e) {
            conn->exposures[slot] = NULL;
            conn->lingers[slot] = false;
            e->concealed(e);
        }
    }
    while (conn->flights) {
        finish(conn, conn->flights, error);
    }
}

static void settle(const struct mkv__bulk *b, uint32_t *piece, uint64_t *at)
{
    while (*piece < b->n_pieces && *at >= b->pieces[*piece].len) {
        (*piece)++;
        *at = 0;
    }
}

/* The next chunk, of random length within a piece. 0: there is none. */
static uint64_t chunk(struct mkv__fake_flight *f, uint64_t *offset_out, uint8_t **addr_out)
{
    const struct mkv__piece *p;
    uint64_t len;

    settle(f->bulk, &f->piece, &f->at);
    if (f->piece >= f->bulk->n_pieces) {
        return 0;
    }
    p = &f->bulk->pieces[f->piece];
    len = 1 + mkv__fake_random(mkv__fake_options.chunk);
    len = len < p->len - f->at ? len : p->len - f->at;
    *offset_out = p->offset + f->at;
    *addr_out = (uint8_t *)p->addr + f->at;
    f->at += len;
    return len;
}

static void again(struct mkv__conn *conn, const struct mkv__fake_event *event,
                  enum mkv__fake_what what)
{
    struct mkv__fake_event *next = mkv__fake_event_new(what, event->request_id, 0);

    next->bulk = event->bulk;
    next->serial = event->serial;
    mkv__fake_later(conn, 1 + mkv__fake_slot(event->request_id), next);
}

static void push(struct mkv__conn *conn, struct mkv__fake_flight *f,
                 const struct mkv__fake_event *event)
{
    uint32_t lane = 1 + mkv__fake_slot(event->request_id);
    uint64_t offset = 0, len = 1;

    for (int i = 0; i < 8; i++) {
        struct mkv__fake_event *land;
        uint8_t *addr = NULL;

        len = chunk(f, &offset, &addr);
        if (len == 0) {
            finish(conn, f, 0);
            return;
        }
        for (bool twice = false;; twice = true) {
            land = mkv__fake_event_new(twice ? MKV_FAKE_TWICE : MKV_FAKE_LAND, event->request_id,
                                       len);
            land->offset = offset;
            memcpy(land->bytes, addr, len);
            mkv__fake_later(conn->peer, lane, land);
            if (twice || !mkv__fake_options.twice_in ||
                mkv__fake_random(mkv__fake_options.twice_in) != 0) {
                break;
            }
        }
    }
    again(conn, event, MKV_FAKE_PUSH);
}

static void ask(struct mkv__conn *conn, struct mkv__fake_flight *f,
                const struct mkv__fake_event *event)
{
    uint64_t offset = 0, len = 0;
    uint8_t *addr;

    for (int i = 0; i < 8; i++) {
        struct mkv__fake_event *pull;

        len = chunk(f, &offset, &addr);
        if (len == 0) {
            break;
        }
        pull = mkv__fake_event_new(MKV_FAKE_PULL, event->request_id, len);
        pull->bulk = event->bulk;
        pull->serial = event->serial;
        pull->offset = offset;
        mkv__fake_later(conn->peer, 1 + mkv__fake_slot(event->request_id), pull);
    }
    settle(f->bulk, &f->got_piece, &f->got_at);
    if (len > 0) {
        again(conn, event, MKV_FAKE_ASK);
    } else if (f->got_piece >= f->bulk->n_pieces) {
        finish(conn, f, 0); /* nothing to read at all */
    }
}

static void pulled(struct mkv__conn *conn, const struct mkv__fake_event *event)
{
    struct mkv__fake_event *data;

    if (!exposed(conn, event->request_id)) {
        return;
    }
    data = mkv__fake_event_new(MKV_FAKE_DATA, event->request_id, event->len);
    data->bulk = event->bulk;
    data->serial = event->serial;
    data->offset = event->offset;
    data->sum = copy(conn, event->request_id, event->offset, data->bytes, event->len, false, true);
    mkv__fake_later(conn->peer, 1 + mkv__fake_slot(event->request_id), data);
}

static void arrived(struct mkv__conn *conn, struct mkv__fake_flight *f,
                    const struct mkv__fake_event *event)
{
    struct mkv__bulk *b = f->bulk;
    uint64_t serial = f->serial, sum = 0;
    uint32_t piece;
    uint64_t at;

    settle(b, &f->got_piece, &f->got_at);
    piece = f->got_piece;
    at = f->got_at;
    memcpy((uint8_t *)b->pieces[piece].addr + at, event->bytes, event->len);
    f->got_at += event->len;
    if (b->landed) {
        sum = b->landed(b, piece, at, (uint8_t *)b->pieces[piece].addr + at, event->len);
    }
    for (f = conn->flights; f && f->serial != serial; f = f->next) {
    }
    if (!f || conn->closing) {
        return;
    }
    if (b->checked && ~(mkv__crc_shift(MKV_CRC_BEGIN, event->len) ^ sum) != event->sum) {
        finish(conn, f, -EBADMSG);
        return;
    }
    settle(b, &f->got_piece, &f->got_at);
    if (f->got_piece >= b->n_pieces) {
        finish(conn, f, 0);
    }
}

void mkv__fake_bulk_event(struct mkv__conn *conn, const struct mkv__fake_event *event)
{
    struct mkv__fake_flight *f = conn->flights;

    if (event->what == MKV_FAKE_LAND || event->what == MKV_FAKE_TWICE) {
        (void)copy(conn, event->request_id, event->offset, (uint8_t *)(uintptr_t)event->bytes,
                   event->len, true, event->what == MKV_FAKE_TWICE);
        return;
    }
    if (event->what == MKV_FAKE_PULL) {
        pulled(conn, event);
        return;
    }
    if (event->what == MKV_FAKE_CONCEALED) {
        concealed(conn, event->request_id);
        return;
    }
    while (f && f->serial != event->serial) {
        f = f->next;
    }
    if (!f) {
        return; /* aborted before */
    }
    if (event->what == MKV_FAKE_PUSH) {
        push(conn, f, event);
    } else if (event->what == MKV_FAKE_ASK) {
        ask(conn, f, event);
    } else {
        arrived(conn, f, event);
    }
}
