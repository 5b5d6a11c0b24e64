/* A session: begins on tcp, then goes over queue pairs where both sides have them. */
#include "core/auth/auth.h"
#include "transport/rdma/rdma.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void pump(struct mkv__worker *worker, struct mkv__deferred *deferred);
static void timer_fired(struct mkv__worker *worker, struct mkv__timer *timer);

struct mkv__conn *mkv__rdma_conn_new(struct mkv__endpoint *ep, bool server)
{
    struct mkv__conn *conn = calloc(1, sizeof(*conn));

    if (!conn) {
        return NULL;
    }
    conn->endpoint = ep;
    conn->server = server;
    conn->pump.run = pump;
    mkv__timer_init(&conn->timer, timer_fired);
    conn->next = ep->conns;
    conn->link = &ep->conns;
    if (conn->next) {
        conn->next->link = &conn->next;
    }
    ep->conns = conn;
    return conn;
}

static void unlink_conn(struct mkv__conn *conn)
{
    *conn->link = conn->next;
    if (conn->next) {
        conn->next->link = conn->link;
    }
}

void mkv__rdma_conn_free(struct mkv__conn *conn)
{
    mkv__rdma_rails_free(conn);
    for (uint32_t i = 0; i < MKV_REQUESTS_MAX; i++) {
        free(conn->remotes[i].runs);
        free(conn->remotes[i].ranges);
        free(conn->remotes[i].values);
    }
    free(conn);
}

void mkv__rdma_wake(struct mkv__conn *conn)
{
    if (!conn->closing) {
        mkv__worker_defer(conn->endpoint->worker, &conn->pump);
    }
}

/* After the queue pairs are gone, nobody touches the memory of what is told here. */
static void tell_all(struct mkv__conn *conn, int error)
{
    mkv__rdma_conceal_all(conn);
    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        if (conn->qps[i]) {
            mkv__rdma_jobs_drop(conn->qps[i], error == -ECANCELED ? -ECANCELED : -ECONNRESET);
        }
    }
}

void mkv__rdma_conn_fail(struct mkv__conn *conn, int error, const char *why)
{
    struct mkv__endpoint *ep = conn->endpoint;
    struct mkv__conn *tcp = conn->tcp;

    if (conn->closing) {
        return;
    }
    mkv__rdma_enter(ep);
    mkv__rdma_count_end(conn, error);
    conn->closing = true;
    if (error == -EPROTO || error == -EACCES) {
        MKV_LIMITED(ep->options.log, &ep->limit, MKV__LOG_WARNING, "%s: session closed: %s",
                    conn->name, why);
    }
    mkv__timer_stop(ep->worker, &conn->timer);
    mkv__worker_undefer(ep->worker, &conn->pump);
    mkv__rdma_unstarve(conn);
    mkv__rdma_qps_destroy(conn);
    mkv__rdma_connects_forget(conn);
    conn->tcp = NULL;
    if (tcp) {
        mkv__tcp.close(tcp);
    }
    tell_all(conn, error);
    unlink_conn(conn);
    conn->dead_next = ep->dead_conns;
    ep->dead_conns = conn;
    mkv__worker_defer(ep->worker, &ep->reaper);
    if (conn->handlers && conn->handlers->closed) {
        conn->handlers->closed(conn, conn->arg, error, why);
    }
    mkv__rdma_leave(ep);
}

void mkv__rdma_close(struct mkv__conn *conn)
{
    mkv__rdma_conn_fail(conn, -ECANCELED, "closed");
}

int mkv__rdma_connect(struct mkv__endpoint *ep, const char *address,
                      const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out)
{
    struct mkv__conn *conn = mkv__rdma_conn_new(ep, false);
    int error;

    if (!conn) {
        return -ENOMEM;
    }
    conn->handlers = handlers;
    conn->arg = arg;
    snprintf(conn->name, sizeof(conn->name), "%s", address);
    error = mkv__tcp.connect(ep->tcp, address, &mkv__rdma_over_tcp, conn, &conn->tcp);
    if (error) {
        unlink_conn(conn);
        mkv__rdma_conn_free(conn);
        return error;
    }
    *out = conn;
    return 0;
}

