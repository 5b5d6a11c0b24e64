#include "transport/fake/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mkv__fake_event *mkv__fake_event_new(enum mkv__fake_what what, uint64_t id, uint64_t len)
{
    struct mkv__fake_event *event = calloc(1, sizeof(*event) + len);

    if (event) {
        event->what = what;
        event->request_id = id;
        event->len = len;
    }
    return event;
}

void mkv__fake_later(struct mkv__conn *conn, uint32_t lane, struct mkv__fake_event *event)
{
    struct mkv__fake_event **at;
    uint64_t due;

    if (!conn || conn->closing || !event) {
        free(event);
        return;
    }
    due = mkv__worker_now(conn->endpoint->worker) + mkv__fake_random(mkv__fake_options.delay_ns);
    if (due < conn->last_ns[lane]) {
        due = conn->last_ns[lane];
    }
    conn->last_ns[lane] = due;
    event->due_ns = due;
    for (at = &conn->events; *at && (*at)->due_ns <= due; at = &(*at)->next) {
    }
    event->next = *at;
    *at = event;
    if (event->what == MKV_FAKE_MESSAGE) {
        conn->coming += event->len;
    }
    mkv__timer_set(conn->endpoint->worker, &conn->timer, conn->events->due_ns);
}

void mkv__fake_fail(struct mkv__conn *conn, int error, const char *why)
{
    struct mkv__worker *worker = conn->endpoint->worker;

    if (conn->closing) {
        return;
    }
    conn->closing = true;
    mkv__timer_stop(worker, &conn->timer);
    mkv__timer_stop(worker, &conn->give_up);
    if (conn->peer) {
        /* What was sent before it may still arrive, or may not. */
        mkv__fake_later(conn->peer, mkv__fake_random(2) ? 0 : 1,
                        mkv__fake_event_new(MKV_FAKE_HANGUP, 0, 0));
        conn->peer->peer = NULL;
        conn->peer = NULL;
    }
    while (conn->events) {
        struct mkv__fake_event *event = conn->events;

        conn->events = event->next;
        free(event);
    }
    mkv__fake_bulk_end(conn, error == -ECANCELED ? -ECANCELED : -ECONNRESET);
    mkv__fake_dead(conn);
    if (conn->handlers && conn->handlers->closed) {
        conn->handlers->closed(conn, conn->arg, error, why);
    }
}

void mkv__fake_close(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    mkv__fake_enter(ep);
    mkv__fake_fail(conn, -ECANCELED, "closed");
    mkv__fake_leave(ep);
}

/* Connecting ---------------------------------------------------------------------------------- */

/* The real handshake, its messages carried by hand. */
static int shake(struct mkv__conn *conn, struct mkv__endpoint *to, struct mkv__handshake **server,
                 char why[200])
{
    struct mkv__endpoint *from = conn->endpoint;
    struct mkv__hello ours = {
        .version_low = MKV_WIRE_VERSION,
        .version_high = MKV_WIRE_VERSION,
        .session = mkv__fake_random(UINT64_MAX),
        .n_lanes = 1,
        .max_requests = MKV_REQUESTS_MAX,
        .max_message = MKV_MESSAGE_MAX,
    };
    uint8_t a[MKV_HANDSHAKE_MAX], b[MKV_HANDSHAKE_MAX];
    uint8_t type = 0, answer = 0;
    size_t len = 0;
    int error, n;

    error = mkv__handshake_create(false, &ours, from->options.keys, from->options.n_keys,
                                  &conn->handshake);
    if (!error) {
        error = mkv__handshake_create(true, &ours, to->options.keys, to->options.n_keys, server);
    }
    if (error) {
        return error;
    }
    n = mkv__handshake_start(conn->handshake, &type, a, sizeof(a));
    for (bool to_server = true; n >= 0 && type; to_server = !to_server) {
        n = mkv__handshake_take(to_server ? *server : conn->handshake, type, a, (size_t)n, &answer,
                                b, sizeof(b), &len, why);
        memcpy(a, b, sizeof(a));
        type = answer;
        answer = 0;
    }
    return n < 0 ? n : 0;
}

