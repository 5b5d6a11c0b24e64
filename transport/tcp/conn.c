/* A session: made of lanes, opened when all of them are, closed when one of them fails. */
#include "transport/tcp/tcp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void pump(struct mkv__worker *worker, struct mkv__deferred *deferred);
static void timer_fired(struct mkv__worker *worker, struct mkv__timer *timer);

static struct mkv__conn *conn_new(struct mkv__endpoint *ep)
{
    struct mkv__conn *conn = calloc(1, sizeof(*conn));

    if (!conn) {
        return NULL;
    }
    conn->endpoint = ep;
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

void mkv__tcp_conn_free(struct mkv__conn *conn)
{
    free(conn);
}

void mkv__tcp_wake(struct mkv__conn *conn)
{
    if (!conn->closing) {
        mkv__worker_defer(conn->endpoint->worker, &conn->pump);
    }
}

static void kill_lanes(struct mkv__conn *conn)
{
    for (unsigned i = 0; i < conn->n_lanes; i++) {
        if (conn->lanes[i]) {
            mkv__tcp_lane_kill(conn->lanes[i]);
        }
    }
}

void mkv__tcp_conn_fail(struct mkv__conn *conn, int error, const char *why)
{
    struct mkv__endpoint *ep = conn->endpoint;

    if (conn->closing) {
        return;
    }
    conn->closing = true;
    if (error == -EPROTO || error == -EACCES) {
        MKV_LIMITED(ep->options.log, &ep->limit, MKV__LOG_WARNING, "%s: session closed: %s",
                    conn->name, why);
    }
    mkv__timer_stop(ep->worker, &conn->timer);
    mkv__worker_undefer(ep->worker, &conn->pump);
    mkv__tcp_resolve_forget(conn);
    kill_lanes(conn);
    mkv__tcp_conceal_all(conn);
    mkv__tcp_bulk_fail_all(conn, error == -ECANCELED ? -ECANCELED : -ECONNRESET);
    *conn->link = conn->next;
    if (conn->next) {
        conn->next->link = conn->link;
    }
    conn->next = ep->dead_conns;
    ep->dead_conns = conn;
    mkv__worker_defer(ep->worker, &ep->reaper);
    if (conn->handlers && conn->handlers->closed) {
        conn->handlers->closed(conn, conn->arg, error, why);
    }
}

void mkv__tcp_close(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    mkv__tcp_enter(ep);
    mkv__tcp_conn_fail(conn, -ECANCELED, "closed");
    mkv__tcp_leave(ep);
}

/* Client: connecting ------------------------------------------------------------------------ */

static int lane_dial(struct mkv__conn *conn, uint8_t index)
{
    const struct sockaddr_storage *to = &conn->addresses[conn->address];
    struct mkv__endpoint *ep = conn->endpoint;
    struct mkv__hello ours = {
        .version_low = MKV_WIRE_VERSION,
        .version_high = MKV_WIRE_VERSION,
        .features = ep->options.features,
        .session = conn->session,
        .lane = index,
        .n_lanes = conn->n_lanes,
        .max_requests = MKV_REQUESTS_MAX,
        .max_message = MKV_MESSAGE_MAX,
        .extra = ep->extra,
        .extra_len = ep->extra_len,
    };
    struct mkv__tcp_lane *lane;
    int error;
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return errno;
    }
    lane = mkv__tcp_lane_new(ep, fd, index);
    if (!lane) {
        close(fd);
        return ENOMEM;
    }
    lane->conn = conn;
    conn->lanes[index] = lane;
    error = mkv__handshake_create(false, &ours, ep->options.keys, ep->options.n_keys,
                                  &lane->handshake);
    if (error) {
        return -error;
    }
    if (connect(fd, (const struct sockaddr *)to, mkv__tcp_address_len(to)) < 0 &&
        errno != EINPROGRESS) {
        return errno;
    }
    return -mkv__tcp_lane_interest(lane);
}

