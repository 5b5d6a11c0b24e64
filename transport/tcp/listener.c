/*
 * A listener accepts and reads the HELLO on the first endpoint's worker; then the lane, socket and
 * handshake with it, belongs to the worker that the session's id chooses, so that all lanes of a
 * session meet on one.
 */
#include "transport/tcp/bootstrap.h"
#include "transport/tcp/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG       1024
#define ACCEPTS       64         /* per turn */
#define OUT_OF_FDS_NS 100000000u /* then look again */

struct mkv__listener {
    struct mkv__source source;
    struct mkv__endpoint *endpoint; /* NULL: stopped */
    struct mkv__listener *next, **link;
    struct mkv__timer timer;
    struct mkv__listen_handlers handlers;
    char address[80];
    bool watched;
    size_t (*choose)(void *arg, const struct mkv__hello *peer); /* NULL: the session's id does */
    void *choose_arg;
    size_t n;
    struct mkv__tcp_port *ports[];
};

/* A handshake takes milliseconds: in a flood the oldest is the least likely to be a client. */
static void stranger_link(struct mkv__endpoint *ep, struct mkv__tcp_lane *lane)
{
    if (ep->n_strangers >= MKV_TCP_STRANGERS) {
        mkv__tcp_lane_fail(ep->strangers, -EPROTO, "too many connections at once shake hands");
    }
    lane->endpoint = ep;
    lane->next = NULL;
    lane->link = ep->strangers_end;
    *ep->strangers_end = lane;
    ep->strangers_end = &lane->next;
    ep->n_strangers++;
}

static void too_late(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__tcp_lane *lane = MKV_CONTAINER_OF(timer, struct mkv__tcp_lane, timer);
    struct mkv__endpoint *ep = lane->endpoint;

    (void)worker;
    mkv__tcp_enter(ep);
    mkv__tcp_lane_fail(lane, -ETIMEDOUT, "handshake timed out");
    mkv__tcp_leave(ep);
}

static int handshake_new(struct mkv__endpoint *ep, struct mkv__handshake **out)
{
    struct mkv__hello ours = {
        .version_low = MKV_WIRE_VERSION,
        .version_high = MKV_WIRE_VERSION,
        .features = ep->options.features,
        .max_requests = MKV_REQUESTS_MAX,
        .max_message = MKV_MESSAGE_MAX,
    };

    return mkv__handshake_create(true, &ours, ep->options.keys, ep->options.n_keys, out);
}

static void welcome(struct mkv__listener *listener, int fd, const struct sockaddr_storage *from)
{
    struct mkv__endpoint *ep = listener->endpoint;
    struct mkv__tcp_lane *lane = mkv__tcp_lane_new(ep, fd, 0);

    if (!lane) {
        close(fd);
        return;
    }
    mkv__tcp_address_text(from, lane->name, sizeof(lane->name));
    lane->state = MKV_TCP_HELLO;
    lane->listener = listener;
    lane->accept = listener->handlers;
    mkv__timer_init(&lane->timer, too_late);
    if (handshake_new(ep, &lane->handshake) < 0 || mkv__tcp_lane_interest(lane) < 0) {
        mkv__tcp_lane_free(lane);
        return;
    }
    stranger_link(ep, lane);
    mkv__timer_set(ep->worker, &lane->timer,
                   mkv__worker_now(ep->worker) + ep->options.connect_timeout_ns);
}

static void watch_again(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__listener *listener = MKV_CONTAINER_OF(timer, struct mkv__listener, timer);

    if (mkv__worker_watch(worker, &listener->source, MKV_READABLE) == 0) {
        listener->watched = true;
    } else {
        mkv__timer_set(worker, timer, mkv__worker_now(worker) + OUT_OF_FDS_NS);
    }
}

static void pause_accepting(struct mkv__listener *listener)
{
    struct mkv__endpoint *ep = listener->endpoint;

    MKV_LIMITED(ep->options.log, &ep->limit, MKV__LOG_ERROR, "%s: cannot accept: %s",
                listener->address, strerror(errno));
    mkv__worker_unwatch(ep->worker, &listener->source);
    listener->watched = false;
    mkv__timer_set(ep->worker, &listener->timer, mkv__worker_now(ep->worker) + OUT_OF_FDS_NS);
}

/* Who has not proved anything yet must not keep others out. */
static bool make_room(struct mkv__endpoint *ep)
{
    if (ep->strangers) {
        mkv__tcp_lane_fail(ep->strangers, -EPROTO, "no descriptors left for who does not speak");
        return true;
    }
    return false;
}

static void acceptable(struct mkv__worker *worker, struct mkv__source *source, unsigned events)
{
    struct mkv__listener *listener = MKV_CONTAINER_OF(source, struct mkv__listener, source);

    (void)worker;
    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof(from);
        int fd = accept4(source->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            welcome(listener, fd, &from);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!make_room(listener->endpoint)) {
                pause_accepting(listener);
                return;
            }
        }
    }
}

static void arrive(struct mkv__worker *worker, struct mkv__task *task)
{
    struct mkv__tcp_lane *lane = MKV_CONTAINER_OF(task, struct mkv__tcp_lane, task);
    struct mkv__tcp_port *port = lane->route_to;
    struct mkv__endpoint *ep = port->endpoint;

    lane->route_to = NULL;
    mkv__tcp_port_put(port);
    if (!ep) {
        mkv__tcp_lane_free(lane);
        return;
    }
    mkv__tcp_enter(ep);
    stranger_link(ep, lane);
    mkv__timer_set(worker, &lane->timer, mkv__worker_now(worker) + ep->options.connect_timeout_ns);
    mkv__tcp_flush(lane);
    if (lane->state != MKV_TCP_DEAD && mkv__tcp_lane_interest(lane) < 0) {
        mkv__tcp_lane_fail(lane, -ENOMEM, "cannot watch");
    }
    mkv__tcp_leave(ep);
}

