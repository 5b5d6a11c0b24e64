/*
 * Input of a lane: headers and messages through a small buffer, bodies of DATA by readv into the
 * place they are for, with the buffer as the last vector so that the next header comes along.
 */
#include "core/checksum.h"
#include "transport/tcp/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MKV_TCP_IN_IOV 64u

static bool live(const struct mkv__tcp_lane *lane)
{
    return lane->state != MKV_TCP_DEAD;
}

/* Messages wait in the buffer until the session is open and its output moves. */
static bool may_parse(const struct mkv__tcp_lane *lane)
{
    if (lane->state == MKV_TCP_HELLO) {
        return !lane->route_to;
    }
    return lane->state == MKV_TCP_READY && lane->conn && lane->conn->opened && !lane->conn->paused;
}

/* The last bytes of a read are the last of a frame, so none is done before its sums were looked at. */
static void read_landed(struct mkv__tcp_lane *lane, const struct mkv__tcp_cursor *at,
                        const void *data, uint64_t len, bool whole)
{
    struct mkv__tcp_arrival *a = &lane->arrival;
    struct mkv__bulk *bulk = a->bulk;

    if (bulk->landed) {
        uint64_t crc = bulk->landed(bulk, at->piece, at->offset, data, len);

        a->sum = bulk->checked ? mkv__crc_shift(a->sum, len) ^ crc : 0;
    }
    if (!live(lane) || a->bulk != bulk) {
        return;
    }
    if (whole && bulk->checked && ~a->sum != a->expected) {
        mkv__tcp_read_damaged(lane->conn, bulk);
    } else {
        mkv__tcp_read_landed(lane->conn, bulk, len);
    }
}

/*
 * len bytes of the body lie in place (or in scratch). Told piece by piece; a callback may conceal,
 * abort or close, after which the rest belongs to nobody.
 */
static void landed(struct mkv__tcp_lane *lane, uint64_t len)
{
    struct mkv__tcp_arrival *a = &lane->arrival;

    a->left -= len;
    while (len > 0 && live(lane) && (a->exposure || a->bulk)) {
        struct mkv__tcp_cursor at;
        const struct mkv__piece *piece;
        uint64_t here;
        const uint8_t *data;

        mkv__tcp_cursor_settle(&a->into);
        at = a->into;
        if (at.piece >= at.n) {
            return;
        }
        piece = &at.pieces[at.piece];
        here = piece->len - at.offset < len ? piece->len - at.offset : len;
        data = (const uint8_t *)piece->addr + at.offset;
        len -= here;
        mkv__tcp_cursor_advance(&a->into, here);
        if (a->exposure && a->exposure->landed) {
            a->exposure->landed(a->exposure, piece->offset + at.offset, data, here);
        } else if (a->bulk) {
            read_landed(lane, &at, data, here, a->left == 0 && len == 0);
        }
    }
}

/* What the buffer holds of the body. */
static void take_buffered(struct mkv__tcp_lane *lane)
{
    struct mkv__tcp_arrival *a = &lane->arrival;

    while (a->left > 0 && lane->in_end > lane->in_begin && live(lane)) {
        uint64_t have = lane->in_end - lane->in_begin;
        uint64_t take = have < a->left ? have : a->left;

        if (a->exposure || a->bulk) {
            struct iovec iov[MKV_TCP_IN_IOV];
            const uint8_t *from = lane->in + lane->in_begin;
            size_t n = 0;

            take = mkv__tcp_cursor_iov(a->into, take, iov, &n, MKV_TCP_IN_IOV);
            if (take == 0) {
                mkv__tcp_lane_fail(lane, -EPROTO, "data outside of its pieces");
                return;
            }
            for (size_t i = 0; i < n; i++) {
                memcpy(iov[i].iov_base, from, iov[i].iov_len);
                from += iov[i].iov_len;
            }
        }
        lane->in_begin += take;
        landed(lane, take);
    }
}

static int begin_data(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                      const uint8_t *raw, const char **why_out)
{
    int error;

    *why_out = "data on the control lane";
    if (lane->index == 0) {
        return -EPROTO;
    }
    *why_out = "wrong MAC or sequence";
    error = mkv__seal_check(lane->receive_seal, raw, NULL, 0);
    if (error) {
        return error;
    }
    *why_out = "data of an impossible request";
    if (mkv__tcp_slot(header->request_id) >= MKV_REQUESTS_MAX || header->body_len == 0 ||
        header->body_len > MKV_DATA_MAX) {
        return -EPROTO;
    }
    memset(&lane->arrival, 0, sizeof(lane->arrival));
    lane->arrival.sum = MKV_CRC_BEGIN;
    error = lane->conn->server ? mkv__tcp_data_for_server(lane, header, why_out)
                               : mkv__tcp_data_for_client(lane, header, why_out);
    lane->arrival.left = header->body_len;
    return error;
}

