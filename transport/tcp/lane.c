#include "transport/tcp/congestion.h"
#include "transport/tcp/tcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mkv__tcp_lane *mkv__tcp_lane_new(struct mkv__endpoint *ep, int fd, uint8_t index)
{
    struct mkv__tcp_lane *lane = calloc(1, sizeof(*lane));
    int on = 1;

    if (!lane) {
        return NULL;
    }
    lane->in_cap = MKV_TCP_IN_BYTES;
    lane->in = malloc(lane->in_cap);
    if (!lane->in) {
        free(lane);
        return NULL;
    }
    lane->endpoint = ep;
    lane->index = index;
    lane->source.fd = fd;
    lane->source.ready = mkv__tcp_lane_ready;
    lane->state = MKV_TCP_CONNECTING;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    mkv__tcp_congestion_set(fd, ep->options.congestion);
    return lane;
}

static bool wants_input(const struct mkv__tcp_lane *lane)
{
    if (lane->state == MKV_TCP_READY) {
        return lane->conn && lane->conn->opened && !lane->conn->paused;
    }
    return lane->state == MKV_TCP_HELLO && !lane->route_to;
}

int mkv__tcp_lane_interest(struct mkv__tcp_lane *lane)
{
    unsigned events = MKV_HANGUP;
    int error;

    if (wants_input(lane)) {
        events |= MKV_READABLE;
    }
    if (lane->blocked || lane->state == MKV_TCP_CONNECTING) {
        events |= MKV_WRITABLE;
    }
    if (lane->watched && events == lane->events) {
        return 0;
    }
    if (lane->watched) {
        error = mkv__worker_rewatch(lane->endpoint->worker, &lane->source, events);
    } else {
        error = mkv__worker_watch(lane->endpoint->worker, &lane->source, events);
    }
    if (!error) {
        lane->watched = true;
        lane->events = events;
    }
    return error;
}

void mkv__tcp_lane_unlink(struct mkv__tcp_lane *lane)
{
    if (lane->link) {
        *lane->link = lane->next;
        if (lane->next) {
            lane->next->link = lane->link;
        } else {
            lane->endpoint->strangers_end = lane->link;
        }
        lane->endpoint->n_strangers--;
        lane->link = NULL;
        lane->next = NULL;
    }
}

void mkv__tcp_lane_kill(struct mkv__tcp_lane *lane)
{
    struct mkv__endpoint *ep = lane->endpoint;

    if (lane->state == MKV_TCP_DEAD) {
        return;
    }
    lane->state = MKV_TCP_DEAD;
    if (lane->watched) {
        mkv__worker_unwatch(ep->worker, &lane->source);
        lane->watched = false;
    }
    if (mkv__timer_armed(&lane->timer)) {
        mkv__timer_stop(ep->worker, &lane->timer);
    }
    close(lane->source.fd);
    lane->source.fd = -1;
    mkv__tcp_lane_unlink(lane);
    lane->next = ep->dead_lanes;
    ep->dead_lanes = lane;
    mkv__worker_defer(ep->worker, &ep->reaper);
}

void mkv__tcp_lane_free(struct mkv__tcp_lane *lane)
{
    if (lane->source.fd >= 0) {
        close(lane->source.fd);
    }
    mkv__handshake_destroy(&lane->handshake);
    mkv__seal_destroy(&lane->send_seal);
    mkv__seal_destroy(&lane->receive_seal);
    free(lane->in);
    free(lane->out);
    free(lane->jobs);
    free(lane);
}

void mkv__tcp_lane_fail(struct mkv__tcp_lane *lane, int error, const char *why)
{
    struct mkv__endpoint *ep = lane->endpoint;

    if (lane->conn) {
        mkv__tcp_conn_fail(lane->conn, error, why);
        return;
    }
    if (error == -EPROTO || error == -EACCES || error == -ETIMEDOUT) {
        MKV_LIMITED(ep->options.log, &ep->limit, MKV__LOG_WARNING, "%s: connection refused: %s",
                    lane->name, why);
    }
    mkv__tcp_lane_kill(lane);
}

static void connected(struct mkv__tcp_lane *lane)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(lane->source.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
        error = errno;
    }
    if (!error) {
        error = -mkv__tcp_lane_start(lane);
    }
    if (error) {
        mkv__tcp_connect_failed(lane->conn, error);
    }
}

void mkv__tcp_lane_ready(struct mkv__worker *worker, struct mkv__source *source, unsigned events)
{
    struct mkv__tcp_lane *lane = MKV_CONTAINER_OF(source, struct mkv__tcp_lane, source);
    struct mkv__endpoint *ep = lane->endpoint;

    (void)worker;
    if (lane->state == MKV_TCP_DEAD) {
        return;
    }
    mkv__tcp_enter(ep);
    if (lane->state == MKV_TCP_CONNECTING) {
        if (events & (MKV_WRITABLE | MKV_HANGUP)) {
            connected(lane);
        }
        mkv__tcp_leave(ep);
        return;
    }
    if (events & MKV_WRITABLE) {
        lane->blocked = false;
        mkv__tcp_flush(lane);
        if (lane->conn && lane->state != MKV_TCP_DEAD) {
            mkv__tcp_wake(lane->conn);
        }
    }
    if (lane->state != MKV_TCP_DEAD && (events & MKV_READABLE) && wants_input(lane)) {
        mkv__tcp_input(lane);
    } else if (lane->state != MKV_TCP_DEAD && (events & MKV_HANGUP)) {
        /* Nothing is read while paused; a peer that is gone must be seen all the same. */
        mkv__tcp_lane_fail(lane, -ECONNRESET, "connection closed by the peer");
    }
    if (lane->state != MKV_TCP_DEAD && lane->route_to) {
        mkv__tcp_listener_hand_over(lane);
    } else if (lane->state != MKV_TCP_DEAD) {
        (void)mkv__tcp_lane_interest(lane);
    }
    mkv__tcp_leave(ep);
}

int mkv__tcp_lane_start(struct mkv__tcp_lane *lane)
{
    uint8_t body[MKV_HANDSHAKE_MAX];
    struct mkv__header header = {.version = MKV_WIRE_VERSION};
    int len;

    lane->state = MKV_TCP_HELLO;
    len = mkv__handshake_start(lane->handshake, &header.type, body, sizeof(body));
    if (len < 0) {
        return len;
    }
    header.body_len = (uint32_t)len;
    len = mkv__tcp_put_message(lane, &header, body);
    if (len < 0) {
        return len;
    }
    return mkv__tcp_lane_interest(lane);
}
