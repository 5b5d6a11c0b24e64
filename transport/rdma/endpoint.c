#include "transport/rdma/rdma.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reap(struct mkv__endpoint *ep)
{
    while (ep->dead_conns) {
        struct mkv__conn *conn = ep->dead_conns;

        ep->dead_conns = conn->dead_next;
        mkv__rdma_conn_free(conn);
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
    if (ep->polling) {
        mkv__worker_remove_poller(ep->worker, &ep->poller);
    }
    reap(ep);
    mkv__rdma_leftovers_end(ep);
    while (ep->regions) {
        mkv__rdma_region_remove(ep, ep->regions->base, ep->regions->len);
    }
    mkv__rdma_devices_close(ep);
    free(ep);
}

void mkv__rdma_enter(struct mkv__endpoint *ep)
{
    ep->busy++;
}

void mkv__rdma_leave(struct mkv__endpoint *ep)
{
    if (--ep->busy == 0 && ep->closed) {
        endpoint_free(ep);
    }
}

static int endpoint_open(struct mkv__worker *worker, const struct mkv__endpoint_options *options,
                         struct mkv__endpoint **out)
{
    struct mkv__endpoint *ep = calloc(1, sizeof(*ep));
    struct mkv__endpoint_options below = *options;
    int error;

    if (!ep) {
        return -ENOMEM;
    }
    ep->worker = worker;
    ep->options = *options;
    ep->reaper.run = reaper;
    ep->starved_end = &ep->starved;
    mkv__rdma_devices_open(ep);
    if (ep->n_devices > 0) {
        below.features |= MKV_FEATURE_RDMA;
    }
    error = mkv__tcp.endpoint_open(worker, &below, &ep->tcp);
    if (error) {
        endpoint_free(ep);
        return error;
    }
    mkv__rdma_introduce(ep);
    *out = ep;
    return 0;
}

static void say_counts(const struct mkv__endpoint *ep)
{
    for (unsigned i = 0; i < ep->n_devices; i++) {
        const struct mkv__rdma_counts *c = &ep->devices[i].counts;

        MKV_DEBUG(ep->options.log, "rdma: %s: %llu doorbells, %llu signaled completions",
                  ep->devices[i].name, (unsigned long long)mkv__counter_read(&c->doorbells),
                  (unsigned long long)mkv__counter_read(&c->signaled));
    }
}

static void endpoint_close(struct mkv__endpoint **endpoint)
{
    struct mkv__endpoint *ep = *endpoint;

    if (!ep) {
        return;
    }
    *endpoint = NULL;
    mkv__rdma_enter(ep);
    while (ep->conns) {
        mkv__rdma_conn_fail(ep->conns, -ECANCELED, "endpoint closed");
    }
    say_counts(ep);
    mkv__tcp.endpoint_close(&ep->tcp);
    ep->closed = true;
    mkv__rdma_leave(ep);
}

static void use_keys(struct mkv__endpoint *ep, const struct mkv__auth_key *keys, size_t n_keys)
{
    ep->options.keys = keys;
    ep->options.n_keys = n_keys;
    mkv__tcp.use_keys(ep->tcp, keys, n_keys); /* queue pairs take the key of their session */
}

/* Listeners -------------------------------------------------------------------------------------- */

static struct mkv__endpoint *endpoint_of(const struct mkv__listener *listener,
                                         const struct mkv__worker *worker)
{
    for (size_t i = 0; i < listener->n; i++) {
        if (listener->endpoints[i]->worker == worker) {
            return listener->endpoints[i];
        }
    }
    return NULL;
}

static int accepted(void *arg, struct mkv__worker *worker, struct mkv__conn *tcp,
                    const struct mkv__hello *peer, const struct mkv__auth_key *key,
                    const struct mkv__conn_handlers **handlers_out, void **conn_arg_out)
{
    struct mkv__listener *listener = arg;
    struct mkv__conn *conn = mkv__rdma_conn_new(endpoint_of(listener, worker), true);
    const struct mkv__conn_handlers *handlers = NULL;
    void *conn_arg = NULL;
    int error;

    if (!conn) {
        return -ENOMEM;
    }
    conn->tcp = tcp;
    conn->peer = peer;
    conn->key = key;
    snprintf(conn->name, sizeof(conn->name), "%s", mkv__tcp.peer_name(tcp));
    error = listener->handlers.accepted(listener->handlers.arg, worker, conn, peer, key, &handlers,
                                        &conn_arg);
    if (error < 0) {
        conn->tcp = NULL; /* it ends by itself */
        mkv__rdma_conn_fail(conn, error, "not accepted");
        return error;
    }
    conn->handlers = handlers;
    conn->arg = conn_arg;
    *handlers_out = &mkv__rdma_over_tcp;
    *conn_arg_out = conn;
    return 0;
}

static int listen_on(struct mkv__endpoint *const *endpoints, size_t n, const char *address,
                     const struct mkv__listen_handlers *handlers, struct mkv__listener **out)
{
    struct mkv__endpoint *below[MKV_RDMA_WORKERS];
    struct mkv__listener *listener;
    struct mkv__listen_handlers ours;
    int error;

    if (n == 0 || n > MKV_RDMA_WORKERS) {
        return -EINVAL;
    }
    listener = calloc(1, sizeof(*listener));
    if (!listener) {
        return -ENOMEM;
    }
    ours = (struct mkv__listen_handlers){accepted, listener};
    listener->handlers = *handlers;
    listener->n = n;
    for (size_t i = 0; i < n; i++) {
        listener->endpoints[i] = endpoints[i];
        below[i] = endpoints[i]->tcp;
    }
    mkv__rdma_networks(listener);
    error = mkv__tcp.listen(below, n, address, &ours, &listener->tcp);
    if (error) {
        free(listener);
        return error;
    }
    mkv__tcp_listener_choose(listener->tcp, mkv__rdma_stop_for, listener);
    *out = listener;
    return 0;
}

static const char *listener_address(const struct mkv__listener *listener)
{
    return mkv__tcp.listener_address(listener->tcp);
}

static void listener_close(struct mkv__listener **listener)
{
    if (*listener) {
        mkv__tcp.listener_close(&(*listener)->tcp);
        free(*listener);
        *listener = NULL;
    }
}

static void describe(const struct mkv__conn *conn, char *out, size_t cap)
{
    if (conn->path == MKV_RDMA_ON_RAILS) {
        mkv__rdma_describe(conn, out, cap);
    } else {
        snprintf(out, cap, "tcp, not rdma: %s", conn->why);
    }
}

static bool degraded(const struct mkv__conn *conn)
{
    return conn->path != MKV_RDMA_ON_RAILS;
}

static enum mkv__rdma_reason reason(const struct mkv__conn *conn, bool *of_peer_out)
{
    *of_peer_out = conn->of_peer;
    return degraded(conn) ? conn->reason : MKV_REASON_NONE;
}

/* That of the network interface, which for RoCE is the device's. */
static int numa_node(const char *address)
{
    return mkv__tcp.numa_node(address);
}

static const char *peer_name(const struct mkv__conn *conn)
{
    return conn->name;
}

const struct mkv__transport mkv__rdma = {
    .name = "rdma",
    .limits =
        {
            .max_message = MKV_MESSAGE_MAX / 2, /* the other half: where the memory is */
            .max_requests = MKV_REQUESTS_MAX,
            .max_keys = MKV_KEYS_MAX,
            .max_pieces = 1u << 16,
            .max_exposure = 1ull << 40,
            .reads_are_fenced = true,
        },
    .endpoint_open = endpoint_open,
    .endpoint_close = endpoint_close,
    .use_keys = use_keys,
    .listen = listen_on,
    .listener_address = listener_address,
    .listener_close = listener_close,
    .connect = mkv__rdma_connect,
    .close = mkv__rdma_close,
    .send = mkv__rdma_send,
    .unsent = mkv__rdma_unsent,
    .expose = mkv__rdma_expose,
    .conceal = mkv__rdma_conceal,
    .write = mkv__rdma_write,
    .read = mkv__rdma_read,
    .abort = mkv__rdma_abort,
    .region_add = mkv__rdma_region_add,
    .region_remove = mkv__rdma_region_remove,
    .peer_name = peer_name,
    .describe = describe,
    .degraded = degraded,
    .reason = reason,
    .figures = mkv__rdma_figures,
    .numa_node = numa_node,
};
