/*
 * Output of a queue pair: jobs in their order, as chains of work requests with one doorbell and one
 * completion each. A message goes out as SENDs of at most one receive buffer of the peer:
 *
 *   0 credits u16 | 2 flags u8 (1: the last of its message, 2: credits only) | 3 zero u8[5] | bytes
 */
#include "core/auth/auth.h"
#include "transport/rdma/rdma.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (MKV_RDMA_BUFFER - MKV_RDMA_PREFIX)
#define KEPT  2u /* credits that messages leave for credits */
#define LENT \
    12u /* send buffers that messages may lie in before they leave: the others always come back */

_Static_assert(LENT + 2 < MKV_RDMA_SENDS && MKV_RDMA_SENDS <= 32, "see step_message");

/* Send buffers ----------------------------------------------------------------------------------- */

static uint32_t buffers_left(const struct mkv__rdma_qp *qp)
{
    return (uint32_t)__builtin_popcount(qp->buffers);
}

/* The lowest, which is hot. Returns its number + 1. */
static uint8_t buffer_take(struct mkv__rdma_qp *qp)
{
    uint32_t i = (uint32_t)__builtin_ctz(qp->buffers);

    qp->buffers &= ~(1u << i);
    return (uint8_t)(i + 1);
}

/* Jobs ------------------------------------------------------------------------------------------- */

static void job_list(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job)
{
    job->queued = true;
    job->after = qp->all;
    job->link = &qp->all;
    if (job->after) {
        job->after->link = &job->after;
    }
    qp->all = job;
    mkv__rdma_wake(qp->conn);
}

static void job_queue(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job)
{
    *qp->jobs_end = job;
    qp->jobs_end = &job->next;
    job_list(qp, job);
}

/* Before all that has not begun. */
static void job_queue_first(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job)
{
    struct mkv__rdma_job **at = qp->jobs && qp->jobs->sent > 0 ? &qp->jobs->next : &qp->jobs;

    job->next = *at;
    *at = job;
    if (!job->next) {
        qp->jobs_end = &job->next;
    }
    job_list(qp, job);
}

void mkv__rdma_job_unqueue(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job)
{
    struct mkv__rdma_job **at = &qp->jobs;

    while (*at && *at != job) {
        at = &(*at)->next;
    }
    if (!*at) {
        return;
    }
    *at = job->next;
    if (qp->jobs_end == &job->next) {
        qp->jobs_end = at;
    }
    job->queued = false;
}

void mkv__rdma_job_end(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job, int status)
{
    struct mkv__bulk *bulk = job->bulk;
    bool closes = job->kind == MKV_RDMA_INVALIDATE;
    uint32_t slot = job->slot;

    mkv__rdma_job_unqueue(qp, job);
    *job->link = job->after;
    if (job->after) {
        job->after->link = job->link;
    }
    mkv__rdma_strays_put(qp->conn->endpoint, &job->strays);
    mkv__rdma_buffer_put(qp, job->buffer);
    free(job);
    if (bulk) {
        uint64_t request_id = bulk->request_id;
        struct mkv__rdma_remote *remote = &qp->conn->remotes[mkv__rdma_slot(request_id)];

        if (remote->lent == bulk && mkv__rdma_values_keep(qp->conn, remote) < 0) {
            status = -ECANCELED;
            remote->n_ranges = 0;
            mkv__rdma_values_drop(remote);
        }
        bulk->done(bulk, status);
        mkv__rdma_fence_now(qp->conn, request_id);
    } else if (closes && status == 0) {
        mkv__rdma_closed_window(qp->conn, slot);
    }
}

void mkv__rdma_jobs_drop(struct mkv__rdma_qp *qp, int status)
{
    while (qp->n_posted > 0) {
        mkv__rdma_buffer_put(
            qp, qp->posted[(qp->posted_head + --qp->n_posted) % MKV_RDMA_DEPTH].buffer);
    }
    qp->conn->endpoint->flight -= qp->flight;
    qp->flight = 0;
    mkv__rdma_feed(qp->conn->endpoint);
    while (qp->all) {
        mkv__rdma_job_end(qp, qp->all, status);
    }
}

static uint8_t *append(uint8_t *at, const void *bytes, size_t len)
{
    if (len > 0 && bytes) {
        memcpy(at, bytes, len);
    }
    return at + len;
}

/* A short one is written where it leaves from. */
static struct mkv__rdma_job *message_alloc(struct mkv__rdma_qp *qp, size_t len)
{
    bool lent = len <= PIECE && buffers_left(qp) > MKV_RDMA_SENDS - LENT;
    struct mkv__rdma_job *job = malloc(sizeof(*job) + (lent ? 0 : len));

