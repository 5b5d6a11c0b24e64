/* How work requests move, and how they end. */
#include "testing/rdma/fake_verbs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define W    fake_world
#define WAIT (-1) /* of a work request that cannot end yet */

/* Completions -------------------------------------------------------------------------------------- */

static void ring(struct fake_cq *cq)
{
    struct fake_events *e = cq->ibv.channel ? &((struct fake_channel *)cq->ibv.channel)->events
                                            : NULL;
    uint64_t one = 1;

    if (!cq->armed || !e || e->n == FAKE_PENDING) {
        return;
    }
    cq->armed = false;
    e->cqs[(e->head + e->n++) % FAKE_PENDING] = cq;
    W.counts.events++;
    (void)!write(e->fd, &one, sizeof(one));
}

void fake_complete(struct fake_cq *cq, const struct fake_cqe *cqe)
{
    if (cq->n == cq->room || cq->dead) {
        struct ibv_async_event event = {.element.cq = &cq->ibv, .event_type = IBV_EVENT_CQ_ERR};

        W.counts.overruns++;
        if (!cq->dead) {
            fake_tell((struct fake_context *)cq->ibv.context, &event);
        }
        cq->dead = true;
        return;
    }
    cq->cqes[(cq->head + cq->n++) % cq->room] = *cqe;
    ring(cq);
}

/* Of a failed one nothing but these means anything. */
static struct ibv_wc wc_of(const struct fake_qp *qp, uint64_t wr_id, enum ibv_wc_status status,
                           uint32_t vendor)
{
    struct ibv_wc wc;

    memset(&wc, status == IBV_WC_SUCCESS ? 0 : 0xee, sizeof(wc));
    wc.wr_id = wr_id;
    wc.status = status;
    wc.vendor_err = vendor;
    wc.qp_num = qp->ibv.qp_num;
    return wc;
}

static enum ibv_wc_opcode opcode_of(enum ibv_wr_opcode opcode)
{
    switch (opcode) {
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_WRITE_WITH_IMM:
        return IBV_WC_RDMA_WRITE;
    case IBV_WR_RDMA_READ:
        return IBV_WC_RDMA_READ;
    case IBV_WR_LOCAL_INV:
        return IBV_WC_LOCAL_INV;
    case IBV_WR_BIND_MW:
        return IBV_WC_BIND_MW;
    default:
        return IBV_WC_SEND;
    }
}

struct fake_work *fake_work_at(struct fake_qp *qp, uint64_t count)
{
    return &qp->works[count % qp->how.cap.max_send_wr];
}

/* The oldest work request that has not ended has. */
static void sent(struct fake_qp *qp, enum ibv_wc_status status, uint32_t vendor)
{
    struct fake_work *work = fake_work_at(qp, qp->done);
    struct fake_cqe cqe = {.wc = wc_of(qp, work->wr.wr_id, status, vendor), .released = ++qp->done};

    free(work->inlined);
    work->inlined = NULL;
    if (status == IBV_WC_SUCCESS) {
        cqe.wc.opcode = opcode_of(work->wr.opcode);
        if (!qp->how.sq_sig_all && !(work->wr.send_flags & IBV_SEND_SIGNALED)) {
            return;
        }
    }
    fake_complete((struct fake_cq *)qp->ibv.send_cq, &cqe);
}

static struct fake_receives *receives_of(struct fake_qp *qp)
{
    return qp->ibv.srq ? &((struct fake_srq *)qp->ibv.srq)->receives : &qp->receives;
}

static void received(struct fake_qp *qp, struct ibv_wc *wc)
{
    struct fake_cqe cqe = {.wc = *wc, .receive = true, .srq = (struct fake_srq *)qp->ibv.srq};

    fake_complete((struct fake_cq *)qp->ibv.recv_cq, &cqe);
}

