/* What is told about sessions and devices. */
#include "core/auth/auth.h"
#include "transport/rdma/rdma.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *mkv__rdma_gid_type(unsigned type)
{
    return type == IBV_GID_TYPE_ROCE_V2   ? "RoCE v2"
           : type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1"
                                          : "IB";
}

void mkv__rdma_gid_text(const uint8_t gid[16], char out[48])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool v4 = memcmp(gid, mapped, sizeof(mapped)) == 0;

    out[0] = '\0';
    (void)inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? gid + 12 : gid, out, 48);
}

/* Of a packet, as both ends have it: the least of theirs. */
static unsigned mtu_of(const struct mkv__conn *conn)
{
    const struct mkv__hello *peer = mkv__handshake_peer(conn->qps[0]->handshake);
    uint8_t mtu = conn->device->mtu;

    return 128u << (peer->extra[12] < mtu ? peer->extra[12] : mtu);
}

void mkv__rdma_describe(const struct mkv__conn *conn, char *out, size_t cap)
{
    unsigned mtu = mtu_of(conn), ours = 128u << conn->device->mtu;
    int len = snprintf(out, cap, "rdma: %s port %u gid %u (%s), mtu %u, %u queue pairs",
                       conn->device->name, conn->device->port, conn->gid_index,
                       mkv__rdma_gid_type(conn->gid_type), mtu, MKV_RDMA_QPS);

    if (mtu < ours && len > 0 && (size_t)len < cap) {
        snprintf(out + len, cap - (size_t)len, " (the peer's mtu; ours is %u)", ours);
    }
}

/* Sessions ----------------------------------------------------------------------------------------- */

static uint64_t half(const uint8_t *bytes)
{
    uint64_t x;

    memcpy(&x, bytes, sizeof(x));
    return x;
}

static void note_gid(struct mkv__rdma_counts *c, const struct mkv__conn *conn)
{
    mkv__counter_add(&c->gid_high, half(conn->gid) - c->gid_high.value);
    mkv__counter_add(&c->gid_low, half(conn->gid + 8) - c->gid_low.value);
    mkv__counter_add(&c->gid_at,
                     ((uint64_t)conn->gid_type << 8 | conn->gid_index) - c->gid_at.value);
}

static void uncount(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    if (conn->counted == MKV_RDMA_COUNTED_TCP) {
        mkv__counter_sub(&ep->over_tcp, 1);
    } else if (conn->counted == MKV_RDMA_COUNTED_RAILS) {
        mkv__counter_sub(&ep->over_rdma, 1);
        mkv__counter_sub(&conn->counted_on->counts.sessions, 1);
    }
    conn->counted = MKV_RDMA_NOT_COUNTED;
}

void mkv__rdma_count(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    uncount(conn);
    if (conn->closing || !conn->opened) {
        return;
    }
    if (conn->path != MKV_RDMA_ON_RAILS) {
        conn->counted = MKV_RDMA_COUNTED_TCP;
        mkv__counter_inc(&ep->over_tcp);
        return;
    }
    conn->counted = MKV_RDMA_COUNTED_RAILS;
    conn->counted_on = conn->device;
    mkv__counter_inc(&ep->over_rdma);
    mkv__counter_inc(&conn->device->counts.sessions);
    note_gid(&conn->device->counts, conn);
}

void mkv__rdma_count_end(struct mkv__conn *conn, int error)
{
    /* tcp is there, and nobody has closed: it was the queue pairs. */
    if (conn->counted == MKV_RDMA_COUNTED_RAILS && conn->tcp && error != -ECANCELED &&
        error != -EPROTO && error != -EACCES) {
        mkv__counter_inc(&conn->endpoint->to_tcp);
    }
    uncount(conn);
}

/* Sums --------------------------------------------------------------------------------------------- */

static struct mkv__rail_figures *rail_of(struct mkv__transport_figures *sums, const char *device)
{
    unsigned i = 0;

    while (i < sums->n && strcmp(sums->rails[i].device, device) != 0) {
        i++;
    }
    if (i == MKV_RAILS_MAX) {
        return NULL;
    }
    if (i == sums->n) {
        sums->rails[i] = (struct mkv__rail_figures){.gid_type = ""};
        snprintf(sums->rails[i].device, sizeof(sums->rails[i].device), "%s", device);
        sums->n++;
    }
    return &sums->rails[i];
}

static void add_device(const struct mkv__rdma_device *device, struct mkv__rail_figures *rail)
{
    const struct mkv__rdma_counts *c = &device->counts;
    uint64_t at = mkv__counter_read(&c->gid_at), sessions = mkv__counter_read(&c->sessions);
    uint64_t gid[2] = {mkv__counter_read(&c->gid_high), mkv__counter_read(&c->gid_low)};

    rail->port = device->port;
    rail->mtu = 128u << device->mtu;
    rail->windows = device->windows;
    if (gid[0] != 0 || gid[1] != 0) {
        mkv__rdma_gid_text((const uint8_t *)gid, rail->gid);
        rail->gid_index = at & 0xff;
        rail->gid_type = mkv__rdma_gid_type((unsigned)(at >> 8));
    }
    rail->sessions += sessions;
    rail->queue_pairs += sessions * MKV_RDMA_QPS;
    rail->doorbells += mkv__counter_read(&c->doorbells);
    rail->moved += mkv__counter_read(&c->moved);
    rail->copied += mkv__counter_read(&c->copied);
    rail->signaled += mkv__counter_read(&c->signaled);
}

void mkv__rdma_figures(const struct mkv__endpoint *ep, struct mkv__transport_figures *sums)
{
    sums->over_rdma += mkv__counter_read(&ep->over_rdma);
    sums->over_tcp += mkv__counter_read(&ep->over_tcp);
    sums->to_rdma += mkv__counter_read(&ep->to_rdma);
    sums->to_tcp += mkv__counter_read(&ep->to_tcp);
    sums->flight_cap = MKV_RDMA_FLIGHT;
    sums->worker_flight_cap = MKV_RDMA_NIC_FLIGHT;
    for (unsigned i = 0; i < ep->n_devices; i++) {
        struct mkv__rail_figures *rail = rail_of(sums, ep->devices[i].name);

        if (rail) {
            add_device(&ep->devices[i], rail);
        }
    }
}
