/*
 * The output queue of a lane. Sequence numbers are given when a frame is formed, in the order in
 * which the bytes leave; so messages are sealed and DATA frames are cut only when the socket is
 * about to take them, and a sealed frame is never withdrawn: what its owner takes away goes out as
 * zeros.
 */
#include "core/checksum.h"
#include "transport/tcp/tcp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zeros[64u << 10];

static int out_reserve(struct mkv__tcp_lane *lane, size_t len)
{
    size_t used = lane->out_end - lane->out_begin;
    size_t cap = lane->out_cap ? lane->out_cap : 4096;
    uint8_t *out;

    if (lane->out_end + len <= lane->out_cap) {
        return 0;
    }
    if (lane->out_begin > 0 && lane->out_begin >= used) {
        memmove(lane->out, lane->out + lane->out_begin, used);
        lane->out_sealed -= lane->out_begin;
        lane->out_begin = 0;
        lane->out_end = used;
        if (used + len <= lane->out_cap) {
            return 0;
        }
    }
    while (cap < lane->out_end + len) {
        cap *= 2;
    }
    out = realloc(lane->out, cap);
    if (!out) {
        return -ENOMEM;
    }
    lane->out = out;
    lane->out_cap = cap;
    return 0;
}

int mkv__tcp_put_job(struct mkv__tcp_lane *lane, const struct mkv__tcp_job *job)
{
    if (lane->n_jobs == lane->jobs_cap) {
        size_t cap = lane->jobs_cap ? lane->jobs_cap * 2 : 16;
        struct mkv__tcp_job *jobs = malloc(cap * sizeof(*jobs));

        if (!jobs) {
            return -ENOMEM;
        }
        for (size_t i = 0; i < lane->n_jobs; i++) {
            jobs[i] = lane->jobs[(lane->jobs_head + i) & (lane->jobs_cap - 1)];
        }
        free(lane->jobs);
        lane->jobs = jobs;
        lane->jobs_cap = cap;
        lane->jobs_head = 0;
    }
    lane->jobs[(lane->jobs_head + lane->n_jobs++) & (lane->jobs_cap - 1)] = *job;
    if (lane->conn) {
        mkv__tcp_wake(lane->conn);
    }
    return 0;
}

int mkv__tcp_put_message(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                         const void *body)
{
    size_t len = MKV_HEADER_BYTES + header->body_len;
    struct mkv__tcp_job job = {.left = len};
    int error;

    error = out_reserve(lane, len);
    if (error) {
        return error;
    }
    error = mkv__tcp_put_job(lane, &job);
    if (error) {
        return error;
    }
    mkv__header_encode(header, lane->out + lane->out_end);
    if (header->body_len) {
        memcpy(lane->out + lane->out_end + MKV_HEADER_BYTES, body, header->body_len);
    }
    lane->out_end += len;
    if (lane->conn) {
        lane->conn->waiting += len;
        /* A peer that does not read is not read from. Only servers: two that wait would wait on. */
        if (lane->conn->server && lane->conn->waiting > MKV_TCP_PAUSE) {
            lane->conn->paused = true;
        }
    }
    return 0;
}

bool mkv__tcp_drop(struct mkv__tcp_lane *lane, const void *owner)
{
    size_t kept = 0;
    bool found = false;

    for (uint32_t i = 0; i < lane->n_frames; i++) {
        struct mkv__tcp_frame *frame = &lane->frames[(lane->frames_head + i) % MKV_TCP_FRAMES];

        if (!frame->is_message && frame->owner == owner) {
            frame->owner = NULL;
            frame->last = false;
            found = true;
        }
    }
    for (size_t i = 0; i < lane->n_jobs; i++) {
        struct mkv__tcp_job *job = &lane->jobs[(lane->jobs_head + i) & (lane->jobs_cap - 1)];

        if (job->owner == owner) {
            found = true;
        } else {
            lane->jobs[(lane->jobs_head + kept++) & (lane->jobs_cap - 1)] = *job;
        }
    }
    lane->n_jobs = kept;
    return found;
}

static struct mkv__tcp_frame *frame_push(struct mkv__tcp_lane *lane)
{
    struct mkv__tcp_frame *frame;

    frame = &lane->frames[(lane->frames_head + lane->n_frames++) % MKV_TCP_FRAMES];
    frame->total = 0;
    frame->sent = 0;
    frame->owner = NULL;
    frame->is_message = false;
    frame->is_bulk = false;
    frame->last = false;
    return frame;
}

static void job_pop(struct mkv__tcp_lane *lane)
{
    lane->jobs_head = (lane->jobs_head + 1) & (lane->jobs_cap - 1);
    lane->n_jobs--;
}

