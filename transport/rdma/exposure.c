#include "core/fault.h"
#include "transport/rdma/rdma.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RUN_BYTES 32u

/* The client's side ------------------------------------------------------------------------------- */

int mkv__rdma_expose(struct mkv__conn *conn, struct mkv__exposure *exposure)
{
    uint32_t slot = mkv__rdma_slot(exposure->request_id);

    if (conn->closing || !conn->opened) {
        return -ECONNRESET;
    }
    if (mkv__rdma_by_tcp(conn, exposure->request_id)) {
        int error = mkv__tcp.expose(conn->tcp, exposure);

        if (!error) {
            conn->over_tcp[slot] = exposure->request_id + 1;
        }
        return error;
    }
    if (conn->server || slot >= MKV_REQUESTS_MAX) {
        return -EINVAL;
    }
    if (exposure->n_pieces > mkv__rdma.limits.max_pieces ||
        exposure->len > mkv__rdma.limits.max_exposure) {
        return -EMSGSIZE;
    }
    if (conn->exposed[slot].exposure) {
        return -EINVAL;
    }
    conn->exposed[slot] = (struct mkv__rdma_exposed){.exposure = exposure};
    return 0;
}

static void concealed(struct mkv__conn *conn, uint32_t slot)
{
    struct mkv__rdma_exposed *x = &conn->exposed[slot];
    struct mkv__exposure *exposure = x->exposure;

    if (conn->device) {
        mkv__rdma_windows_put(conn->device, x->windows);
    }
    mkv__rdma_strays_put(conn->endpoint, &x->strays);
    *x = (struct mkv__rdma_exposed){0};
    exposure->concealed(exposure);
}

/* Nobody uses it any more; then what is open is closed, and it is given back. */
static void give_back(struct mkv__conn *conn, uint32_t slot)
{
    struct mkv__rdma_exposed *x = &conn->exposed[slot];
    struct mkv__rdma_qp *qp;
    struct mkv__rdma_window *window = x->windows;

    if (!window) { /* none was needed, or they went with their queue pair */
        concealed(conn, slot);
        return;
    }
    qp = mkv__rdma_bulk_qp(conn, slot);
    for (x->n_closing = 1; window; window = window->next) {
        if (!window->bound) {
            continue;
        }
        x->n_closing++;
        if (mkv__rdma_put_invalidate(qp, window, slot) < 0) {
            mkv__rdma_conn_fail(conn, -ENOMEM, "out of memory");
            return;
        }
    }
    mkv__rdma_closed_window(conn, slot);
}

void mkv__rdma_closed_window(struct mkv__conn *conn, uint32_t slot)
{
    if (--conn->exposed[slot].n_closing == 0) {
        concealed(conn, slot);
    }
}

static bool unbind(struct mkv__rdma_window *window, uint32_t rkey)
{
    while (window && (window->rkey != rkey || !window->bound)) {
        window = window->next;
    }
    if (window) {
        window->bound = false;
    }
    return window != NULL;
}

bool mkv__rdma_invalidated(struct mkv__conn *conn, uint64_t request_id, uint32_t rkey)
{
    struct mkv__rdma_exposed *x = &conn->exposed[mkv__rdma_slot(request_id)];
    bool there = x->exposure && x->exposure->request_id == request_id;

    return (there && unbind(x->windows, rkey)) || unbind(conn->lost, rkey);
}

/* As if there were no fence: what is on its way finds the window open, and the memory free. */
static void give_back_open(struct mkv__conn *conn, uint32_t slot)
{
    struct mkv__rdma_exposed *x = &conn->exposed[slot];

    while (x->windows) {
        struct mkv__rdma_window *window = x->windows;

        x->windows = window->next;
        window->next = conn->lost;
        conn->lost = window;
    }
    concealed(conn, slot);
}

/* Which fence is forced first. */
static void fences_look(struct mkv__conn *conn)
{
    uint64_t first = 0;

    for (uint32_t slot = 0; slot < MKV_REQUESTS_MAX; slot++) {
        const struct mkv__rdma_exposed *x = &conn->exposed[slot];

        if (x->withdrawn && (first == 0 || x->fence_ns < first)) {
            first = x->fence_ns;
        }
    }
    conn->fence_ns = first;
}

