/*
 * Queue pairs are connected off the worker, since a device that is told of a peer asks the network for
 * the way there: where nobody answers that takes seconds, and others wait for this worker. A session
 * that ends meanwhile leaves behind what cannot be destroyed yet.
 */
#include "core/fault.h"
#include "transport/rdma/rdma.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT 14 /* 4.096 us * 2^14: 67 ms until a packet is sent again */
#define RETRIES 6  /* rdma_rxe takes 7 for "without end" */
#define MIN_RNR 12 /* 0.64 ms */

/* One queue pair. */
struct way {
    struct mkv__errand errand;
    struct mkv__rdma_connects *all;
    const struct mkv__verbs *verbs;
    struct ibv_qp *ibv;
    struct ibv_qp_attr to_receive, to_send;
    uint8_t index;
    bool runs;
    int error;
};

struct mkv__rdma_connects {
    struct mkv__rdma_connects *next, **link; /* the endpoint's, that nobody waits for */
    struct mkv__endpoint *ep;                /* NULL after it has ended */
    struct mkv__conn *conn;                  /* NULL: has given them up */
    struct mkv__conn *giver;                 /* that has; NULL: has ended since */
    const struct mkv__verbs *verbs;
    struct mkv__rdma_objects left; /* when it has */
    uint8_t *buffers;
    const char *device; /* the endpoint's */
    struct way ways[MKV_RDMA_QPS];
};

void mkv__rdma_objects_destroy(const struct mkv__verbs *verbs, struct mkv__rdma_objects *o)
{
    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        if (o->qps[i]) {
            (void)verbs->destroy_qp(o->qps[i]);
        }
    }
    if (o->srq) {
        (void)verbs->destroy_srq(o->srq);
    }
    if (o->cq) {
        if (o->n_events > 0) {
            verbs->ack_cq_events(o->cq, o->n_events);
        }
        (void)verbs->destroy_cq(o->cq);
    }
    if (o->buffers_mr) {
        (void)verbs->dereg_mr(o->buffers_mr);
    }
    memset(o, 0, sizeof(*o));
}

static void run(struct mkv__errand *errand)
{
    struct way *way = MKV_CONTAINER_OF(errand, struct way, errand);

    way->error = -way->verbs->modify_qp(way->ibv, &way->to_receive,
                                        IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
                                            IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                            IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
    if (!way->error) {
        way->error = -way->verbs->modify_qp(way->ibv, &way->to_send,
                                            IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                                IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                                                IBV_QP_MAX_QP_RD_ATOMIC);
    }
}

static void unlink_connects(struct mkv__rdma_connects *all)
{
    if (all->link) {
        *all->link = all->next;
        if (all->next) {
            all->next->link = all->link;
        }
        all->link = NULL;
        all->ep->n_leftovers--;
    }
}

static bool any_runs(const struct mkv__rdma_connects *all)
{
    bool any = false;

    for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
        any |= all->ways[i].runs;
    }
    return any;
}

/* Nobody waits for it. */
static void came_back(struct mkv__rdma_connects *all)
{
    if (!any_runs(all)) {
        if (all->giver) {
            all->giver->given_up = NULL;
        }
        unlink_connects(all);
        mkv__rdma_objects_destroy(all->verbs, &all->left);
        free(all->buffers);
        free(all);
    }
}

static void done(struct mkv__worker *worker, struct mkv__errand *errand)
{
    struct way *way = MKV_CONTAINER_OF(errand, struct way, errand);
    struct mkv__rdma_connects *all = way->all;

    (void)worker;
    way->runs = false;
    if (all->conn) {
        mkv__rdma_connected(all->conn->qps[way->index], way->error);
        return;
    }
    if (all->giver && way->error) {
        mkv__rdma_not_connected(all->giver, all->device, way->to_receive.ah_attr.grh.dgid.raw,
                                way->error);
    }
    came_back(all);
}

/* Only after the endpoint has waited for it, so in a turn, too. */
static void dropped(struct mkv__errand *errand)
{
    struct way *way = MKV_CONTAINER_OF(errand, struct way, errand);

    way->runs = false;
    came_back(way->all);
}