    if (!job) {
        return NULL;
    }
    memset(job, 0, sizeof(*job)); /* not what is written next */
    job->kind = MKV_RDMA_MESSAGE;
    job->len = len;
    job->bytes = job->own;
    if (lent) {
        job->buffer = buffer_take(qp);
        job->bytes = mkv__rdma_send_buffer(qp, job->buffer - 1u) + MKV_RDMA_PREFIX;
    }
    return job;
}

/* aux says what comes before the body, and what behind it. */
static struct mkv__rdma_job *message_new(struct mkv__rdma_qp *qp, const struct mkv__header *header,
                                         const void *body, const struct mkv__rdma_extra *extra)
{
    struct mkv__header h = *header;
    size_t len = extra->before_len + header->body_len + extra->values_len;
    struct mkv__rdma_job *job = message_alloc(qp, MKV_HEADER_BYTES + len);
    uint8_t *at;

    if (!job) {
        return NULL;
    }
    h.aux = extra->before_len | (uint64_t)extra->values_len << 32;
    h.body_len = (uint32_t)len;
    job->request_id = header->request_id;
    job->replies = header->type >= 32 && qp->conn->server;
    job->sealed = len - extra->values_len;
    job->invalidates = extra->invalidate != NULL;
    job->rkey = extra->invalidate ? *extra->invalidate : 0;
    mkv__header_encode(&h, job->bytes);
    at = append(job->bytes + MKV_HEADER_BYTES, extra->before, extra->before_len);
    at = append(at, body, header->body_len);
    append(at, extra->values, extra->values_len);
    return job;
}

/* NULL: there was no memory for it. */
static int message_put(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job,
                       void (*put)(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job))
{
    if (!job) {
        return -ENOMEM;
    }
    mkv__counter_add(&qp->conn->device->counts.copied, job->len);
    qp->conn->waiting += job->len;
    put(qp, job);
    return 0;
}

int mkv__rdma_put_message(struct mkv__rdma_qp *qp, const struct mkv__header *header,
                          const void *body, const struct mkv__rdma_extra *extra)
{
    static const struct mkv__rdma_extra nothing;

    return message_put(qp, message_new(qp, header, body, extra ? extra : &nothing), job_queue);
}

int mkv__rdma_put_first(struct mkv__rdma_qp *qp, const struct mkv__header *header)
{
    static const struct mkv__rdma_extra nothing;

    return message_put(qp, message_new(qp, header, NULL, &nothing), job_queue_first);
}

int mkv__rdma_put_bulk(struct mkv__rdma_qp *qp, enum mkv__rdma_job_kind kind,
                       struct mkv__bulk *bulk)
{
    struct mkv__rdma_job *job = calloc(1, sizeof(*job));
    int error;

    if (!job) {
        return -ENOMEM;
    }
    error = mkv__rdma_strays_get(qp->conn->endpoint, bulk->pieces, bulk->n_pieces,
                                 qp->conn->device_index,
                                 kind == MKV_RDMA_READ ? IBV_ACCESS_LOCAL_WRITE : 0, &job->strays);
    if (error) {
        free(job);
        return error;
    }
    job->kind = kind;
    job->bulk = bulk;
    job_queue(qp, job);
    return 0;
}

int mkv__rdma_put_over(struct mkv__rdma_qp *qp, struct mkv__bulk *bulk, bool moved)
{
    struct mkv__rdma_job *job = calloc(1, sizeof(*job));

    if (!job) {
        return -ENOMEM;
    }
    job->kind = MKV_RDMA_WRITE;
    job->bulk = bulk;
    job->piece = moved ? bulk->n_pieces : 0;
    job_queue_first(qp, job);
    return 0;
}

static int put_window(struct mkv__rdma_qp *qp, enum mkv__rdma_job_kind kind,
                      struct mkv__rdma_window *window, bool writable, uint32_t slot)
{
    struct mkv__rdma_job *job = calloc(1, sizeof(*job));

    if (!job) {
        return -ENOMEM;
    }
    job->kind = kind;
    job->window = window;
    job->writable = writable;
    job->slot = slot;
    job_queue(qp, job);
    return 0;
}

int mkv__rdma_put_bind(struct mkv__rdma_qp *qp, struct mkv__rdma_window *window, bool writable)
{
    return put_window(qp, MKV_RDMA_BIND, window, writable, 0);
}

int mkv__rdma_put_invalidate(struct mkv__rdma_qp *qp, struct mkv__rdma_window *window,
                             uint32_t slot)
{
    return put_window(qp, MKV_RDMA_INVALIDATE, window, false, slot);
}

