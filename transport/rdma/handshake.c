/* The queue pairs shake hands over the tcp session: QPN, PSN and GID lie in the transcript. */
#include "core/auth/auth.h"
#include "transport/rdma/rdma.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tell(struct mkv__conn *conn, uint8_t type, const uint8_t *body, size_t len)
{
    struct mkv__message message = {.type = type, .body = body, .body_len = (uint32_t)len};

    return conn->tcp ? mkv__tcp.send(conn->tcp, &message) : -ECONNRESET;
}

/* RAILS: 1, or 128 + reason, u8; text. */
static void tell_rails(struct mkv__conn *conn, bool up, const char *text)
{
    uint8_t body[1 + sizeof(conn->why)];
    size_t len = strnlen(text, sizeof(conn->why));

    body[0] = up ? 1 : (uint8_t)(128 + conn->reason);
    memcpy(body + 1, text, len);
    (void)tell(conn, MKV_TYPE_RAILS, body, 1 + len);
}

/* As long as a receive: more than one packet of any MTU, so that a path that drops large ones shows. A
 * short one goes before it, which tells such a path from one that carries nothing. */
static const uint8_t try_body[MKV_RDMA_BUFFER - MKV_HEADER_BYTES - MKV_RDMA_PREFIX];

static int try_send(struct mkv__rdma_qp *qp, size_t len)
{
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION, .type = MKV_TYPE_TRY, .body_len = (uint32_t)len};

    return mkv__rdma_put_message(qp, &header, try_body, NULL);
}

void mkv__rdma_rails_free(struct mkv__conn *conn)
{
    mkv__rdma_unstarve(conn);
    mkv__rdma_qps_destroy(conn);
    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        struct mkv__rdma_qp *qp = conn->qps[i];

        if (qp) {
            mkv__handshake_destroy(&qp->handshake);
            mkv__seal_destroy(&qp->send_seal);
            mkv__seal_destroy(&qp->receive_seal);
            free(qp->in);
            free(qp);
            conn->qps[i] = NULL;
        }
    }
    free(conn->buffers);
    conn->buffers = NULL;
    conn->n_up = 0;
    conn->rails = false;
    conn->polled = false;
    conn->waiting = 0;
    memset(conn->credits, 0, sizeof(conn->credits));
    memset(conn->owed, 0, sizeof(conn->owed));
}

/* A client looks again later: what keeps RDMA from working may end. */
void mkv__rdma_shake_at(struct mkv__conn *conn, uint64_t due_ns)
{
    mkv__timer_set(conn->endpoint->worker, &conn->timer, due_ns);
}

/* Client: the session goes on over tcp and tries again later, or ends where it must not. */
static void do_without(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    if (ep->options.must) {
        mkv__rdma_conn_fail(conn, -ECONNRESET, conn->why);
        return;
    }
    mkv__rdma_shake_at(conn, mkv__worker_now(ep->worker) + MKV_RDMA_AGAIN_NS);
    if (!conn->opened) {
        mkv__rdma_tell_opened(conn);
    }
}

/* The session stays on tcp, or ends where it must not. */
static void give_up(struct mkv__conn *conn, bool say)
{
    struct mkv__endpoint *ep = conn->endpoint;

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        if (conn->qps[i]) {
            conn->qps[i]->up = false;
            mkv__rdma_jobs_drop(conn->qps[i], -ECANCELED);
        }
    }
    mkv__rdma_rails_free(conn);
    conn->path = MKV_RDMA_ON_TCP;
    if (say) {
        tell_rails(conn, false, conn->why);
    }
    if (!conn->told && (conn->server || !ep->options.must)) { /* else the refusal says it */
        conn->told = true;
        MKV_LIMITED(ep->options.log, &ep->limit, MKV__LOG_INFO, "%s: over tcp, not rdma: %s",
                    conn->name, conn->why);
    }
    if (conn->server) {
        return;
    }
    mkv__timer_stop(ep->worker, &conn->timer);
    do_without(conn);
}

void mkv__rdma_shake_failed(struct mkv__conn *conn, enum mkv__rdma_reason reason, const char *why)
{
    conn->reason = reason;
    snprintf(conn->why, sizeof(conn->why), "%s", why);
    give_up(conn, true);
}

