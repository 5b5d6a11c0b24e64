/* Which address of a device a session goes over, and which of a server's rails a client meets. */
#include "transport/rdma/cm.h"
#include "transport/rdma/rdma.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIDS_MAX 256
#define OURS     1000 /* more than any other fit */

/* What HELLO of a client's tcp session says beside: rail u8, 0 u8, GID 16 bytes. */
#define INTRODUCTION 18u

struct gid {
    uint8_t raw[16]; /* an IPv4 address as ::ffff:a.b.c.d */
    uint8_t index, type;
};

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_v4(const uint8_t raw[16])
{
    return memcmp(raw, mapped, sizeof(mapped)) == 0;
}

static void raw_of(const struct sockaddr_storage *address, uint8_t out[16])
{
    memset(out, 0, 16);
    if (address->ss_family == AF_INET) {
        memcpy(out, mapped, sizeof(mapped));
        memcpy(out + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
    } else if (address->ss_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
    }
}

int mkv__rdma_gid_rank(const uint8_t raw[16], unsigned type)
{
    if (type != IBV_GID_TYPE_ROCE_V2) {
        return 1;
    }
    if (is_v4(raw)) {
        return 4;
    }
    return raw[0] == 0xfe && (raw[1] & 0xc0) == 0x80 ? 2 : 3;
}

static int common_bits(const uint8_t a[16], const uint8_t b[16])
{
    int bits = 0;

    while (bits < 128 && ((a[bits / 8] ^ b[bits / 8]) & 0x80 >> bits % 8) == 0) {
        bits++;
    }
    return bits;
}

/* ours: the address of our end of the tcp session, which the routes have chosen. peer: the client's
 * GID, NULL: not known. */
static int fit(const struct gid *gid, const uint8_t ours[16], const uint8_t *peer)
{
    int sum = 200 * mkv__rdma_gid_rank(gid->raw, gid->type);

    if (gid->type == IBV_GID_TYPE_ROCE_V2 && memcmp(gid->raw, ours, 16) == 0) {
        return OURS + sum;
    }
    return peer && is_v4(peer) == is_v4(gid->raw) ? sum + common_bits(gid->raw, peer) : sum;
}

static size_t gids_of(const struct mkv__endpoint *ep, const struct mkv__rdma_device *device,
                      struct gid out[GIDS_MAX])
{
    struct ibv_gid_entry entries[GIDS_MAX];
    ssize_t n = ep->verbs->query_gid_table(device->context, entries, GIDS_MAX, 0,
                                           sizeof(struct ibv_gid_entry));
    size_t kept = 0;

    for (ssize_t i = 0; i < n; i++) {
        bool wanted = !ep->options.one_gid || entries[i].gid_index == ep->options.gid;

        if (entries[i].port_num == device->port && wanted) {
            out[kept].index = (uint8_t)entries[i].gid_index;
            out[kept].type = (uint8_t)entries[i].gid_type;
            memcpy(out[kept++].raw, entries[i].gid.raw, 16);
        }
    }
    return kept;
}

static int best_of(const struct mkv__endpoint *ep, const struct mkv__rdma_device *device,
                   const uint8_t ours[16], const uint8_t *peer, struct gid *out)
{
    struct gid gids[GIDS_MAX];
    size_t n = gids_of(ep, device, gids);
    int best = 0;

    for (size_t i = 0; i < n; i++) {
        int now = fit(&gids[i], ours, peer);

        if (now > best) {
            best = now;
            *out = gids[i];
        }
    }
    return best;
}

static const uint8_t *introduced(const struct mkv__hello *peer)
{
    return peer && peer->extra_len == INTRODUCTION ? peer->extra : NULL;
}

static void take(struct mkv__conn *conn, unsigned device, const struct gid *gid)
{
    conn->device = &conn->endpoint->devices[device];
    conn->device_index = (uint8_t)device;
    conn->gid_index = gid->index;
    conn->gid_type = gid->type;
    memcpy(conn->gid, gid->raw, 16);
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;

    return address->ss_family == AF_INET
               ? ntohl(v4->sin_addr.s_addr) >> 24 == 127
               : IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* An address that is nobody's GID may still lie on a device (InfiniBand's interfaces, bonds): librdmacm
 * knows. */
static bool ask_cm(struct mkv__conn *conn, const struct sockaddr_storage *address)
{
    struct mkv__endpoint *ep = conn->endpoint;
    struct mkv__cm_place place;
    struct gid gids[GIDS_MAX];
    unsigned i = 0;
    size_t n;

    if (!mkv__cm_find(address, &place)) {
        return false;
    }
    while (i < ep->n_devices &&
           (strcmp(ep->devices[i].name, place.device) != 0 || ep->devices[i].port != place.port)) {
        i++;
    }
    n = i < ep->n_devices ? gids_of(ep, &ep->devices[i], gids) : 0;
    for (size_t g = 0; g < n; g++) {
        if (memcmp(gids[g].raw, place.gid, 16) == 0) {
            take(conn, i, &gids[g]);
            return true;
        }
    }
    return false;
}

/* A device that has said so itself. */
static bool cannot(struct mkv__conn *conn, const struct mkv__rdma_device *device)
{
    if (device->dead || device->down) {
        snprintf(conn->why, sizeof(conn->why), "%s: %s", device->name,
                 device->dead ? "it has failed (see the kernel's log)"
                              : "its port is down (see: rdma link)");
        conn->reason = device->dead ? MKV_REASON_FAULT : MKV_REASON_PORT_DOWN;
    }
    return device->dead || device->down;
}

int mkv__rdma_choose(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;
    const uint8_t *peer = conn->server ? introduced(conn->peer) : NULL;
    struct sockaddr_storage address;
    uint8_t ours[16];
    int best = 0;

    if (ep->n_devices == 0 || ep->off) {
        conn->reason = ep->reason;
        snprintf(conn->why, sizeof(conn->why), "%s", ep->why);
        return -ENODEV;
    }
    memset(&address, 0, sizeof(address));
    (void)mkv__tcp_local_address(conn->tcp, &address);
    raw_of(&address, ours);
    conn->reason = MKV_REASON_NO_GID;
    snprintf(conn->why, sizeof(conn->why),
             ep->options.one_gid ? "no device has the GID that rdma_gid names (see: ibv_devinfo -v)"
                                 : "no device has a GID: give its network interface an address");
    for (unsigned i = 0; i < ep->n_devices; i++) {
        struct gid gid = {.index = 0};
        int now = cannot(conn, &ep->devices[i])
                      ? 0
                      : best_of(ep, &ep->devices[i], ours, peer ? peer + 2 : NULL, &gid);

        if (now > best) {
            best = now;
            take(conn, i, &gid);
        }
    }
    if (best > 0 && best < OURS && !is_loopback(&address)) {
        (void)ask_cm(conn, &address);
    }
    return best > 0 ? 0 : -ENODEV;
}

/* Rails ------------------------------------------------------------------------------------------ */

void mkv__rdma_introduce(struct mkv__endpoint *ep)
{
    static const uint8_t none[16];
    struct gid gid;

    if (ep->n_devices == 1 && best_of(ep, &ep->devices[0], none, NULL, &gid) > 0) {
        ep->introduction[0] = ep->options.rail;
        memcpy(ep->introduction + 2, gid.raw, 16);
        mkv__tcp_introduce(ep->tcp, ep->introduction, INTRODUCTION);
    }
}

/* How many bits of this address say which network it is in; 0: not one of this machine. */
static int network_bits(const struct ifaddrs *list, const uint8_t raw[16])
{
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        struct sockaddr_storage address = {0}, mask = {0};
        uint8_t have[16], bits[16];
        size_t len;
        int n = 0;

        if (!i->ifa_addr || !i->ifa_netmask ||
            (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6)) {
            continue;
        }
        len = i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                : sizeof(struct sockaddr_in6);
        memcpy(&address, i->ifa_addr, len);
        memcpy(&mask, i->ifa_netmask, len);
        mask.ss_family = address.ss_family;
        raw_of(&address, have);
        raw_of(&mask, bits);
        if (memcmp(have, raw, 16) != 0) {
            continue;
        }
        for (int b = is_v4(raw) ? 96 : 0; b < 128 && bits[b / 8] & 0x80 >> b % 8; b++) {
            n++;
        }
        return n > 0 && is_v4(raw) ? 96 + n : n;
    }
    return 0;
}

