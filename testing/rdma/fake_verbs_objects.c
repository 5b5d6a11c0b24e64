/* What is made and destroyed. */
#include "testing/rdma/fake_verbs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define W fake_world

static struct fake_context *context_of(struct ibv_context *context)
{
    return (struct fake_context *)context;
}

/* An object of `size` bytes of a device that lives. NULL: errno. */
static void *make(const struct ibv_context *context, size_t size, uint64_t *count)
{
    void *object = fake_device_of(context)->fatal ? NULL : calloc(1, size);

    if (!object) {
        errno = EIO;
        return NULL;
    }
    (*count)++;
    W.counts.made++;
    return object;
}

/* Ends the call of a destructor: 0, or EBUSY for what is still in use, which is left as it is. */
static int unmake(void *object, uint64_t *count, unsigned users, const char *misuse)
{
    if (users > 0) {
        fake_misuse(misuse);
        fake_unlock();
        return EBUSY;
    }
    (*count)--;
    free(object);
    fake_unlock();
    return 0;
}

/* Memory ----------------------------------------------------------------------------------------- */

static struct ibv_pd *alloc_pd(struct ibv_context *context)
{
    struct fake_pd *pd;

    fake_lock();
    pd = make(context, sizeof(*pd), &W.counts.pds);
    if (pd) {
        pd->ibv.context = context;
        context_of(context)->users++;
    }
    fake_unlock();
    return pd ? &pd->ibv : NULL;
}

static int dealloc_pd(struct ibv_pd *pd)
{
    struct fake_pd *p = (struct fake_pd *)pd;

    fake_lock();
    context_of(pd->context)->users -= p->users == 0;
    return unmake(p, &W.counts.pds, p->users, "a protection domain is freed that is in use");
}

static int may_register(struct fake_device *d, size_t length, int access)
{
    if (d->failing_mrs != 0) {
        d->failing_mrs -= d->failing_mrs > 0;
        return ENOMEM;
    }
    if (d->memlock > 0 && W.counts.registered + length > d->memlock) {
        return ENOMEM;
    }
    if (length > d->max_mr_size || length == 0 ||
        ((access & IBV_ACCESS_REMOTE_WRITE) && !(access & IBV_ACCESS_LOCAL_WRITE))) {
        return EINVAL;
    }
    return 0;
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *address, size_t length, int access)
{
    struct fake_mr *mr = NULL;
    int error;

    fake_lock();
    error = may_register(fake_device_of(pd->context), length, access);
    mr = error ? NULL : make(pd->context, sizeof(*mr), &W.counts.mrs);
    if (mr) {
        mr->ibv = (struct ibv_mr){.context = pd->context,
                                  .pd = pd,
                                  .addr = address,
                                  .length = length,
                                  .lkey = W.next_key << 8,
                                  .rkey = W.next_key << 8};
        W.next_key++;
        mr->access = access;
        mr->next = W.mrs;
        W.mrs = mr;
        ((struct fake_pd *)pd)->users++;
        W.counts.registered += length;
    }
    fake_unlock();
    if (error) {
        errno = error;
    }
    return mr ? &mr->ibv : NULL;
}

static int dereg_mr(struct ibv_mr *mr)
{
    struct fake_mr **at = &W.mrs, *m = (struct fake_mr *)mr;

    fake_lock();
    while (*at && *at != m) {
        at = &(*at)->next;
    }
    if (!*at) {
        fake_misuse("memory is given back that is not registered");
        fake_unlock();
        return EINVAL;
    }
    if (m->windows == 0) {
        *at = m->next;
        ((struct fake_pd *)mr->pd)->users--;
        W.counts.registered -= mr->length;
    }
    return unmake(m, &W.counts.mrs, m->windows, "memory is given back that a window is bound to");
}

/* Completion queues --------------------------------------------------------------------------------- */

static struct ibv_comp_channel *create_comp_channel(struct ibv_context *context)
{
    struct fake_channel *channel;

    fake_lock();
    channel = make(context, sizeof(*channel), &W.counts.channels);
    if (channel && fake_events_open(&channel->events) == 0) {
        channel->ibv.context = context;
        channel->ibv.fd = channel->events.fd;
        context_of(context)->users++;
    }
    fake_unlock();
    return channel ? &channel->ibv : NULL;
}

static int destroy_comp_channel(struct ibv_comp_channel *channel)
{
    struct fake_channel *c = (struct fake_channel *)channel;

    fake_lock();
    if (c->users == 0) {
        fake_events_close(&c->events);
        context_of(channel->context)->users--;
    }
    return unmake(c, &W.counts.channels, c->users, "a channel is destroyed that is in use");
}