static int deliver(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                   const uint8_t *body, const char **why_out)
{
    struct mkv__conn *conn = lane->conn;
    struct mkv__message message = {
        .type = header->type,
        .cls = header->cls,
        .flags = header->flags,
        .after_bulk = lane->index != 0,
        .request_id = header->request_id,
        .deadline_ms = header->deadline_ms,
        .body = body,
        .body_len = header->body_len,
    };

    *why_out = "message of an impossible request";
    if (mkv__tcp_slot(header->request_id) >= MKV_REQUESTS_MAX ||
        header->body_len > MKV_MESSAGE_MAX) {
        return -EPROTO;
    }
    if (conn->handlers->message) {
        conn->handlers->message(conn, conn->arg, &message);
    }
    return 0;
}

static int take_ping(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                     const char **why_out)
{
    struct mkv__header pong = {.version = MKV_WIRE_VERSION, .type = MKV_TYPE_PONG};

    if (header->type == MKV_TYPE_PONG) {
        return 0;
    }
    *why_out = "pings, but does not read the answers";
    if (lane->conn->waiting > MKV_TCP_FULL) {
        return -EPROTO;
    }
    *why_out = "out of memory";
    return mkv__tcp_put_message(lane, &pong, NULL);
}

/* A whole, checked frame other than DATA. */
static int take_message(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                        const uint8_t *body, const char **why_out)
{
    bool above = lane->endpoint->options.features != 0 && header->type >= MKV_TYPE_RAIL;

    if (header->type >= 32 || above) {
        return deliver(lane, header, body, why_out);
    }
    *why_out = "control message on a bulk lane";
    if (lane->index != 0) {
        return -EPROTO;
    }
    if (header->type == MKV_TYPE_PING || header->type == MKV_TYPE_PONG) {
        return take_ping(lane, header, why_out);
    }
    if (header->type == MKV_TYPE_PULL && !lane->conn->server) {
        return mkv__tcp_pulled(lane->conn, header, body, why_out);
    }
    if (header->type == MKV_TYPE_CANCEL && lane->conn->server) {
        mkv__tcp_withdrawn(lane->conn, header->request_id);
        return 0;
    }
    *why_out = "unknown type of message";
    return -EPROTO;
}

/* As much as the buffer should take now: of a large message the rest, so that what follows it is
 * not copied where it could be received in place. */
static size_t room(const struct mkv__tcp_lane *lane)
{
    size_t have = lane->in_end - lane->in_begin;
    size_t want = lane->in_need > have + MKV_TCP_IN_BYTES ? lane->in_need - have : MKV_TCP_IN_BYTES;

    return lane->in_cap - lane->in_end < want ? lane->in_cap - lane->in_end : want;
}

static bool grow(struct mkv__tcp_lane *lane, size_t need)
{
    size_t have = lane->in_end - lane->in_begin;
    uint8_t *in;

    if (need <= lane->in_cap) {
        memmove(lane->in, lane->in + lane->in_begin, have);
        lane->in_begin = 0;
        lane->in_end = have;
        return true;
    }
    in = malloc(need);
    if (!in) {
        return false;
    }
    memcpy(in, lane->in + lane->in_begin, have);
    free(lane->in);
    lane->in = in;
    lane->in_cap = need;
    lane->in_begin = 0;
    lane->in_end = have;
    return true;
}

/* 1: a frame was taken, 0: more bytes are needed, or the lane is dead. */
static int parse_one(struct mkv__tcp_lane *lane)
{
    const uint8_t *raw = lane->in + lane->in_begin;
    struct mkv__header header;
    const char *why = "malformed frame";
    size_t have = lane->in_end - lane->in_begin;
    int error;

    lane->in_need = 0;
    if (have < MKV_HEADER_BYTES) {
        return 0;
    }
    error = mkv__header_decode(raw, &header);
    if (!error && lane->state == MKV_TCP_READY && header.type == MKV_TYPE_DATA) {
        error = begin_data(lane, &header, raw, &why);
        lane->in_begin += MKV_HEADER_BYTES;
        goto out;
    }
    if (!error &&
        header.body_len > (lane->state == MKV_TCP_READY ? MKV_MESSAGE_MAX : MKV_HANDSHAKE_MAX)) {
        error = -EPROTO;
    }
    if (error) {
        goto out;
    }
    if (have < MKV_HEADER_BYTES + header.body_len) {
        if (lane->in_begin + MKV_HEADER_BYTES + header.body_len > lane->in_cap &&
            !grow(lane, MKV_HEADER_BYTES + header.body_len)) {
            error = -ENOMEM;
            why = "out of memory";
            goto out;
        }
        lane->in_need = MKV_HEADER_BYTES + header.body_len;
        return 0;
    }
    /* Taken first: a callback may close, and what follows is only looked at when it did not. */
    lane->in_begin += MKV_HEADER_BYTES + header.body_len;
    if (lane->state == MKV_TCP_HELLO) {
        mkv__tcp_shake(lane, &header, raw + MKV_HEADER_BYTES);
        return live(lane);
    }
    error = mkv__seal_check(lane->receive_seal, raw, raw + MKV_HEADER_BYTES, header.body_len);
    why = "wrong MAC or sequence";
    if (!error) {
        error = take_message(lane, &header, raw + MKV_HEADER_BYTES, &why);
    }
out:
    if (error && live(lane)) {
        mkv__tcp_lane_fail(lane, error == -EACCES ? -EPROTO : error, why);
    }
    return live(lane) && !error;
}

