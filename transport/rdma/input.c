/* Completions, and the messages that they bring. */
#include "core/auth/auth.h"
#include "transport/rdma/rdma.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL 16

void mkv__rdma_polled(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    conn->idle_ns = 0;
    conn->polled = true;
    if (!ep->polling) {
        ep->polling = true;
        ep->poller.poll = mkv__rdma_poll;
        mkv__worker_add_poller(ep->worker, &ep->poller);
    }
}

/* What is flushed comes of a cause that another has seen, and tells. */
static void say_broken(struct mkv__conn *conn, const struct ibv_wc *wc, char why[160])
{
    if (wc->status == IBV_WC_WR_FLUSH_ERR) {
        snprintf(why, 160, "the peer or the device has given up a queue pair");
        return;
    }
    snprintf(why, 160, "%s of queue pair 0x%x on %s: %s (vendor error 0x%x)",
             wc->wr_id & 1u << 31 ? "a receive" : "a transfer", wc->qp_num, conn->device->name,
             conn->endpoint->verbs->wc_status_str(wc->status), wc->vendor_err);
    if (conn->path == MKV_RDMA_ON_RAILS) {
        MKV_LIMITED(conn->endpoint->options.log, &conn->endpoint->limit, MKV__LOG_WARNING,
                    "%s: rdma: %s", conn->name, why);
    }
}

static void broken(struct mkv__conn *conn, const struct ibv_wc *wc)
{
    char why[160];

    say_broken(conn, wc, why);
    if (conn->path == MKV_RDMA_SHAKING) {
        if (mkv__verbs_status(wc->status) == -ETIMEDOUT) {
            mkv__rdma_unheard(conn);
        } else {
            mkv__rdma_shake_failed(conn, MKV_REASON_FAULT, why);
        }
        return;
    }
    mkv__rdma_lost(conn);
    mkv__rdma_conn_fail(conn, -ECONNRESET, why); /* the path, not the peer */
}

void mkv__rdma_last_look(struct mkv__conn *conn)
{
    struct ibv_wc wcs[POLL];
    char why[160];
    int n = POLL;

    while (n == POLL && conn->cq && conn->path == MKV_RDMA_ON_RAILS) {
        n = ibv_poll_cq(conn->cq, POLL, wcs);
        for (int i = 0; i < n; i++) {
            if (wcs[i].status != IBV_WC_SUCCESS && wcs[i].status != IBV_WC_WR_FLUSH_ERR) {
                say_broken(conn, &wcs[i], why);
                return;
            }
        }
    }
}

/* Messages --------------------------------------------------------------------------------------- */

static const char other_window[] = "closed a window that is not the reply's";

static uint32_t values_of(const struct mkv__header *h)
{
    return (uint32_t)(h->aux >> 32);
}

static int deliver(struct mkv__rdma_qp *qp, const struct mkv__header *h, const uint8_t *body,
                   const char **why_out)
{
    struct mkv__conn *conn = qp->conn;
    uint32_t before = (uint32_t)h->aux;
    struct mkv__message message = {
        .type = h->type,
        .cls = h->cls,
        .flags = h->flags,
        .after_bulk = (qp->index != 0 || values_of(h) > 0) && !conn->server,
        .request_id = h->request_id,
        .deadline_ms = h->deadline_ms,
        .body = body + before,
        .body_len = h->body_len - before - values_of(h),
    };

    *why_out = "message of an impossible request";
    if (mkv__rdma_slot(h->request_id) >= MKV_REQUESTS_MAX || before > h->body_len - values_of(h) ||
        (conn->server && values_of(h) > 0)) {
        return -EPROTO;
    }
    /* One that exposes nothing comes over another queue pair, perhaps behind the next of its slot. */
    if (conn->server && before > 0) {
        int error = mkv__rdma_remote_take(conn, h->request_id, body, before);

        *why_out = "malformed exposure";
        if (error) {
            return error;
        }
    }
    *why_out = other_window;
    if (qp->invalidated && !mkv__rdma_invalidated(conn, h->request_id, *qp->invalidated)) {
        return -EPROTO;
    }
    qp->invalidated = NULL;
    if (!conn->server && h->aux > 0) {
        const uint8_t *values = body + h->body_len - values_of(h);

        *why_out = "wrote outside of the exposure";
        if (!mkv__rdma_landed(conn, h->request_id, body, before, values_of(h) > 0 ? values : NULL,
                              values_of(h))) {
            return -EPROTO;
        }
    }
    if (!conn->closing && conn->handlers->message) {
        conn->handlers->message(conn, conn->arg, &message);
    }
    return 0;
}