static struct ibv_cq *create_cq(struct ibv_context *context, int n, void *cq_context,
                                struct ibv_comp_channel *channel, int vector)
{
    struct fake_cq *cq;

    (void)vector;
    fake_lock();
    cq = make(context, sizeof(*cq), &W.counts.cqs);
    if (cq) {
        cq->ibv.context = context;
        cq->ibv.channel = channel;
        cq->ibv.cq_context = cq_context;
        cq->ibv.cqe = n;
        cq->room = (uint32_t)(n - fake_device_of(context)->lost_cqes);
        cq->cqes = calloc(cq->room, sizeof(*cq->cqes));
        cq->next = W.cqs;
        W.cqs = cq;
        context_of(context)->users++;
        if (channel) {
            ((struct fake_channel *)channel)->users++;
        }
    }
    fake_unlock();
    return cq ? &cq->ibv : NULL;
}

/* Events that nobody has fetched go with their queue. */
static void forget_events(struct fake_events *e, const struct fake_cq *cq)
{
    uint32_t kept = 0, n = e->n;
    uint64_t one;

    for (uint32_t i = 0; i < n; i++) {
        struct fake_cq *other = e->cqs[(e->head + i) % FAKE_PENDING];

        if (other != cq) {
            e->cqs[(e->head + kept++) % FAKE_PENDING] = other;
        } else {
            (void)!read(e->fd, &one, sizeof(one));
        }
    }
    e->n = kept;
}

static int destroy_cq(struct ibv_cq *cq)
{
    struct fake_cq **at = &W.cqs, *c = (struct fake_cq *)cq;

    fake_lock();
    if (c->unacknowledged > 0) {
        fake_misuse("a completion queue is destroyed with events not acknowledged: it would wait");
    }
    if (c->users == 0) {
        while (*at != c) {
            at = &(*at)->next;
        }
        *at = c->next;
        free(c->cqes);
        context_of(cq->context)->users--;
        if (cq->channel) {
            ((struct fake_channel *)cq->channel)->users--;
            forget_events(&((struct fake_channel *)cq->channel)->events, c);
        }
    }
    return unmake(c, &W.counts.cqs, c->users, "a completion queue is destroyed that is in use");
}

static int get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context)
{
    struct fake_events *e = &((struct fake_channel *)channel)->events;
    int error = -1;

    if (!fake_events_wait(e)) {
        return -1;
    }
    fake_lock();
    errno = EAGAIN;
    if (e->n > 0) {
        struct fake_cq *c = e->cqs[e->head];

        e->head = (e->head + 1) % FAKE_PENDING;
        e->n--;
        c->unacknowledged++;
        *cq = &c->ibv;
        *cq_context = c->ibv.cq_context;
        error = 0;
    }
    fake_unlock();
    return error;
}

static void ack_cq_events(struct ibv_cq *cq, unsigned n)
{
    struct fake_cq *c = (struct fake_cq *)cq;

    fake_lock();
    if (n > c->unacknowledged) {
        fake_misuse("more events are acknowledged than came");
    } else {
        c->unacknowledged -= n;
    }
    fake_unlock();
}

/* Shared receive queues ----------------------------------------------------------------------------- */

static struct ibv_srq *create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *how)
{
    struct fake_srq *srq = NULL;

    fake_lock();
    errno = EOPNOTSUPP;
    if (fake_device_of(pd->context)->srqs) {
        srq = make(pd->context, sizeof(*srq), &W.counts.srqs);
    }
    if (srq) {
        srq->ibv.context = pd->context;
        srq->ibv.srq_context = how->srq_context;
        srq->ibv.pd = pd;
        srq->receives.room = how->attr.max_wr;
        srq->receives.ring = calloc(how->attr.max_wr, sizeof(*srq->receives.ring));
        srq->limit = how->attr.srq_limit;
        srq->next = W.srqs;
        W.srqs = srq;
        ((struct fake_pd *)pd)->users++;
    }
    fake_unlock();
    return srq ? &srq->ibv : NULL;
}

static int destroy_srq(struct ibv_srq *srq)
{
    struct fake_srq **at = &W.srqs, *s = (struct fake_srq *)srq;

    fake_lock();
    if (s->users == 0) {
        while (*at != s) {
            at = &(*at)->next;
        }
        *at = s->next;
        free(s->receives.ring);
        ((struct fake_pd *)srq->pd)->users--;
    }
    return unmake(s, &W.counts.srqs, s->users, "a shared receive queue is destroyed that is used");
}

