#include "transport/fake/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One process, one thread: the network is a list. */
struct mkv__fake_options mkv__fake_options = {.seed = 1, .delay_ns = 300000, .chunk = 100000};
static struct mkv__listener *listeners;
static uint64_t state = 1;
static unsigned next_port = 1;

void mkv__fake_reset(const struct mkv__fake_options *options)
{
    mkv__fake_options = *options;
    state = options->seed;
    next_port = 1;
}

/* splitmix64 */
uint64_t mkv__fake_random(uint64_t below)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return below ? z % below : 0;
}

static void reap(struct mkv__endpoint *ep)
{
    while (ep->dead) {
        struct mkv__conn *conn = ep->dead;

        ep->dead = conn->next;
        mkv__handshake_destroy(&conn->handshake);
        free(conn);
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

void mkv__fake_enter(struct mkv__endpoint *ep)
{
    ep->busy++;
}

void mkv__fake_leave(struct mkv__endpoint *ep)
{
    if (--ep->busy == 0 && ep->closed) {
        mkv__worker_undefer(ep->worker, &ep->reaper);
        reap(ep);
        free(ep);
    }
}

struct mkv__conn *mkv__fake_conn_new(struct mkv__endpoint *ep)
{
    struct mkv__conn *conn = calloc(1, sizeof(*conn));

    if (!conn) {
        return NULL;
    }
    conn->endpoint = ep;
    conn->next = ep->conns;
    conn->link = &ep->conns;
    if (conn->next) {
        conn->next->link = &conn->next;
    }
    ep->conns = conn;
    return conn;
}

void mkv__fake_dead(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    *conn->link = conn->next;
    if (conn->next) {
        conn->next->link = conn->link;
    }
    conn->next = ep->dead;
    ep->dead = conn;
    mkv__worker_defer(ep->worker, &ep->reaper);
}

int mkv__fake_endpoint_open(struct mkv__worker *worker, const struct mkv__endpoint_options *options,
                            struct mkv__endpoint **out)
{
    struct mkv__endpoint *ep = options->lanes < 1 ? NULL : calloc(1, sizeof(*ep));

    if (!ep) {
        return options->lanes < 1 ? -EINVAL : -ENOMEM;
    }
    ep->worker = worker;
    ep->options = *options;
    ep->reaper.run = reaper;
    *out = ep;
    return 0;
}

/* A listener outlives its endpoints as a handle that refuses. */
static void forget_endpoint(const struct mkv__endpoint *ep)
{
    for (struct mkv__listener *l = listeners; l; l = l->next) {
        for (size_t i = 0; i < l->n; i++) {
            if (l->endpoints[i] == ep) {
                l->endpoints[i] = NULL;
            }
        }
    }
}

void mkv__fake_endpoint_close(struct mkv__endpoint **endpoint)
{
    struct mkv__endpoint *ep = *endpoint;

    if (!ep) {
        return;
    }
    *endpoint = NULL;
    forget_endpoint(ep);
    mkv__fake_enter(ep);
    while (ep->conns) {
        mkv__fake_fail(ep->conns, -ECANCELED, "endpoint closed");
    }
    ep->closed = true;
    mkv__fake_leave(ep);
}

static void use_keys(struct mkv__endpoint *ep, const struct mkv__auth_key *keys, size_t n_keys)
{
    ep->options.keys = keys; /* a handshake is done at once: none is under way */
    ep->options.n_keys = n_keys;
}

struct mkv__listener *mkv__fake_listener_find(const char *address)
{
    struct mkv__listener *l = listeners;

    while (l && strcmp(l->address, address) != 0) {
        l = l->next;
    }
    return l;
}

int mkv__fake_listen(struct mkv__endpoint *const *endpoints, size_t n, const char *address,
                     const struct mkv__listen_handlers *handlers, struct mkv__listener **out)
{
    const char *colon = strrchr(address, ':');
    struct mkv__listener *l;

    if (n == 0 || !colon || strlen(address) > 60) {
        return -EINVAL;
    }
    l = calloc(1, sizeof(*l) + n * sizeof(struct mkv__endpoint *));
    if (!l) {
        return -ENOMEM;
    }
    if (strcmp(colon, ":0") == 0) {
        snprintf(l->address, sizeof(l->address), "%.*s:%u", (int)(colon - address), address,
                 next_port++);
    } else {
        snprintf(l->address, sizeof(l->address), "%s", address);
    }
    if (mkv__fake_listener_find(l->address)) {
        free(l);
        return -EADDRINUSE;
    }
    l->handlers = *handlers;
    l->n = n;
    memcpy(l->endpoints, endpoints, n * sizeof(endpoints[0]));
    l->next = listeners;
    listeners = l;
    *out = l;
    return 0;
}

const char *mkv__fake_listener_address(const struct mkv__listener *listener)
{
    return listener->address;
}

void mkv__fake_listener_close(struct mkv__listener **listener)
{
    for (struct mkv__listener **at = &listeners; *at; at = &(*at)->next) {
        if (*at == *listener) {
            *at = (*at)->next;
            free(*listener);
            *listener = NULL;
            return;
        }
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

static int numa_node(const char *address)
{
    (void)address;
    return -1;
}

static bool degraded(const struct mkv__conn *conn)
{
    (void)conn;
    return false;
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
    snprintf(out, cap, "fake");
}

const struct mkv__transport mkv__fake = {
    .name = "fake",
    .limits =
        {
            .max_message = MKV_MESSAGE_MAX,
            .max_requests = MKV_REQUESTS_MAX,
            .max_keys = MKV_KEYS_MAX,
            .max_pieces = 1u << 20,
            .max_exposure = 1ull << 40,
        },
    .endpoint_open = mkv__fake_endpoint_open,
    .endpoint_close = mkv__fake_endpoint_close,
    .use_keys = use_keys,
    .listen = mkv__fake_listen,
    .listener_address = mkv__fake_listener_address,
    .listener_close = mkv__fake_listener_close,
    .connect = mkv__fake_connect,
    .close = mkv__fake_close,
    .send = mkv__fake_send,
    .unsent = mkv__fake_unsent,
    .expose = mkv__fake_expose,
    .conceal = mkv__fake_conceal,
    .write = mkv__fake_write,
    .read = mkv__fake_read,
    .abort = mkv__fake_abort,
    .region_add = region_add,
    .region_remove = region_remove,
    .peer_name = mkv__fake_peer_name,
    .describe = describe,
    .degraded = degraded,
    .reason = reason,
    .figures = figures,
    .numa_node = numa_node,
};
