#include "core/auth/auth.h"
#include "core/fault.h"
#include "transport/rdma/rdma.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int mkv__rdma_receive(struct mkv__conn *conn, uint32_t i)
{
    struct ibv_sge sge = {(uintptr_t)mkv__rdma_receive_buffer(conn, i), MKV_RDMA_BUFFER,
                          conn->buffers_mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = 1u << 31 | i, .sg_list = &sge, .num_sge = 1};
    struct ibv_recv_wr *bad;

    return conn->srq ? -ibv_post_srq_recv(conn->srq, &wr, &bad)
                     : -ibv_post_recv(conn->qps[i / MKV_RDMA_RECEIVES]->qp, &wr, &bad);
}

/* As many receives as the peer may use of this queue pair, or of all where they share. */
static uint32_t receives_named(const struct mkv__rdma_qp *qp)
{
    return qp->conn->srq && qp->index > 0 ? 0 : MKV_RDMA_RECEIVES;
}

static void attributes_encode(const struct mkv__rdma_qp *qp, uint8_t out[MKV_RDMA_ATTRIBUTES])
{
    const struct mkv__conn *conn = qp->conn;
    uint32_t words[] = {htole32(qp->qp->qp_num), htole32(qp->psn), htole32(receives_named(qp))};

    memset(out, 0, MKV_RDMA_ATTRIBUTES);
    memcpy(out, words, sizeof(words));
    out[12] = conn->device->mtu;
    out[13] = conn->gid_type;
    out[14] = conn->device->reads;
    out[15] = (uint8_t)((conn->device->windows ? MKV_RDMA_HAS_WINDOWS : 0) |
                        (conn->srq ? MKV_RDMA_SHARES : 0));
    memcpy(out + 16, conn->gid, 16);
}

/* With room for inline data where the device has it; it says how much in `how`. */
static int qp_make(struct mkv__rdma_qp *qp)
{
    const struct mkv__conn *conn = qp->conn;
    struct ibv_qp_init_attr how = {
        .send_cq = conn->cq,
        .recv_cq = conn->cq,
        .srq = conn->srq,
        .cap = {.max_send_wr = MKV_RDMA_DEPTH,
                .max_recv_wr = conn->srq ? 0 : MKV_RDMA_RECEIVES,
                .max_send_sge = conn->device->max_sge,
                .max_recv_sge = conn->srq ? 0 : 1,
                .max_inline_data = MKV_RDMA_INLINE},
        .qp_type = IBV_QPT_RC,
    };

    qp->qp = conn->endpoint->verbs->create_qp(conn->device->pd, &how);
    if (!qp->qp) {
        how.cap.max_inline_data = 0;
        qp->qp = conn->endpoint->verbs->create_qp(conn->device->pd, &how);
    }
    if (!qp->qp) {
        return mkv__verbs_errno();
    }
    qp->inline_bytes = how.cap.max_inline_data;
    return 0;
}

