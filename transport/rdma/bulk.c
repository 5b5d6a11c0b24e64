#include "transport/rdma/rdma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* Requests of a slot are numbered; one may come, over another queue pair, behind its successor. */
static bool is_newer(uint64_t request_id, const struct mkv__rdma_remote *remote)
{
    return !remote->known || (int32_t)((request_id >> 32) - (remote->request_id >> 32)) > 0;
}

static uint64_t bytes_of(const struct mkv__bulk *bulk)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < bulk->n_pieces; i++) {
        sum += bulk->pieces[i].len;
    }
    return sum;
}

int mkv__rdma_values_keep(struct mkv__conn *conn, struct mkv__rdma_remote *remote)
{
    const struct mkv__bulk *bulk = remote->lent;
    uint8_t *grown;

    if (!bulk) {
        return 0;
    }
    grown = realloc(remote->values, remote->values_len + bytes_of(bulk) + 1);
    if (!grown) {
        return -ENOMEM;
    }
    remote->values = grown;
    remote->lent = NULL;
    for (uint32_t i = 0; i < bulk->n_pieces; i++) {
        const struct mkv__piece *p = &bulk->pieces[i];

        if (p->len > 0) {
            memcpy(grown + remote->values_len, p->addr, p->len);
            remote->values_len += (uint32_t)p->len;
            mkv__counter_add(&conn->device->counts.copied, p->len);
        }
    }
    return 0;
}

void mkv__rdma_values_drop(struct mkv__rdma_remote *remote)
{
    free(remote->values);
    remote->values = NULL;
    remote->values_len = 0;
    remote->lent = NULL;
}

/* For a request that exposes nothing: its values go with the reply. */
static int write_in_message(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(bulk->request_id)];
    int error;

    if (remote->request_id != bulk->request_id || !remote->in_message) {
        mkv__rdma_remote_new(remote, bulk->request_id);
        remote->in_message = true;
    }
    error = mkv__rdma_values_keep(conn, remote);
    if (!error && bytes_of(bulk) > MKV_RDMA_VALUES - remote->values_len) {
        error = -EPROTO;
    }
    error = error ? error : note_ranges(remote, bulk);
    error = error ? error
                  : mkv__rdma_put_over(mkv__rdma_bulk_qp(conn, bulk->request_id), bulk, true);
    if (error) {
        remote->n_ranges = 0;
        mkv__rdma_values_drop(remote);
        return error;
    }
    remote->lent = bulk;
    return 0;
}

int mkv__rdma_write(struct mkv__conn *conn, struct mkv__bulk *bulk)
{
    struct mkv__rdma_remote *remote;
    struct mkv__rdma_qp *qp;
    int error;

    if (mkv__rdma_by_tcp(conn, bulk->request_id)) {
        return conn->tcp ? mkv__tcp.write(conn->tcp, bulk) : -ECONNRESET;
    }
    error = check(conn, bulk);
    if (error) {
        return error;
    }
    remote = &conn->remotes[mkv__rdma_slot(bulk->request_id)];
    if (is_newer(bulk->request_id, remote) ||
        (remote->in_message && remote->request_id == bulk->request_id)) {
        return write_in_message(conn, bulk);
    }
    qp = mkv__rdma_bulk_qp(conn, bulk->request_id);
    if (!remote->there || remote->request_id != bulk->request_id) {
        return mkv__rdma_put_over(qp, bulk, false);
    }
    error = note_ranges(remote, bulk);
    return error ? error : mkv__rdma_put_bulk(qp, MKV_RDMA_WRITE, bulk);
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
    bulk->sent = bulk->checked = false;
    return mkv__rdma_put_bulk(qp, MKV_RDMA_READ, bulk);
}

bool mkv__rdma_unsay(struct mkv__rdma_qp *qp, uint64_t request_id)
{
    struct mkv__rdma_job *job = qp->jobs;

    while (job && (!job->replies || job->request_id != request_id || job->sent > 0)) {
        job = job->next;
    }
    if (job) {
        qp->conn->waiting -= job->len;
        mkv__rdma_job_end(qp, job, 0);
    }
    return job != NULL;
}

/* Takes a reply back that is queued behind the bulk, or with it. False: it leaves, so all of the bulk
 * has left. */
static bool take_back(struct mkv__conn *conn, uint64_t request_id)
{
    struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(request_id)];

    if (remote->request_id != request_id || !remote->replied) {
        return true;
    }
    if (!mkv__rdma_unsay(mkv__rdma_bulk_qp(conn, request_id), request_id) &&
        !(remote->in_message && mkv__rdma_unsay(conn->qps[0], request_id))) {
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
        mkv__rdma_values_drop(remote);
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
    if (job && take_back(conn, bulk->request_id)) {
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
    bool in_time;

    if (remote->known && remote->request_id != request_id && !is_newer(request_id, remote)) {
        if (conn->handlers->cancelled) { /* it exposed nothing, and its slot has the next one */
            conn->handlers->cancelled(conn, conn->arg, request_id);
        }
        return;
    }
    in_time = take_back(conn, request_id);
    mkv__rdma_remote_new(remote, request_id); /* nothing is left of an older one of its slot */
    remote->replied = !in_time;
    remote->fencing = true;
    if (conn->handlers->cancelled) {
        conn->handlers->cancelled(conn, conn->arg, request_id);
    }
    while (in_time && !conn->closing && (job = job_of(qp, NULL, request_id, false)) != NULL) {
        job_abort(qp, job);
    }
    mkv__rdma_fence_now(conn, request_id);
}