void mkv__rdma_conceal(struct mkv__conn *conn, struct mkv__exposure *exposure, bool answered)
{
    struct mkv__header header = {
        .version = MKV_WIRE_VERSION, .type = MKV_TYPE_CANCEL, .request_id = exposure->request_id};
    uint32_t slot = mkv__rdma_slot(exposure->request_id);
    struct mkv__rdma_exposed *x;

    if (slot >= MKV_REQUESTS_MAX || conn->closing) {
        return;
    }
    x = &conn->exposed[slot];
    if (x->exposure != exposure) {
        conn->over_tcp[slot] = 0;
        if (conn->tcp) {
            mkv__tcp.conceal(conn->tcp, exposure, answered);
        }
        return;
    }
    if (x->withdrawn || x->n_closing > 0) {
        return;
    }
    if (!answered && x->told && MKV_FAULT("rdma.fence")) {
        give_back_open(conn, slot);
        return;
    }
    if (answered || !x->told) {
        give_back(conn, slot);
        return;
    }
    if (!x->in_message) {
        x->withdrawn = true;
        x->fence_ns = mkv__worker_now(conn->endpoint->worker) +
                      (MKV_FAULT("rdma.grace") ? 20 : 1) * MKV_RDMA_GRACE_NS;
        fences_look(conn);
    }
    if (mkv__rdma_put_message(mkv__rdma_bulk_qp(conn, header.request_id), &header, NULL, NULL) <
        0) {
        mkv__rdma_conn_fail(conn, -ENOMEM, "out of memory");
    } else if (x->in_message) { /* nobody but us touches it; its owner may close all */
        concealed(conn, slot);
    }
}

void mkv__rdma_fenced(struct mkv__conn *conn, uint64_t request_id)
{
    uint32_t slot = mkv__rdma_slot(request_id);
    struct mkv__rdma_exposed *x;

    if (slot >= MKV_REQUESTS_MAX) {
        return;
    }
    x = &conn->exposed[slot];
    if (x->exposure && x->withdrawn && x->exposure->request_id == request_id) {
        x->withdrawn = false;
        give_back(conn, slot);
    }
    fences_look(conn);
}

void mkv__rdma_conceal_all(struct mkv__conn *conn)
{
    for (uint32_t slot = 0; slot < MKV_REQUESTS_MAX; slot++) {
        if (conn->exposed[slot].exposure) {
            concealed(conn, slot);
        }
    }
}

/* Runs of equal length and distance become one. */
static bool joins(struct mkv__rdma_run *last, uint64_t address, uint32_t len, uint32_t rkey)
{
    if (last->rkey != rkey) {
        return false;
    }
    if (last->count == 1 && last->address + last->len == address && len <= UINT32_MAX - last->len) {
        last->len += len;
        return true;
    }
    if (last->len != len) {
        return false;
    }
    if (last->count == 1 && address > last->address) {
        last->stride = address - last->address;
        last->count = 2;
        return true;
    }
    if (last->count > 1 && address == last->address + last->count * last->stride) {
        last->count++;
        return true;
    }
    return false;
}

static int run_add(struct mkv__rdma_run *runs, uint32_t *n, const struct mkv__piece *p,
                   uint32_t rkey)
{
    uint64_t address = (uintptr_t)p->addr;

    for (uint64_t left = p->len; left > 0;) {
        uint32_t len = left < (1u << 30) ? (uint32_t)left : 1u << 30;

        if (*n == 0 || !joins(&runs[*n - 1], address, len, rkey)) {
            if (*n == MKV_RDMA_RUNS_MAX) {
                return -EMSGSIZE;
            }
            runs[(*n)++] = (struct mkv__rdma_run){
                .address = address, .len = len, .count = 1, .rkey = rkey};
        }
        address += len;
        left -= len;
    }
    return 0;
}

/* The window for this registration, as wide as all that the request has there. */
static struct mkv__rdma_window *window_for(struct mkv__conn *conn, struct mkv__rdma_exposed *x,
                                           struct ibv_mr *mr, uint64_t from, uint64_t to)
{
    struct mkv__rdma_window *window = x->windows;

    while (window && window->mr != mr) {
        window = window->next;
    }
    if (!window) {
        window = mkv__rdma_window_get(conn->device);
        if (!window) {
            return NULL;
        }
        *window = (struct mkv__rdma_window){.next = x->windows,
                                            .mw = window->mw,
                                            .mr = mr,
                                            .address = from,
                                            .len = to - from,
                                            .rkey = ibv_inc_rkey(window->mw->rkey)};
        x->windows = window;
    }
    to = to > window->address + window->len ? to : window->address + window->len;
    window->address = from < window->address ? from : window->address;
    window->len = to - window->address;
    return window;
}

/* The key that opens the first bytes of a piece to the peer, and how many. */
static int key_of(struct mkv__conn *conn, struct mkv__rdma_exposed *x, const struct mkv__piece *p,
                  uint32_t *rkey_out, uint64_t *len_out)
{
    uintptr_t from = (uintptr_t)p->addr;
    struct ibv_mr *mr = mkv__rdma_region_at(conn->endpoint, &x->strays, p->addr, conn->device_index,
                                            len_out);
    struct mkv__rdma_window *window;

    if (!mr) {
        return -EFAULT;
    }
    *len_out = *len_out < p->len ? *len_out : p->len;
    *rkey_out = mr->rkey;
    if (!conn->device->windows) {
        return 0;
    }
    window = window_for(conn, x, mr, from, from + *len_out);
    if (!window) {
        return -ENOMEM;
    }
    *rkey_out = window->rkey;
    return 0;
}

