/*
 * The rounds of a part: keys grouped by server, one request each (more where a limit of the message
 * asks for it), all out before the first answer. A further round asks the next server in rank for
 * what a server that is gone left open, and, in the grace time after a change, for what was missed.
 * Each change moves a key by one rank at most, so two further rounds find what two changes have
 * moved: a server that was away when the key was written, and one that was added since.
 *
 * Before that, what was out when a session was lost goes to the same server once more: over another
 * rail, to which the part moves, or over the session made anew.
 */
#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX  3u
#define REPEATS_MAX (2u * MKV_RAILS_MAX) /* each rail may refuse once, and fail once */
#define PAUSE_NS    1000000u             /* the first, for a server that is busy; they double */
#define PAUSE_STEPS 5u

static bool chunk_full(const struct mkv_batch *b, uint32_t n, uint64_t bytes, uint64_t pieces,
                       uint64_t key_bytes)
{
    const struct mkv__transport_limits *limits = &b->client->transport->limits;
    return n == limits->max_keys || bytes > limits->max_exposure || pieces > limits->max_pieces ||
           key_bytes + 32ull * n > limits->max_message / 2;
}

static int add_rpc(struct part *p, uint32_t server, const uint32_t *keys, uint32_t n)
{
    const struct mkv_batch *b = p->batch;
    struct rpc *rpc = mkv__rpc_new(p);
    bool again = false;
    if (rpc == NULL) {
        return -ENOMEM;
    }
    rpc->next = NULL;
    *p->rpcs_end = rpc;
    p->rpcs_end = &rpc->next;
    rpc->session = &b->table->servers[server]->sessions[p->rail->number];
    for (uint32_t i = 0; i < n; i++) {
        again = again || b->values[keys[i]].goes_again;
    }
    COUNT(b->client, reissued, again);
    return mkv__rpc_fill(rpc, keys, n);
}