static int form_message(struct mkv__tcp_lane *lane, const struct mkv__tcp_job *job)
{
    uint8_t *at = lane->out + lane->out_sealed;
    struct mkv__tcp_frame *frame;
    int error = 0;

    /* The handshake's own frames come before there is a seal. */
    if (lane->send_seal && !(at[5] >= MKV_TYPE_HELLO && at[5] <= MKV_TYPE_REFUSE)) {
        error = mkv__seal_apply(lane->send_seal, at, at + MKV_HEADER_BYTES,
                                job->left - MKV_HEADER_BYTES);
    }
    if (error) {
        return error;
    }
    frame = frame_push(lane);
    frame->is_message = true;
    frame->total = job->left;
    lane->out_sealed += job->left;
    job_pop(lane);
    return 0;
}

static uint64_t crc_of(struct mkv__tcp_cursor from, uint64_t len)
{
    uint64_t crc = MKV_CRC_BEGIN;

    while (len > 0) {
        const struct mkv__piece *piece = &from.pieces[from.piece];
        uint64_t here = piece->len - from.offset < len ? piece->len - from.offset : len;

        crc = mkv__crc(crc, (uint8_t *)piece->addr + from.offset, here);
        len -= here;
        mkv__tcp_cursor_advance(&from, here);
    }
    return ~crc;
}

static bool summed(const struct mkv__tcp_job *job)
{
    const struct mkv__exposure *e = job->is_bulk ? NULL : job->owner;

    return e && e->summed;
}

static int form_data(struct mkv__tcp_lane *lane, struct mkv__tcp_job *job)
{
    struct mkv__tcp_frame *frame;
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION, .type = MKV_TYPE_DATA, .request_id = job->request_id};
    uint64_t max = job->left < MKV_DATA_MAX ? job->left : MKV_DATA_MAX;
    uint64_t run = mkv__tcp_cursor_run(job->from, max, MKV_TCP_FRAME_IOV);
    int error;

    frame = frame_push(lane);
    frame->owner = job->owner;
    frame->is_bulk = job->is_bulk;
    mkv__tcp_cursor_settle(&job->from);
    frame->from = job->from;
    if (run > 0) {
        if (summed(job)) {
            header.sum = crc_of(job->from, run);
        }
        header.body_len = (uint32_t)run;
        header.aux = job->from.pieces[job->from.piece].offset + job->from.offset;
        mkv__header_encode(&header, frame->header);
        error = mkv__seal_apply(lane->send_seal, frame->header, NULL, 0);
        if (error) {
            lane->n_frames--;
            return error;
        }
        frame->total = MKV_HEADER_BYTES + run;
        mkv__tcp_cursor_advance(&job->from, run);
        job->left -= run;
    }
    if (job->left == 0 || run == 0) {
        frame->last = true;
        job_pop(lane);
    }
    return 0;
}

/* Seals as much as one sendmsg should carry. */
static int form(struct mkv__tcp_lane *lane)
{
    uint64_t bytes = 0;
    int error = 0;

    for (uint32_t i = 0; i < lane->n_frames; i++) {
        const struct mkv__tcp_frame *f = &lane->frames[(lane->frames_head + i) % MKV_TCP_FRAMES];

        bytes += f->total - f->sent;
    }
    while (!error && lane->n_jobs > 0 && lane->n_frames < MKV_TCP_FRAMES && bytes < MKV_TCP_BATCH) {
        struct mkv__tcp_job *job = &lane->jobs[lane->jobs_head];

        error = job->owner ? form_data(lane, job) : form_message(lane, job);
        if (!error) {
            const struct mkv__tcp_frame *f =
                &lane->frames[(lane->frames_head + lane->n_frames - 1) % MKV_TCP_FRAMES];
            bytes += f->total;
        }
    }
    return error;
}

static uint64_t iov_plain(const uint8_t *at, uint64_t len, struct iovec *iov, size_t *n)
{
    iov[*n].iov_base = (void *)(uintptr_t)at;
    iov[*n].iov_len = len;
    (*n)++;
    return len;
}

/* One frame's unsent bytes. False: iov is full before its end. */
static bool frame_iov(const struct mkv__tcp_frame *f, struct iovec *iov, size_t *n, size_t cap,
                      uint64_t *bytes)
{
    struct mkv__tcp_cursor from = f->from;
    uint64_t skip = f->sent;
    uint64_t body = f->total - MKV_HEADER_BYTES;
    uint64_t taken = 0;

    if (skip < MKV_HEADER_BYTES) {
        *bytes += iov_plain(f->header + skip, MKV_HEADER_BYTES - skip, iov, n);
        skip = 0;
    } else {
        skip -= MKV_HEADER_BYTES;
    }
    body -= skip;
    if (f->owner) {
        mkv__tcp_cursor_advance(&from, skip);
        taken = mkv__tcp_cursor_iov(from, body, iov, n, cap);
    } else {
        while (taken < body && *n < cap) {
            uint64_t len = body - taken < sizeof(zeros) ? body - taken : sizeof(zeros);

            taken += iov_plain(zeros, len, iov, n);
        }
    }
    *bytes += taken;
    return taken == body;
}