void fake_flush(struct fake_qp *qp)
{
    struct ibv_async_event last = {.element.qp = &qp->ibv,
                                   .event_type = IBV_EVENT_QP_LAST_WQE_REACHED};
    struct fake_receives *r = &qp->receives;

    fake_land(qp);
    if (fake_device_of(qp->ibv.context)->stuck) {
        return;
    }
    while (qp->done < qp->posted) {
        sent(qp, IBV_WC_WR_FLUSH_ERR, 0xf9);
    }
    while (!qp->ibv.srq && r->taken < r->posted) {
        struct ibv_wc wc = wc_of(qp, r->ring[r->taken++ % r->room].wr_id, IBV_WC_WR_FLUSH_ERR,
                                 0xf9);

        received(qp, &wc);
    }
    if (qp->ibv.srq && !qp->last_told) {
        qp->last_told = true;
        fake_tell((struct fake_context *)qp->ibv.context, &last);
    }
}

/* Keys --------------------------------------------------------------------------------------------- */

static struct fake_mr *mr_of(uint32_t key, const struct ibv_pd *pd)
{
    struct fake_mr *mr = W.mrs;

    while (mr && (mr->ibv.lkey != key || mr->ibv.pd != pd)) {
        mr = mr->next;
    }
    return mr;
}

static bool within(uint64_t base, uint64_t size, uint64_t at, uint64_t len)
{
    return at >= base && at - base <= size && len <= size - (at - base);
}

static bool local_ok(const struct fake_qp *qp, const struct ibv_sge *sge, int access)
{
    const struct fake_mr *mr = mr_of(sge->lkey, qp->ibv.pd);

    return mr && (mr->access & access) == access &&
           within((uintptr_t)mr->ibv.addr, mr->ibv.length, sge->addr, sge->length);
}

static struct fake_mw *mw_of(uint32_t rkey, const struct fake_qp *qp)
{
    struct fake_mw *mw = W.mws;

    while (mw &&
           (mw->rkey != rkey || !mw->mr || mw->ibv.pd != qp->ibv.pd || mw->qpn != qp->ibv.qp_num)) {
        mw = mw->next;
    }
    return mw;
}

/* What the peer may do through its queue pair, and through this key. */
static bool remote_ok(const struct fake_qp *peer, const struct ibv_send_wr *wr, uint64_t len,
                      unsigned access)
{
    const struct fake_mr *mr = mr_of(wr->wr.rdma.rkey, peer->ibv.pd);
    const struct fake_mw *mw = mw_of(wr->wr.rdma.rkey, peer);

    if (!(peer->at.qp_access_flags & access)) {
        return false;
    }
    if (mw) {
        return (mw->access & access) &&
               within(mw->address, mw->length, wr->wr.rdma.remote_addr, len);
    }
    return mr && ((unsigned)mr->access & access) &&
           within((uintptr_t)mr->ibv.addr, mr->ibv.length, wr->wr.rdma.remote_addr, len);
}

/* Moving ------------------------------------------------------------------------------------------- */

static bool alive(const struct fake_device *d)
{
    return d->state == IBV_PORT_ACTIVE && !d->fatal;
}

static bool too_long(uint64_t packet, const struct fake_device *to)
{
    return (W.wire_mtu && packet > W.wire_mtu) || (to->narrow && packet > to->narrow);
}

/* The other end, if packets of this length reach it and are what it expects. */
static struct fake_qp *peer_of(const struct fake_qp *qp, uint64_t len)
{
    static const uint32_t bytes[] = {0, 256, 512, 1024, 2048, 4096};
    struct fake_qp *peer = W.qps;
    uint32_t packet = bytes[qp->at.path_mtu];

    while (peer && peer->ibv.qp_num != qp->at.dest_qp_num) {
        peer = peer->next;
    }
    if (!peer || (peer->ibv.state != IBV_QPS_RTR && peer->ibv.state != IBV_QPS_RTS) ||
        peer->at.dest_qp_num != qp->ibv.qp_num || peer->at.rq_psn != qp->at.sq_psn ||
        peer->at.path_mtu < qp->at.path_mtu ||
        !fake_has_gid(fake_device_of(peer->ibv.context), &qp->at.ah_attr.grh.dgid)) {
        return NULL;
    }
    if (!alive(fake_device_of(qp->ibv.context)) || !alive(fake_device_of(peer->ibv.context)) ||
        fake_device_of(peer->ibv.context)->deaf || fake_device_of(qp->ibv.context)->deaf ||
        too_long(len < packet ? len : packet, fake_device_of(peer->ibv.context))) {
        return NULL;
    }
    return peer;
}