static void parse(struct mkv__tcp_lane *lane)
{
    for (;;) {
        take_buffered(lane);
        if (!live(lane) || lane->arrival.left > 0 || !may_parse(lane) || parse_one(lane) == 0) {
            break;
        }
    }
    if (live(lane) && lane->in_begin == lane->in_end) {
        lane->in_begin = 0;
        lane->in_end = 0;
    }
}

static size_t vectors(struct mkv__tcp_lane *lane, struct iovec iov[MKV_TCP_IN_IOV],
                      uint64_t *body_out, uint64_t *total_out)
{
    struct mkv__tcp_arrival *a = &lane->arrival;
    uint64_t body = 0;
    size_t n = 0;

    if (a->left > 0 && (a->exposure || a->bulk)) {
        body = mkv__tcp_cursor_iov(a->into, a->left, iov, &n, MKV_TCP_IN_IOV - 1);
    } else {
        while (body < a->left) {
            uint64_t len = a->left - body < MKV_TCP_SCRATCH ? a->left - body : MKV_TCP_SCRATCH;

            iov[n].iov_base = lane->endpoint->scratch;
            iov[n++].iov_len = len;
            body += len;
        }
    }
    *body_out = body;
    *total_out = body;
    if (body == a->left && lane->in_cap > lane->in_end) {
        iov[n].iov_base = lane->in + lane->in_end;
        iov[n].iov_len = room(lane);
        *total_out += iov[n++].iov_len;
    }
    return n;
}

/* In the middle of a frame it is worth a line: a client was killed, or something speaks half. */
static void lost(struct mkv__tcp_lane *lane, const char *why)
{
    struct mkv__endpoint *ep = lane->endpoint;

    if (lane->arrival.left > 0 || lane->in_end > lane->in_begin) {
        MKV_LIMITED(ep->options.log, &ep->limit, MKV__LOG_WARNING,
                    "%s: %s in the middle of a frame", lane->conn ? lane->conn->name : lane->name,
                    why);
    }
    mkv__tcp_lane_fail(lane, -ECONNRESET, why);
}

/* 1: go on, 0: nothing more for now or dead. */
static int read_once(struct mkv__tcp_lane *lane, uint64_t *taken)
{
    struct iovec iov[MKV_TCP_IN_IOV];
    uint64_t body, total;
    size_t n;
    ssize_t got;

    if (lane->in_begin > 0 && lane->arrival.left == 0) {
        (void)grow(lane, lane->in_cap);
    }
    n = vectors(lane, iov, &body, &total);
    if (n == 0) {
        mkv__tcp_lane_fail(lane, -EPROTO, "data outside of its pieces");
        return 0;
    }
    got = readv(lane->source.fd, iov, (int)n);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (got <= 0) {
        lost(lane, got == 0 ? "connection closed by the peer" : "connection lost");
        return 0;
    }
    *taken += (uint64_t)got;
    if (lane->conn) {
        lane->conn->heard_ns = mkv__worker_now(lane->endpoint->worker);
        lane->conn->silences = 0;
    }
    if ((uint64_t)got > body) {
        lane->in_end += (size_t)got - body;
    }
    if (body > 0) {
        landed(lane, (uint64_t)got < body ? (uint64_t)got : body);
    }
    if (live(lane)) {
        parse(lane);
    }
    return live(lane) && (uint64_t)got == total;
}

void mkv__tcp_input(struct mkv__tcp_lane *lane)
{
    uint64_t taken = 0;

    parse(lane);
    while (live(lane) && (lane->arrival.left > 0 || may_parse(lane)) && taken < MKV_TCP_TURN_READ) {
        if (read_once(lane, &taken) == 0) {
            break;
        }
    }
}