static void fire(struct mkv__worker *worker, struct mkv__timer *timer);

static void gave_up(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__conn *conn = MKV_CONTAINER_OF(timer, struct mkv__conn, give_up);
    struct mkv__endpoint *ep = conn->endpoint;

    (void)worker;
    mkv__fake_enter(ep);
    mkv__fake_fail(conn, -ETIMEDOUT, "not connected in time");
    mkv__fake_leave(ep);
}

static void start(struct mkv__conn *conn)
{
    struct mkv__listener *l = mkv__fake_listener_find(conn->name);
    struct mkv__endpoint *to = l ? l->endpoints[mkv__fake_random(l->n)] : NULL;
    struct mkv__handshake *handshake = NULL;
    struct mkv__fake_event *event;
    struct mkv__conn *peer;
    char why[200] = "";
    int error;

    conn->started = true;
    if (!to) {
        mkv__fake_fail(conn, -ECONNRESET, "cannot connect: nobody listens");
        return;
    }
    error = shake(conn, to, &handshake, why);
    peer = error ? NULL : mkv__fake_conn_new(to);
    if (!peer) {
        mkv__handshake_destroy(&handshake);
        event = mkv__fake_event_new(MKV_FAKE_REFUSED, 0, 0);
        event->value = error ? error : -ECONNRESET;
        mkv__fake_later(conn, 0, event);
        return;
    }
    peer->server = true;
    peer->started = true;
    peer->handshake = handshake;
    peer->accept = l->handlers;
    snprintf(peer->name, sizeof(peer->name), "client of %.60s:1", conn->name);
    mkv__timer_init(&peer->timer, fire);
    mkv__timer_init(&peer->give_up, gave_up);
    peer->peer = conn;
    conn->peer = peer;
    mkv__fake_later(peer, 0, mkv__fake_event_new(MKV_FAKE_ACCEPT, 0, 0));
}

int mkv__fake_connect(struct mkv__endpoint *ep, const char *address,
                      const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out)
{
    struct mkv__conn *conn;

    if (!strrchr(address, ':') || strlen(address) > 60) {
        return -EINVAL;
    }
    conn = mkv__fake_conn_new(ep);
    if (!conn) {
        return -ENOMEM;
    }
    conn->handlers = handlers;
    conn->arg = arg;
    snprintf(conn->name, sizeof(conn->name), "%s", address);
    mkv__timer_init(&conn->timer, fire);
    mkv__timer_init(&conn->give_up, gave_up);
    mkv__timer_set(ep->worker, &conn->timer, mkv__worker_now(ep->worker));
    mkv__timer_set(ep->worker, &conn->give_up,
                   mkv__worker_now(ep->worker) + ep->options.connect_timeout_ns);
    *out = conn;
    return 0;
}

static void opened(struct mkv__conn *conn)
{
    conn->opened = true;
    mkv__timer_stop(conn->endpoint->worker, &conn->give_up);
    if (conn->handlers && conn->handlers->opened) {
        conn->handlers->opened(conn, conn->arg, mkv__handshake_peer(conn->handshake));
    }
}

static void accept_it(struct mkv__conn *conn)
{
    const struct mkv__conn_handlers *handlers = NULL;
    void *arg = NULL;
    int error;

    conn->opened = true;
    mkv__fake_later(conn->peer, 0, mkv__fake_event_new(MKV_FAKE_OPENED, 0, 0));
    error = conn->accept.accepted(conn->accept.arg, conn->endpoint->worker, conn,
                                  mkv__handshake_peer(conn->handshake),
                                  mkv__handshake_key(conn->handshake), &handlers, &arg);
    if (error < 0) {
        mkv__fake_fail(conn, error, "not accepted");
    } else if (!conn->closing) {
        conn->handlers = handlers;
        conn->arg = arg;
        opened(conn);
    }
}

/* Events --------------------------------------------------------------------------------------- */