uint64_t fake_length_of(const struct fake_work *work)
{
    uint64_t sum = 0;

    for (int i = 0; i < work->wr.num_sge; i++) {
        sum += work->sges[i].length;
    }
    return sum;
}

void fake_copy(const struct fake_work *work, uint8_t *there, bool out)
{
    const uint8_t *in = work->inlined;

    for (int i = 0; i < work->wr.num_sge; i++) {
        const struct ibv_sge *sge = &work->sges[i];
        uint8_t *here = (uint8_t *)(uintptr_t)sge->addr; // NOLINT(performance-no-int-to-ptr)

        if (in) {
            memcpy(there, in, sge->length);
            in += sge->length;
        } else if (sge->length > 0) {
            memcpy(out ? there : here, out ? here : there, sge->length);
        }
        there += sge->length;
    }
}

static bool all_local(const struct fake_qp *qp, const struct fake_work *work, int access)
{
    for (int i = 0; i < work->wr.num_sge && !work->inlined; i++) {
        if (work->sges[i].length > 0 && !local_ok(qp, &work->sges[i], access)) {
            return false;
        }
    }
    return true;
}

/* A peer that has refused fails, too. */
static int refused(struct fake_qp *peer, int status)
{
    fake_qp_state(peer, IBV_QPS_ERR);
    return status;
}

void fake_land(struct fake_qp *qp)
{
    while (qp->landings) {
        struct fake_landing *l = qp->landings;

        qp->landings = l->next;
        memcpy(l->to, l->bytes, l->len);
        free(l);
    }
}

static void land_due(struct fake_qp *qp)
{
    const struct fake_landing *l = qp->landings;

    while (l && l->due > W.now) {
        l = l->next;
    }
    if (l) {
        fake_land(qp);
    }
}

static void write_to(struct fake_qp *peer, const struct fake_work *work, uint8_t *to, uint64_t len)
{
    struct fake_landing *l;

    if (!W.relaxed || len == 0) {
        fake_copy(work, to, true);
        return;
    }
    l = malloc(sizeof(*l) + len);
    *l = (struct fake_landing){.due = fake_due(), .to = to, .len = len};
    fake_copy(work, l->bytes, true);
    if (!peer->landings) {
        peer->landings_end = &peer->landings;
    }
    *peer->landings_end = l;
    peer->landings_end = &l->next;
}

static int move_one_sided(struct fake_qp *qp, struct fake_work *work)
{
    bool write = work->wr.opcode == IBV_WR_RDMA_WRITE;
    uint64_t len = fake_length_of(work);
    struct fake_qp *peer = peer_of(qp, len);
    uint8_t *there = (uint8_t *)(uintptr_t)work->wr.wr.rdma.remote_addr;

    if (!all_local(qp, work, write ? 0 : IBV_ACCESS_LOCAL_WRITE)) {
        return IBV_WC_LOC_PROT_ERR;
    }
    if (!peer) {
        return WAIT;
    }
    if (len > 0 && !remote_ok(peer, &work->wr, len,
                              write ? IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ)) {
        return refused(peer, IBV_WC_REM_ACCESS_ERR);
    }
    if (!write && (peer->at.max_dest_rd_atomic == 0 || qp->at.max_rd_atomic == 0)) {
        return refused(peer, IBV_WC_REM_INV_REQ_ERR);
    }
    if (write) {
        write_to(peer, work, there, len);
    } else {
        fake_land(peer);
        fake_copy(work, there, false);
    }
    W.counts.writes += write;
    W.counts.reads += !write;
    return IBV_WC_SUCCESS;
}

/* Into the pieces of a receive. */
static void scatter(const struct fake_receive *r, const uint8_t *bytes, uint64_t len)
{
    for (int i = 0; i < r->n && len > 0; i++) {
        uint64_t here = len < r->sges[i].length ? len : r->sges[i].length;

        // NOLINTNEXTLINE(performance-no-int-to-ptr)
        memcpy((void *)(uintptr_t)r->sges[i].addr, bytes, here);
        bytes += here;
        len -= here;
    }
}