static int take(struct mkv__rdma_qp *qp, const uint8_t *frame, size_t len, const char **why_out)
{
    struct mkv__conn *conn = qp->conn;
    struct mkv__header h;
    int error;

    *why_out = "malformed message";
    if (len < MKV_HEADER_BYTES || mkv__header_decode(frame, &h) < 0 ||
        len != MKV_HEADER_BYTES + (size_t)h.body_len || values_of(&h) > h.body_len) {
        return -EPROTO;
    }
    *why_out = "wrong MAC or sequence";
    conn->prepared = false;
    error = mkv__seal_check(qp->receive_seal, frame, frame + MKV_HEADER_BYTES,
                            h.body_len - values_of(&h));
    if (error) {
        return error;
    }
    if (h.type >= 32 && conn->path == MKV_RDMA_ON_RAILS) {
        return deliver(qp, &h, frame + MKV_HEADER_BYTES, why_out);
    }
    *why_out = "unknown type of message";
    if (h.type == MKV_TYPE_TRY) {
        return mkv__rdma_heard(qp, h.body_len);
    }
    if (h.type == MKV_TYPE_CANCEL && conn->server &&
        mkv__rdma_slot(h.request_id) < MKV_REQUESTS_MAX &&
        qp == mkv__rdma_bulk_qp(conn, h.request_id)) {
        mkv__rdma_withdrawn(conn, h.request_id);
        return 0;
    }
    if (h.type == MKV_TYPE_FENCED && !conn->server) {
        mkv__rdma_fenced(conn, h.request_id);
        return 0;
    }
    return -EPROTO;
}

static int gather(struct mkv__rdma_qp *qp, const uint8_t *bytes, size_t len, const char **why_out)
{
    *why_out = "message too long";
    if (qp->in_len + len > MKV_HEADER_BYTES + MKV_MESSAGE_MAX) {
        return -EPROTO;
    }
    if (qp->in_len + len > qp->in_cap) {
        size_t cap = 2 * (qp->in_len + len);
        uint8_t *in = realloc(qp->in, cap);

        *why_out = "out of memory";
        if (!in) {
            return -ENOMEM;
        }
        qp->in = in;
        qp->in_cap = cap;
    }
    memcpy(qp->in + qp->in_len, bytes, len);
    mkv__counter_add(&qp->conn->device->counts.copied, len);
    qp->in_len += len;
    return 0;
}

static int take_piece(struct mkv__rdma_qp *qp, const uint8_t *bytes, size_t len,
                      const char **why_out)
{
    uint16_t credits;
    int error;

    *why_out = "malformed message";
    if (len < MKV_RDMA_PREFIX || bytes[2] > 2) {
        return -EPROTO;
    }
    memcpy(&credits, bytes, sizeof(credits));
    *qp->credits += le16toh(credits);
    if (*qp->credits > 65536) {
        return -EPROTO;
    }
    if (bytes[2] == 2) {
        return 0;
    }
    if (bytes[2] == 1 && qp->in_len == 0) {
        return take(qp, bytes + MKV_RDMA_PREFIX, len - MKV_RDMA_PREFIX, why_out);
    }
    error = gather(qp, bytes + MKV_RDMA_PREFIX, len - MKV_RDMA_PREFIX, why_out);
    if (!error && bytes[2] == 1) {
        len = qp->in_len;
        qp->in_len = 0;
        error = take(qp, qp->in, len, why_out);
    }
    return error;
}

static void received(struct mkv__rdma_qp *qp, const struct ibv_wc *wc)
{
    struct mkv__conn *conn = qp->conn;
    uint32_t buffer = (uint32_t)wc->wr_id & 0x7fffffffu;
    const char *why = "";
    int error;

    qp->invalidated = mkv__verbs_invalidated(wc, conn->device->vendor);
    error = take_piece(qp, mkv__rdma_receive_buffer(conn, buffer), wc->byte_len, &why);

    if (conn->closing || !conn->cq) {
        return;
    }
    if (!error &&
        qp->invalidated) { /* what we take for open is not: to close it would be a fault */
        why = other_window;
        error = -EPROTO;
    }
    if (!error) {
        why = "the device takes no receive";
        error = mkv__rdma_receive(conn, buffer);
    }
    if (error) {
        mkv__rdma_conn_fail(conn, error, why);
        return;
    }
    ++*qp->owed;
    mkv__rdma_wake(conn);
}

