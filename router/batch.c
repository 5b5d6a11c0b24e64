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

#define SAMPLE    64u /* one of so many sets */
#define RUN_BYTES (UINT64_C(1) << 20)

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

static void free_part(struct part *p)
{
    while (p->spare_rpcs != NULL) {
        struct rpc *rpc = p->spare_rpcs;
        p->spare_rpcs = rpc->next;
        mkv__rpc_free(rpc);
    }
}

static void free_batch(struct mkv_batch *b)
{
    struct mkv_client *client = b->client;
    free_part(&b->first);
    for (unsigned i = 1; i < MKV_RAILS_MAX && b->parts[i] != NULL; i++) {
        free_part(b->parts[i]);
        free(b->parts[i]);
    }
    free(b->keys);
    free(b->values);
    free(b->answers);
    free(b->segments);
    free(b->order);
    free(b->begins);
    free(b->shares);
    free(b->regions);
    free(b);
    __atomic_sub_fetch(&client->objects, 1, __ATOMIC_RELEASE);
}

/* Keeps a batch in flight from being completed; false: it was too late for that. */
static bool hold(struct mkv_batch *b, uint32_t n)
{
    uint32_t pending = __atomic_load_n(&b->pending, __ATOMIC_ACQUIRE);
    while (pending > 0 && !__atomic_compare_exchange_n(&b->pending, &pending, pending + n, true,
                                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    return pending > 0;
}

/* Fences the parts that are on this rail; returns whether there are others. */
static bool stop_here(struct mkv_batch *b, const struct rail *here)
{
    bool others = false;
    for (unsigned i = 0; i < b->n_parts; i++) {
        struct part *p = b->parts[i];
        if (mkv__part_rail(p) == here && p->started) {
            mkv__part_stop(p, -ECANCELED);
        } else {
            others = true;
        }
    }
    return others;
}

/* In a callback nobody can wait. What is out on this rail is fenced here, on other rails as soon as
 * their workers are told. Where that takes some time, or a worker has not begun yet, the batch goes
 * when it is done, and tells nobody. */
static void destroy_in_callback(struct mkv_batch *b, struct rail *here)
{
    __atomic_store_n(&b->orphan, true, __ATOMIC_RELAXED);
    if (!hold(b, 1)) { /* another worker is just completing it */
        if (!mkv__completion_add(&b->completion)) {
            mkv__unnotify(b);
            free_batch(b);
        }
        return;
    }
    mkv__completion_add(&b->completion);
    if (stop_here(b, here)) {
        mkv_batch_cancel(b);
    }
    mkv__batch_release(b, here);
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
    struct rail *here = done ? NULL : mkv__client_rail(b->client);
    if (here != NULL) {
        destroy_in_callback(b, here);
        return;
    }
    if (!done) {
        mkv_batch_cancel(b);
        mkv__client_wait(b->client, &b->completion);
    }
    if (b->gone != NULL) {
        *b->gone = true;
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

static void sum_value(const struct mkv_batch *b, struct value *v)
{
    uint64_t after = v->length;
    for (uint32_t j = 0; j < v->n_segments; j++) {
        const struct mkv_segment *s = &b->segments[v->first_segment + j];
        after -= s->len;
        v->checksum ^= s->len > 0 ? mkv__sum_slice(s->addr, s->len, after) : 0;
    }
}

/* Of a set: whether the servers are to know the checksums before they ask for the bytes, so that they
 * can tell that what they keep differs. They always are where the bytes are read without our doing; else
 * it costs a pass over memory that is not in cache, which is paid for whoever asks, and for a sample. */
static bool sums_ahead(const struct mkv_batch *b)
{
    struct mkv_client *c = b->client;
    if (b->flags & MKV_DIFFERS) {
        return true;
    }
    if (c->transport->limits.reads_are_fenced) {
        return c->verify;
    }
    return __atomic_add_fetch(&c->sets, 1, __ATOMIC_RELAXED) % SAMPLE == 0;
}

/* In the caller's thread: where each key goes, and what its value's checksum is. */
static void prepare(struct mkv_batch *b)
{
    bool ahead = b->op == MKV_OP_SET && sums_ahead(b);
    b->unsummed = b->op == MKV_OP_SET && !ahead;
    for (uint32_t i = 0; i < b->n; i++) {
        struct value *v = &b->values[i];
        const uint8_t *key = b->keys + v->key_at;
        v->hash = mkv__place_key(b->namespace_, b->namespace_len, key, v->key_len);
        if (ahead || (b->op == MKV_OP_GET && b->client->verify)) {
            v->checksum = mkv__sum_seed(b->namespace_, b->namespace_len, key, v->key_len,
                                        v->length);
        }
        if (ahead) {
            sum_value(b, v);
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

/* With the last post the batch is its workers'. */
static void post_all(struct mkv_batch *b)
{
    unsigned n = b->n_parts;
    __atomic_store_n(&b->pending, n, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < n; i++) {
        mkv__worker_post(b->parts[i]->rail->worker, &b->parts[i]->start);
    }
}

/* All but the posting. */
static int ready(struct mkv_batch *b)
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
    if (b->gone == NULL) {
        mkv__completion_init(&b->completion, 1);
    } else { /* used again in its callback, which is over for it: who waits, waits on */
        *b->gone = true;
        b->gone = NULL;
        __atomic_store_n(&b->caller, NULL, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&b->ready, 0, __ATOMIC_RELAXED);
    b->cancelled = false;
    b->state = BATCH_FLYING;
    return 0;
}

int mkv_batch_submit(struct mkv_batch *b)
{
    int r = ready(b);
    if (r == 0) {
        post_all(b);
    }
    return r;
}

/* The rail whose turns the caller should run itself: that of a batch so small that waking and being
 * woken is what takes time. Large ones are for the worker near the NIC. */
static struct rail *rail_to_run(const struct mkv_batch *b)
{
    struct rail *rail = b->parts[0]->rail;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        bytes += b->values[i].length;
    }
    bool told = b->done_fn != NULL || b->flags & MKV_NOTIFY;
    bool small = b->n_parts == 1 && bytes <= RUN_BYTES && !told && !b->client->manual;
    return small && mkv__worker_take(rail->worker) ? rail : NULL;
}

int mkv_batch_run(struct mkv_batch *b)
{
    if (!foreign(b) && mkv__client_rail(b->client) != NULL) {
        return -EBUSY; /* in a callback: it would wait for itself */
    }
    int r = ready(b);
    if (r < 0) {
        return r;
    }
    struct rail *rail = rail_to_run(b); /* before the post, which would call its thread */
    post_all(b);
    if (rail != NULL) {
        mkv__rail_run(rail, b);
    }
    mkv_batch_wait(b);
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

/* Before the completion, so that who has waited may destroy the batch. In the callback it may be
 * destroyed or used again: then it returns false, and there is nothing left to do. */
static bool call(struct mkv_batch *b, struct rail *rail)
{
    struct mkv_client *client = b->client;
    bool gone = false;
    b->gone = &gone;
    __atomic_store_n(&b->caller, rail, __ATOMIC_RELAXED);
    if (client->manual) {
        client->calling = rail;
    }
    b->done_fn(b->done_arg, b);
    if (client->manual) {
        client->calling = NULL;
    }
    if (gone) {
        return false;
    }
    b->gone = NULL;
    __atomic_store_n(&b->caller, NULL, __ATOMIC_RELAXED);
    return b->state != BATCH_IDLE;
}

static void complete(struct mkv_batch *b, struct rail *rail)
{
    count(b);
    mkv__table_put(b->table);
    b->table = NULL;
    mkv__regions_drop(b);
    __atomic_store_n(&b->ready, 1, __ATOMIC_RELEASE);
    bool told = !__atomic_load_n(&b->orphan, __ATOMIC_RELAXED);
    if (told && b->done_fn != NULL && !call(b, rail)) {
        return;
    }
    bool kept = told && b->flags & MKV_NOTIFY ? mkv__notify(b)
                                              : mkv__completion_done(&b->completion);
    if (!kept) {
        free_batch(b);
    }
}

void mkv__batch_release(struct mkv_batch *b, struct rail *rail)
{
    if (__atomic_sub_fetch(&b->pending, 1, __ATOMIC_ACQ_REL) == 0) {
        complete(b, rail);
    }
}

int mkv_batch_cancel(struct mkv_batch *b)
{
    if (foreign(b)) {
        return -ECANCELED;
    }
    unsigned n = b->n_parts;
    if (b->state != BATCH_FLYING || b->cancelled || !hold(b, n)) {
        return 0;
    }
    b->cancelled = true;
    for (unsigned i = 0; i < n; i++) {
        mkv__worker_post(mkv__part_rail(b->parts[i])->worker, &b->parts[i]->cancel);
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
    const struct rail *caller = __atomic_load_n(&b->caller, __ATOMIC_RELAXED);
    if (caller != NULL && caller == mkv__client_rail(b->client) && is_ready(b)) {
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
    return b->stat_out != NULL ? b->stat_error : 0;
}

int mkv_batch_wait(struct mkv_batch *b)
{
    if (foreign(b)) {
        return -ECANCELED;
    }
    if (!mkv_batch_test(b)) {
        if (mkv__client_rail(b->client) != NULL) {
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