static int into_receive(struct fake_qp *peer, const struct fake_work *work, struct ibv_wc *wc)
{
    struct fake_receives *rs = receives_of(peer);
    const struct fake_receive *r = &rs->ring[rs->taken++ % rs->room];
    uint64_t len = fake_length_of(work), room = 0;
    uint8_t *bytes;

    *wc = wc_of(peer, r->wr_id, IBV_WC_SUCCESS, 0);
    for (int i = 0; i < r->n; i++) {
        room += r->sges[i].length;
        if (!local_ok(peer, &r->sges[i], IBV_ACCESS_LOCAL_WRITE)) {
            *wc = wc_of(peer, r->wr_id, IBV_WC_LOC_PROT_ERR, 0x51);
            return IBV_WC_REM_OP_ERR;
        }
    }
    if (len > room) {
        *wc = wc_of(peer, r->wr_id, IBV_WC_LOC_LEN_ERR, 0x52);
        return IBV_WC_REM_INV_REQ_ERR;
    }
    bytes = malloc(len + 1);
    fake_copy(work, bytes, true);
    scatter(r, bytes, len);
    free(bytes);
    wc->byte_len = (uint32_t)len;
    return IBV_WC_SUCCESS;
}

/* Of this queue pair, and not the one of this key. */
static uint32_t other_window(uint32_t rkey, const struct fake_qp *qp)
{
    const struct fake_mw *mw = W.mws;

    while (mw && (!mw->mr || mw->qpn != qp->ibv.qp_num || mw->rkey == rkey)) {
        mw = mw->next;
    }
    return mw ? mw->rkey : rkey;
}

static int invalidate_remote(struct fake_qp *peer, uint32_t rkey, struct ibv_wc *wc)
{
    struct fake_mw *mw = mw_of(rkey, peer);

    if (!mw) {
        *wc = wc_of(peer, wc->wr_id, IBV_WC_LOC_PROT_ERR, 0x53);
        return IBV_WC_REM_ACCESS_ERR;
    }
    fake_unbind(mw);
    W.counts.invalidated++;
    wc->wc_flags |= IBV_WC_WITH_INV;
    wc->invalidated_rkey = rkey;
    return IBV_WC_SUCCESS;
}

static int move_send(struct fake_qp *qp, struct fake_work *work)
{
    struct fake_qp *peer = peer_of(qp, fake_length_of(work));
    struct fake_receives *rs = peer ? receives_of(peer) : NULL;
    struct ibv_wc wc;
    int status;

    if (!all_local(qp, work, 0)) {
        return IBV_WC_LOC_PROT_ERR;
    }
    if (!peer) {
        return WAIT;
    }
    if (rs->taken == rs->posted) {
        W.counts.rnrs += !work->waited;
        work->waited = true;
        return WAIT;
    }
    fake_land(peer);
    status = into_receive(peer, work, &wc);
    if (status == IBV_WC_SUCCESS) {
        wc.opcode = IBV_WC_RECV;
        wc.src_qp = qp->ibv.qp_num;
        if (work->wr.opcode == IBV_WR_SEND_WITH_IMM) {
            wc.wc_flags |= IBV_WC_WITH_IMM;
            wc.imm_data = work->wr.imm_data;
        } else if (work->wr.opcode == IBV_WR_SEND_WITH_INV) {
            status = invalidate_remote(peer,
                                       W.wrong_window ? other_window(work->wr.invalidate_rkey, peer)
                                                      : work->wr.invalidate_rkey,
                                       &wc);
        }
    }
    received(peer, &wc);
    W.counts.sends++;
    return status == IBV_WC_SUCCESS ? status : refused(peer, status);
}