void mkv__rdma_tell_opened(struct mkv__conn *conn)
{
    conn->opened = true;
    mkv__rdma_count(conn);
    if (conn->handlers && conn->handlers->opened) {
        conn->handlers->opened(conn, conn->arg, conn->peer);
    }
}

static struct mkv__rdma_lost *lost_of(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    for (unsigned i = 0; i < MKV_RDMA_LOST; i++) {
        if (mkv__worker_now(ep->worker) < ep->lost[i].until_ns &&
            strcmp(ep->lost[i].name, conn->name) == 0) {
            return &ep->lost[i];
        }
    }
    return NULL;
}

void mkv__rdma_lost(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;
    struct mkv__rdma_lost *lost = lost_of(conn);

    if (conn->server) {
        return;
    }
    if (!lost) {
        lost = &ep->lost[ep->next_lost++ % MKV_RDMA_LOST];
    }
    snprintf(lost->name, sizeof(lost->name), "%s", conn->name);
    lost->until_ns = mkv__worker_now(ep->worker) + MKV_RDMA_AGAIN_NS;
}

/* The tcp session ------------------------------------------------------------------------------- */

static void tcp_opened(struct mkv__conn *tcp, void *arg, const struct mkv__hello *peer)
{
    struct mkv__conn *conn = arg;
    struct mkv__endpoint *ep = conn->endpoint;

    (void)tcp;
    conn->peer = peer;
    if (conn->server) {
        mkv__rdma_tell_opened(conn);
        return;
    }
    mkv__rdma_enter(ep);
    if (ep->n_devices > 0 && !ep->off && (peer->features & MKV_FEATURE_RDMA)) {
        const struct mkv__rdma_lost *lost = ep->options.must ? NULL : lost_of(conn);

        if (lost) {
            snprintf(conn->why, sizeof(conn->why), "its queue pairs broke a moment ago");
            conn->reason = MKV_REASON_FAULT;
            mkv__rdma_shake_at(conn, lost->until_ns);
            mkv__rdma_tell_opened(conn);
        } else {
            mkv__rdma_shake_begin(conn);
        }
    } else {
        conn->of_peer = ep->n_devices > 0 && !ep->off;
        conn->reason = conn->of_peer ? MKV_REASON_PEER_HAS_NO : ep->reason;
        snprintf(conn->why, sizeof(conn->why), "%s",
                 conn->of_peer ? "the server has no RDMA device, or RDMA switched off" : ep->why);
        if (ep->options.must) {
            mkv__rdma_conn_fail(conn, -ECONNRESET, conn->why);
        } else {
            mkv__rdma_tell_opened(conn);
        }
    }
    mkv__rdma_leave(ep);
}

static void tcp_message(struct mkv__conn *tcp, void *arg, const struct mkv__message *message)
{
    struct mkv__conn *conn = arg;

    (void)tcp;
    mkv__rdma_enter(conn->endpoint);
    if (message->type < 32) {
        mkv__rdma_shake(conn, message);
        mkv__rdma_leave(conn->endpoint);
        return;
    }
    if (conn->server) {
        conn->over_tcp[mkv__rdma_slot(message->request_id)] = message->request_id + 1;
    }
    if (!conn->closing && conn->handlers && conn->handlers->message) {
        conn->handlers->message(conn, conn->arg, message);
    }
    mkv__rdma_leave(conn->endpoint);
}

static void tcp_cancelled(struct mkv__conn *tcp, void *arg, uint64_t request_id)
{
    struct mkv__conn *conn = arg;

    (void)tcp;
    if (!conn->closing && conn->handlers && conn->handlers->cancelled) {
        conn->handlers->cancelled(conn, conn->arg, request_id);
    }
}

static void tcp_writable(struct mkv__conn *tcp, void *arg)
{
    struct mkv__conn *conn = arg;

    (void)tcp;
    if (!conn->closing && conn->handlers && conn->handlers->writable) {
        conn->handlers->writable(conn, conn->arg);
    }
}