static void deliver(struct mkv__conn *conn, struct mkv__fake_event *event)
{
    struct mkv__conn *peer = conn->peer;

    conn->coming -= event->len;
    if (peer && peer->want_writable && conn->coming < MKV_FAKE_FULL / 2) {
        struct mkv__endpoint *ep = peer->endpoint;

        peer->want_writable = false;
        mkv__fake_enter(ep);
        if (peer->handlers->writable) {
            peer->handlers->writable(peer, peer->arg);
        }
        mkv__fake_leave(ep);
    }
    if (!conn->closing && conn->handlers->message) {
        event->message.body = event->bytes;
        conn->handlers->message(conn, conn->arg, &event->message);
    }
}

static void happen(struct mkv__conn *conn, struct mkv__fake_event *event)
{
    switch (event->what) {
    case MKV_FAKE_ACCEPT:
        accept_it(conn);
        break;
    case MKV_FAKE_OPENED:
        opened(conn);
        break;
    case MKV_FAKE_REFUSED:
        mkv__fake_fail(conn, event->value, "refused");
        break;
    case MKV_FAKE_HANGUP:
        mkv__fake_fail(conn, -ECONNRESET, "connection closed by the peer");
        break;
    case MKV_FAKE_MESSAGE:
        deliver(conn, event);
        break;
    case MKV_FAKE_CANCEL:
        mkv__fake_withdrawn(conn, event->request_id);
        break;
    default:
        mkv__fake_bulk_event(conn, event);
    }
}

static void fire(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__conn *conn = MKV_CONTAINER_OF(timer, struct mkv__conn, timer);
    struct mkv__endpoint *ep = conn->endpoint;
    uint64_t now = mkv__worker_now(worker);

    mkv__fake_enter(ep);
    if (!conn->started) {
        start(conn);
    }
    while (!conn->closing && conn->events && conn->events->due_ns <= now) {
        struct mkv__fake_event *event = conn->events;

        conn->events = event->next;
        if (conn->opened && mkv__fake_options.death_in &&
            mkv__fake_random(mkv__fake_options.death_in) == 0) {
            mkv__fake_fail(conn, -ECONNRESET, "connection lost");
        } else {
            happen(conn, event);
        }
        free(event);
    }
    if (!conn->closing && conn->events) {
        mkv__timer_set(worker, &conn->timer, conn->events->due_ns);
    }
    mkv__fake_leave(ep);
}

int mkv__fake_send(struct mkv__conn *conn, const struct mkv__message *message)
{
    struct mkv__fake_event *event;

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (message->body_len > MKV_MESSAGE_MAX) {
        return -EMSGSIZE;
    }
    if (message->type < 32 || mkv__fake_slot(message->request_id) >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (!conn->peer) {
        return 0; /* lost on the way: the hangup is coming */
    }
    if (conn->peer->coming + message->body_len > MKV_FAKE_FULL) {
        conn->want_writable = true;
        return -EAGAIN;
    }
    event = mkv__fake_event_new(MKV_FAKE_MESSAGE, message->request_id, message->body_len);
    if (!event) {
        return -ENOMEM;
    }
    event->message = *message;
    if (message->body_len) {
        memcpy(event->bytes, message->body, message->body_len);
    }
    if (message->after_bulk && mkv__fake_behind(conn, event)) {
        return 0;
    }
    mkv__fake_later(conn->peer, message->after_bulk ? 1 + mkv__fake_slot(message->request_id) : 0,
                    event);
    return 0;
}

uint64_t mkv__fake_unsent(const struct mkv__conn *conn)
{
    uint64_t sum = 0;

    for (const struct mkv__fake_event *e = conn->peer ? conn->peer->events : NULL; e; e = e->next) {
        sum += e->what == MKV_FAKE_MESSAGE || e->what == MKV_FAKE_LAND ? 1 + e->len : 0;
    }
    for (const struct mkv__fake_flight *f = conn->flights; f; f = f->next) {
        sum += f->write;
    }
    return sum;
}

const char *mkv__fake_peer_name(const struct mkv__conn *conn)
{
    return conn->name;
}