/* Polling ---------------------------------------------------------------------------------------- */

static void completed(struct mkv__conn *conn, const struct ibv_wc *wc)
{
    struct mkv__rdma_qp *qp = NULL;

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        if (conn->qps[i] && conn->qps[i]->qp && conn->qps[i]->qp->qp_num == wc->qp_num) {
            qp = conn->qps[i];
        }
    }
    if (qp && wc->wr_id & 1u << 31) {
        received(qp, wc);
    } else if (qp) {
        mkv__rdma_sent(qp, wc->wr_id);
    }
}

/* While nothing comes: for what comes next. What fails here fails again when it matters. */
static void prepare(struct mkv__conn *conn)
{
    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        (void)mkv__seal_prepare(conn->qps[i]->send_seal);
        (void)mkv__seal_prepare(conn->qps[i]->receive_seal);
    }
    conn->prepared = true;
}

static int drain(struct mkv__conn *conn)
{
    struct ibv_wc wcs[POLL];
    int n = ibv_poll_cq(conn->cq, POLL, wcs);

    if (n < 0) {
        mkv__rdma_conn_fail(conn, -ECONNRESET, "the device's completions cannot be read");
        return 1;
    }
    for (int i = 0; i < n && conn->cq; i++) {
        if (wcs[i].status != IBV_WC_SUCCESS) {
            broken(conn, &wcs[i]);
        } else {
            completed(conn, &wcs[i]);
        }
    }
    if (n > 0) {
        conn->idle_ns = 0;
    } else if (!conn->prepared && conn->path == MKV_RDMA_ON_RAILS) {
        prepare(conn);
    }
    return n;
}

/* Nothing for a while: events from now on, and one more look, since what came before is not told. */
static int rest(struct mkv__conn *conn)
{
    int n;

    if (ibv_req_notify_cq(conn->cq, 0) != 0) {
        return 0;
    }
    n = drain(conn);
    conn->polled = n > 0 && conn->cq;
    return n;
}

/* Counted from the first look that finds nothing: posting itself takes its time. */
static bool is_idle(struct mkv__conn *conn, uint64_t now_ns)
{
    if (conn->idle_ns == 0) {
        conn->idle_ns = now_ns;
    }
    return !mkv__worker_spins(conn->endpoint->worker) || now_ns - conn->idle_ns > MKV_RDMA_IDLE_NS;
}

int mkv__rdma_poll(struct mkv__poller *poller, uint64_t now_ns)
{
    struct mkv__endpoint *ep = MKV_CONTAINER_OF(poller, struct mkv__endpoint, poller);
    bool more = false;
    int work = 0;

    mkv__rdma_enter(ep);
    for (struct mkv__conn *conn = ep->conns; conn; conn = conn->next) {
        int n;

        if (!conn->polled || !conn->cq) {
            continue;
        }
        n = drain(conn);
        if (n == 0 && conn->cq && is_idle(conn, now_ns)) {
            n = rest(conn);
        }
        work += n;
        more |= conn->polled && conn->cq;
    }
    if (!more && ep->polling) {
        ep->polling = false;
        mkv__worker_remove_poller(ep->worker, &ep->poller);
    }
    mkv__rdma_leave(ep);
    return work;
}

void mkv__rdma_channel_ready(struct mkv__worker *worker, struct mkv__source *source,
                             unsigned events)
{
    struct mkv__rdma_device *device = MKV_CONTAINER_OF(source, struct mkv__rdma_device, source);
    struct mkv__endpoint *ep = device->endpoint;
    struct ibv_cq *cq;
    void *context;

    (void)worker;
    (void)events;
    mkv__rdma_enter(ep);
    while (ep->verbs->get_cq_event(device->channel, &cq, &context) == 0) {
        struct mkv__conn *conn = context;

        conn->n_events++;
        if (conn->cq) {
            mkv__rdma_polled(conn);
        }
    }
    mkv__rdma_leave(ep);
}