void mkv__rdma_unheard(struct mkv__conn *conn)
{
    bool touched = false;
    char text[sizeof(conn->why)];

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        touched |= conn->qps[i] && conn->qps[i]->touched;
    }
    if (mkv__rdma_connects(conn->qps[0]) || mkv__rdma_connects(conn->qps[1])) {
        snprintf(text, sizeof(text),
                 "%s has found no way to the server in time (are both in one network?)",
                 conn->device->name);
        mkv__rdma_shake_failed(conn, MKV_REASON_SILENCE, text);
    } else if (touched) {
        mkv__rdma_shake_failed(conn, MKV_REASON_MTU,
                               "short messages came over the queue pairs, and no long ones (is the "
                               "MTU the same all the way?)");
    } else {
        mkv__rdma_shake_failed(
            conn, MKV_REASON_SILENCE,
            "nothing came over the queue pairs in time (is UDP port 4791 open?)");
    }
}

static int handshake_of(struct mkv__rdma_qp *qp)
{
    const struct mkv__endpoint_options *options = &qp->conn->endpoint->options;
    struct mkv__hello ours = {
        .version_low = MKV_WIRE_VERSION,
        .version_high = MKV_WIRE_VERSION,
        .features = MKV_FEATURE_RDMA,
        .lane = qp->index,
        .n_lanes = MKV_RDMA_QPS,
        .max_requests = MKV_REQUESTS_MAX,
        .max_message = MKV_MESSAGE_MAX,
        .extra = qp->attributes,
        .extra_len = MKV_RDMA_ATTRIBUTES,
    };

    if (qp->conn->server) { /* with the key of the session, whatever has become of the list */
        return mkv__handshake_create(true, &ours, qp->conn->key, qp->conn->key ? 1 : 0,
                                     &qp->handshake);
    }
    return mkv__handshake_create(false, &ours, options->keys, options->n_keys, &qp->handshake);
}

/* RAIL: index u8, type u8, body of the handshake. */
static int tell_rail(struct mkv__rdma_qp *qp, uint8_t type, const uint8_t *body, size_t len)
{
    uint8_t out[2 + MKV_HANDSHAKE_MAX] = {qp->index, type};

    memcpy(out + 2, body, len);
    return tell(qp->conn, MKV_TYPE_RAIL, out, 2 + len);
}

/* What was left behind costs threads and memory until the kernel has given up, too. */
static bool may_begin(struct mkv__conn *conn)
{
    bool may = !conn->given_up && conn->endpoint->n_leftovers < MKV_RDMA_LEFTOVERS;

    if (!may) {
        conn->reason = MKV_REASON_SILENCE;
        snprintf(conn->why, sizeof(conn->why), "the way to %s is still looked for",
                 conn->given_up ? "the peer" : "too many other peers");
    }
    return may;
}

static int begin(struct mkv__conn *conn)
{
    int error = mkv__rdma_choose(conn);

    if (error) {
        return error;
    }
    conn->reason = MKV_REASON_FAULT;
    error = mkv__rdma_qps_create(conn);
    for (unsigned i = 0; i < MKV_RDMA_QPS && !error; i++) {
        error = handshake_of(conn->qps[i]);
    }
    if (error) {
        conn->reason = error == -ENOMEM ? MKV_REASON_MEMORY : MKV_REASON_FAULT;
        snprintf(conn->why, sizeof(conn->why), "%s gives no queue pairs: %s%s", conn->device->name,
                 strerror(-error),
                 error == -ENOMEM ? " (is the limit of locked memory too low? see: ulimit -l)"
                                  : "");
    }
    return error;
}

void mkv__rdma_shake_begin(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;
    int error;

    if (!may_begin(conn)) {
        do_without(conn);
        return;
    }
    error = begin(conn);
    conn->of_peer = false;
    conn->path = MKV_RDMA_SHAKING;
    mkv__timer_set(ep->worker, &conn->timer,
                   mkv__worker_now(ep->worker) + ep->options.connect_timeout_ns);
    for (unsigned i = 0; i < MKV_RDMA_QPS && !error; i++) {
        uint8_t out[MKV_HANDSHAKE_MAX], type = 0;
        int len = mkv__handshake_start(conn->qps[i]->handshake, &type, out, sizeof(out));

        error = len < 0 ? len : tell_rail(conn->qps[i], type, out, (size_t)len);
        if (error) {
            snprintf(conn->why, sizeof(conn->why), "%s", strerror(-error));
        }
    }
    if (error) {
        give_up(conn, false);
    }
}

static void up(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;
    char text[200];

    conn->path = MKV_RDMA_ON_RAILS;
    mkv__rdma_describe(conn, text, sizeof(text));
    MKV_INFO(ep->options.log, "%s: over %s", conn->name, text);
    conn->told_cause = false;
    if (conn->told) {
        conn->told = false;
        mkv__counter_inc(&ep->to_rdma);
    }
    mkv__rdma_count(conn);
    if (conn->server) {
        tell_rails(conn, true, "");
        return;
    }
    mkv__timer_stop(ep->worker, &conn->timer);
    if (!conn->opened) {
        mkv__rdma_tell_opened(conn);
    }
}

