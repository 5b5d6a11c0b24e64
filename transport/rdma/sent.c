/* Completions of the send queues. */
#include "transport/rdma/rdma.h"

#include <errno.h>

/* Bytes of a read lie in place. False: the session or the job is gone. */
static bool tell_landed(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job, uint64_t len)
{
    struct mkv__bulk *bulk = job->bulk;

    while (len > 0 && !job->aborted) {
        const struct mkv__piece *p = &bulk->pieces[job->landed_piece];
        uint64_t at = job->landed_at;
        uint64_t here = p->len - at < len ? p->len - at : len;
        uint32_t piece = job->landed_piece;

        if (here == 0) {
            job->landed_piece++;
            job->landed_at = 0;
            continue;
        }
        job->landed_at += here;
        len -= here;
        if (bulk->landed) {
            (void)bulk->landed(bulk, piece, at, (const uint8_t *)p->addr + at, here);
        }
        if (qp->conn->closing) {
            return false;
        }
    }
    return true;
}

void mkv__rdma_sent(struct mkv__rdma_qp *qp, uint64_t wr_id)
{
    struct mkv__conn *conn = qp->conn;
    uint32_t n = (((uint32_t)wr_id - qp->posted_head) & MKV_RDMA_COUNT) + 1;

    if (n > qp->n_posted) {
        mkv__rdma_conn_fail(conn, -EPROTO, "a completion of nothing");
        return;
    }
    while (n-- > 0) {
        struct mkv__rdma_posted *p = &qp->posted[qp->posted_head % MKV_RDMA_DEPTH];
        struct mkv__rdma_job *job = p->job;
        uint64_t bytes = p->bytes;

        qp->posted_head = (qp->posted_head + 1) & MKV_RDMA_COUNT;
        qp->n_posted--;
        qp->flight -= bytes;
        conn->endpoint->flight -= bytes;
        mkv__rdma_buffer_put(qp, p->buffer);
        if (!job) {
            continue;
        }
        /* It is still counted as in flight while its owner is told, so that it stays. */
        if (job->kind == MKV_RDMA_READ && !tell_landed(qp, job, bytes)) {
            return;
        }
        if (--job->in_flight == 0 && !job->queued) {
            mkv__rdma_job_end(qp, job, job->aborted ? -ECANCELED : 0);
        }
        if (conn->closing) {
            return;
        }
    }
    mkv__rdma_feed(conn->endpoint);
    mkv__rdma_wake(conn);
    mkv__rdma_up_if_all_is(conn);
}