static uint64_t build(struct mkv__tcp_lane *lane, struct iovec *iov, size_t *n_out)
{
    const uint8_t *message = lane->out + lane->out_begin;
    uint64_t bytes = 0;
    size_t n = 0;

    for (uint32_t i = 0; i < lane->n_frames && n + 2 < MKV_TCP_IOV; i++) {
        const struct mkv__tcp_frame *f = &lane->frames[(lane->frames_head + i) % MKV_TCP_FRAMES];

        if (f->total == 0) {
            continue;
        }
        if (f->is_message) {
            bytes += iov_plain(message, f->total - f->sent, iov, &n);
            message += f->total - f->sent;
        } else if (!frame_iov(f, iov, &n, MKV_TCP_IOV, &bytes)) {
            break;
        }
    }
    *n_out = n;
    return bytes;
}

static void out_sent(struct mkv__tcp_lane *lane, size_t len)
{
    lane->out_begin += len;
    if (lane->conn) {
        lane->conn->waiting -= len;
    }
    if (lane->out_begin == lane->out_end) {
        lane->out_begin = 0;
        lane->out_sealed = 0;
        lane->out_end = 0;
        if (lane->out_cap > MKV_TCP_OUT_KEPT) {
            free(lane->out);
            lane->out = NULL;
            lane->out_cap = 0;
        }
    }
}

/* n bytes are in the kernel: pops what is whole and completes bulks. */
static void consume(struct mkv__tcp_lane *lane, uint64_t n)
{
    while (lane->n_frames > 0 && lane->state != MKV_TCP_DEAD) {
        struct mkv__tcp_frame *f = &lane->frames[lane->frames_head];
        uint64_t here = f->total - f->sent < n ? f->total - f->sent : n;
        struct mkv__bulk *bulk = NULL;

        f->sent += here;
        n -= here;
        if (f->is_message) {
            out_sent(lane, here);
        }
        if (f->sent < f->total) {
            return;
        }
        if (f->is_bulk && f->last && f->owner) {
            bulk = (struct mkv__bulk *)(uintptr_t)f->owner;
        }
        lane->frames_head = (lane->frames_head + 1) % MKV_TCP_FRAMES;
        lane->n_frames--;
        if (bulk) {
            bulk->done(bulk, 0);
        }
    }
}

static void set_blocked(struct mkv__tcp_lane *lane, bool blocked)
{
    if (lane->state != MKV_TCP_DEAD && lane->blocked != blocked) {
        lane->blocked = blocked;
        (void)mkv__tcp_lane_interest(lane);
    }
}

/* 1: go on, 0: enough. */
static int flush_once(struct mkv__tcp_lane *lane)
{
    struct msghdr message = {.msg_iov = lane->endpoint->iov};
    uint64_t bytes;
    ssize_t n = 0;
    int error = form(lane);

    if (error) {
        mkv__tcp_lane_fail(lane, error, "sealing failed");
        return 0;
    }
    bytes = build(lane, message.msg_iov, &message.msg_iovlen);
    if (bytes > 0) {
        n = sendmsg(lane->source.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            set_blocked(lane, true);
            return 0;
        }
        if (n < 0) {
            mkv__tcp_lane_fail(lane, -ECONNRESET, "connection lost while sending");
            return 0;
        }
    }
    consume(lane, (uint64_t)n);
    if (lane->state == MKV_TCP_DEAD) {
        return 0;
    }
    if ((uint64_t)n < bytes) {
        set_blocked(lane, true);
        return 0;
    }
    return lane->n_frames > 0 || lane->n_jobs > 0;
}

void mkv__tcp_flush(struct mkv__tcp_lane *lane)
{
    if (lane->state != MKV_TCP_READY && lane->state != MKV_TCP_HELLO) {
        return;
    }
    for (int i = 0; i < MKV_TCP_TURN_SENDS; i++) {
        if (lane->n_frames == 0 && lane->n_jobs == 0) {
            set_blocked(lane, false);
            return;
        }
        if (flush_once(lane) == 0) {
            break;
        }
    }
    if (lane->state != MKV_TCP_DEAD) {
        set_blocked(lane, lane->n_frames > 0 || lane->n_jobs > 0);
    }
}
