/* What is posted and polled: the calls of the data path. */
#include "testing/rdma/fake_verbs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define W fake_world

/* Posting ------------------------------------------------------------------------------------------ */

uint64_t fake_due(void)
{
    if (W.late == 0) {
        return W.now;
    }
    W.seed = W.seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return W.now + (W.seed >> 33) % (W.late + 1);
}

static bool one_sided(enum ibv_wr_opcode opcode)
{
    return opcode == IBV_WR_RDMA_WRITE || opcode == IBV_WR_RDMA_READ;
}

static int post_one(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
    struct fake_work *work = fake_work_at(qp, qp->posted);
    bool no_data = wr->opcode == IBV_WR_BIND_MW || wr->opcode == IBV_WR_LOCAL_INV;
    int n = no_data ? 0 : wr->num_sge;

    if (qp->posted - qp->released >= qp->how.cap.max_send_wr) {
        return ENOMEM;
    }
    if (n < 0 || n > (int)qp->how.cap.max_send_sge || n > (int)FAKE_SGES ||
        (no_data && !fake_device_of(qp->ibv.context)->windows)) {
        return EINVAL;
    }
    *work = (struct fake_work){.wr = *wr,
                               .due = one_sided(wr->opcode) || W.late_sends ? fake_due() : W.now};
    work->wr.num_sge = n;
    if (n > 0) {
        memcpy(work->sges, wr->sg_list, (size_t)n * sizeof(*work->sges));
    }
    if (wr->send_flags & IBV_SEND_INLINE) {
        uint64_t len = fake_length_of(work);

        if (len > qp->how.cap.max_inline_data || wr->opcode == IBV_WR_RDMA_READ) {
            return EINVAL;
        }
        uint8_t *bytes = malloc(len + 1);
        fake_copy(work, bytes, true);
        work->inlined = bytes;
        W.counts.inlined++;
    }
    qp->posted++;
    W.counts.work_requests++;
    W.counts.signaled += (wr->send_flags & IBV_SEND_SIGNALED) != 0;
    return 0;
}

static int post_send(struct ibv_qp *ibv, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    struct fake_qp *qp = (struct fake_qp *)ibv;
    int error = 0;

    fake_lock();
    W.counts.doorbells++;
    if ((ibv->state != IBV_QPS_RTS && ibv->state != IBV_QPS_ERR) ||
        fake_device_of(ibv->context)->fatal) {
        error = EINVAL;
    }
    for (; wr && !error; wr = wr->next) {
        *bad = wr;
        error = post_one(qp, wr);
    }
    if (ibv->state == IBV_QPS_ERR) {
        fake_flush(qp);
    }
    fake_move();
    fake_unlock();
    return error;
}

static int post_receives(struct fake_receives *rs, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    for (; wr; wr = wr->next) {
        struct fake_receive *r = &rs->ring[rs->posted % (rs->room ? rs->room : 1)];

        *bad = wr;
        if (rs->posted - rs->released >= rs->room) {
            return ENOMEM;
        }
        if (wr->num_sge > 4) {
            return EINVAL;
        }
        r->wr_id = wr->wr_id;
        r->n = wr->num_sge;
        memcpy(r->sges, wr->sg_list, (size_t)wr->num_sge * sizeof(*r->sges));
        rs->posted++;
        W.counts.receives++;
    }
    return 0;
}

static int post_recv(struct ibv_qp *ibv, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    struct fake_qp *qp = (struct fake_qp *)ibv;
    int error = EINVAL;

    fake_lock();
    if (!ibv->srq && ibv->state != IBV_QPS_RESET && !fake_device_of(ibv->context)->fatal) {
        error = post_receives(&qp->receives, wr, bad);
    }
    if (ibv->state == IBV_QPS_ERR) {
        fake_flush(qp);
    }
    fake_move();
    fake_unlock();
    return error;
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    int error = EINVAL;

    fake_lock();
    if (!fake_device_of(srq->context)->fatal) {
        error = post_receives(&((struct fake_srq *)srq)->receives, wr, bad);
    }
    fake_move();
    fake_unlock();
    return error;
}

/* Polling ------------------------------------------------------------------------------------------ */

/* The slots of what has been polled are free. */
static void release(const struct fake_cqe *cqe)
{
    struct fake_srq *srq = W.srqs;
    struct fake_qp *qp = W.qps;

    while (srq && srq != cqe->srq) {
        srq = srq->next;
    }
    while (qp && qp->ibv.qp_num != cqe->wc.qp_num) {
        qp = qp->next;
    }
    if (cqe->receive && cqe->srq) {
        if (srq) {
            srq->receives.released++;
        }
    } else if (qp && cqe->receive) {
        qp->receives.released++;
    } else if (qp && cqe->released > qp->released) {
        qp->released = cqe->released;
    }
}

static int poll_cq(struct ibv_cq *ibv, int max, struct ibv_wc *wcs)
{
    struct fake_cq *cq = (struct fake_cq *)ibv;
    int n = 0;

    fake_lock();
    W.now++;
    fake_move();
    while (n < max && cq->n > 0) {
        const struct fake_cqe *cqe = &cq->cqes[cq->head];

        release(cqe);
        wcs[n++] = cqe->wc;
        cq->head = (cq->head + 1) % cq->room;
        cq->n--;
    }
    if (n == 0 && cq->dead) {
        n = -1;
    }
    fake_unlock();
    return n;
}

static int req_notify_cq(struct ibv_cq *ibv, int solicited_only)
{
    struct fake_cq *cq = (struct fake_cq *)ibv;

    (void)solicited_only;
    fake_lock();
    W.counts.notifies++;
    cq->armed = true;
    W.now += W.late; /* nobody may be left to poll */
    fake_move();
    fake_unlock();
    return 0;
}

/* Windows ------------------------------------------------------------------------------------------ */

static struct ibv_mw *alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
    struct fake_mw *mw = NULL;

    fake_lock();
    errno = EOPNOTSUPP;
    if (fake_device_of(pd->context)->windows && type == IBV_MW_TYPE_2) {
        mw = calloc(1, sizeof(*mw));
    }
    if (mw) {
        mw->ibv = (struct ibv_mw){
            .context = pd->context, .pd = pd, .rkey = W.next_key++ << 8, .type = type};
        mw->next = W.mws;
        W.mws = mw;
        ((struct fake_pd *)pd)->users++;
        W.counts.mws++;
        W.counts.made++;
    }
    fake_unlock();
    return mw ? &mw->ibv : NULL;
}

static int dealloc_mw(struct ibv_mw *ibv)
{
    struct fake_mw **at = &W.mws, *mw = (struct fake_mw *)ibv;

    fake_lock();
    while (*at && *at != mw) {
        at = &(*at)->next;
    }
    if (!*at) {
        fake_misuse("a window is freed that there is not");
        fake_unlock();
        return EINVAL;
    }
    *at = mw->next;
    fake_unbind(mw);
    ((struct fake_pd *)ibv->pd)->users--;
    W.counts.mws--;
    free(mw);
    fake_unlock();
    return 0;
}

void fake_wire_fill(struct ibv_context_ops *ops)
{
    ops->post_send = post_send;
    ops->post_recv = post_recv;
    ops->post_srq_recv = post_srq_recv;
    ops->poll_cq = poll_cq;
    ops->req_notify_cq = req_notify_cq;
    ops->alloc_mw = alloc_mw;
    ops->dealloc_mw = dealloc_mw;
}