static int bind_all(struct mkv__conn *conn, struct mkv__rdma_exposed *x)
{
    struct mkv__rdma_qp *qp = mkv__rdma_bulk_qp(conn, x->exposure->request_id);
    int error = 0;

    for (struct mkv__rdma_window *w = x->windows; w && !error; w = w->next) {
        error = mkv__rdma_put_bind(qp, w, x->exposure->writable);
        w->bound = !error;
    }
    return error;
}

static int runs_of(struct mkv__conn *conn, struct mkv__rdma_exposed *x, struct mkv__rdma_run *runs,
                   uint32_t *n_out)
{
    const struct mkv__exposure *e = x->exposure;
    int error = 0;

    *n_out = 0;
    for (uint32_t i = 0; i < e->n_pieces && !error; i++) {
        struct mkv__piece left = e->pieces[i];

        while (left.len > 0 && !error) {
            struct mkv__piece here = left;
            uint32_t rkey;

            error = key_of(conn, x, &left, &rkey, &here.len);
            error = error ? error : run_add(runs, n_out, &here, rkey);
            left.addr = (uint8_t *)left.addr + here.len;
            left.len -= here.len;
        }
    }
    return error;
}

static void run_encode(const struct mkv__rdma_run *run, uint8_t *out)
{
    uint64_t longs[] = {htole64(run->address), htole64(run->stride)};
    uint32_t words[] = {htole32(run->len), htole32(run->count), htole32(run->rkey), 0};

    memcpy(out, longs, sizeof(longs));
    memcpy(out + sizeof(longs), words, sizeof(words));
}

int mkv__rdma_exposure_encode(struct mkv__conn *conn, uint64_t request_id, uint8_t **out,
                              size_t *len_out)
{
    struct mkv__rdma_exposed *x = &conn->exposed[mkv__rdma_slot(request_id)];
    struct mkv__exposure *e = x->exposure;
    struct mkv__rdma_run *runs = NULL;
    uint32_t n = 0;
    int error;

    *out = NULL;
    *len_out = 0;
    if (!e || e->request_id != request_id || e->len == 0) {
        x->told = e && e->request_id == request_id;
        return 0;
    }
    x->in_message = e->writable && e->len <= MKV_RDMA_VALUES;
    if (x->in_message) {
        x->told = true;
        return 0;
    }
    error = mkv__rdma_strays_get(conn->endpoint, e->pieces, e->n_pieces, conn->device_index,
                                 e->writable ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE
                                             : IBV_ACCESS_REMOTE_READ,
                                 &x->strays);
    if (error) {
        return error;
    }
    runs = malloc(MKV_RDMA_RUNS_MAX * sizeof(*runs));
    error = runs ? runs_of(conn, x, runs, &n) : -ENOMEM;
    *out = error ? NULL : malloc((size_t)n * RUN_BYTES + 1);
    if (!error && !*out) {
        error = -ENOMEM;
    }
    for (uint32_t i = 0; i < n && !error; i++) {
        run_encode(&runs[i], *out + (size_t)i * RUN_BYTES);
    }
    free(runs);
    error = error ? error : bind_all(conn, x);
    if (error) {
        free(*out);
        *out = NULL;
        return error; /* and its windows and strays go when it is concealed */
    }
    *len_out = (size_t)n * RUN_BYTES;
    x->told = true;
    return 0;
}

/* The exposure of a request whose bytes its owner still wants to hear of. */
static struct mkv__exposure *wanted(const struct mkv__conn *conn, uint64_t request_id)
{
    const struct mkv__rdma_exposed *x = &conn->exposed[mkv__rdma_slot(request_id)];
    bool there = x->exposure && x->exposure->request_id == request_id && !x->withdrawn &&
                 x->n_closing == 0 && !conn->closing;

    return there ? x->exposure : NULL;
}

