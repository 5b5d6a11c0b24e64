#include "router/internal.h"
#include "router/placement.h"

#include "core/base.h"
#include "core/checksum.h"
#include "core/os/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MOST_NS \
    8000000000u /* whatever an option says: sglang joins its threads after 10 s */

enum { CANCEL_NONE, CANCEL_POSTED, CANCEL_CLOSED };

static bool foreign(const struct mkv_batch *b)
{
    return b->forks != mkv__forks();
}

static int set_namespace(struct mkv_batch *b, const struct mkv_batch_options *o)
{
    const void *ns = b->client->namespace_;
    size_t len = b->client->namespace_len;
    if (o != NULL && o->namespace_ != NULL) {
        ns = o->namespace_;
        len = o->namespace_len;
    }
    if (len > MKV_NAMESPACE_MAX) {
        return -EINVAL;
    }
    memcpy(b->namespace_, ns, len);
    b->namespace_len = (uint8_t)len;
    return 0;
}

int mkv_batch_create(struct mkv_client *client, struct mkv_batch **out)
{
    if (client->forks != mkv__forks()) {
        return -ECANCELED;
    }
    struct mkv_batch *b = calloc(1, sizeof(*b));
    if (b == NULL) {
        return -ENOMEM;
    }
    b->client = client;
    b->forks = client->forks;
    b->op = MKV_OP_EXISTS;
    (void)set_namespace(b, NULL);
    __atomic_add_fetch(&client->objects, 1, __ATOMIC_RELAXED);
    *out = b;
    return 0;
}

static void free_batch(struct mkv_batch *b)
{
    struct mkv_client *client = b->client;
    while (b->spare_rpcs != NULL) {
        struct rpc *rpc = b->spare_rpcs;
        b->spare_rpcs = rpc->next;
        mkv__rpc_free(rpc);
    }
    free(b->keys);
    free(b->values);
    free(b->answers);
    free(b->segments);
    free(b->order);
    free(b->begins);
    free(b->regions);
    free(b);
    __atomic_sub_fetch(&client->objects, 1, __ATOMIC_RELEASE);
}

/* In a callback nobody can wait. What is out is fenced here; where that takes the transport some
 * time, or the worker has not begun yet, the batch goes when it is done, and tells nobody. */
static void destroy_on_worker(struct mkv_batch *b)
{
    b->orphan = true;
    b->done_fn = NULL;
    b->flags &= ~(uint32_t)MKV_NOTIFY;
    if (b->started && b->left > 0) {
        mkv__batch_stop(b, -ECANCELED);
    }
}

void mkv_batch_destroy(struct mkv_batch **batch)
{
    struct mkv_batch *b = *batch;
    if (b == NULL) {
        return;
    }
    *batch = NULL;
    if (foreign(b)) {
        return; /* its worker is not in this process; what it held is the parent's */
    }
    bool done = mkv_batch_test(b);
    bool in_callback = !done && mkv__client_in_callback(b->client);
    if (!done && !in_callback) {
        mkv_batch_cancel(b);
        mkv__client_wait(b->client, &b->completion);
    }
    if (b->gone != NULL) {
        *b->gone = true;
    }
    if (in_callback) {
        destroy_on_worker(b);
        return;
    }
    mkv__unnotify(b);
    free_batch(b);
}

int mkv_batch_begin(struct mkv_batch *b, enum mkv_op op, const struct mkv_batch_options *o)
{
    if (foreign(b)) {
        return -ECANCELED;
    }
    if (b->state == BATCH_FLYING && !mkv_batch_test(b)) {
        return -EBUSY;
    }
    mkv__unnotify(b);
    if (op < MKV_OP_GET || op > MKV_OP_DELETE || (o != NULL && o->size < sizeof(size_t)) ||
        set_namespace(b, o) < 0) {
        return -EINVAL;
    }
    struct mkv_batch_options all = {.size = sizeof(all)};
    if (o != NULL) {
        memcpy(&all, o, MKV_MIN(o->size, sizeof(all)));
    }
    b->op = op;
    b->flags = all.flags;
    b->first_depth = all.first_depth;
    b->ttl_ms = all.ttl_ms;
    b->timeout_ns = all.timeout_ns;
    b->deadline_ns = all.deadline_ns;
    b->done_fn = all.done;
    b->done_arg = all.done_arg;
    b->n = 0;
    b->n_segments = 0;
    b->keys_len = 0;
    b->ready = 0;
    b->state = BATCH_IDLE;
    return 0;
}