/* Keys order[0..n) all go to one server. */
static int add_group(struct part *p, uint32_t server, const uint32_t *order, uint32_t n)
{
    const struct mkv_batch *b = p->batch;
    uint32_t first = 0;
    uint64_t bytes = 0, pieces = 0, key_bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct value *v = &b->values[order[i]];
        if (i > first && chunk_full(b, i - first, bytes + v->length, pieces + v->n_segments,
                                    key_bytes + v->key_len)) {
            int r = add_rpc(p, server, order + first, i - first);
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
    return n > first ? add_rpc(p, server, order + first, n - first) : 0;
}

static bool is_asked(const struct part *p, const struct value *v)
{
    return v->part == p->number && v->server != MKV_NO_SERVER;
}

/* Makes the requests of this round for the keys whose server is set. Returns -ENOMEM, or 0. */
static int group(struct part *p)
{
    struct mkv_batch *b = p->batch;
    uint32_t servers = b->table->n;
    uint32_t *end = p->begins; /* a counting sort: begins[s] becomes the end of group s */
    memset(end, 0, (servers + 1u) * sizeof(*end));
    for (uint32_t i = 0; i < b->n; i++) {
        if (is_asked(p, &b->values[i])) {
            end[b->values[i].server + 1]++;
        }
    }
    for (uint32_t s = 0; s < servers; s++) {
        end[s + 1] += end[s];
    }
    for (uint32_t i = 0; i < b->n; i++) {
        if (is_asked(p, &b->values[i])) {
            p->order[end[b->values[i].server]++] = i;
        }
    }
    for (uint32_t s = 0, begin = 0; s < servers; begin = end[s++]) {
        int r = end[s] > begin ? add_group(p, s, p->order + begin, end[s] - begin) : 0;
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static void recycle(struct part *p)
{
    while (p->rpcs != NULL) {
        struct rpc *rpc = p->rpcs;
        p->rpcs = rpc->next;
        rpc->next = p->spare_rpcs;
        p->spare_rpcs = rpc;
    }
    p->rpcs_end = &p->rpcs;
}

/* Each request may end at once, so the list is held by one more. */
static void count_rpcs(struct part *p)
{
    p->left = 1;
    for (struct rpc *rpc = p->rpcs; rpc != NULL; rpc = rpc->next) {
        p->left++;
    }
}

/* Sends the round's requests. */
static void launch(struct part *p)
{
    count_rpcs(p);
    for (struct rpc *rpc = p->rpcs; rpc != NULL; rpc = rpc->next) {
        if (p->late) { /* stopped by a callback of another batch meanwhile */
            mkv__rpc_finished(rpc, p->stop_error);
        } else {
            mkv__session_submit(rpc);
        }
    }
    mkv__part_rpc_done(p);
}

/* The next round ------------------------------------------------------------------------------- */

bool mkv__part_in_grace(const struct part *p)
{
    const struct mkv_client *c = p->batch->client;
    uint64_t changed = __atomic_load_n(&c->changed_ns, __ATOMIC_RELAXED);
    return c->grace_ns > 0 && mkv__worker_now(p->rail->worker) < changed + c->grace_ns;
}

/* What the next round is about. */
struct next {
    bool grace, rank; /* rank: there may be one at the next servers in rank */
    bool any, ranked, again, busy;
    uint32_t rails; /* over which all of its servers can be asked; 0: its first at least */
};

static bool ask_again(const struct mkv_batch *b, const struct answer *a, bool grace)
{
    if (a->status == MKV_MISS) {
        return grace && (b->op == MKV_OP_GET || b->op == MKV_OP_EXISTS) && a->length == 0;
    }
    return a->status == MKV_UNKNOWN && (a->error == -ECONNRESET || a->error == -EACCES);
}

/* Where it was out: once for each rail, since all of them may be lost at once, but not one after the
 * other. */
static bool same_again(const struct part *p, struct value *v, const struct answer *a)
{
    if (a->again == AGAIN_BUSY) {
        return true;
    }
    if (a->again == AGAIN_NO ||
        (a->again == AGAIN_LOST && v->reissued >= p->batch->client->n_rails) ||
        p->repeats >= REPEATS_MAX || !mkv__server_up(p->batch->table->servers[v->server])) {
        return false;
    }
    v->reissued += a->again == AGAIN_LOST;
    v->goes_again = a->again == AGAIN_LOST;
    return true;
}

static void choose(struct part *p, uint32_t i, struct next *next)
{
    struct mkv_batch *b = p->batch;
    struct value *v = &b->values[i];
    struct answer *a = &b->answers[i];
    v->goes_again = false;
    if (same_again(p, v, a)) {
        next->again = next->again || a->again != AGAIN_BUSY;
        next->busy = next->busy || a->again == AGAIN_BUSY;
    } else if (next->rank && ask_again(b, a, next->grace)) {
        v->server = mkv__table_place(b->table, v->hash, v->server);
        next->ranked = next->ranked || v->server != MKV_NO_SERVER;
    } else {
        v->server = MKV_NO_SERVER;
    }
    a->again = AGAIN_NO;
    if (v->server != MKV_NO_SERVER) {
        uint32_t good = mkv__server_good(b->table->servers[v->server]);
        uint32_t common = next->any ? next->rails & good : good;
        next->rails = common != 0 ? common : next->rails;
        next->any = true;
    }
}

/* Chooses the servers of the next round; false when nothing is to be asked. */
static bool next_round(struct part *p, struct next *next)
{
    const struct mkv_batch *b = p->batch;
    if (p->late || b->stat_out != NULL) {
        return false;
    }
    *next = (struct next){.grace = mkv__part_in_grace(p),
                          .rank = p->round + 1 < ROUNDS_MAX && b->table->n > 1};
    for (uint32_t i = 0; i < b->n; i++) {
        if (is_asked(p, &b->values[i])) {
            choose(p, i, next);
        }
    }
    p->round += next->ranked;
    p->repeats += next->again;
    COUNT(b->client, second_rounds, next->ranked);
    return next->any;
}

/* This rail if it is one of them, else the next. */
static struct rail *rail_of(const struct part *p, uint32_t rails)
{
    struct mkv_client *c = p->batch->client;
    unsigned i = p->rail->number;
    while (rails != 0 && !(rails & RAIL_CLOSED(i))) {
        i = (i + 1) % c->n_rails;
    }
    return &c->rails[i];
}

static void finish(struct part *p)
{
    mkv__timer_stop(p->rail->worker, &p->deadline);
    mkv__timer_stop(p->rail->worker, &p->pause);
    p->rail->n_parts--;
    p->ended = true;
    mkv__batch_release(p->batch, p->rail);
}

/* Its requests are made for the other rail there. From the post on it is that worker's. */
static void move(struct part *p, struct rail *to)
{
    mkv__timer_stop(p->rail->worker, &p->deadline);
    p->rail->n_parts--;
    p->started = false;
    __atomic_store_n(&p->rail, to, __ATOMIC_RELEASE);
    mkv__worker_post(to->worker, &p->start);
}

static void go_on(struct part *p, uint32_t rails)
{
    struct rail *to = rail_of(p, rails);
    if (to != p->rail) {
        move(p, to);
    } else if (group(p) == 0) {
        launch(p);
    } else {
        recycle(p);
        finish(p);
    }
}

static void on_pause(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct part *p = MKV_CONTAINER_OF(timer, struct part, pause);
    (void)worker;
    go_on(p, p->rails);
}

static void wait_a_little(struct part *p, uint32_t rails)
{
    uint64_t pause = (uint64_t)PAUSE_NS << MKV_MIN(p->pauses, PAUSE_STEPS);
    p->rails = rails;
    p->pauses++;
    mkv__timer_set(p->rail->worker, &p->pause, mkv__worker_now(p->rail->worker) + pause);
}

void mkv__part_rpc_done(struct part *p)
{
    struct next next;
    if (--p->left > 0) {
        return;
    }
    recycle(p);
    if (!next_round(p, &next)) {
        finish(p);
    } else if (next.busy) {
        wait_a_little(p, next.rails);
    } else {
        go_on(p, next.rails);
    }
}

/* The end -------------------------------------------------------------------------------------- */

/* The deadline, or cancel: fence everything that is out. */
static void withdraw_all(struct part *p, int error)
{
    p->late = true;
    p->left++; /* so that the list stays while it is walked */
    for (struct rpc *rpc = p->rpcs; rpc != NULL; rpc = rpc->next) {
        mkv__session_withdraw(rpc, error);
    }
    mkv__part_rpc_done(p);
}

static void on_deadline(struct mkv__worker *worker, struct mkv__timer *timer)
{
    (void)worker;
    withdraw_all(MKV_CONTAINER_OF(timer, struct part, deadline), -ETIMEDOUT);
}

void mkv__part_stop(struct part *p, int error)
{
    if (p->ended) {
        return;
    }
    p->stop_error = error;
    p->late = true; /* where it has not started here, it will not */
    if (p->started) {
        withdraw_all(p, error);
    }
}

void mkv__part_cancel(struct mkv__worker *worker, struct mkv__task *task)
{
    struct part *p = MKV_CONTAINER_OF(task, struct part, cancel);
    struct rail *rail = mkv__part_rail(p);
    if (rail->worker != worker) { /* it has moved meanwhile: after it */
        mkv__worker_post(rail->worker, task);
        return;
    }
    mkv__part_stop(p, -ECANCELED);
    mkv__batch_release(p->batch, rail);
}

/* The beginning -------------------------------------------------------------------------------- */

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
        v->reissued = 0;
        v->goes_again = false;
        b->answers[i] = (struct answer){.status = MKV_PENDING};
        if (v->server == MKV_NO_SERVER) {
            b->answers[i] = (struct answer){.status = MKV_UNKNOWN, .error = why_none(b->table)};
        }
    }
}

static int plan_stat(struct part *p)
{
    p->rpcs = mkv__rpc_new(p);
    if (p->rpcs == NULL) {
        return -ENOMEM;
    }
    p->rpcs->session = &p->batch->stat_server->sessions[p->rail->number];
    p->rpcs->next = NULL;
    p->batch->stat_error = 0;
    return 0;
}

int mkv__batch_plan(struct mkv_batch *b)
{
    place_all(b);
    int r = mkv__batch_split(b);
    for (unsigned i = 0; i < b->n_parts && r == 0; i++) {
        struct part *p = b->parts[i];
        p->round = p->repeats = p->pauses = 0;
        p->late = p->started = p->ended = false;
        p->stop_error = 0;
        p->rpcs_end = &p->rpcs;
        p->start.run = mkv__part_start;
        p->cancel.run = mkv__part_cancel;
        r = b->stat_out != NULL ? plan_stat(p) : group(p);
    }
    return r;
}

void mkv__batch_unplan(struct mkv_batch *b)
{
    for (unsigned i = 0; i < b->n_parts; i++) {
        recycle(b->parts[i]);
    }
}

/* Destroyed, cancelled or too late before it began: no server is bothered, and none is blamed. */
static void never_sent(struct part *p, int error)
{
    p->late = true;
    count_rpcs(p);
    for (struct rpc *rpc = p->rpcs; rpc != NULL; rpc = rpc->next) {
        mkv__rpc_finished(rpc, error);
    }
    mkv__part_rpc_done(p);
}

void mkv__part_start(struct mkv__worker *worker, struct mkv__task *task)
{
    struct part *p = MKV_CONTAINER_OF(task, struct part, start);
    const struct mkv_batch *b = p->batch;
    p->started = true;
    p->rail->n_parts++;
    mkv__timer_init(&p->deadline, on_deadline);
    mkv__timer_init(&p->pause, on_pause);
    if (p->rpcs == NULL && group(p) < 0) { /* of a part that has moved */
        recycle(p);
    }
    mkv__timer_set(worker, &p->deadline, b->deadline_ns);
    if (p->late || __atomic_load_n(&b->orphan, __ATOMIC_RELAXED)) {
        never_sent(p, -ECANCELED);
    } else if (mkv__worker_now(worker) >= b->deadline_ns) {
        never_sent(p, -ETIMEDOUT);
    } else {
        launch(p);
    }
}