/* The piece that has this offset; they ascend without gaps. */
static uint32_t piece_at(const struct mkv__exposure *e, uint64_t offset)
{
    uint32_t low = 0, high = e->n_pieces;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (e->pieces[middle].offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Tells the owner of one range; where its bytes came with the message they go to their place first. */
static void tell_range(struct mkv__conn *conn, uint64_t request_id, uint64_t offset, uint64_t len,
                       const uint8_t *values)
{
    struct mkv__exposure *e = wanted(conn, request_id);

    for (uint32_t p = piece_at(e, offset); len > 0 && e && (values || e->landed); p++) {
        const struct mkv__piece *piece = &e->pieces[p];
        uint64_t at = offset - piece->offset;
        uint64_t here = piece->len - at < len ? piece->len - at : len;
        uint8_t *to = (uint8_t *)piece->addr + at;

        if (values && here > 0) {
            memcpy(to, values, here);
            mkv__counter_add(&conn->device->counts.copied, here);
            values += here;
        }
        if (e->landed && here > 0) {
            e->landed(e, offset, to, here);
        }
        offset += here;
        len -= here;
        e = wanted(conn, request_id);
    }
}

bool mkv__rdma_landed(struct mkv__conn *conn, uint64_t request_id, const uint8_t *ranges,
                      size_t len, const uint8_t *values, size_t values_len)
{
    const struct mkv__rdma_exposed *x = &conn->exposed[mkv__rdma_slot(request_id)];

    if (len % 16 != 0) {
        return false;
    }
    for (size_t i = 0; i < len; i += 16) {
        const struct mkv__exposure *e = wanted(conn, request_id);
        uint64_t range[2];

        if (!e) {
            return true; /* concealed before */
        }
        memcpy(range, ranges + i, sizeof(range));
        range[0] = le64toh(range[0]);
        range[1] = le64toh(range[1]);
        if (!e->writable || range[0] > e->len || range[1] > e->len - range[0] ||
            x->in_message != (values != NULL) || (values && range[1] > values_len)) {
            return false;
        }
        if (range[1] > 0) {
            tell_range(conn, request_id, range[0], range[1], values);
        }
        if (values) {
            values += range[1];
            values_len -= range[1];
        }
    }
    return values_len == 0;
}

/* The server's side -------------------------------------------------------------------------------- */

static bool run_decode(const uint8_t *in, struct mkv__rdma_run *run)
{
    uint64_t longs[2];
    uint32_t words[4];

    memcpy(longs, in, sizeof(longs));
    memcpy(words, in + sizeof(longs), sizeof(words));
    *run = (struct mkv__rdma_run){
        .address = le64toh(longs[0]),
        .stride = le64toh(longs[1]),
        .len = le32toh(words[0]),
        .count = le32toh(words[1]),
        .rkey = le32toh(words[2]),
    };
    return run->len > 0 && run->count > 0 && words[3] == 0;
}

void mkv__rdma_remote_new(struct mkv__rdma_remote *remote, uint64_t request_id)
{
    mkv__rdma_values_drop(remote);
    remote->request_id = request_id;
    remote->n = 0;
    remote->n_ranges = 0;
    remote->len = 0;
    remote->there = remote->fencing = remote->replied = remote->ended = false;
    remote->in_message = false;
    remote->known = true;
}

int mkv__rdma_remote_take(struct mkv__conn *conn, uint64_t request_id, const uint8_t *bytes,
                          size_t len)
{
    struct mkv__rdma_remote *remote = &conn->remotes[mkv__rdma_slot(request_id)];
    uint32_t n = (uint32_t)(len / RUN_BYTES);
    struct mkv__rdma_run *runs;

    mkv__rdma_remote_new(remote, request_id);
    if (len % RUN_BYTES != 0 || n > MKV_RDMA_RUNS_MAX) {
        return -EPROTO;
    }
    runs = realloc(remote->runs, (n + 1) * sizeof(*runs));
    if (!runs) {
        return -ENOMEM;
    }
    remote->runs = runs;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bytes_here;

        if (!run_decode(bytes + (size_t)i * RUN_BYTES, &runs[i])) {
            return -EPROTO;
        }
        bytes_here = (uint64_t)runs[i].len * runs[i].count;
        if (bytes_here > mkv__rdma.limits.max_exposure - remote->len) {
            return -EPROTO;
        }
        runs[i].offset = remote->len;
        remote->len += bytes_here;
    }
    remote->n = n;
    remote->there = true;
    return 0;
}

uint64_t mkv__rdma_remote_at(const struct mkv__rdma_remote *remote, uint64_t offset,
                             uint64_t *address_out, uint32_t *rkey_out)
{
    uint32_t low = 0, high = remote->n;
    const struct mkv__rdma_run *run;
    uint64_t at, within;

    if (offset >= remote->len) {
        return 0;
    }
    while (high - low > 1) { /* the last that begins at or before offset */
        uint32_t middle = low + (high - low) / 2;

        if (remote->runs[middle].offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    run = &remote->runs[low];
    at = offset - run->offset;
    within = at % run->len;
    *address_out = run->address + at / run->len * run->stride + within;
    *rkey_out = run->rkey;
    return run->len - within;
}