/* Queue pairs ---------------------------------------------------------------------------------------- */

static bool may_create(const struct fake_device *d, const struct ibv_qp_init_attr *how)
{
    return how->qp_type == IBV_QPT_RC && how->send_cq && how->recv_cq &&
           how->cap.max_send_sge <= (uint32_t)d->max_sge &&
           how->cap.max_recv_sge <= (uint32_t)d->max_sge &&
           how->cap.max_inline_data <= d->max_inline && how->cap.max_send_wr <= 8192 &&
           how->cap.max_recv_wr <= 8192;
}

static struct ibv_qp *create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *how)
{
    struct fake_qp *qp = NULL;

    fake_lock();
    errno = EINVAL;
    if (may_create(fake_device_of(pd->context), how)) {
        qp = make(pd->context, sizeof(*qp), &W.counts.qps);
    }
    if (qp) {
        qp->ibv.context = pd->context;
        qp->ibv.qp_context = how->qp_context;
        qp->ibv.pd = pd;
        qp->ibv.send_cq = how->send_cq;
        qp->ibv.recv_cq = how->recv_cq;
        qp->ibv.srq = how->srq;
        qp->ibv.qp_num = W.next_qpn++;
        qp->ibv.state = IBV_QPS_RESET;
        qp->ibv.qp_type = how->qp_type;
        qp->how = *how;
        qp->works = calloc(how->cap.max_send_wr, sizeof(*qp->works));
        qp->receives.room = how->srq ? 0 : how->cap.max_recv_wr;
        qp->receives.ring = calloc(how->cap.max_recv_wr + 1, sizeof(*qp->receives.ring));
        qp->next = W.qps;
        W.qps = qp;
        ((struct fake_pd *)pd)->users++;
        ((struct fake_cq *)how->send_cq)->users++;
        ((struct fake_cq *)how->recv_cq)->users++;
        if (how->srq) {
            ((struct fake_srq *)how->srq)->users++;
        }
    }
    fake_unlock();
    return qp ? &qp->ibv : NULL;
}

static bool has_gid(const struct fake_device *d, uint8_t index)
{
    return index < d->n_gids && d->gids[index].address;
}

static int to_receive(struct fake_qp *qp, const struct ibv_qp_attr *a, int mask)
{
    const struct fake_device *d = fake_device_of(qp->ibv.context);
    const int needed = IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                       IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;

    if (qp->ibv.state != IBV_QPS_INIT || (mask & needed) != needed || a->path_mtu > d->mtu ||
        a->max_dest_rd_atomic > d->reads || a->ah_attr.port_num != 1 ||
        (d->link_layer == IBV_LINK_LAYER_ETHERNET && !a->ah_attr.is_global) ||
        (a->ah_attr.is_global && !has_gid(d, a->ah_attr.grh.sgid_index))) {
        return EINVAL;
    }
    qp->at.path_mtu = a->path_mtu;
    qp->at.dest_qp_num = a->dest_qp_num;
    qp->at.rq_psn = a->rq_psn;
    qp->at.max_dest_rd_atomic = a->max_dest_rd_atomic;
    qp->at.ah_attr = a->ah_attr;
    return 0;
}

static int to_send(struct fake_qp *qp, const struct ibv_qp_attr *a, int mask)
{
    const int needed = IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                       IBV_QP_MAX_QP_RD_ATOMIC;

    if (qp->ibv.state != IBV_QPS_RTR || (mask & needed) != needed ||
        a->max_rd_atomic > fake_device_of(qp->ibv.context)->reads || a->sq_psn > 0xffffff) {
        return EINVAL;
    }
    qp->at.sq_psn = a->sq_psn;
    qp->at.max_rd_atomic = a->max_rd_atomic;
    return 0;
}

static int to_init(struct fake_qp *qp, const struct ibv_qp_attr *a, int mask)
{
    const int needed = IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;

    if ((qp->ibv.state != IBV_QPS_RESET && qp->ibv.state != IBV_QPS_INIT) ||
        (mask & needed) != needed || a->port_num != 1 || a->pkey_index != 0) {
        return EINVAL;
    }
    qp->at.qp_access_flags = a->qp_access_flags;
    return 0;
}

void fake_qp_state(struct fake_qp *qp, enum ibv_qp_state state)
{
    qp->ibv.state = state;
    qp->at.qp_state = state;
    if (state == IBV_QPS_ERR) {
        fake_flush(qp);
    }
}

