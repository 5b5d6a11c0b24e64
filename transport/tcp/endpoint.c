#include "transport/tcp/bootstrap.h"
#include "transport/tcp/nic.h"
#include "transport/tcp/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void reap(struct mkv__endpoint *ep)
{
    while (ep->dead_lanes) {
        struct mkv__tcp_lane *lane = ep->dead_lanes;

        ep->dead_lanes = lane->next;
        mkv__tcp_lane_free(lane);
    }
    while (ep->dead_conns) {
        struct mkv__conn *conn = ep->dead_conns;

        ep->dead_conns = conn->next;
        mkv__tcp_conn_free(conn);
    }
}

static void reaper(struct mkv__worker *worker, struct mkv__deferred *deferred)
{
    struct mkv__endpoint *ep = MKV_CONTAINER_OF(deferred, struct mkv__endpoint, reaper);

    (void)worker;
    if (ep->busy == 0) {
        reap(ep);
    }
}

static void endpoint_free(struct mkv__endpoint *ep)
{
    mkv__worker_undefer(ep->worker, &ep->reaper);
    reap(ep);
    free(ep);
}

void mkv__tcp_enter(struct mkv__endpoint *ep)
{
    ep->busy++;
}

void mkv__tcp_leave(struct mkv__endpoint *ep)
{
    if (--ep->busy == 0 && ep->closed) {
        endpoint_free(ep);
    }
}

void mkv__tcp_port_put(struct mkv__tcp_port *port)
{
    if (__atomic_sub_fetch(&port->references, 1, __ATOMIC_ACQ_REL) == 0) {
        free(port);
    }
}

int mkv__tcp_endpoint_open(struct mkv__worker *worker, const struct mkv__endpoint_options *options,
                           struct mkv__endpoint **out)
{
    struct mkv__endpoint *ep;

    if (options->lanes < 1 || options->lanes > MKV_TCP_LANES_MAX) {
        return -EINVAL;
    }
    ep = calloc(1, sizeof(*ep));
    if (!ep) {
        return -ENOMEM;
    }
    ep->port = calloc(1, sizeof(*ep->port));
    if (!ep->port) {
        free(ep);
        return -ENOMEM;
    }
    ep->port->references = 1;
    ep->port->worker = worker;
    ep->port->endpoint = ep;
    ep->worker = worker;
    ep->options = *options;
    ep->reaper.run = reaper;
    ep->strangers_end = &ep->strangers;
    *out = ep;
    return 0;
}

void mkv__tcp_endpoint_close(struct mkv__endpoint **endpoint)
{
    struct mkv__endpoint *ep = *endpoint;

    if (!ep) {
        return;
    }
    *endpoint = NULL;
    mkv__tcp_enter(ep);
    ep->port->endpoint = NULL;
    while (ep->listeners) {
        mkv__tcp_listener_stop(ep->listeners);
    }
    while (ep->conns) {
        mkv__tcp_conn_fail(ep->conns, -ECANCELED, "endpoint closed");
    }
    while (ep->strangers) {
        mkv__tcp_lane_kill(ep->strangers);
    }
    mkv__tcp_port_put(ep->port);
    ep->closed = true;
    mkv__tcp_leave(ep);
}

static void use_keys(struct mkv__endpoint *ep, const struct mkv__auth_key *keys, size_t n_keys)
{
    ep->options.keys = keys;
    ep->options.n_keys = n_keys;
    for (struct mkv__tcp_lane *lane = ep->strangers; lane; lane = lane->next) {
        mkv__handshake_use(lane->handshake, keys, n_keys);
    }
}

static int region_add(struct mkv__endpoint *endpoint, void *addr, size_t len)
{
    (void)endpoint;
    (void)addr;
    (void)len;
    return 0;
}

static void region_remove(struct mkv__endpoint *endpoint, void *addr, size_t len)
{
    (void)endpoint;
    (void)addr;
    (void)len;
}

static bool degraded(const struct mkv__conn *conn)
{
    (void)conn;
    return false;
}

void mkv__tcp_introduce(struct mkv__endpoint *ep, const uint8_t *extra, size_t len)
{
    ep->extra = extra;
    ep->extra_len = (uint16_t)len;
}

static enum mkv__rdma_reason reason(const struct mkv__conn *conn, bool *of_peer_out)
{
    (void)conn;
    *of_peer_out = false;
    return MKV_REASON_NONE;
}

static void figures(const struct mkv__endpoint *endpoint, struct mkv__transport_figures *sums)
{
    (void)endpoint;
    (void)sums;
}

static void describe(const struct mkv__conn *conn, char *out, size_t cap)
{
    (void)conn;
    snprintf(out, cap, "tcp");
}

const struct mkv__transport mkv__tcp = {
    .name = "tcp",
    .limits =
        {
            .max_message = MKV_MESSAGE_MAX,
            .max_requests = MKV_REQUESTS_MAX,
            .max_keys = MKV_KEYS_MAX,
            .max_pieces = 1u << 20,
            .max_exposure = 1ull << 40,
        },
    .endpoint_open = mkv__tcp_endpoint_open,
    .endpoint_close = mkv__tcp_endpoint_close,
    .use_keys = use_keys,
    .listen = mkv__tcp_listen,
    .listener_address = mkv__tcp_listener_address,
    .listener_close = mkv__tcp_listener_close,
    .connect = mkv__tcp_connect,
    .close = mkv__tcp_close,
    .send = mkv__tcp_send,
    .unsent = mkv__tcp_unsent,
    .expose = mkv__tcp_expose,
    .conceal = mkv__tcp_conceal,
    .write = mkv__tcp_write,
    .read = mkv__tcp_read,
    .abort = mkv__tcp_abort,
    .region_add = region_add,
    .region_remove = region_remove,
    .peer_name = mkv__tcp_peer_name,
    .describe = describe,
    .degraded = degraded,
    .reason = reason,
    .figures = figures,
    .numa_node = mkv__tcp_numa_node,
};