static void tcp_closed(struct mkv__conn *tcp, void *arg, int error, const char *why)
{
    struct mkv__conn *conn = arg;

    (void)tcp;
    conn->tcp = NULL;
    mkv__rdma_last_look(conn);
    mkv__rdma_conn_fail(conn, error, why);
}

const struct mkv__conn_handlers mkv__rdma_over_tcp = {
    tcp_opened, tcp_message, tcp_cancelled, tcp_writable, tcp_closed,
};

/* Both ------------------------------------------------------------------------------------------- */

static bool stuck(const struct mkv__conn *conn, uint64_t now)
{
    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        const struct mkv__rdma_qp *qp = conn->qps[i];

        if (qp && qp->n_posted > 0 &&
            now - qp->posted[qp->posted_head % MKV_RDMA_DEPTH].posted_ns > MKV_RDMA_STUCK_NS) {
            return true;
        }
    }
    return false;
}

static bool outstanding(const struct mkv__conn *conn)
{
    bool any = conn->fence_ns != 0;

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        any |= conn->qps[i] && conn->qps[i]->n_posted > 0;
    }
    return any;
}

/* Fences are forced, and work requests that never end are ended, by nobody but us: a device may stay
 * silent about them. */
static void watch(struct mkv__conn *conn)
{
    struct mkv__worker *worker = conn->endpoint->worker;
    uint64_t due;

    if (conn->closing || conn->path != MKV_RDMA_ON_RAILS || !outstanding(conn)) {
        return;
    }
    due = mkv__worker_now(worker) + MKV_RDMA_STUCK_NS / 4;
    due = conn->fence_ns && conn->fence_ns < due ? conn->fence_ns : due;
    if (!mkv__timer_armed(&conn->timer) || due < conn->timer.due_ns) {
        mkv__timer_set(worker, &conn->timer, due);
    }
}

static void timer_fired(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__conn *conn = MKV_CONTAINER_OF(timer, struct mkv__conn, timer);
    struct mkv__endpoint *ep = conn->endpoint;
    uint64_t now = mkv__worker_now(worker);

    mkv__rdma_enter(ep);
    if (conn->path == MKV_RDMA_SHAKING) {
        mkv__rdma_unheard(conn);
    } else if (conn->path == MKV_RDMA_ON_TCP) {
        mkv__rdma_shake_begin(conn);
    } else if (conn->fence_ns && now >= conn->fence_ns) {
        mkv__rdma_lost(conn);
        mkv__rdma_conn_fail(conn, -ETIMEDOUT, "the peer did not confirm a fence in time");
    } else if (stuck(conn, now)) {
        mkv__rdma_lost(conn);
        mkv__rdma_conn_fail(conn, -ECONNRESET, "a transfer does not end");
    }
    watch(conn);
    mkv__rdma_leave(ep);
}

static void pump(struct mkv__worker *worker, struct mkv__deferred *deferred)
{
    struct mkv__conn *conn = MKV_CONTAINER_OF(deferred, struct mkv__conn, pump);
    struct mkv__endpoint *ep = conn->endpoint;

    (void)worker;
    mkv__rdma_enter(ep);
    for (unsigned i = 0; i < MKV_RDMA_QPS && !conn->closing; i++) {
        if (conn->qps[i]) {
            mkv__rdma_flush(conn->qps[i]);
        }
    }
    if (!conn->closing && conn->want_writable && conn->waiting < MKV_RDMA_FULL / 2) {
        conn->want_writable = false;
        if (conn->handlers->writable) {
            conn->handlers->writable(conn, conn->arg);
        }
    }
    mkv__rdma_feed(ep);
    watch(conn);
    mkv__rdma_leave(ep);
}

/* A window of the peer that ends with this reply, so that it need not do that itself. */
static const uint32_t *ends(const struct mkv__conn *conn, const struct mkv__rdma_remote *remote)
{
    return remote->there && !remote->ended && conn->peer_windows && remote->n > 0
               ? &remote->runs[0].rkey
               : NULL;
}