/* As a kernel does that resolves an address. */
static int look_for_peer(struct fake_qp *qp)
{
    const struct fake_device *d = fake_device_of(qp->ibv.context);
    int error;

    fake_lock();
    error = d->far_error;
    W.counts.connecting++;
    qp->connecting = true;
    for (uint32_t waited = 0; waited < d->far_ms; waited++) {
        fake_unlock();
        usleep(1000);
        fake_lock();
    }
    W.counts.connecting--;
    qp->connecting = false;
    fake_unlock();
    return error;
}

static int modify_qp(struct ibv_qp *ibv, struct ibv_qp_attr *a, int mask)
{
    struct fake_qp *qp = (struct fake_qp *)ibv;
    int error = 0;

    if (a->qp_state == IBV_QPS_RTR) {
        error = look_for_peer(qp);
        if (error) {
            return error;
        }
    }
    fake_lock();
    if (!(mask & IBV_QP_STATE) || fake_device_of(ibv->context)->fatal) {
        error = EINVAL;
    } else if (a->qp_state == IBV_QPS_INIT) {
        error = to_init(qp, a, mask);
    } else if (a->qp_state == IBV_QPS_RTR) {
        error = to_receive(qp, a, mask);
    } else if (a->qp_state == IBV_QPS_RTS) {
        error = to_send(qp, a, mask);
    } else if (a->qp_state != IBV_QPS_ERR) {
        error = EOPNOTSUPP;
    }
    if (!error) {
        fake_qp_state(qp, a->qp_state);
    }
    fake_move();
    fake_unlock();
    return error;
}

void fake_unbind(struct fake_mw *mw)
{
    if (mw->mr) {
        mw->mr->windows--;
        mw->mr = NULL;
    }
}

static void qp_free(struct fake_qp *qp)
{
    fake_land(qp); /* who destroys it waits for that */
    for (uint64_t i = qp->done; i < qp->posted; i++) {
        free(qp->works[i % qp->how.cap.max_send_wr].inlined);
    }
    for (struct fake_mw *mw = W.mws; mw; mw = mw->next) {
        if (mw->qpn == qp->ibv.qp_num) {
            fake_unbind(mw); /* it is bound to this queue pair, and with it to nothing */
        }
    }
    free(qp->works);
    free(qp->receives.ring);
    ((struct fake_pd *)qp->ibv.pd)->users--;
    ((struct fake_cq *)qp->ibv.send_cq)->users--;
    ((struct fake_cq *)qp->ibv.recv_cq)->users--;
    if (qp->ibv.srq) {
        ((struct fake_srq *)qp->ibv.srq)->users--;
    }
}

/* Those that nobody has fetched go with their queue pair. */
static void forget_async(struct fake_events *e, const struct fake_qp *qp)
{
    uint32_t kept = 0, n = e->n;
    uint64_t one;

    for (uint32_t i = 0; i < n; i++) {
        struct ibv_async_event event = e->async[(e->head + i) % 64];

        if (event.element.qp != &qp->ibv) {
            e->async[(e->head + kept++) % 64] = event;
        } else {
            (void)!read(e->fd, &one, sizeof(one));
        }
    }
    e->n = kept;
}

static int destroy_qp(struct ibv_qp *ibv)
{
    struct fake_qp **at = &W.qps, *qp = (struct fake_qp *)ibv;

    fake_lock();
    while (*at && *at != qp) {
        at = &(*at)->next;
    }
    if (!*at) {
        fake_misuse("a queue pair is destroyed that there is not");
        fake_unlock();
        return EINVAL;
    }
    if (qp->connecting) {
        fake_misuse("a queue pair is destroyed that is being connected: EBUSY");
    }
    if (qp->unacknowledged > 0) {
        fake_misuse("a queue pair is destroyed with events not acknowledged: it would wait");
    }
    *at = qp->next;
    forget_async(&context_of(ibv->context)->events, qp);
    qp_free(qp);
    return unmake(qp, &W.counts.qps, 0, "");
}

void fake_objects_fill(struct mkv__verbs *table)
{
    table->alloc_pd = alloc_pd;
    table->dealloc_pd = dealloc_pd;
    table->reg_mr = reg_mr;
    table->dereg_mr = dereg_mr;
    table->create_comp_channel = create_comp_channel;
    table->destroy_comp_channel = destroy_comp_channel;
    table->create_cq = create_cq;
    table->destroy_cq = destroy_cq;
    table->get_cq_event = get_cq_event;
    table->ack_cq_events = ack_cq_events;
    table->create_qp = create_qp;
    table->modify_qp = modify_qp;
    table->at_once = true;
    table->destroy_qp = destroy_qp;
    table->create_srq = create_srq;
    table->destroy_srq = destroy_srq;
}
