#include "transport/rdma/rdma.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK         (UINT64_C(2) << 30) /* bytes of one registration */
#define HUGE          (UINT64_C(2) << 20) /* a chunk ends where a huge page does */
#define THREADS_MAX   8u
#define ACCESS_REMOTE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

static struct mkv__rdma_region *region_new(struct mkv__endpoint *ep, void *addr, size_t len,
                                           size_t chunk)
{
    size_t n = len / chunk + (len % chunk != 0);
    struct mkv__rdma_region *region = calloc(1, sizeof(*region));

    if (!region) {
        return NULL;
    }
    region->mrs = calloc(n * ep->n_devices, sizeof(struct ibv_mr *));
    if (!region->mrs) {
        free(region);
        return NULL;
    }
    region->base = addr;
    region->len = len;
    region->chunk = chunk;
    region->n_chunks = n;
    return region;
}

static void region_free(struct mkv__endpoint *ep, struct mkv__rdma_region *region)
{
    for (size_t i = 0; i < region->n_chunks * ep->n_devices; i++) {
        if (region->mrs[i]) {
            (void)ep->verbs->dereg_mr(region->mrs[i]);
        }
    }
    free(region->mrs);
    free(region);
}

static struct ibv_mr **mr_of(const struct mkv__rdma_region *region, unsigned device, size_t chunk)
{
    return &region->mrs[device * region->n_chunks + chunk];
}

/* Where there are windows, they give the rights that others need. */
static int chunk_register(struct mkv__endpoint *ep, struct mkv__rdma_region *region,
                          unsigned device, size_t chunk, int access)
{
    size_t at = chunk * region->chunk;
    size_t len = region->len - at < region->chunk ? region->len - at : region->chunk;
    struct ibv_mr **mr = mr_of(region, device, chunk);

    if (ep->devices[device].windows && (access & ACCESS_REMOTE)) {
        access = (access & ~ACCESS_REMOTE) | IBV_ACCESS_MW_BIND;
    }
    *mr = ep->verbs->reg_mr(ep->devices[device].pd, region->base + at, len, access);
    return *mr ? 0 : mkv__verbs_errno();
}

/* What several threads register together. */
struct registering {
    struct mkv__endpoint *ep;
    struct mkv__rdma_region *region;
    int access;
    size_t next; /* atomic: chunk of a device */
    int error;   /* atomic: the first */
};

static void *register_some(void *arg)
{
    struct registering *all = arg;
    size_t n = all->region->n_chunks * all->ep->n_devices;
    size_t i;

    while ((i = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED)) < n) {
        int error = chunk_register(all->ep, all->region, (unsigned)(i / all->region->n_chunks),
                                   i % all->region->n_chunks, all->access);
        int none = 0;

        if (error) {
            (void)__atomic_compare_exchange_n(&all->error, &none, error, false, __ATOMIC_RELAXED,
                                              __ATOMIC_RELAXED);
            break;
        }
    }
    return NULL;
}

/* The kernel pins page by page, so large memory is registered by several threads. */
static int region_register(struct mkv__endpoint *ep, struct mkv__rdma_region *region, int access)
{
    struct registering all = {.ep = ep, .region = region, .access = access};
    size_t chunks = region->n_chunks * ep->n_devices;
    pthread_t threads[THREADS_MAX];
    size_t n = 0;

    while (n < THREADS_MAX && n + 1 < chunks &&
           pthread_create(&threads[n], NULL, register_some, &all) == 0) {
        n++;
    }
    (void)register_some(&all);
    while (n > 0) {
        (void)pthread_join(threads[--n], NULL);
    }
    return all.error;
}

/* A store on tcp is better than none: sessions that are on queue pairs end, and come back on tcp. */
static int switch_off(struct mkv__endpoint *ep, size_t len, int error)
{
    struct mkv__conn *conn, *next;

    ep->reason = MKV_REASON_MEMORY;
    snprintf(ep->why, sizeof(ep->why), "%zu MiB of memory cannot be registered: %s%s", len >> 20,
             strerror(-error),
             error == -ENOMEM ? " (raise the limit of locked memory, ulimit -l)" : "");
    MKV_WARNING(ep->options.log, "over tcp from now on, not rdma: %s", ep->why);
    ep->off = true;
    mkv__rdma_enter(ep);
    for (conn = ep->conns; conn; conn = next) {
        next = conn->next;
        if (conn->path == MKV_RDMA_ON_RAILS) {
            mkv__rdma_conn_fail(conn, -ECONNRESET, ep->why);
            next = ep->conns; /* whatever that has closed */
        } else if (conn->path == MKV_RDMA_SHAKING) {
            mkv__rdma_shake_failed(conn, MKV_REASON_MEMORY, ep->why);
            next = ep->conns;
        }
    }
    mkv__rdma_leave(ep);
    return 0;
}

/* As large as the devices take, and small enough for several threads to share the work. */
static size_t chunk_of(const struct mkv__endpoint *ep)
{
    size_t chunk = CHUNK;

    for (unsigned i = 0; i < ep->n_devices; i++) {
        uint64_t most = ep->devices[i].max_mr_size & ~(uint64_t)(HUGE - 1);

        chunk = most > 0 && most < chunk ? (size_t)most : chunk;
    }
    return chunk;
}