int mkv__grow(void *pointer, size_t *cap, size_t wanted, size_t item)
{
    void **p = pointer;
    if (wanted <= *cap) {
        return 0;
    }
    size_t n = MKV_MAX(wanted, *cap + *cap / 2 + 64);
    void *more = realloc(*p, n * item);
    if (more == NULL) {
        return -ENOMEM;
    }
    *p = more;
    *cap = n;
    return 0;
}

static int grow_values(struct mkv_batch *b)
{
    if (b->n < b->cap) {
        return 0;
    }
    size_t cap = b->cap, cap2 = b->cap, cap3 = b->cap;
    if (mkv__grow(&b->values, &cap, (size_t)b->n + 1, sizeof(*b->values)) < 0 ||
        mkv__grow(&b->answers, &cap2, cap, sizeof(*b->answers)) < 0 ||
        mkv__grow(&b->order, &cap3, cap, sizeof(*b->order)) < 0) {
        return -ENOMEM;
    }
    b->cap = (uint32_t)MKV_MIN(cap, MKV_MIN(cap2, cap3));
    return 0;
}

static int check_value(const struct mkv_batch *b, const struct mkv_segment *segments, size_t n,
                       uint64_t *length_out)
{
    uint64_t length = 0;
    if (n > MKV_SEGMENTS_MAX) {
        return -EMSGSIZE;
    }
    if (n > 0 && (b->op == MKV_OP_EXISTS || b->op == MKV_OP_DELETE || segments == NULL)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (segments[i].len > MKV_VALUE_MAX || length + segments[i].len > MKV_VALUE_MAX) {
            return -EMSGSIZE;
        }
        if (segments[i].len > 0 && segments[i].addr == NULL) {
            return -EINVAL;
        }
        length += segments[i].len;
    }
    *length_out = length;
    return 0;
}

int mkv_batch_add(struct mkv_batch *b, const void *key, size_t key_len,
                  const struct mkv_segment *segments, size_t n)
{
    uint64_t length = 0;
    if (foreign(b)) {
        return -ECANCELED;
    }
    if (b->state != BATCH_IDLE) {
        return -EBUSY;
    }
    if (key == NULL || key_len < 1 || key_len > MKV_KEY_MAX || b->n == MKV_BATCH_MAX) {
        return -EINVAL;
    }
    int r = check_value(b, segments, n, &length);
    if (r < 0) {
        return r;
    }
    if (b->n_segments + n > UINT32_MAX || grow_values(b) < 0 ||
        mkv__grow(&b->keys, &b->keys_cap, b->keys_len + key_len, 1) < 0 ||
        mkv__grow(&b->segments, &b->segments_cap, b->n_segments + n, sizeof(*b->segments)) < 0) {
        return -ENOMEM;
    }
    b->values[b->n] = (struct value){.key_at = b->keys_len,
                                     .key_len = (uint8_t)key_len,
                                     .length = length,
                                     .first_segment = (uint32_t)b->n_segments,
                                     .n_segments = (uint32_t)n};
    memcpy(b->keys + b->keys_len, key, key_len);
    if (n > 0) {
        memcpy(b->segments + b->n_segments, segments, n * sizeof(*segments));
    }
    b->keys_len += key_len;
    b->n_segments += n;
    return (int)b->n++;
}

