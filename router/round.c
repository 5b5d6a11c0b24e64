/*
 * The rounds of a batch: keys grouped by server, one request each (more where a limit of the message
 * asks for it), all out before the first answer. A further round asks the next server in rank for
 * what a lost session left open, and, in the grace time after a change, for what was missed. Each
 * change moves a key by one rank at most, so two further rounds find what two changes have moved: a
 * server that was away when the key was written, and one that was added since.
 */
#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 3u

static bool chunk_full(const struct mkv_batch *b, uint32_t n, uint64_t bytes, uint64_t pieces,
                       uint64_t key_bytes)
{
    const struct mkv__transport_limits *limits = &b->client->transport->limits;
    return n == limits->max_keys || bytes > limits->max_exposure || pieces > limits->max_pieces ||
           key_bytes + 32ull * n > limits->max_message / 2;
}

static int add_rpc(struct mkv_batch *b, uint32_t server, const uint32_t *keys, uint32_t n)
{
    struct rpc *rpc = mkv__rpc_new(b);
    if (rpc == NULL) {
        return -ENOMEM;
    }
    rpc->next = NULL;
    *b->rpcs_end = rpc;
    b->rpcs_end = &rpc->next;
    rpc->server = b->table->servers[server];
    return mkv__rpc_fill(rpc, keys, n);
}

/* Keys order[0..n) all go to one server. */
static int add_group(struct mkv_batch *b, uint32_t server, const uint32_t *order, uint32_t n)
{
    uint32_t first = 0;
    uint64_t bytes = 0, pieces = 0, key_bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct value *v = &b->values[order[i]];
        if (i > first && chunk_full(b, i - first, bytes + v->length, pieces + v->n_segments,
                                    key_bytes + v->key_len)) {
            int r = add_rpc(b, server, order + first, i - first);
            if (r < 0) {
                return r;
            }
            first = i;
            bytes = pieces = key_bytes = 0;
        }
        bytes += v->length;
        pieces += v->n_segments;
        key_bytes += v->key_len;
    }
    return n > first ? add_rpc(b, server, order + first, n - first) : 0;
}