static int bind_window(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
    struct fake_mw *mw = (struct fake_mw *)wr->bind_mw.mw;
    struct fake_mr *mr = (struct fake_mr *)wr->bind_mw.bind_info.mr;
    const struct ibv_mw_bind_info *to = &wr->bind_mw.bind_info;

    if (!mr_of(mr->ibv.lkey, qp->ibv.pd) || mw->mr || mw->ibv.pd != qp->ibv.pd || to->length == 0 ||
        !(mr->access & IBV_ACCESS_MW_BIND) ||
        ((to->mw_access_flags & IBV_ACCESS_REMOTE_WRITE) &&
         !(mr->access & IBV_ACCESS_LOCAL_WRITE)) ||
        wr->bind_mw.rkey >> 8 != mw->ibv.rkey >> 8 ||
        !within((uintptr_t)mr->ibv.addr, mr->ibv.length, to->addr, to->length)) {
        return IBV_WC_MW_BIND_ERR;
    }
    mw->mr = mr;
    mr->windows++;
    mw->rkey = wr->bind_mw.rkey;
    mw->qpn = qp->ibv.qp_num;
    mw->address = to->addr;
    mw->length = to->length;
    mw->access = to->mw_access_flags;
    W.counts.binds++;
    return IBV_WC_SUCCESS;
}

static int invalidate_local(struct fake_qp *qp, uint32_t rkey)
{
    struct fake_mw *mw = mw_of(rkey, qp);

    if (!mw) {
        fake_misuse("a window is closed that is not open: rdma_rxe takes the kernel with it");
        return IBV_WC_LOC_QP_OP_ERR;
    }
    fake_land(qp);
    fake_unbind(mw);
    W.counts.invalidated++;
    return IBV_WC_SUCCESS;
}

static int move(struct fake_qp *qp, struct fake_work *work)
{
    switch (work->wr.opcode) {
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_READ:
        return move_one_sided(qp, work);
    case IBV_WR_SEND:
    case IBV_WR_SEND_WITH_IMM:
    case IBV_WR_SEND_WITH_INV:
        return move_send(qp, work);
    case IBV_WR_BIND_MW:
        return bind_window(qp, &work->wr);
    case IBV_WR_LOCAL_INV:
        return invalidate_local(qp, work->wr.invalidate_rkey);
    default:
        return IBV_WC_LOC_QP_OP_ERR;
    }
}

/* One whose turn to fail has come. */
static bool fails(const struct fake_work *work)
{
    return W.fail_nth > 0 && (W.fail_opcode < 0 || W.fail_opcode == (int)work->wr.opcode) &&
           --W.fail_nth == 0;
}

/* What the peer would say ends the peer, too. */
static void fail(struct fake_qp *qp)
{
    struct fake_qp *peer = peer_of(qp, 0);

    if (peer && (W.fail_status == IBV_WC_REM_ACCESS_ERR || W.fail_status == IBV_WC_REM_OP_ERR ||
                 W.fail_status == IBV_WC_REM_INV_REQ_ERR)) {
        fake_qp_state(peer, IBV_QPS_ERR);
    }
    sent(qp, W.fail_status, W.fail_vendor);
    fake_qp_state(qp, IBV_QPS_ERR);
}

/* Whether anything has ended. */
static bool move_qp(struct fake_qp *qp)
{
    bool any = false;

    while (qp->ibv.state == IBV_QPS_RTS && qp->done < qp->posted &&
           !fake_device_of(qp->ibv.context)->stuck) {
        struct fake_work *work = fake_work_at(qp, qp->done);
        int status;

        if (work->due > W.now) {
            break;
        }
        if (fails(work)) {
            fail(qp);
            return true;
        }
        status = move(qp, work);
        if (status == WAIT) {
            break;
        }
        any = true;
        sent(qp, (enum ibv_wc_status)status, status == IBV_WC_SUCCESS ? 0 : 0x88);
        if (status != IBV_WC_SUCCESS) {
            fake_qp_state(qp, IBV_QPS_ERR);
        }
    }
    return any;
}

void fake_move(void)
{
    bool any = true;

    for (struct fake_qp *qp = W.qps; qp; qp = qp->next) {
        land_due(qp);
    }
    while (any) {
        any = false;
        for (struct fake_qp *qp = W.qps; qp; qp = qp->next) {
            any |= move_qp(qp);
        }
    }
}