/* In the caller's thread: where each key goes, and what its value's checksum is. */
static void prepare(struct mkv_batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct value *v = &b->values[i];
        const uint8_t *key = b->keys + v->key_at;
        v->hash = mkv__place_key(b->namespace_, b->namespace_len, key, v->key_len);
        if (b->op != MKV_OP_GET && b->op != MKV_OP_SET) {
            continue;
        }
        v->checksum = mkv__sum_seed(b->namespace_, b->namespace_len, key, v->key_len, v->length);
        uint64_t after = v->length;
        for (uint32_t j = 0; b->op == MKV_OP_SET && j < v->n_segments; j++) {
            const struct mkv_segment *s = &b->segments[v->first_segment + j];
            after -= s->len;
            v->checksum ^= s->len > 0 ? mkv__sum_slice(s->addr, s->len, after) : 0;
        }
    }
}

static uint64_t deadline_of(const struct mkv_batch *b)
{
    static const enum mkv__option_id options[] = {
        [MKV_OP_GET] = MKV_OPT_GET_TIMEOUT,
        [MKV_OP_SET] = MKV_OPT_SET_TIMEOUT,
        [MKV_OP_EXISTS] = MKV_OPT_EXISTS_TIMEOUT,
        [MKV_OP_DELETE] = MKV_OPT_EXISTS_TIMEOUT,
    };
    uint64_t timeout = b->timeout_ns > 0 ? b->timeout_ns
                                         : mkv__config_duration(b->client->config, options[b->op]);
    uint64_t deadline = mkv__client_now(b->client) + MKV_MIN(timeout, DEADLINE_MOST_NS);
    return b->deadline_ns > 0 ? MKV_MIN(deadline, b->deadline_ns) : deadline;
}

int mkv_batch_submit(struct mkv_batch *b)
{
    if (foreign(b)) {
        return -ECANCELED;
    }
    if (b->state != BATCH_IDLE) {
        return -EBUSY;
    }
    uint64_t deadline = deadline_of(b); /* hashing counts */
    prepare(b);
    b->table = mkv__table_get(b->client);
    int r = mkv__batch_plan(b);
    r = r < 0 ? r : mkv__regions_hold(b);
    if (r < 0) {
        mkv__batch_unplan(b);
        mkv__table_put(b->table);
        b->table = NULL;
        return r;
    }
    b->deadline_ns = deadline;
    b->flight++;
    if (b->gone == NULL) { /* else it is used again in its callback: who waits, waits on */
        mkv__completion_init(&b->completion, 1);
    }
    __atomic_store_n(&b->ready, 0, __ATOMIC_RELAXED);
    b->finish_on_cancel = b->started = false;
    __atomic_store_n(&b->cancelling, CANCEL_NONE, __ATOMIC_RELAXED);
    b->start.run = mkv__batch_start;
    b->state = BATCH_FLYING;
    mkv__worker_post(b->client->worker, &b->start);
    return 0;
}

static void count(struct mkv_batch *b)
{
    struct mkv_client *c = b->client;
    uint64_t hits = 0, misses = 0, unknown = 0, bytes = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        uint8_t status = b->answers[i].status;
        hits += status == MKV_HIT;
        misses += status == MKV_MISS;
        unknown += status == MKV_UNKNOWN;
        bytes += status == MKV_HIT || status == MKV_STORED ? b->values[i].length : 0;
    }
    COUNT(c, batches, 1);
    COUNT(c, keys, b->n);
    COUNT(c, hits, hits);
    COUNT(c, misses, misses);
    COUNT(c, unknown, unknown);
    if (b->op == MKV_OP_GET) {
        COUNT(c, bytes_read, bytes);
    } else if (b->op == MKV_OP_SET) {
        COUNT(c, bytes_written, bytes);
    }
}

