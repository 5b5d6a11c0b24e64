#include "transport/tcp/tcp.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

int mkv__tcp_expose(struct mkv__conn *conn, struct mkv__exposure *exposure)
{
    uint32_t slot = mkv__tcp_slot(exposure->request_id);

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (conn->server || slot >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (exposure->n_pieces > mkv__tcp.limits.max_pieces ||
        exposure->len > mkv__tcp.limits.max_exposure) {
        return -EMSGSIZE;
    }
    if (conn->exposures[slot]) {
        return -EINVAL;
    }
    conn->exposures[slot] = exposure;
    return 0;
}

/* From here on nobody touches the memory: both lanes' cursors forget it. */
static void take_away(struct mkv__conn *conn, struct mkv__exposure *exposure)
{
    struct mkv__tcp_lane *lane = mkv__tcp_bulk_lane(conn, exposure->request_id);

    conn->exposures[mkv__tcp_slot(exposure->request_id)] = NULL;
    if (!lane) {
        return;
    }
    (void)mkv__tcp_drop(lane, exposure);
    for (unsigned i = 1; i < conn->n_lanes; i++) {
        if (conn->lanes[i] && conn->lanes[i]->arrival.exposure == exposure) {
            conn->lanes[i]->arrival.exposure = NULL;
        }
    }
}

void mkv__tcp_conceal(struct mkv__conn *conn, struct mkv__exposure *exposure, bool answered)
{
    uint32_t slot = mkv__tcp_slot(exposure->request_id);

    if (slot >= MKV_REQUESTS_MAX || conn->exposures[slot] != exposure) {
        return;
    }
    take_away(conn, exposure);
    if (!answered && !conn->closing) {
        struct mkv__header header = {.version = MKV_WIRE_VERSION,
                                     .type = MKV_TYPE_CANCEL,
                                     .request_id = exposure->request_id};

        (void)mkv__tcp_put_message(conn->lanes[0], &header, NULL);
    }
    exposure->concealed(exposure);
}

void mkv__tcp_conceal_all(struct mkv__conn *conn)
{
    for (uint32_t slot = 0; slot < MKV_REQUESTS_MAX; slot++) {
        struct mkv__exposure *exposure = conn->exposures[slot];

        if (exposure) {
            take_away(conn, exposure);
            exposure->concealed(exposure);
        }
    }
}

int mkv__tcp_data_for_client(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                             const char **why_out)
{
    struct mkv__exposure *e = lane->conn->exposures[mkv__tcp_slot(header->request_id)];

    if (!e || e->request_id != header->request_id) {
        return 0; /* concealed before: discarded */
    }
    *why_out = "data outside of the exposure";
    if (!e->writable || header->aux > e->len || header->body_len > e->len - header->aux ||
        lane != mkv__tcp_bulk_lane(lane->conn, header->request_id)) {
        return -EPROTO;
    }
    lane->arrival.exposure = e;
    lane->arrival.into = mkv__tcp_cursor_at(e, header->aux);
    return 0;
}

static int answer(struct mkv__conn *conn, struct mkv__exposure *e, uint64_t offset, uint64_t len)
{
    struct mkv__tcp_lane *lane = mkv__tcp_bulk_lane(conn, e->request_id);
    struct mkv__tcp_job job = {
        .owner = e,
        .request_id = e->request_id,
        .left = len,
        .from = mkv__tcp_cursor_at(e, offset),
    };

    if (lane->n_jobs >= MKV_TCP_JOBS_MAX) {
        return -EPROTO;
    }
    return mkv__tcp_put_job(lane, &job);
}

int mkv__tcp_pulled(struct mkv__conn *conn, const struct mkv__header *header, const uint8_t *body,
                    const char **why_out)
{
    struct mkv__exposure *e;

    *why_out = "malformed pull";
    if (mkv__tcp_slot(header->request_id) >= MKV_REQUESTS_MAX || header->body_len % 16 != 0) {
        return -EPROTO;
    }
    e = conn->exposures[mkv__tcp_slot(header->request_id)];
    if (!e || e->request_id != header->request_id) {
        return 0;
    }
    *why_out = "pull outside of the exposure";
    for (uint32_t at = 0; at < header->body_len; at += 16) {
        uint64_t range[2];
        int error;

        memcpy(range, body + at, sizeof(range));
        range[0] = le64toh(range[0]);
        range[1] = le64toh(range[1]);
        if (e->writable || range[1] == 0 || range[0] > e->len || range[1] > e->len - range[0]) {
            return -EPROTO;
        }
        error = answer(conn, e, range[0], range[1]);
        if (error) {
            return error;
        }
    }
    return 0;
}