/* Work requests ---------------------------------------------------------------------------------- */

static struct ibv_send_wr *next_wr(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c,
                                   struct mkv__rdma_job *job, uint64_t bytes, uint8_t buffer)
{
    struct ibv_send_wr *wr = &c->wrs[c->n];
    uint32_t count = (qp->posted_head + qp->n_posted) & MKV_RDMA_COUNT;

    memset(wr, 0, sizeof(*wr));
    wr->wr_id = count;
    wr->sg_list = c->sges[c->n];
    if (c->n > 0) {
        c->wrs[c->n - 1].next = wr;
    }
    c->n++;
    qp->posted[count % MKV_RDMA_DEPTH] = (struct mkv__rdma_posted){
        .job = job,
        .bytes = bytes,
        .posted_ns = mkv__worker_now(qp->conn->endpoint->worker),
        .buffer = buffer,
    };
    qp->n_posted++;
    qp->flight += bytes;
    qp->conn->endpoint->flight += bytes;
    mkv__counter_add(&qp->conn->device->counts.moved, bytes);
    if (job) {
        job->in_flight++;
    }
    return wr;
}

/* A buffer whose bytes lie in their place: it is the work request's. */
static struct ibv_send_wr *put_send(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c,
                                    struct mkv__rdma_job *job, uint8_t number, size_t len,
                                    uint8_t flags)
{
    struct ibv_send_wr *wr = next_wr(qp, c, job, 0, number);
    uint8_t *buffer = mkv__rdma_send_buffer(qp, number - 1u);
    uint16_t credits = htole16((uint16_t)*qp->owed);

    memset(buffer, 0, MKV_RDMA_PREFIX);
    memcpy(buffer, &credits, sizeof(credits));
    buffer[2] = flags;
    wr->opcode = IBV_WR_SEND;
    wr->num_sge = 1;
    wr->sg_list[0] = (struct ibv_sge){(uintptr_t)buffer, (uint32_t)(MKV_RDMA_PREFIX + len),
                                      qp->conn->buffers_mr->lkey};
    if (MKV_RDMA_PREFIX + len <= qp->inline_bytes) {
        wr->send_flags |= IBV_SEND_INLINE;
    }
    *qp->owed = 0;
    --*qp->credits;
    return wr;
}

/* The next bytes of a message, in a buffer. */
static uint8_t fill_buffer(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job, size_t len)
{
    uint8_t number = job->buffer;

    job->buffer = 0;
    if (number == 0) {
        number = buffer_take(qp);
        memcpy(mkv__rdma_send_buffer(qp, number - 1u) + MKV_RDMA_PREFIX, job->bytes + job->sent,
               len);
        mkv__counter_add(&qp->conn->device->counts.copied, len);
    }
    return number;
}

/* Sequence numbers follow the order on the wire, so a message is sealed when it begins to leave. */
static int seal(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job)
{
    qp->conn->prepared = false;
    return mkv__seal_apply(qp->send_seal, job->bytes, job->bytes + MKV_HEADER_BYTES,
                           (uint32_t)job->sealed);
}

/* The next SEND of a message: 1; 0: it has to wait. */
static int step_message(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c,
                        struct mkv__rdma_job *job)
{
    size_t left = job->len - job->sent;
    size_t now = left < PIECE ? left : PIECE;
    struct ibv_send_wr *wr;
    int error;

    /* One is left for credits. */
    if (*qp->credits <= KEPT || (job->buffer == 0 && buffers_left(qp) < 2)) {
        return 0;
    }
    error = job->sent == 0 ? seal(qp, job) : 0;
    if (error) {
        return error;
    }
    wr = put_send(qp, c, job, fill_buffer(qp, job, now), now, now == left ? 1 : 0);
    job->sent += now;
    if (job->sent == job->len) {
        if (job->invalidates) {
            wr->opcode = IBV_WR_SEND_WITH_INV;
            wr->invalidate_rkey = job->rkey;
        }
        qp->conn->waiting -= job->len;
        mkv__rdma_job_unqueue(qp, job);
    }
    return 1;
}

/* A window opens with a new key, which the request behind it names. */
static void step_window(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c,
                        struct mkv__rdma_job *job)
{
    struct ibv_send_wr *wr = next_wr(qp, c, job, 0, 0);
    struct mkv__rdma_window *w = job->window;