void mkv__batch_complete(struct mkv_batch *b)
{
    uint32_t none = CANCEL_NONE;
    if (!b->finish_on_cancel &&
        !__atomic_compare_exchange_n(&b->cancelling, &none, CANCEL_CLOSED, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        b->finish_on_cancel = true; /* its task is on the way here: it ends the batch */
        return;
    }
    count(b);
    mkv__table_put(b->table);
    b->table = NULL;
    mkv__regions_drop(b);
    if (b->orphan) {
        free_batch(b);
        return;
    }
    __atomic_store_n(&b->ready, 1, __ATOMIC_RELEASE);
    if (b->done_fn != NULL) {
        /* Before the completion, so that who has waited may destroy the batch. In the callback it
         * may be destroyed or used again; then there is nothing left to do here. */
        bool gone = false;
        uint64_t flight = b->flight;
        struct mkv_client *client = b->client;
        b->gone = &gone;
        b->client->calling = true;
        b->done_fn(b->done_arg, b);
        client->calling = false;
        if (gone) {
            return;
        }
        b->gone = NULL;
        if (b->flight != flight || b->state == BATCH_IDLE) {
            return;
        }
    }
    if (b->flags & MKV_NOTIFY) {
        mkv__notify(b);
    } else {
        mkv__completion_done(&b->completion);
    }
}

static void run_cancel(struct mkv__worker *worker, struct mkv__task *task)
{
    struct mkv_batch *b = MKV_CONTAINER_OF(task, struct mkv_batch, cancel);
    (void)worker;
    if (b->finish_on_cancel) {
        mkv__batch_complete(b);
        return;
    }
    b->finish_on_cancel = true;
    mkv__batch_stop(b, -ECANCELED);
}

int mkv_batch_cancel(struct mkv_batch *b)
{
    if (foreign(b)) {
        return -ECANCELED;
    }
    uint32_t none = CANCEL_NONE;
    if (b->state == BATCH_FLYING &&
        __atomic_compare_exchange_n(&b->cancelling, &none, CANCEL_POSTED, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        b->cancel.run = run_cancel;
        mkv__worker_post(b->client->worker, &b->cancel);
    }
    return 0;
}

static bool is_ready(const struct mkv_batch *b)
{
    return !foreign(b) && __atomic_load_n(&b->ready, __ATOMIC_ACQUIRE) != 0;
}

int mkv_batch_test(struct mkv_batch *b)
{
    if (foreign(b)) {
        return 1;
    }
    /* In its callback a batch is done for who is called, and not yet for another thread that waits
     * and may destroy it: so the state stays. */
    if (is_ready(b) && mkv__client_in_callback(b->client)) {
        return 1;
    }
    if (b->state == BATCH_FLYING && mkv__completion_test(&b->completion)) {
        b->state = BATCH_DONE;
    }
    return b->state != BATCH_FLYING;
}

static int first_error(const struct mkv_batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->answers[i].error < 0) {
            return b->answers[i].error;
        }
    }
    return b->stat_out != NULL ? b->stop_error : 0;
}

int mkv_batch_wait(struct mkv_batch *b)
{
    if (foreign(b)) {
        return -ECANCELED;
    }
    if (!mkv_batch_test(b)) {
        if (mkv__client_in_callback(b->client)) {
            return -EBUSY; /* in a callback: it would wait for itself */
        }
        mkv__client_wait(b->client, &b->completion);
        b->state = BATCH_DONE;
    }
    return b->state != BATCH_IDLE ? first_error(b) : -EINVAL;
}

uint32_t mkv_batch_count(const struct mkv_batch *b)
{
    return b->n;
}

enum mkv_status mkv_batch_status(const struct mkv_batch *b, uint32_t i)
{
    if (foreign(b)) {
        return MKV_UNKNOWN;
    }
    return is_ready(b) && i < b->n ? (enum mkv_status)b->answers[i].status : MKV_PENDING;
}

int mkv_batch_error(const struct mkv_batch *b, uint32_t i)
{
    if (foreign(b)) {
        return -ECANCELED;
    }
    return is_ready(b) && i < b->n ? b->answers[i].error : 0;
}

uint64_t mkv_batch_length(const struct mkv_batch *b, uint32_t i)
{
    return is_ready(b) && i < b->n ? b->answers[i].length : 0;
}

bool mkv_batch_differs(const struct mkv_batch *b, uint32_t i)
{
    return is_ready(b) && i < b->n && b->answers[i].differs;
}

uint32_t mkv_batch_prefix(const struct mkv_batch *b)
{
    uint32_t i = 0;
    while (i < b->n && (mkv_batch_status(b, i) == MKV_HIT || mkv_batch_status(b, i) == MKV_STORED ||
                        mkv_batch_status(b, i) == MKV_KEPT)) {
        i++;
    }
    return i;
}