static void dial(struct mkv__conn *conn)
{
    int error = 0;

    conn->n_lanes = (uint8_t)(1 + conn->endpoint->options.lanes);
    for (uint8_t i = 0; i < conn->n_lanes && !error; i++) {
        error = lane_dial(conn, i);
    }
    if (error) {
        mkv__tcp_connect_failed(conn, error);
    }
}

void mkv__tcp_connect_failed(struct mkv__conn *conn, int error)
{
    char why[128];

    kill_lanes(conn);
    memset(conn->lanes, 0, sizeof(conn->lanes));
    if (conn->n_ready == 0 && conn->address + 1 < conn->n_addresses) {
        conn->address++;
        dial(conn);
        return;
    }
    snprintf(why, sizeof(why), "cannot connect: %s", strerror(error));
    mkv__tcp_conn_fail(conn, -ECONNRESET, why);
}

void mkv__tcp_conn_resolved(struct mkv__conn *conn, int error)
{
    struct mkv__endpoint *ep = conn->endpoint;

    mkv__tcp_enter(ep);
    if (error) {
        mkv__tcp_conn_fail(conn, error, "cannot connect: name not found");
    } else {
        dial(conn);
    }
    mkv__tcp_leave(ep);
}

static void start(struct mkv__conn *conn)
{
    conn->started = true;
    mkv__timer_set(conn->endpoint->worker, &conn->timer,
                   mkv__worker_now(conn->endpoint->worker) +
                       conn->endpoint->options.connect_timeout_ns);
    if (conn->n_addresses > 0) {
        dial(conn);
    } else if (mkv__tcp_resolve(conn) < 0) {
        mkv__tcp_conn_fail(conn, -ECONNRESET, "cannot connect: no thread to look up the name");
    }
}

int mkv__tcp_connect(struct mkv__endpoint *ep, const char *address,
                     const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out)
{
    char host[256], port[8];
    struct mkv__conn *conn;
    uint64_t session;
    int error = mkv__tcp_address_split(address, host, port);

    if (!error) {
        error = mkv__random(&session, sizeof(session));
    }
    if (error) {
        return error;
    }
    conn = conn_new(ep);
    if (!conn) {
        return -ENOMEM;
    }
    memcpy(conn->host, host, sizeof(conn->host));
    memcpy(conn->port, port, sizeof(conn->port));
    conn->n_addresses = (unsigned)mkv__tcp_address_numeric(host, port, conn->addresses, false);
    conn->session = session;
    conn->handlers = handlers;
    conn->arg = arg;
    snprintf(conn->name, sizeof(conn->name), "%s", address);
    /* The first turn from here on starts it: nothing is called from inside connect. */
    mkv__timer_set(ep->worker, &conn->timer, mkv__worker_now(ep->worker));
    *out = conn;
    return 0;
}

/* Server: lanes become a session --------------------------------------------------------------- */

static bool same_key(const struct mkv__tcp_lane *a, const struct mkv__tcp_lane *b)
{
    const struct mkv__auth_key *x = mkv__handshake_key(a->handshake);
    const struct mkv__auth_key *y = mkv__handshake_key(b->handshake);

    return x && y ? x->id == y->id && memcmp(x->key, y->key, MKV_KEY_BYTES) == 0 : x == y;
}

/* All lanes of a session have one key, also where the server's keys change between two. */
static bool has_another_key(const struct mkv__conn *conn, const struct mkv__tcp_lane *lane)
{
    for (unsigned i = 0; i < conn->n_lanes; i++) {
        if (conn->lanes[i] && !same_key(conn->lanes[i], lane)) {
            return true;
        }
    }
    return false;
}

static struct mkv__conn *session_find(struct mkv__endpoint *ep, uint64_t session)
{
    struct mkv__conn *conn = ep->conns;

    while (conn && !(conn->server && conn->session == session)) {
        conn = conn->next;
    }
    return conn;
}

static struct mkv__conn *session_new(struct mkv__tcp_lane *lane, const struct mkv__hello *peer)
{
    struct mkv__endpoint *ep = lane->endpoint;
    struct mkv__conn *conn = conn_new(ep);