/* Registered at once on all devices: a slow thing that nobody should wait for in a transfer. */
int mkv__rdma_region_add(struct mkv__endpoint *ep, void *addr, size_t len)
{
    struct mkv__rdma_region *region;
    int error = 0;

    if (len == 0 || ep->n_devices == 0) {
        return 0;
    }
    region = region_new(ep, addr, len, chunk_of(ep));
    if (!region) {
        return -ENOMEM;
    }
    error = region_register(ep, region, IBV_ACCESS_LOCAL_WRITE | ACCESS_REMOTE);
    if (error) {
        region_free(ep, region);
        return ep->options.must ? error : switch_off(ep, len, error);
    }
    region->next = ep->regions;
    ep->regions = region;
    return 0;
}

void mkv__rdma_region_remove(struct mkv__endpoint *ep, void *addr, size_t len)
{
    struct mkv__rdma_region **at = &ep->regions;
    struct mkv__rdma_region *region;

    while (*at && ((*at)->base != addr || (*at)->len != len)) {
        at = &(*at)->next;
    }
    region = *at;
    if (region) {
        *at = region->next;
        region_free(ep, region);
    }
}

/* Its registration that has this address. */
static struct ibv_mr *mr_at(const struct mkv__rdma_region *r, uintptr_t at, unsigned device,
                            uint64_t *len_out)
{
    uintptr_t base = (uintptr_t)r->base;
    size_t chunk = at >= base ? (at - base) / r->chunk : 0;
    size_t end = (chunk + 1) * r->chunk;

    if (at < base || at - base >= r->len || !*mr_of(r, device, chunk)) {
        return NULL;
    }
    *len_out = (end < r->len ? end : r->len) - (at - base);
    return *mr_of(r, device, chunk);
}

struct ibv_mr *mkv__rdma_region_at(struct mkv__endpoint *ep, struct mkv__rdma_strays *own,
                                   const void *addr, unsigned device, uint64_t *len_out)
{
    uintptr_t at = (uintptr_t)addr;
    struct ibv_mr *mr = NULL;

    *len_out = 0;
    for (uint32_t i = 0; i < own->n && !mr; i++) { /* they are asked for in their order */
        uint32_t which = (own->last + i) % own->n;

        mr = mr_at(own->regions[which], at, device, len_out);
        own->last = mr ? which : own->last;
    }
    for (const struct mkv__rdma_region *r = ep->regions; r && !mr; r = r->next) {
        mr = mr_at(r, at, device, len_out);
    }
    return mr;
}

/* Whether all of it is registered. */
static bool is_registered(struct mkv__endpoint *ep, struct mkv__rdma_strays *own,
                          const struct mkv__piece *p, unsigned device)
{
    uint64_t at = 0, len;

    while (at < p->len && mkv__rdma_region_at(ep, own, (uint8_t *)p->addr + at, device, &len)) {
        at += len;
    }
    return at >= p->len;
}

static int stray_add(struct mkv__endpoint *ep, struct mkv__rdma_strays *strays, uintptr_t from,
                     uintptr_t to, unsigned device, int access)
{
    struct mkv__rdma_region *region;
    struct mkv__rdma_region **grown = realloc(strays->regions,
                                              (strays->n + 1) * sizeof(*strays->regions));
    int error;

    if (!grown) {
        return -ENOMEM;
    }
    strays->regions = grown;
    region = region_new(ep, (void *)from, to - from, to - from);
    if (!region) {
        return -ENOMEM;
    }
    error = chunk_register(ep, region, device, 0, access);
    if (error) {
        region_free(ep, region);
        return error;
    }
    strays->regions[strays->n++] = region;
    return 0;
}

static int stray_pieces(struct mkv__endpoint *ep, const struct mkv__piece *pieces, uint32_t n,
                        unsigned device, int access, struct mkv__rdma_strays *out)
{
    int error = 0;

    for (uint32_t i = 0; i < n && !error; i++) {
        uintptr_t at = (uintptr_t)pieces[i].addr;

        if (!is_registered(ep, out, &pieces[i], device)) {
            error = stray_add(ep, out, at, at + pieces[i].len, device, access);
        }
    }
    return error;
}

/* One registration from the first stray byte to the last where they lie close together; else, or
 * where there is a hole between them, one for each piece. */
int mkv__rdma_strays_get(struct mkv__endpoint *ep, const struct mkv__piece *pieces, uint32_t n,
                         unsigned device, int access, struct mkv__rdma_strays *out)
{
    uintptr_t from = UINTPTR_MAX, to = 0;
    uint64_t bytes = 0;
    int error;

    *out = (struct mkv__rdma_strays){0};
    for (uint32_t i = 0; i < n; i++) {
        uintptr_t at = (uintptr_t)pieces[i].addr;

        if (!is_registered(ep, out, &pieces[i], device)) {
            from = at < from ? at : from;
            to = at + pieces[i].len > to ? at + pieces[i].len : to;
            bytes += pieces[i].len;
        }
    }
    if (bytes == 0) {
        return 0;
    }
    if (to - from <= 2 * bytes + (1u << 20) && stray_add(ep, out, from, to, device, access) == 0) {
        return 0;
    }
    error = stray_pieces(ep, pieces, n, device, access, out);
    if (error) {
        mkv__rdma_strays_put(ep, out);
    }
    return error;
}

void mkv__rdma_strays_put(struct mkv__endpoint *ep, struct mkv__rdma_strays *strays)
{
    for (uint32_t i = 0; i < strays->n; i++) {
        region_free(ep, strays->regions[i]);
    }
    free(strays->regions);
    *strays = (struct mkv__rdma_strays){0};
}