/* Makes the requests of this round for the keys whose server is set. Returns -ENOMEM, or 0. */
static int group(struct mkv_batch *b)
{
    uint32_t servers = b->table->n;
    uint32_t *end = b->begins; /* a counting sort: begins[s] becomes the end of group s */
    memset(end, 0, (servers + 1u) * sizeof(*end));
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->values[i].server != MKV_NO_SERVER) {
            end[b->values[i].server + 1]++;
        }
    }
    for (uint32_t s = 0; s < servers; s++) {
        end[s + 1] += end[s];
    }
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->values[i].server != MKV_NO_SERVER) {
            b->order[end[b->values[i].server]++] = i;
        }
    }
    for (uint32_t s = 0, begin = 0; s < servers; begin = end[s++]) {
        int r = end[s] > begin ? add_group(b, s, b->order + begin, end[s] - begin) : 0;
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static void recycle(struct mkv_batch *b)
{
    while (b->rpcs != NULL) {
        struct rpc *rpc = b->rpcs;
        b->rpcs = rpc->next;
        rpc->next = b->spare_rpcs;
        b->spare_rpcs = rpc;
    }
    b->rpcs_end = &b->rpcs;
}

/* Each request may end at once, so the list is held by one more part. */
static void count_parts(struct mkv_batch *b)
{
    b->left = 1;
    for (struct rpc *rpc = b->rpcs; rpc != NULL; rpc = rpc->next) {
        b->left++;
    }
}

/* Sends the round's requests. */
static void launch(struct mkv_batch *b)
{
    count_parts(b);
    for (struct rpc *rpc = b->rpcs; rpc != NULL; rpc = rpc->next) {
        if (b->late) { /* stopped by a callback of another batch meanwhile */
            mkv__rpc_finished(rpc, b->stop_error);
        } else {
            mkv__server_submit(rpc);
        }
    }
    mkv__batch_rpc_done(b);
}

bool mkv__batch_in_grace(const struct mkv_batch *b)
{
    const struct mkv_client *c = b->client;
    uint64_t changed = __atomic_load_n(&c->changed_ns, __ATOMIC_RELAXED);
    return c->grace_ns > 0 && mkv__worker_now(c->worker) < changed + c->grace_ns;
}

static bool ask_again(const struct mkv_batch *b, const struct answer *a, bool grace)
{
    if (a->status == MKV_MISS) {
        return grace && (b->op == MKV_OP_GET || b->op == MKV_OP_EXISTS) && a->length == 0;
    }
    return a->status == MKV_UNKNOWN && (a->error == -ECONNRESET || a->error == -EACCES);
}

/* Chooses the servers of the next round; false when nothing is to be asked. */
static bool next_round(struct mkv_batch *b)
{
    if (b->round + 1 >= ROUNDS_MAX || b->late || b->stop_error < 0 || b->stat_out != NULL ||
        b->table->n < 2) {
        return false;
    }
    bool grace = mkv__batch_in_grace(b), any = false;
    for (uint32_t i = 0; i < b->n; i++) {
        struct value *v = &b->values[i];
        uint32_t asked = v->server;
        v->server = MKV_NO_SERVER;
        if (asked != MKV_NO_SERVER && ask_again(b, &b->answers[i], grace)) {
            v->server = mkv__table_place(b->table, v->hash, asked);
            any = any || v->server != MKV_NO_SERVER;
        }
    }
    return any;
}

void mkv__batch_rpc_done(struct mkv_batch *b)
{
    if (--b->left > 0) {
        return;
    }
    recycle(b);
    if (next_round(b)) {
        b->round++;
        COUNT(b->client, second_rounds, 1);
        if (group(b) == 0) {
            launch(b);
            return;
        }
        recycle(b);
    }
    mkv__timer_stop(b->client->worker, &b->deadline);
    mkv__batch_complete(b);
}

/* The deadline, or cancel: fence everything that is out. */
static void withdraw_all(struct mkv_batch *b, int error)
{
    b->late = true;
    b->left++; /* so that the list stays while it is walked */
    for (struct rpc *rpc = b->rpcs; rpc != NULL; rpc = rpc->next) {
        mkv__server_withdraw(rpc, error);
    }
    mkv__batch_rpc_done(b);
}

static void on_deadline(struct mkv__worker *worker, struct mkv__timer *timer)
{
    (void)worker;
    withdraw_all(MKV_CONTAINER_OF(timer, struct mkv_batch, deadline), -ETIMEDOUT);
}

void mkv__batch_stop(struct mkv_batch *b, int error)
{
    b->stop_error = error;
    withdraw_all(b, error);
}

/* All breakers are open: say why, if it is the key. */
static int why_none(const struct table *table)
{
    int error = -ECONNRESET;
    for (uint32_t i = 0; i < table->n; i++) {
        error = mkv__server_error(table->servers[i]) == -EACCES ? -EACCES : error;
    }
    return error;
}

static void place_all(struct mkv_batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct value *v = &b->values[i];
        v->server = mkv__table_place(b->table, v->hash, MKV_NO_SERVER);
        b->answers[i] = (struct answer){.status = MKV_PENDING};
        if (v->server == MKV_NO_SERVER) {
            b->answers[i] = (struct answer){.status = MKV_UNKNOWN, .error = why_none(b->table)};
        }
    }
}

int mkv__batch_plan(struct mkv_batch *b)
{
    b->round = 0;
    b->late = false;
    b->stop_error = 0;
    b->rpcs_end = &b->rpcs;
    if (b->stat_out != NULL) {
        b->rpcs = mkv__rpc_new(b);
        if (b->rpcs == NULL) {
            return -ENOMEM;
        }
        b->rpcs->server = b->stat_server;
        b->rpcs->next = NULL;
        return 0;
    }
    if (mkv__grow(&b->begins, &b->begins_cap, b->table->n + 1u, sizeof(*b->begins)) < 0) {
        return -ENOMEM;
    }
    place_all(b);
    return group(b);
}

void mkv__batch_unplan(struct mkv_batch *b)
{
    recycle(b);
}

/* Destroyed or too late before it began: no server is bothered, and none is blamed. */
static void never_sent(struct mkv_batch *b, int error)
{
    b->late = true;
    count_parts(b);
    for (struct rpc *rpc = b->rpcs; rpc != NULL; rpc = rpc->next) {
        mkv__rpc_finished(rpc, error);
    }
    mkv__batch_rpc_done(b);
}

void mkv__batch_start(struct mkv__worker *worker, struct mkv__task *task)
{
    struct mkv_batch *b = MKV_CONTAINER_OF(task, struct mkv_batch, start);
    b->started = true;
    mkv__timer_init(&b->deadline, on_deadline);
    mkv__timer_set(worker, &b->deadline, b->deadline_ns);
    if (b->orphan || mkv__worker_now(worker) >= b->deadline_ns) {
        never_sent(b, b->orphan ? -ECANCELED : -ETIMEDOUT);
        return;
    }
    launch(b);
}