    if (!conn) {
        return NULL;
    }
    conn->server = true;
    conn->started = true;
    conn->session = peer->session;
    conn->n_lanes = peer->n_lanes;
    conn->accept = lane->accept;
    snprintf(conn->name, sizeof(conn->name), "%s", lane->name);
    mkv__timer_set(ep->worker, &conn->timer,
                   mkv__worker_now(ep->worker) + ep->options.connect_timeout_ns);
    return conn;
}

int mkv__tcp_join(struct mkv__tcp_lane *lane)
{
    const struct mkv__hello *peer = mkv__handshake_peer(lane->handshake);
    struct mkv__conn *conn = session_find(lane->endpoint, peer->session);

    if (!conn) {
        conn = session_new(lane, peer);
    }
    if (!conn || conn->opened || conn->n_lanes != peer->n_lanes || conn->lanes[lane->index] ||
        has_another_key(conn, lane)) {
        return -EPROTO;
    }
    mkv__timer_stop(lane->endpoint->worker, &lane->timer);
    mkv__tcp_lane_unlink(lane);
    lane->conn = conn;
    conn->lanes[lane->index] = lane;
    if (lane->index == 0) {
        snprintf(conn->name, sizeof(conn->name), "%s", lane->name);
    }
    return 0;
}

static bool accepted(struct mkv__conn *conn, const struct mkv__hello *peer)
{
    const struct mkv__conn_handlers *handlers = NULL;
    void *arg = NULL;
    int error = conn->accept.accepted(conn->accept.arg, conn->endpoint->worker, conn, peer,
                                      mkv__handshake_key(conn->lanes[0]->handshake), &handlers,
                                      &arg);

    if (error < 0) {
        mkv__tcp_conn_fail(conn, error, "not accepted");
        return false;
    }
    if (!conn->closing) {
        conn->handlers = handlers;
        conn->arg = arg;
    }
    return !conn->closing;
}

void mkv__tcp_lane_is_ready(struct mkv__tcp_lane *lane)
{
    struct mkv__conn *conn = lane->conn;
    struct mkv__endpoint *ep = conn->endpoint;
    const struct mkv__hello *peer;

    mkv__tcp_wake(conn);
    if (++conn->n_ready < conn->n_lanes) {
        return;
    }
    peer = mkv__handshake_peer(conn->lanes[0]->handshake);
    conn->opened = true;
    conn->resume = true;
    conn->heard_ns = mkv__worker_now(ep->worker);
    mkv__timer_stop(ep->worker, &conn->timer);
    if (ep->options.idle_ping_ns) {
        mkv__timer_set(ep->worker, &conn->timer, conn->heard_ns + ep->options.idle_ping_ns);
    }
    if (conn->server && !accepted(conn, peer)) {
        return;
    }
    if (conn->handlers->opened) {
        conn->handlers->opened(conn, conn->arg, peer);
    }
}

/* Both ----------------------------------------------------------------------------------------- */

static void ping(struct mkv__conn *conn, uint64_t now)
{
    struct mkv__header header = {.version = MKV_WIRE_VERSION, .type = MKV_TYPE_PING};
    uint64_t idle = conn->endpoint->options.idle_ping_ns;

    if (now - conn->heard_ns < idle) {
        mkv__timer_set(conn->endpoint->worker, &conn->timer, conn->heard_ns + idle);
        return;
    }
    if (++conn->silences > 3) {
        mkv__tcp_conn_fail(conn, -ETIMEDOUT, "the peer is silent");
        return;
    }
    (void)mkv__tcp_put_message(conn->lanes[0], &header, NULL);
    mkv__timer_set(conn->endpoint->worker, &conn->timer, now + idle);
}

static void timer_fired(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__conn *conn = MKV_CONTAINER_OF(timer, struct mkv__conn, timer);
    struct mkv__endpoint *ep = conn->endpoint;

    mkv__tcp_enter(ep);
    if (!conn->started) {
        start(conn);
    } else if (!conn->opened) {
        mkv__tcp_conn_fail(conn, -ETIMEDOUT, "not connected in time");
    } else {
        ping(conn, mkv__worker_now(worker));
    }
    mkv__tcp_leave(ep);
}