static bool all_heard(const struct mkv__conn *conn)
{
    bool all = conn->n_up == MKV_RDMA_QPS;

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        all &= conn->qps[i] && conn->qps[i]->heard;
    }
    return all;
}

/* The answers of the server have arrived: long packets may be lost one way only. */
static bool all_told(const struct mkv__conn *conn)
{
    bool all = true;

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        all &= !conn->qps[i]->jobs && conn->qps[i]->n_posted == 0;
    }
    return all;
}

void mkv__rdma_up_if_all_is(struct mkv__conn *conn)
{
    if (conn->path == MKV_RDMA_SHAKING && all_heard(conn) &&
        (conn->server ? all_told(conn) : conn->rails)) {
        up(conn);
    }
}

int mkv__rdma_heard(struct mkv__rdma_qp *qp, size_t len)
{
    struct mkv__conn *conn = qp->conn;
    bool *before = len > 0 ? &qp->heard : &qp->touched;
    int error = 0;

    if (conn->path != MKV_RDMA_SHAKING || *before) {
        return -EPROTO;
    }
    *before = true;
    if (conn->server) {
        error = try_send(qp, len > 0 ? sizeof(try_body) : 0);
    }
    mkv__rdma_up_if_all_is(conn);
    return error;
}

/* All handshakes are done: what they promise is tried out, over each queue pair. */
static int try_out(struct mkv__conn *conn)
{
    int error = 0;

    mkv__rdma_polled(conn);
    for (unsigned i = 0; i < MKV_RDMA_QPS && !conn->server && !error; i++) {
        error = try_send(conn->qps[i], 0);
        error = error ? error : try_send(conn->qps[i], sizeof(try_body));
    }
    return error;
}

/* Packets of RoCE v1 are no packets of RoCE v2. */
static bool same_type(struct mkv__conn *conn, const struct mkv__hello *peer)
{
    uint8_t theirs = peer->extra_len == MKV_RDMA_ATTRIBUTES ? peer->extra[13] : conn->gid_type;

    if (theirs != conn->gid_type) {
        conn->reason = MKV_REASON_NO_GID;
        snprintf(conn->why, sizeof(conn->why), "%s has a GID of %s, the peer one of %s",
                 conn->device->name, mkv__rdma_gid_type(conn->gid_type),
                 mkv__rdma_gid_type(theirs));
    }
    return theirs == conn->gid_type;
}

/* After the queue pair is connected: what it has to say, and what follows when all is said. */
static int go_on(struct mkv__rdma_qp *qp)
{
    struct mkv__conn *conn = qp->conn;
    int error = 0;

    if (qp->answer_type) {
        error = tell_rail(qp, qp->answer_type, qp->answer, qp->answer_len);
        qp->answer_type = 0;
    }
    if (!error && mkv__handshake_done(qp->handshake)) {
        error = mkv__handshake_seals(qp->handshake, &qp->send_seal, &qp->receive_seal);
        if (!error && ++conn->n_up == MKV_RDMA_QPS) {
            error = try_out(conn);
        }
    }
    return error;
}

static int take_rail(struct mkv__rdma_qp *qp, uint8_t type, const uint8_t *body, size_t len)
{
    struct mkv__conn *conn = qp->conn;
    size_t ignored = 0;
    int got;

    if (mkv__rdma_connects(qp)) {
        snprintf(conn->why, sizeof(conn->why), "handshake of a queue pair out of turn");
        return -EPROTO;
    }
    qp->answer_type = 0;
    got = mkv__handshake_take(qp->handshake, type, body, len, &qp->answer_type, qp->answer,
                              sizeof(qp->answer), &ignored, conn->why);
    if (got < 0) {
        return got;
    }
    qp->answer_len = (size_t)got;
    if (!qp->up) {
        const struct mkv__hello *peer = mkv__handshake_peer(qp->handshake);
        int error = 0;

        if (!same_type(conn, peer)) {
            return -ENODEV;
        }
        error = mkv__rdma_qp_meet(qp, peer->extra, peer->extra_len);
        if (error) {
            snprintf(conn->why, sizeof(conn->why), "%s: the queue pair cannot be connected: %s",
                     conn->device->name, strerror(-error));
        }
        return error;
    }
    return go_on(qp);
}

static bool is_no_way(int error)
{
    return error == -ETIMEDOUT || error == -EHOSTUNREACH || error == -ENETUNREACH;
}