void mkv__rdma_networks(struct mkv__listener *listener)
{
    struct ifaddrs *list = NULL;

    for (size_t i = 0; i < listener->n; i++) {
        listener->stops[i].rail = listener->endpoints[i]->options.rail;
    }
    if (getifaddrs(&list) < 0) {
        return;
    }
    for (size_t i = 0; i < listener->n; i++) {
        const struct mkv__endpoint *ep = listener->endpoints[i];
        struct mkv__rdma_stop *stop = &listener->stops[i];
        struct gid gids[GIDS_MAX];
        size_t n = ep->n_devices == 1 ? gids_of(ep, &ep->devices[0], gids) : 0;

        for (size_t g = 0; g < n && stop->n < MKV_RDMA_NETWORKS; g++) {
            int bits = network_bits(list, gids[g].raw);

            if (bits > 0) {
                memcpy(stop->gids[stop->n], gids[g].raw, 16);
                stop->bits[stop->n++] = bits;
            }
        }
    }
    freeifaddrs(list);
}

static bool in_network(const struct mkv__rdma_stop *stop, const uint8_t gid[16])
{
    for (unsigned i = 0; i < stop->n; i++) {
        if (common_bits(stop->gids[i], gid) >= stop->bits[i]) {
            return true;
        }
    }
    return false;
}

/* Of those that are marked: the workers of rail `rail` mod the number of their rails; among them the
 * session's id chooses. */
static size_t stop_at(const struct mkv__listener *listener, const bool *marked, unsigned rail,
                      uint64_t session)
{
    unsigned rails[MKV_RAILS_MAX], n = 0, of_rail = 0;

    for (size_t i = 0; i < listener->n; i++) {
        unsigned r = listener->stops[i].rail, k = 0;

        while (k < n && rails[k] != r) {
            k++;
        }
        if (marked[i] && k == n && n < MKV_RAILS_MAX) {
            rails[n++] = r;
        }
    }
    rail = n > 0 ? rails[rail % n] : 0;
    for (size_t i = 0; i < listener->n; i++) {
        of_rail += marked[i] && listener->stops[i].rail == rail;
    }
    of_rail = of_rail > 0 ? (unsigned)(session % of_rail) : 0;
    for (size_t i = 0; i < listener->n; i++) {
        if (marked[i] && listener->stops[i].rail == rail && of_rail-- == 0) {
            return i;
        }
    }
    return 0;
}

size_t mkv__rdma_stop_for(void *arg, const struct mkv__hello *peer)
{
    const struct mkv__listener *listener = arg;
    const uint8_t *hello = introduced(peer);
    bool marked[MKV_RDMA_WORKERS] = {false};
    bool any = false;

    if (!hello) {
        return peer->session % listener->n;
    }
    for (size_t i = 0; i < listener->n; i++) {
        marked[i] = in_network(&listener->stops[i], hello + 2);
        any |= marked[i];
    }
    for (size_t i = 0; i < listener->n && !any; i++) {
        marked[i] = true;
    }
    return stop_at(listener, marked, hello[0], peer->session);
}