void mkv__tcp_listener_route(struct mkv__tcp_lane *lane)
{
    const struct mkv__hello *peer = mkv__handshake_peer(lane->handshake);
    struct mkv__listener *listener = lane->listener;
    size_t which;

    if (!listener || peer->n_lanes < 2 || peer->n_lanes > 1 + MKV_TCP_LANES_MAX ||
        peer->lane >= peer->n_lanes) {
        mkv__tcp_lane_fail(lane, -EPROTO, "impossible lane");
        return;
    }
    lane->index = peer->lane;
    which = listener->choose ? listener->choose(listener->choose_arg, peer) : peer->session;
    lane->route_to = listener->ports[which % listener->n];
    __atomic_add_fetch(&lane->route_to->references, 1, __ATOMIC_RELAXED);
}

void mkv__tcp_listener_hand_over(struct mkv__tcp_lane *lane)
{
    struct mkv__worker *here = lane->endpoint->worker;

    mkv__timer_stop(here, &lane->timer);
    mkv__worker_unwatch(here, &lane->source);
    mkv__tcp_lane_unlink(lane);
    lane->watched = false;
    lane->listener = NULL;
    lane->task.run = arrive;
    mkv__worker_post(lane->route_to->worker, &lane->task);
}

void mkv__tcp_listener_choose(struct mkv__listener *listener,
                              size_t (*choose)(void *arg, const struct mkv__hello *peer), void *arg)
{
    listener->choose = choose;
    listener->choose_arg = arg;
}

static int bind_socket(const char *address, char text[80])
{
    struct sockaddr_storage addresses[MKV_TCP_ADDRESSES];
    char host[256], port[8];
    socklen_t len = sizeof(addresses[0]);
    int on = 1;
    int fd, error;

    error = mkv__tcp_address_split(address, host, port);
    if (error) {
        return error;
    }
    if (strcmp(host, "localhost") == 0) {
        memcpy(host, "127.0.0.1", sizeof("127.0.0.1"));
    }
    if (mkv__tcp_address_numeric(host, port, addresses, true) < 1) {
        return -EINVAL;
    }
    fd = socket(addresses[0].ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&addresses[0], mkv__tcp_address_len(&addresses[0])) < 0 ||
        listen(fd, BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&addresses[0], &len) < 0) {
        error = -errno;
        close(fd);
        return error;
    }
    mkv__tcp_address_text(&addresses[0], text, 80);
    return fd;
}

int mkv__tcp_listen(struct mkv__endpoint *const *endpoints, size_t n, const char *address,
                    const struct mkv__listen_handlers *handlers, struct mkv__listener **out)
{
    struct mkv__listener *listener;
    int error;

    if (n == 0) {
        return -EINVAL;
    }
    listener = calloc(1, sizeof(*listener) + n * sizeof(listener->ports[0]));
    if (!listener) {
        return -ENOMEM;
    }
    listener->source.fd = bind_socket(address, listener->address);
    error = listener->source.fd;
    if (error < 0) {
        goto free_listener;
    }
    listener->source.ready = acceptable;
    mkv__timer_init(&listener->timer, watch_again);
    error = mkv__worker_watch(endpoints[0]->worker, &listener->source, MKV_READABLE);
    if (error) {
        goto close_socket;
    }
    listener->watched = true;
    listener->handlers = *handlers;
    listener->n = n;
    for (size_t i = 0; i < n; i++) {
        listener->ports[i] = endpoints[i]->port;
        __atomic_add_fetch(&listener->ports[i]->references, 1, __ATOMIC_RELAXED);
    }
    listener->endpoint = endpoints[0];
    listener->next = endpoints[0]->listeners;
    listener->link = &endpoints[0]->listeners;
    if (listener->next) {
        listener->next->link = &listener->next;
    }
    endpoints[0]->listeners = listener;
    *out = listener;
    return 0;

close_socket:
    close(listener->source.fd);
free_listener:
    free(listener);
    return error;
}

const char *mkv__tcp_listener_address(const struct mkv__listener *listener)
{
    return listener->address;
}

void mkv__tcp_listener_stop(struct mkv__listener *listener)
{
    struct mkv__endpoint *ep = listener->endpoint;
    struct mkv__tcp_lane *next;

    if (!ep) {
        return;
    }
    for (struct mkv__tcp_lane *lane = ep->strangers; lane; lane = next) {
        next = lane->next;
        if (lane->listener == listener) {
            mkv__tcp_lane_kill(lane);
        }
    }
    if (listener->watched) {
        mkv__worker_unwatch(ep->worker, &listener->source);
    }
    mkv__timer_stop(ep->worker, &listener->timer);
    close(listener->source.fd);
    *listener->link = listener->next;
    if (listener->next) {
        listener->next->link = listener->link;
    }
    listener->endpoint = NULL;
}

void mkv__tcp_listener_close(struct mkv__listener **listener)
{
    struct mkv__listener *l = *listener;

    if (!l) {
        return;
    }
    mkv__tcp_listener_stop(l);
    for (size_t i = 0; i < l->n; i++) {
        mkv__tcp_port_put(l->ports[i]);
    }
    free(l);
    *listener = NULL;
}