    mkv__rdma_job_unqueue(qp, job);
    if (job->kind == MKV_RDMA_INVALIDATE) {
        wr->opcode = IBV_WR_LOCAL_INV;
        wr->invalidate_rkey = w->rkey;
        return;
    }
    wr->opcode = IBV_WR_BIND_MW;
    wr->bind_mw.mw = w->mw;
    wr->bind_mw.rkey = w->rkey;
    wr->bind_mw.bind_info = (struct ibv_mw_bind_info){
        .mr = w->mr,
        .addr = w->address,
        .length = w->len,
        .mw_access_flags = job->writable ? IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ,
    };
    c->binds[c->n_binds++] = w;
}

/* What a window's key was is asked for by the bind that changes it. */
static void bound(struct mkv__rdma_chain *c)
{
    for (uint32_t i = 0; i < c->n_binds; i++) {
        c->binds[i]->mw->rkey = c->binds[i]->rkey;
    }
}

static void settle(struct mkv__rdma_job *job)
{
    const struct mkv__bulk *bulk = job->bulk;

    while (job->piece < bulk->n_pieces && job->at >= bulk->pieces[job->piece].len) {
        job->piece++;
        job->at = 0;
    }
}

/* Fills the local side of a work request with at most len bytes that follow each other in the linear
 * space. Returns how many. */
static uint64_t gather(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job, uint64_t len,
                       struct ibv_sge *sges, int *n_out)
{
    const struct mkv__bulk *bulk = job->bulk;
    uint64_t offset = bulk->pieces[job->piece].offset + job->at;
    uint64_t sum = 0;
    uint32_t n = 0;

    while (sum < len && n < qp->conn->device->max_sge) {
        const struct mkv__piece *p;
        struct ibv_mr *mr;
        uint64_t here, registered;

        settle(job);
        if (job->piece >= bulk->n_pieces) {
            break;
        }
        p = &bulk->pieces[job->piece];
        if (p->offset + job->at != offset + sum) {
            break;
        }
        here = p->len - job->at < len - sum ? p->len - job->at : len - sum;
        mr = mkv__rdma_region_at(qp->conn->endpoint, &job->strays, (uint8_t *)p->addr + job->at,
                                 qp->conn->device_index, &registered);
        if (!mr) {
            break;
        }
        here = here < registered ? here : registered;
        sges[n++] = (struct ibv_sge){(uintptr_t)p->addr + job->at, (uint32_t)here, mr->lkey};
        job->at += here;
        sum += here;
    }
    *n_out = (int)n;
    return sum;
}

/* Others have the NIC full: it goes on when some of theirs is done, in turn. */
static void starve(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;

    if (!conn->starved) {
        conn->starved = true;
        conn->next_starved = NULL;
        *ep->starved_end = conn;
        ep->starved_end = &conn->next_starved;
    }
}

void mkv__rdma_unstarve(struct mkv__conn *conn)
{
    struct mkv__endpoint *ep = conn->endpoint;
    struct mkv__conn **at = &ep->starved;

    if (!conn->starved) {
        return;
    }
    while (*at != conn) {
        at = &(*at)->next_starved;
    }
    *at = conn->next_starved;
    if (ep->starved_end == &conn->next_starved) {
        ep->starved_end = at;
    }
    conn->starved = false;
}

void mkv__rdma_feed(struct mkv__endpoint *ep)
{
    struct mkv__conn *conn = ep->starved;

    if (conn && ep->flight < MKV_RDMA_NIC_FLIGHT) {
        mkv__rdma_unstarve(conn);
        mkv__rdma_wake(conn);
    }
}

/* The next WRITE or READ of a bulk. 1: made; 0: it has to wait, or it is all posted; -EPROTO. */
static int step_bulk(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c, struct mkv__rdma_job *job)
{
    struct mkv__conn *conn = qp->conn;
    const struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(job->bulk->request_id)];
    struct ibv_sge sges[MKV_RDMA_SGE];
    struct ibv_send_wr *wr;
    uint64_t address, run, len;
    uint32_t rkey;
    int n = 0;

    qp->full = qp->flight >= MKV_RDMA_FLIGHT || (qp->full && qp->flight > MKV_RDMA_FLIGHT / 2);
    if (qp->full) {
        return 0;
    }
    if (conn->endpoint->flight >= MKV_RDMA_NIC_FLIGHT) {
        starve(conn);
        return 0;
    }
    run = mkv__rdma_remote_at(remote, job->bulk->pieces[job->piece].offset + job->at, &address,
                              &rkey);
    run = run < MKV_RDMA_SLICE ? run : MKV_RDMA_SLICE;
    len = run > 0 ? gather(qp, job, run, sges, &n) : 0;
    if (len == 0) {
        return -EPROTO;
    }
    wr = next_wr(qp, c, job, len, 0);
    memcpy(wr->sg_list, sges, (size_t)n * sizeof(sges[0]));
    wr->num_sge = n;
    wr->opcode = job->kind == MKV_RDMA_WRITE ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
    wr->wr.rdma.remote_addr = address;
    wr->wr.rdma.rkey = rkey;
    settle(job);
    if (job->piece >= job->bulk->n_pieces) {
        mkv__rdma_job_unqueue(qp, job);
    }
    return 1;
}

