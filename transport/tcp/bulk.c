#include "transport/tcp/tcp.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* What a read keeps in bulk->transport. */
enum { ASK_PIECE, ASK_OFFSET, GOT_PIECE, GOT_OFFSET, ASKED /* bytes asked for, not landed */ };
enum { ANSWERED = 5 }; /* and a write: the reply is queued behind it */

static int check(const struct mkv__conn *conn, const struct mkv__bulk *bulk, uint64_t *len_out)
{
    uint64_t len = 0;

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (!conn->server || mkv__tcp_slot(bulk->request_id) >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (bulk->n_pieces > mkv__tcp.limits.max_pieces) {
        return -EMSGSIZE;
    }
    for (uint32_t i = 0; i < bulk->n_pieces; i++) {
        if (bulk->pieces[i].len > mkv__tcp.limits.max_exposure - len) {
            return -EMSGSIZE;
        }
        len += bulk->pieces[i].len;
    }
    *len_out = len;
    return 0;
}

int mkv__tcp_write(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    struct mkv__tcp_job job = {
        .owner = bulk,
        .is_bulk = true,
        .request_id = bulk->request_id,
        .from = {.pieces = bulk->pieces, .n = bulk->n_pieces},
    };
    int error = check(conn, bulk, &job.left);

    if (error) {
        return error;
    }
    bulk->transport[ANSWERED] = 0;
    return mkv__tcp_put_job(mkv__tcp_bulk_lane(conn, bulk->request_id), &job);
}

static struct mkv__tcp_cursor cursor(const struct mkv__bulk *bulk, unsigned which)
{
    struct mkv__tcp_cursor c = {
        .pieces = bulk->pieces,
        .n = bulk->n_pieces,
        .piece = (uint32_t)bulk->transport[which],
        .offset = bulk->transport[which + 1],
    };

    mkv__tcp_cursor_settle(&c);
    return c;
}

static void cursor_save(struct mkv__bulk *bulk, unsigned which, const struct mkv__tcp_cursor *c)
{
    bulk->transport[which] = c->piece;
    bulk->transport[which + 1] = c->offset;
}

int mkv__tcp_read(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    uint32_t slot = mkv__tcp_slot(bulk->request_id);
    uint64_t len;
    int error = check(conn, bulk, &len);

    if (error) {
        return error;
    }
    if (conn->reads[slot]) {
        return -EINVAL;
    }
    memset(bulk->transport, 0, sizeof(bulk->transport));
    conn->reads[slot] = bulk;
    conn->pulls[(conn->pulls_head + conn->n_pulls++) % MKV_REQUESTS_MAX] = (uint16_t)slot;
    mkv__tcp_wake(conn);
    return 0;
}

static void read_forget(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    uint32_t slot = mkv__tcp_slot(bulk->request_id);
    uint32_t kept = 0;

    conn->reads[slot] = NULL;
    conn->pulled -= bulk->transport[ASKED];
    bulk->transport[ASKED] = 0;
    for (uint32_t i = 0; i < conn->n_pulls; i++) {
        uint16_t s = conn->pulls[(conn->pulls_head + i) % MKV_REQUESTS_MAX];

        if (s != slot) {
            conn->pulls[(conn->pulls_head + kept++) % MKV_REQUESTS_MAX] = s;
        }
    }
    conn->n_pulls = kept;
    for (unsigned i = 1; i < conn->n_lanes; i++) {
        if (conn->lanes[i] && conn->lanes[i]->arrival.bulk == bulk) {
            conn->lanes[i]->arrival.bulk = NULL;
        }
    }
    mkv__tcp_wake(conn);
}

void mkv__tcp_abort(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    uint32_t slot = mkv__tcp_slot(bulk->request_id);

    if (slot >= MKV_REQUESTS_MAX) {
        return;
    }
    if (conn->reads[slot] == bulk) {
        read_forget(conn, bulk);
        bulk->done(bulk, -ECANCELED);
    } else if (bulk->transport[ANSWERED] == 0 && conn->n_lanes > 1 &&
               mkv__tcp_bulk_lane(conn, bulk->request_id) &&
               mkv__tcp_drop(mkv__tcp_bulk_lane(conn, bulk->request_id), bulk)) {
        bulk->done(bulk, -ECANCELED);
    }
}

/* A bulk that waits on the lane to be written, of one request or of any; the latest first. */
static struct mkv__bulk *pending_write(struct mkv__tcp_lane *lane, bool any, uint64_t request_id)
{
    for (size_t i = lane->n_jobs; i-- > 0;) {
        struct mkv__tcp_job *job = &lane->jobs[(lane->jobs_head + i) & (lane->jobs_cap - 1)];

        if (job->is_bulk && (any || job->request_id == request_id)) {
            return (struct mkv__bulk *)(uintptr_t)job->owner;
        }
    }
    for (uint32_t i = 0; i < lane->n_frames; i++) {
        struct mkv__tcp_frame *f = &lane->frames[(lane->frames_head + i) % MKV_TCP_FRAMES];
        struct mkv__bulk *bulk = (struct mkv__bulk *)(uintptr_t)f->owner;

        if (f->is_bulk && f->owner && (any || bulk->request_id == request_id)) {
            return bulk;
        }
    }
    return NULL;
}

void mkv__tcp_answered(struct mkv__tcp_lane *lane, uint64_t request_id)
{
    struct mkv__bulk *bulk = pending_write(lane, false, request_id);

    if (bulk) {
        bulk->transport[ANSWERED] = 1;
    }
}

static void fail_writes(struct mkv__tcp_lane *lane, bool any, uint64_t request_id, int error)
{
    struct mkv__bulk *bulk;

    while ((bulk = pending_write(lane, any, request_id)) != NULL) {
        (void)mkv__tcp_drop(lane, bulk);
        bulk->done(bulk, error);
    }
}

void mkv__tcp_bulk_fail_all(struct mkv__conn *conn, int error)
{
    for (unsigned i = 1; i < conn->n_lanes; i++) {
        if (conn->lanes[i]) {
            fail_writes(conn->lanes[i], true, 0, error);
        }
    }
    for (uint32_t slot = 0; slot < MKV_REQUESTS_MAX; slot++) {
        struct mkv__bulk *bulk = conn->reads[slot];

        if (bulk) {
            read_forget(conn, bulk);
            bulk->done(bulk, error);
        }
    }
}

void mkv__tcp_withdrawn(struct mkv__conn *conn, uint64_t request_id)
{
    struct mkv__bulk *bulk;

    if (conn->handlers->cancelled) {
        conn->handlers->cancelled(conn, conn->arg, request_id);
    }
    if (conn->closing || mkv__tcp_slot(request_id) >= MKV_REQUESTS_MAX) {
        return;
    }
    /* The client answers no more pulls of it: what the owner left would wait for ever. */
    bulk = conn->reads[mkv__tcp_slot(request_id)];
    if (bulk && bulk->request_id == request_id) {
        read_forget(conn, bulk);
        bulk->done(bulk, -ECANCELED);
    }
    if (!conn->closing) {
        fail_writes(mkv__tcp_bulk_lane(conn, request_id), false, request_id, -ECANCELED);
    }
}

int mkv__tcp_data_for_server(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                             const char **why_out)
{
    struct mkv__bulk *bulk = lane->conn->reads[mkv__tcp_slot(header->request_id)];
    struct mkv__tcp_cursor c;

    if (!bulk || bulk->request_id != header->request_id) {
        return 0; /* aborted before: discarded */
    }
    c = cursor(bulk, GOT_PIECE);
    *why_out = "data that nobody asked for";
    if (c.piece >= c.n || header->body_len > bulk->transport[ASKED] ||
        header->aux != c.pieces[c.piece].offset + c.offset ||
        mkv__tcp_cursor_run(c, header->body_len, UINT32_MAX) != header->body_len ||
        lane != mkv__tcp_bulk_lane(lane->conn, header->request_id)) {
        return -EPROTO;
    }
    lane->arrival.bulk = bulk;
    lane->arrival.into = c;
    lane->arrival.expected = header->sum;
    return 0;
}

void mkv__tcp_read_landed(struct mkv__conn *conn, struct mkv__bulk *bulk, uint64_t len)
{
    struct mkv__tcp_cursor c = cursor(bulk, GOT_PIECE);

    mkv__tcp_cursor_advance(&c, len);
    cursor_save(bulk, GOT_PIECE, &c);
    bulk->transport[ASKED] -= len;
    conn->pulled -= len;
    if (c.piece >= c.n) {
        read_forget(conn, bulk);
        bulk->done(bulk, 0);
    } else if (conn->n_pulls > 0) {
        mkv__tcp_wake(conn);
    }
}

void mkv__tcp_read_damaged(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    read_forget(conn, bulk);
    bulk->done(bulk, -EBADMSG);
}

/* One PULL for as much of this read as the window holds. */
static int ask(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    uint64_t ranges[2 * MKV_TCP_PULL_RANGES];
    struct mkv__tcp_cursor c = cursor(bulk, ASK_PIECE);
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION, .type = MKV_TYPE_PULL, .request_id = bulk->request_id};
    uint64_t asked = 0;
    unsigned n = 0;
    int error;

    while (c.piece < c.n && n < MKV_TCP_PULL_RANGES && conn->pulled + asked < MKV_TCP_WINDOW) {
        uint64_t run = mkv__tcp_cursor_run(c, MKV_TCP_WINDOW - conn->pulled - asked, UINT32_MAX);

        ranges[2 * n] = htole64(c.pieces[c.piece].offset + c.offset);
        ranges[2 * n + 1] = htole64(run);
        n++;
        asked += run;
        mkv__tcp_cursor_advance(&c, run);
    }
    header.body_len = n * 16;
    error = mkv__tcp_put_message(conn->lanes[0], &header, ranges);
    if (error) {
        return error;
    }
    conn->pulled += asked;
    bulk->transport[ASKED] += asked;
    cursor_save(bulk, ASK_PIECE, &c);
    return 0;
}

void mkv__tcp_pull(struct mkv__conn *conn)
{
    while (!conn->closing && conn->n_pulls > 0) {
        struct mkv__bulk *bulk = conn->reads[conn->pulls[conn->pulls_head]];
        struct mkv__tcp_cursor c = cursor(bulk, ASK_PIECE);

        if (c.piece >= c.n) {
            conn->pulls_head = (conn->pulls_head + 1) % MKV_REQUESTS_MAX;
            conn->n_pulls--;
            if (cursor(bulk, GOT_PIECE).piece >= bulk->n_pieces) {
                read_forget(conn, bulk); /* nothing to read at all */
                bulk->done(bulk, 0);
            }
            continue;
        }
        if (conn->pulled > 0 && conn->pulled + MKV_TCP_PULL_MIN > MKV_TCP_WINDOW) {
            return;
        }
        if (ask(conn, bulk) < 0) {
            mkv__tcp_conn_fail(conn, -ECONNRESET, "out of memory");
        }
    }
}