static int qp_create(struct mkv__conn *conn, uint8_t index)
{
    struct mkv__rdma_qp *qp = calloc(1, sizeof(*qp));
    struct ibv_qp_attr init = {
        .qp_state = IBV_QPS_INIT,
        .port_num = conn->device->port,
        /* The server's memory is nobody's: it writes and reads itself. */
        .qp_access_flags = conn->server ? 0 : IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
    };
    int error;

    if (!qp) {
        return -ENOMEM;
    }
    conn->qps[index] = qp;
    qp->conn = conn;
    qp->index = index;
    qp->jobs_end = &qp->jobs;
    qp->buffers = (uint32_t)((UINT64_C(1) << MKV_RDMA_SENDS) - 1);
    error = mkv__random(&qp->psn, sizeof(qp->psn));
    if (error) {
        return error;
    }
    qp->psn &= 0xffffff;
    qp->owed = &conn->owed[conn->srq ? 0 : index];
    error = qp_make(qp);
    if (error) {
        return error;
    }
    error = -conn->endpoint->verbs->modify_qp(
        qp->qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
    attributes_encode(qp, qp->attributes);
    return error;
}

/*
 * The receives of a session are shared by its queue pairs, not by all sessions: a queue pair that dies
 * in the middle of a message keeps the receive that it had taken (rdma_rxe never tells), and a queue
 * that lives as long as its worker would dry up.
 */
static int srq_create(struct mkv__conn *conn)
{
    struct ibv_srq_init_attr how = {.attr = {.max_wr = MKV_RDMA_RECEIVES, .max_sge = 1}};

    if (!conn->device->srq) {
        return 0;
    }
    conn->srq = conn->endpoint->verbs->create_srq(conn->device->pd, &how);
    return conn->srq ? 0 : mkv__verbs_errno();
}

int mkv__rdma_qps_create(struct mkv__conn *conn)
{
    const struct mkv__verbs *verbs = conn->endpoint->verbs;
    uint32_t receives = mkv__rdma_receives(conn);
    size_t bytes = ((size_t)receives + MKV_RDMA_QPS * MKV_RDMA_SENDS) * MKV_RDMA_BUFFER;
    int error;

    /* Room for each completion that there can be: it cannot overrun. */
    conn->cq = verbs->create_cq(conn->device->context,
                                (int)(MKV_RDMA_QPS * MKV_RDMA_DEPTH + receives), conn,
                                conn->device->channel, 0);
    if (!conn->cq) {
        return mkv__verbs_errno();
    }
    conn->buffers = aligned_alloc(4096, bytes);
    if (!conn->buffers) {
        return -ENOMEM;
    }
    conn->buffers_mr = verbs->reg_mr(conn->device->pd, conn->buffers, bytes,
                                     IBV_ACCESS_LOCAL_WRITE);
    if (!conn->buffers_mr) {
        return mkv__verbs_errno();
    }
    error = srq_create(conn);
    for (uint8_t i = 0; i < MKV_RDMA_QPS && !error; i++) {
        error = qp_create(conn, i);
    }
    for (uint32_t i = 0; i < receives && !error; i++) {
        error = mkv__rdma_receive(conn, i);
    }
    return error;
}

static bool credits_take(struct mkv__rdma_qp *qp, const uint8_t *attributes)
{
    bool shared = attributes[15] & MKV_RDMA_SHARES;
    uint32_t n;

    memcpy(&n, attributes + 8, sizeof(n));
    n = le32toh(n);
    qp->credits = &qp->conn->credits[shared ? 0 : qp->index];
    if (shared && qp->index > 0) {
        return n == 0;
    }
    *qp->credits = n;
    return n >= 8 && n <= 65536;
}

int mkv__rdma_qp_meet(struct mkv__rdma_qp *qp, const uint8_t *attributes, size_t len)
{
    if (len != MKV_RDMA_ATTRIBUTES || attributes[12] < IBV_MTU_256 ||
        attributes[12] > IBV_MTU_4096 || attributes[14] < 1) {
        return -EPROTO;
    }
    if (!credits_take(qp, attributes)) {
        return -EPROTO;
    }
    qp->conn->peer_windows = attributes[15] & MKV_RDMA_HAS_WINDOWS;
    return mkv__rdma_qp_connect(qp, attributes);
}

static void qps_fail(struct mkv__conn *conn)
{
    struct ibv_qp_attr failed = {.qp_state = IBV_QPS_ERR};

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        if (conn->qps[i] && conn->qps[i]->qp && !mkv__rdma_connects(conn->qps[i])) {
            (void)conn->endpoint->verbs->modify_qp(conn->qps[i]->qp, &failed, IBV_QP_STATE);
            conn->qps[i]->up = false;
        }
    }
}

/* A window that is bound may hold its queue pair, so windows go first. */
static void windows_destroy(struct mkv__conn *conn)
{
    for (uint32_t i = 0; i < MKV_REQUESTS_MAX; i++) {
        mkv__rdma_windows_destroy(&conn->exposed[i].windows);
    }
    mkv__rdma_windows_destroy(&conn->lost);
}

void mkv__rdma_qps_destroy(struct mkv__conn *conn)
{
    struct mkv__rdma_objects objects = {.srq = conn->srq,
                                        .cq = conn->cq,
                                        .n_events = conn->n_events,
                                        .buffers_mr = conn->buffers_mr};

    qps_fail(conn);
    windows_destroy(conn);
    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        if (conn->qps[i]) {
            objects.qps[i] = conn->qps[i]->qp;
            conn->qps[i]->qp = NULL;
        }
    }
    conn->srq = NULL;
    conn->cq = NULL;
    conn->n_events = 0;
    conn->buffers_mr = NULL;
    if (!mkv__rdma_connects_leave(conn, &objects)) {
        mkv__rdma_objects_destroy(conn->endpoint->verbs, &objects);
    }
}