static void relieve(struct mkv__conn *conn)
{
    if (conn->paused && conn->waiting < MKV_TCP_PAUSE / 2) {
        conn->paused = false;
        conn->resume = true;
    }
    if (conn->want_writable && conn->waiting < MKV_TCP_FULL / 2) {
        conn->want_writable = false;
        if (conn->handlers->writable) {
            conn->handlers->writable(conn, conn->arg);
        }
    }
    if (!conn->resume || conn->closing) {
        return;
    }
    conn->resume = false;
    for (unsigned i = 0; i < conn->n_lanes && !conn->closing; i++) {
        mkv__tcp_input(conn->lanes[i]);
        if (!conn->closing) {
            (void)mkv__tcp_lane_interest(conn->lanes[i]);
        }
    }
}

/* The end of a turn: what the callbacks of this turn have queued leaves in one go. */
static void pump(struct mkv__worker *worker, struct mkv__deferred *deferred)
{
    struct mkv__conn *conn = MKV_CONTAINER_OF(deferred, struct mkv__conn, pump);
    struct mkv__endpoint *ep = conn->endpoint;

    (void)worker;
    mkv__tcp_enter(ep);
    mkv__tcp_pull(conn);
    for (unsigned i = 0; i < conn->n_lanes && !conn->closing; i++) {
        if (conn->lanes[i] && !conn->lanes[i]->blocked) {
            mkv__tcp_flush(conn->lanes[i]);
        }
    }
    if (!conn->closing && conn->opened) {
        relieve(conn);
    }
    mkv__tcp_leave(ep);
}

int mkv__tcp_send(struct mkv__conn *conn, const struct mkv__message *message)
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
    struct mkv__tcp_lane *lane;

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (message->body_len > MKV_MESSAGE_MAX) {
        return -EMSGSIZE;
    }
    if (message->type < MKV_TYPE_RAIL || mkv__tcp_slot(message->request_id) >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (conn->waiting + MKV_HEADER_BYTES + message->body_len > MKV_TCP_FULL) {
        conn->want_writable = true;
        return -EAGAIN;
    }
    if (!message->after_bulk) {
        return mkv__tcp_put_message(conn->lanes[0], &header, message->body);
    }
    lane = mkv__tcp_bulk_lane(conn, message->request_id);
    mkv__tcp_answered(lane, message->request_id);
    return mkv__tcp_put_message(lane, &header, message->body);
}

uint64_t mkv__tcp_unsent(const struct mkv__conn *conn)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < conn->n_lanes; i++) {
        const struct mkv__tcp_lane *lane = conn->lanes[i];
        int queued = 0;

        if (!lane || lane->source.fd < 0) {
            continue;
        }
        sum += lane->out_end - lane->out_begin + lane->n_jobs;
        for (uint32_t f = 0; f < lane->n_frames; f++) {
            const struct mkv__tcp_frame *frame =
                &lane->frames[(lane->frames_head + f) % MKV_TCP_FRAMES];
            sum += frame->is_message ? 0 : frame->total - frame->sent;
        }
        if (ioctl(lane->source.fd, SIOCOUTQ, &queued) == 0) {
            sum += (uint64_t)queued; /* in the kernel, not acknowledged */
        }
    }
    return sum;
}

int mkv__tcp_local_address(const struct mkv__conn *conn, struct sockaddr_storage *out)
{
    socklen_t len = sizeof(*out);

    if (conn->closing || !conn->lanes[0] || conn->lanes[0]->source.fd < 0) {
        return -ECONNRESET;
    }
    return getsockname(conn->lanes[0]->source.fd, (struct sockaddr *)out, &len) < 0 ? -errno : 0;
}

const char *mkv__tcp_peer_name(const struct mkv__conn *conn)
{
    return conn->name;
}
