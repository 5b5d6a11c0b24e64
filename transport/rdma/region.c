#include "transport/rdma/rdma.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCESS_REMOTE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

static struct mkv__rdma_region *region_new(struct mkv__endpoint *ep, void *addr, size_t len)
{
    struct mkv__rdma_region *region = calloc(1, sizeof(*region));

    if (region) {
        region->base = addr;
        region->len = len;
        region->next = ep->regions;
        ep->regions = region;
    }
    return region;
}

static void region_free(struct mkv__endpoint *ep, struct mkv__rdma_region *region)
{
    struct mkv__rdma_region **at = &ep->regions;

    while (*at && *at != region) {
        at = &(*at)->next;
    }
    if (!*at) {
        return;
    }
    *at = region->next;
    for (unsigned i = 0; i < ep->n_devices; i++) {
        if (region->mrs[i]) {
            (void)ep->verbs->dereg_mr(region->mrs[i]);
        }
    }
    free(region);
}

/* Where there are windows, they give the rights that others need. */
static int region_register(struct mkv__endpoint *ep, struct mkv__rdma_region *region,
                           unsigned device, int access)
{
    if (ep->devices[device].windows && (access & ACCESS_REMOTE)) {
        access = (access & ~ACCESS_REMOTE) | IBV_ACCESS_MW_BIND;
    }
    region->mrs[device] = ep->verbs->reg_mr(ep->devices[device].pd, region->base, region->len,
                                            access);
    return region->mrs[device] ? 0 : mkv__verbs_errno();
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
        }
    }
    mkv__rdma_leave(ep);
    return 0;
}

/* Registered at once on all devices: a slow thing that nobody should wait for in a transfer. */
int mkv__rdma_region_add(struct mkv__endpoint *ep, void *addr, size_t len)
{
    struct mkv__rdma_region *region;
    int error = 0;

    if (len == 0 || ep->n_devices == 0) {
        return 0;
    }
    region = region_new(ep, addr, len);
    if (!region) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < ep->n_devices && !error; i++) {
        error = region_register(ep, region, i, IBV_ACCESS_LOCAL_WRITE | ACCESS_REMOTE);
    }
    if (error) {
        region_free(ep, region);
        return ep->options.must ? error : switch_off(ep, len, error);
    }
    return 0;
}

void mkv__rdma_region_remove(struct mkv__endpoint *ep, void *addr, size_t len)
{
    struct mkv__rdma_region *region = ep->regions;

    while (region && (region->stray || region->base != addr || region->len != len)) {
        region = region->next;
    }
    if (region) {
        region_free(ep, region);
    }
}

struct ibv_mr *mkv__rdma_region_of(struct mkv__endpoint *ep, const void *addr, size_t len,
                                   unsigned device)
{
    uintptr_t at = (uintptr_t)addr;

    for (struct mkv__rdma_region *r = ep->regions; r; r = r->next) {
        uintptr_t base = (uintptr_t)r->base;

        if (r->mrs[device] && at >= base && at - base <= r->len && len <= r->len - (at - base)) {
            return r->mrs[device];
        }
    }
    return NULL;
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
    region = region_new(ep, (void *)from, to - from);
    if (!region) {
        return -ENOMEM;
    }
    region->stray = true;
    error = region_register(ep, region, device, access);
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

        if (pieces[i].len > 0 && !mkv__rdma_region_of(ep, pieces[i].addr, pieces[i].len, device)) {
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

        if (pieces[i].len > 0 && !mkv__rdma_region_of(ep, pieces[i].addr, pieces[i].len, device)) {
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