static void how(const struct mkv__rdma_qp *qp, const uint8_t *peer, struct way *way)
{
    const struct mkv__conn *conn = qp->conn;
    uint32_t words[2];

    memcpy(words, peer, sizeof(words));
    way->to_receive = (struct ibv_qp_attr){
        .qp_state = IBV_QPS_RTR,
        .path_mtu = peer[12] < conn->device->mtu ? peer[12] : conn->device->mtu,
        .dest_qp_num = le32toh(words[0]),
        .rq_psn = le32toh(words[1]),
        .max_dest_rd_atomic = conn->device->reads,
        .min_rnr_timer = MIN_RNR,
        .ah_attr = {.is_global = 1,
                    .port_num = conn->device->port,
                    .grh = {.sgid_index = conn->gid_index, .hop_limit = 64}},
    };
    memcpy(way->to_receive.ah_attr.grh.dgid.raw, peer + 16, 16);
    way->to_send = (struct ibv_qp_attr){
        .qp_state = IBV_QPS_RTS,
        .timeout = TIMEOUT,
        .retry_cnt = MKV_FAULT("rdma.patience") ? 7 : RETRIES,
        .rnr_retry = 7,
        .sq_psn = qp->psn,
        .max_rd_atomic = peer[14] < conn->device->reads ? peer[14] : conn->device->reads,
    };
}

int mkv__rdma_qp_connect(struct mkv__rdma_qp *qp, const uint8_t *attributes)
{
    struct mkv__conn *conn = qp->conn;
    struct mkv__rdma_connects *all = conn->connects;
    struct way *way;
    int error;

    if (!all) {
        all = calloc(1, sizeof(*all));
        if (!all) {
            return -ENOMEM;
        }
        all->ep = conn->endpoint;
        all->conn = conn;
        all->verbs = conn->endpoint->verbs;
        all->device = conn->device->name;
        conn->connects = all;
    }
    way = &all->ways[qp->index];
    *way = (struct way){.errand = {.run = run, .done = done, .dropped = dropped},
                        .all = all,
                        .verbs = all->verbs,
                        .ibv = qp->qp,
                        .index = qp->index};
    how(qp, attributes, way);
    error = mkv__errand_start(&way->errand, conn->endpoint->worker, all->verbs->at_once);
    way->runs = !error;
    return error;
}

bool mkv__rdma_connects(const struct mkv__rdma_qp *qp)
{
    const struct mkv__rdma_connects *all = qp->conn->connects;

    return all && all->ways[qp->index].runs;
}

bool mkv__rdma_connects_leave(struct mkv__conn *conn, const struct mkv__rdma_objects *objects)
{
    struct mkv__rdma_connects *all = conn->connects;
    struct mkv__endpoint *ep = conn->endpoint;

    conn->connects = NULL;
    if (!all || !any_runs(all)) {
        free(all);
        return false;
    }
    mkv__rdma_connects_forget(conn);
    all->conn = NULL;
    all->giver = conn->closing ? NULL : conn;
    conn->given_up = conn->closing ? NULL : all;
    all->left = *objects;
    all->buffers = conn->buffers;
    conn->buffers = NULL;
    all->next = ep->leftovers;
    all->link = &ep->leftovers;
    if (all->next) {
        all->next->link = &all->next;
    }
    ep->leftovers = all;
    ep->n_leftovers++;
    /* Its completion queue still names the session, but is not armed before all are connected. */
    return true;
}

void mkv__rdma_connects_forget(struct mkv__conn *conn)
{
    if (conn->given_up) {
        conn->given_up->giver = NULL;
        conn->given_up = NULL;
    }
}

void mkv__rdma_leftovers_end(struct mkv__endpoint *ep)
{
    while (ep->leftovers) {
        struct mkv__rdma_connects *all = ep->leftovers;

        unlink_connects(all);
        all->ep = NULL;
        for (unsigned i = 0; i < MKV_RDMA_QPS; i++) {
            if (all->ways[i].runs) {
                mkv__errand_wait(&all->ways[i].errand);
                mkv__errand_forget(&all->ways[i].errand);
            }
        }
        mkv__rdma_objects_destroy(all->verbs, &all->left);
    }
}