static void does_not_reach(struct mkv__conn *conn, const char *device, const uint8_t gid[16],
                           int error)
{
    char text[48];

    mkv__rdma_gid_text(gid, text);
    conn->reason = is_no_way(error) ? MKV_REASON_SILENCE : MKV_REASON_FAULT;
    conn->of_peer = false;
    snprintf(conn->why, sizeof(conn->why), "%s does not reach %s: %s%s", device, text,
             strerror(-error), is_no_way(error) ? " (are both devices in one network?)" : "");
}

/* It turns out when the session is on tcp already. */
static void say_cause(struct mkv__conn *conn)
{
    if (!conn->told_cause) {
        conn->told_cause = true;
        MKV_LIMITED(conn->endpoint->options.log, &conn->endpoint->limit, MKV__LOG_INFO, "%s: %s",
                    conn->name, conn->why);
    }
}

void mkv__rdma_not_connected(struct mkv__conn *conn, const char *device, const uint8_t gid[16],
                             int error)
{
    if (conn->path == MKV_RDMA_ON_TCP) {
        does_not_reach(conn, device, gid, error);
        say_cause(conn);
        if (conn->server) {
            tell_rails(conn, false, conn->why);
        }
    }
}

void mkv__rdma_connected(struct mkv__rdma_qp *qp, int error)
{
    struct mkv__conn *conn = qp->conn;

    mkv__rdma_enter(conn->endpoint);
    qp->up = !error;
    if (error) {
        does_not_reach(conn, conn->device->name, mkv__handshake_peer(qp->handshake)->extra + 16,
                       error);
        conn->told_cause = true; /* and what the other one finds out is nothing new */
        give_up(conn, true);
        mkv__rdma_connects_forget(conn);
    } else {
        error = go_on(qp);
        if (error) {
            snprintf(conn->why, sizeof(conn->why), "%s", strerror(-error));
            give_up(conn, true);
        }
    }
    mkv__rdma_leave(conn->endpoint);
}

static void take_rails(struct mkv__conn *conn, const struct mkv__message *m)
{
    uint8_t first = m->body_len >= 1 ? m->body[0] : 0;
    bool is_up = first == 1;

    if (conn->path == MKV_RDMA_ON_RAILS && conn->server && !is_up) {
        mkv__rdma_conn_fail(conn, -ECONNRESET, "the client has given its queue pairs up");
        return;
    }
    if (is_up && conn->path != MKV_RDMA_SHAKING) {
        return;
    }
    if (is_up && !conn->server && conn->n_up == MKV_RDMA_QPS) {
        conn->rails = true;
        mkv__rdma_up_if_all_is(conn);
        return;
    }
    if (conn->path != MKV_RDMA_SHAKING && (conn->server || conn->path == MKV_RDMA_ON_RAILS)) {
        return;
    }
    conn->of_peer = true;
    conn->reason = first > 128 && first <= 128 + MKV_REASON_FAULT
                       ? (enum mkv__rdma_reason)(first - 128)
                       : MKV_REASON_FAULT;
    snprintf(conn->why, sizeof(conn->why), "the peer says: ");
    for (size_t i = 1, at = strlen(conn->why); i < m->body_len && at + 1 < sizeof(conn->why); i++) {
        conn->why[at++] = m->body[i] >= 32 && m->body[i] < 127 ? (char)m->body[i] : '?';
        conn->why[at] = '\0';
    }
    if (conn->path == MKV_RDMA_SHAKING) {
        give_up(conn, !conn->server); /* a server may have begun anew when it said that */
    } else {
        say_cause(conn);
    }
}

void mkv__rdma_shake(struct mkv__conn *conn, const struct mkv__message *m)
{
    int error = 0;

    if (m->type == MKV_TYPE_RAILS) {
        take_rails(conn, m);
        return;
    }
    if (conn->server && conn->path == MKV_RDMA_ON_TCP && m->body_len >= 2 && m->body[0] == 0 &&
        m->body[1] == MKV_TYPE_HELLO) { /* else what is left of a try that is over */
        conn->path = MKV_RDMA_SHAKING;
        error = may_begin(conn) ? begin(conn) : -EBUSY;
    }
    if (conn->path != MKV_RDMA_SHAKING) {
        return;
    }
    if (!error && (m->body_len < 2 || m->body[0] >= MKV_RDMA_QPS)) {
        snprintf(conn->why, sizeof(conn->why), "malformed handshake of a queue pair");
        error = -EPROTO;
    }
    if (!error) {
        error = take_rail(conn->qps[m->body[0]], m->body[1], m->body + 2, m->body_len - 2);
    }
    if (error) {
        give_up(conn, true);
    }
}