/* Nothing is left to post of it, or its request was withdrawn. */
static bool is_over(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job)
{
    const struct mkv__rdma_remote *r;

    if (!job->bulk) {
        return false;
    }
    r = &qp->conn->remotes[mkv__rdma_slot(job->bulk->request_id)];
    settle(job);
    return job->piece >= job->bulk->n_pieces || !r->there || r->request_id != job->bulk->request_id;
}

/* Ends bulk at the head that moves nothing (any more). False: the session is closed. */
static bool end_empty(struct mkv__rdma_qp *qp)
{
    struct mkv__conn *conn = qp->conn;

    while (!conn->closing && qp->jobs && qp->jobs->bulk) {
        struct mkv__rdma_job *job = qp->jobs;

        if (!is_over(qp, job)) {
            return true;
        }
        mkv__rdma_job_unqueue(qp, job);
        if (job->in_flight == 0) {
            bool nothing = job->piece >= job->bulk->n_pieces;

            if (!nothing) { /* it was withdrawn before, and a reply behind it does not leave */
                (void)mkv__rdma_unsay(qp, job->bulk->request_id);
            }
            mkv__rdma_job_end(qp, job, nothing ? 0 : -ECANCELED);
        } else {
            job->aborted = true;
        }
    }
    return !conn->closing;
}

/* The next work request of a job: 1; 0: it has to wait; -EPROTO. */
static int step(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c, struct mkv__rdma_job *job)
{
    if (job->kind == MKV_RDMA_MESSAGE) {
        return step_message(qp, c, job);
    }
    if (job->bulk) {
        return step_bulk(qp, c, job);
    }
    step_window(qp, c, job);
    return 1;
}

static int fill(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c)
{
    c->n = c->n_binds = 0;
    while (qp->n_posted + 1 < MKV_RDMA_DEPTH) {
        struct mkv__rdma_job *job = qp->jobs;
        int made;

        /* What ends here would tell its owner, which may close: not in the middle of a chain. */
        if (!job || is_over(qp, job)) {
            break;
        }
        made = step(qp, c, job);
        if (made < 0) {
            return made;
        }
        if (made == 0) {
            break;
        }
    }
    if (c->n == 0 && *qp->owed >= MKV_RDMA_RECEIVES / 2 && *qp->credits > 0 && qp->buffers != 0 &&
        qp->n_posted < MKV_RDMA_DEPTH) {
        (void)put_send(qp, c, NULL, buffer_take(qp), 0, 2);
    }
    return 0;
}

/* Completions: of the last; of one in so many; and early enough for more to follow before all that may
 * be on its way is done. */
static void signal_some(struct mkv__rdma_qp *qp, struct mkv__rdma_chain *c)
{
    uint32_t first = (qp->posted_head + qp->n_posted - c->n) & MKV_RDMA_COUNT, since = 0;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < c->n; i++) {
        bytes += qp->posted[(first + i) % MKV_RDMA_DEPTH].bytes;
        if (++since == MKV_RDMA_SIGNAL || bytes >= MKV_RDMA_FLIGHT / 2 || i == c->n - 1) {
            c->wrs[i].send_flags |= IBV_SEND_SIGNALED;
            mkv__counter_inc(&qp->conn->device->counts.signaled);
            since = 0;
            bytes = 0;
        }
    }
}

void mkv__rdma_flush(struct mkv__rdma_qp *qp)
{
    struct mkv__rdma_chain *chain = &qp->conn->endpoint->chain;

    while (qp->up && end_empty(qp)) {
        struct ibv_send_wr *bad;
        int error = fill(qp, chain);

        if (error) {
            mkv__rdma_conn_fail(qp->conn, error,
                                error == -EPROTO ? "bulk outside of the exposure"
                                                 : "a message cannot be sealed");
            return;
        }
        if (chain->n == 0) {
            return;
        }
        signal_some(qp, chain);
        mkv__counter_inc(&qp->conn->device->counts.doorbells);
        if (ibv_post_send(qp->qp, chain->wrs, &bad) != 0) {
            mkv__rdma_conn_fail(qp->conn, -ECONNRESET, "the device takes no work request");
            return;
        }
        bound(chain);
        mkv__rdma_polled(qp->conn);
    }
}
