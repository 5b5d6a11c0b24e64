#include "transport/rdma/rdma.h"

#include <errno.h>
#include <stdlib.h>

static int check(const struct mkv__conn *conn, const struct mkv__bulk *bulk)
{
    uint64_t left = mkv__rdma.limits.max_exposure;

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (!conn->server || mkv__rdma_slot(bulk->request_id) >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (bulk->n_pieces > mkv__rdma.limits.max_pieces) {
        return -EMSGSIZE;
    }
    for (uint32_t i = 0; i < bulk->n_pieces; i++) {
        if (bulk->pieces[i].len > left) {
            return -EMSGSIZE;
        }
        left -= bulk->pieces[i].len;
    }
    return 0;
}

/* For the reply, which tells the client where to look. */
static int note_ranges(struct mkv__rdma_remote *remote, const struct mkv__bulk *bulk)
{
    uint64_t *grown = realloc(
        remote->ranges, (2 * ((size_t)remote->n_ranges + bulk->n_pieces) + 1) * sizeof(*grown));

    if (!grown) {
        return -ENOMEM;
    }
    remote->ranges = grown;
    for (uint32_t i = 0; i < bulk->n_pieces; i++) {
        const struct mkv__piece *p = &bulk->pieces[i];
        uint64_t *last = remote->n_ranges > 0 ? grown + 2 * (remote->n_ranges - 1) : NULL;

        if (p->len == 0) {
            continue;
        }
        if (last && last[0] + last[1] == p->offset) {
            last[1] += p->len;
        } else {
            grown[2 * remote->n_ranges] = p->offset;
            grown[2 * remote->n_ranges + 1] = p->len;
            remote->n_ranges++;
        }
    }
    return 0;
}

int mkv__rdma_write(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    struct mkv__rdma_remote *remote;
    int error;

    if (mkv__rdma_by_tcp(conn, bulk->request_id)) {
        return conn->tcp ? mkv__tcp.write(conn->tcp, bulk) : -ECONNRESET;
    }
    error = check(conn, bulk);
    if (error) {
        return error;
    }
    remote = &conn->remotes[mkv__rdma_slot(bulk->request_id)];
    if (remote->there && remote->request_id == bulk->request_id) {
        error = note_ranges(remote, bulk);
    }
    return error ? error
                 : mkv__rdma_put_bulk(mkv__rdma_bulk_qp(conn, bulk->request_id), MKV_RDMA_WRITE,
                                      bulk);
}

static struct mkv__rdma_job *job_of(struct mkv__rdma_qp *qp, const struct mkv__bulk *bulk,
                                    uint64_t request_id, bool reads_of_slot)
{
    struct mkv__rdma_job *job = qp->all;

    for (; job; job = job->after) {
        if (!job->bulk || job->aborted) {
            continue;
        }
        if (bulk ? job->bulk == bulk
                 : job->bulk->request_id == request_id &&
                       (!reads_of_slot || job->kind == MKV_RDMA_READ)) {
            break;
        }
    }
    return job;
}

int mkv__rdma_read(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    struct mkv__rdma_qp *qp;
    int error;

    if (mkv__rdma_by_tcp(conn, bulk->request_id)) {
        return conn->tcp ? mkv__tcp.read(conn->tcp, bulk) : -ECONNRESET;
    }
    error = check(conn, bulk);
    if (error) {
        return error;
    }
    qp = mkv__rdma_bulk_qp(conn, bulk->request_id);
    if (job_of(qp, NULL, bulk->request_id, true)) {
        return -EINVAL;
    }
    return mkv__rdma_put_bulk(qp, MKV_RDMA_READ, bulk);
}

/* Takes a reply back that is queued behind the bulk. False: it leaves, so all of the bulk has left. */
static bool take_back(struct mkv__rdma_qp *qp, uint64_t request_id)
{
    struct mkv__rdma_remote *remote = &qp->conn->remotes[mkv__rdma_slot(request_id)];

    if (remote->request_id != request_id || !remote->replied) {
        return true;
    }
    if (!mkv__rdma_unsay(qp, request_id)) {
        return false;
    }
    remote->replied = remote->ended = false;
    return true;
}

/* What is on its way ends first: its memory is in use until then. */
static void job_abort(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job)
{
    struct mkv__conn *conn = qp->conn;
    struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(job->bulk->request_id)];

    if (remote->request_id == job->bulk->request_id) {
        remote->n_ranges = 0;
    }
    mkv__rdma_job_unqueue(qp, job);
    job->aborted = true;
    if (job->in_flight == 0) {
        mkv__rdma_job_end(qp, job, -ECANCELED);
    }
}

void mkv__rdma_abort(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    struct mkv__rdma_job *job;
    struct mkv__rdma_qp *qp;

    if (mkv__rdma_slot(bulk->request_id) >= MKV_REQUESTS_MAX || conn->closing) {
        return;
    }
    if (mkv__rdma_by_tcp(conn, bulk->request_id)) {
        if (conn->tcp) {
            mkv__tcp.abort(conn->tcp, bulk);
        }
        return;
    }
    qp = mkv__rdma_bulk_qp(conn, bulk->request_id);
    job = job_of(qp, bulk, 0, false);
    if (job && take_back(qp, bulk->request_id)) {
        mkv__rdma_enter(conn->endpoint);
        job_abort(qp, job);
        mkv__rdma_leave(conn->endpoint);
    }
}

/* Says FENCED as soon as nothing of the request is on its way. */
static void fence(struct mkv__conn *conn, uint64_t request_id)
{
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION, .type = MKV_TYPE_FENCED, .request_id = request_id};
    struct mkv__rdma_qp *qp = mkv__rdma_bulk_qp(conn, request_id);

    for (struct mkv__rdma_job *job = qp->all; job; job = job->after) {
        if (job->bulk && job->bulk->request_id == request_id) {
            return;
        }
    }
    conn->remotes[mkv__rdma_slot(request_id)].fencing = false;
    if (mkv__rdma_put_first(qp, &header) < 0) {
        mkv__rdma_conn_fail(conn, -ENOMEM, "out of memory");
    }
}

void mkv__rdma_fence_now(struct mkv__conn *conn, uint64_t request_id)
{
    const struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(request_id)];

    if (!conn->closing && remote->fencing && remote->request_id == request_id) {
        fence(conn, request_id);
    }
}

void mkv__rdma_withdrawn(struct mkv__conn *conn, uint64_t request_id)
{
    struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(request_id)];
    struct mkv__rdma_qp *qp = mkv__rdma_bulk_qp(conn, request_id);
    struct mkv__rdma_job *job;
    bool in_time = take_back(qp, request_id);

    remote->there = false;
    remote->request_id = request_id;
    remote->fencing = true;
    if (conn->handlers->cancelled) {
        conn->handlers->cancelled(conn, conn->arg, request_id);
    }
    while (in_time && !conn->closing && (job = job_of(qp, NULL, request_id, false)) != NULL) {
        job_abort(qp, job);
    }
    mkv__rdma_fence_now(conn, request_id);
}