/* With its values, where they come with it; else on the queue pair of the bulk, so that it comes
 * after it. */
static int reply_after_bulk(struct mkv__conn *conn, const struct mkv__header *header,
                            const void *body)
{
    struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(header->request_id)];
    struct mkv__rdma_qp *qp = mkv__rdma_bulk_qp(conn, header->request_id);
    struct mkv__rdma_extra extra = {.before = remote->ranges,
                                    .before_len = 16 * (size_t)remote->n_ranges,
                                    .invalidate = ends(conn, remote)};
    int error = 0;

    if (remote->request_id != header->request_id) {
        return mkv__rdma_put_message(qp, header, body, NULL);
    }
    if (remote->lent && remote->lent->n_pieces == 1 && remote->values_len == 0) {
        extra.values = remote->lent->pieces[0].addr; /* where they lie */
        extra.values_len = remote->lent->pieces[0].len;
    } else {
        error = mkv__rdma_values_keep(conn, remote);
        extra.values = remote->values;
        extra.values_len = remote->values_len;
    }
    qp = extra.values_len > 0 ? conn->qps[0] : qp;
    error = error ? error : mkv__rdma_put_message(qp, header, body, &extra);
    remote->replied = remote->ended = !error;
    if (!error) {
        mkv__rdma_values_drop(remote);
    }
    return error;
}

/* A request whose exposure is told goes where its bulk will, behind the binding of its windows. */
static int request(struct mkv__conn *conn, const struct mkv__header *header, const void *body)
{
    uint8_t *runs = NULL;
    size_t len = 0;
    int error = mkv__rdma_exposure_encode(conn, header->request_id, &runs, &len);
    struct mkv__rdma_qp *qp = runs ? mkv__rdma_bulk_qp(conn, header->request_id) : conn->qps[0];
    struct mkv__rdma_extra extra = {.before = runs, .before_len = len};

    error = error ? error : mkv__rdma_put_message(qp, header, body, &extra);
    free(runs);
    return error;
}

/* Where nothing is ahead of it a reply closes the window of its request, whatever it says. */
static bool closes_for_free(const struct mkv__conn *conn, uint64_t request_id)
{
    const struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(request_id)];

    return remote->request_id == request_id && ends(conn, remote) &&
           !conn->qps[1 + mkv__rdma_slot(request_id) % (MKV_RDMA_QPS - 1)]->jobs;
}

static int send_on(struct mkv__conn *conn, const struct mkv__message *message)
{
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION,
        .type = message->type,
        .cls = message->cls,
        .flags = message->flags,
        .request_id = message->request_id,
        .deadline_ms = message->deadline_ms,
        .body_len = message->body_len,
    };

    if (!conn->server) {
        return request(conn, &header, message->body);
    }
    return message->after_bulk || closes_for_free(conn, message->request_id)
               ? reply_after_bulk(conn, &header, message->body)
               : mkv__rdma_put_message(conn->qps[0], &header, message->body, NULL);
}

int mkv__rdma_send(struct mkv__conn *conn, const struct mkv__message *message)
{
    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (mkv__rdma_by_tcp(conn, message->request_id)) {
        return message->body_len > mkv__rdma.limits.max_message ? -EMSGSIZE
                                                                : mkv__tcp.send(conn->tcp, message);
    }
    if (message->body_len > mkv__rdma.limits.max_message) {
        return -EMSGSIZE;
    }
    if (message->type < 32 || mkv__rdma_slot(message->request_id) >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (conn->waiting + MKV_HEADER_BYTES + message->body_len > MKV_RDMA_FULL) {
        conn->want_writable = true;
        return -EAGAIN;
    }
    return send_on(conn, message);
}

uint64_t mkv__rdma_unsent(const struct mkv__conn *conn)
{
    uint64_t sum = conn->tcp ? mkv__tcp.unsent(conn->tcp) : 0;

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        const struct mkv__rdma_qp *qp = conn->qps[i];

        sum += qp ? qp->flight + qp->n_posted : 0;
    }
    return sum + conn->waiting;
}
