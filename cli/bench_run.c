#include "cli/bench.h"

#include "cli/cli.h"

#include "core/hist.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FILLED_MAX   256u /* batches that get and exists ask for in turn */
#define DIGITS       3    /* of a percentile */
#define KEY_BYTES    64
#define KEY_ON_WIRE  32
#define FAR          ((uint64_t)1 << 40)
#define REQUEST_HEAD 128
#define REPLY_HEAD   96

struct runner {
    const struct bench_case *c;
    struct mkv_client *client;
    struct mkv_batch *batch;
    uint64_t first_key, n_keys; /* get, exists: those that are there */
    uint64_t at;                /* the next one, from first_key on */
    char *keys;                 /* of a batch, KEY_BYTES each, and a zero */
    uint8_t *values;
    uint64_t room;             /* bytes of values; batches take them in turn */
    struct mkv_region *region; /* of them; NULL where it cannot be had: then each batch registers */
    uint64_t until_ns;
    uint64_t batches, failed;
    struct mkv__hist *took; /* ns of each batch */
    pthread_t thread;
};

/* ---- keys and values ------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* A key as engines have it: 64 hexadecimal digits. Those of sets are new in each run, since a value
 * that is there already moves no bytes. */
static void key_of(const struct bench_case *c, enum mkv_op op, uint64_t number, char out[KEY_BYTES])
{
    bool new = c->op == MKV_OP_SET &&op == MKV_OP_SET;
    uint64_t seed = c->seed ^ mix(c->value_bytes) ^ (new ? c->nonce : 0), rest = 0;
    for (int i = 0; i < KEY_BYTES; i++) { /* snprintf takes longer than some batches */
        static const char digits[] = "0123456789abcdef";
        uint64_t word = i % 16 == 0 ? mix(seed ^ mix(number * 4 + (uint64_t)(i / 16))) : rest;
        out[i] = digits[word >> 60];
        rest = word << 4;
    }
}

static uint64_t bytes_of_batch(const struct bench_case *c)
{
    return c->batch * c->value_bytes;
}

static bool all_as_wanted(const struct bench_case *c, const struct mkv_batch *batch)
{
    if (c->op != MKV_OP_SET) {
        return mkv_batch_prefix(batch) == c->batch;
    }
    for (uint32_t i = 0; i < c->batch; i++) {
        if (mkv_batch_status(batch, i) != MKV_STORED) {
            return false;
        }
    }
    return true;
}

/* The keys of a batch: made before it is timed. */
static void name_batch(struct runner *r, enum mkv_op op, uint64_t from)
{
    for (uint32_t i = 0; i < r->c->batch; i++) {
        key_of(r->c, op, r->first_key + from + i, r->keys + (size_t)i * KEY_BYTES);
    }
}

static bool one_batch(struct runner *r, enum mkv_op op, uint64_t from)
{
    struct mkv_batch_options options = {.size = sizeof(options), .timeout_ns = 8000000000u};
    uint64_t bytes = bytes_of_batch(r->c);
    uint64_t turn = bytes > 0 ? from / r->c->batch % (r->room / bytes) : 0;
    int e = mkv_batch_begin(r->batch, op, &options);
    for (uint32_t i = 0; i < r->c->batch && e >= 0; i++) {
        struct mkv_segment segment = {r->values + turn * bytes + i * r->c->value_bytes,
                                      r->c->value_bytes};
        e = mkv_batch_add(r->batch, r->keys + (size_t)i * KEY_BYTES, KEY_BYTES, &segment,
                          op == MKV_OP_EXISTS ? 0 : 1);
    }
    e = e < 0 ? e : mkv_batch_run(r->batch);
    if (e < 0) {
        return false;
    }
    return all_as_wanted(r->c, r->batch);
}

/* ---- runners --------------------------------------------------------------------------------- */

static bool prepare(struct runner *r, const struct bench_case *c, struct mkv_client *client,
                    unsigned index)
{
    uint64_t bytes = bytes_of_batch(c);
    uint64_t turns = bytes > 0 ? bench_working_set() / c->threads / bytes : 1;
    uint64_t filled = bytes == 0 ? 64 : turns < 1 ? 1 : turns > FILLED_MAX ? FILLED_MAX : turns;
    *r = (struct runner){.c = c, .client = client, .n_keys = filled * c->batch};
    r->first_key = index * FAR;
    r->room = bytes > 0 ? (turns < 1 ? 1 : turns) * bytes : 1;
    r->values = bench_map(r->room);
    r->keys = malloc(c->batch * KEY_BYTES + 1);
    if (r->values == NULL || r->keys == NULL || mkv__hist_create(DIGITS, &r->took) < 0 ||
        mkv_batch_create(client, &r->batch) < 0) {
        return false;
    }
    (void)mkv_region_open(client, r->values, r->room, NULL, &r->region);
    for (uint64_t i = 0; i + 8 <= r->room; i += 8) {
        uint64_t word = mix(c->seed ^ i);
        memcpy(r->values + i, &word, 8);
    }
    for (uint64_t at = 0; c->op != MKV_OP_SET && at < r->n_keys; at += c->batch) {
        name_batch(r, MKV_OP_SET, at);
        if (!one_batch(r, MKV_OP_SET, at)) {
            return false;
        }
    }
    /* Connections are made by the first batch. What it lacks the next ones will lack, too. */
    if (c->op == MKV_OP_SET) {
        r->at = c->batch;
        name_batch(r, MKV_OP_SET, 0);
        (void)one_batch(r, MKV_OP_SET, 0);
    }
    return true;
}

static void dispose(struct runner *r)
{
    mkv_batch_destroy(&r->batch);
    (void)mkv_region_close(&r->region);
    bench_unmap(r->values, r->room);
    mkv__hist_destroy(&r->took);
    free(r->keys);
}

static void *run(void *arg)
{
    struct runner *r = arg;
    while (now_ns() < r->until_ns) {
        name_batch(r, r->c->op, r->at);
        uint64_t start = now_ns();
        r->failed += !one_batch(r, r->c->op, r->at);
        mkv__hist_record(r->took, now_ns() - start);
        r->batches++;
        r->at += r->c->batch;
        if (r->c->op != MKV_OP_SET && r->at >= r->n_keys) {
            r->at = 0;
        }
    }
    return NULL;
}

static void run_all(struct runner *runners, const struct bench_case *c, double seconds,
                    double *elapsed_s)
{
    uint64_t start = now_ns();
    for (unsigned i = 0; i < c->threads; i++) {
        runners[i].until_ns = start + (uint64_t)(seconds * 1e9);
        if (pthread_create(&runners[i].thread, NULL, run, &runners[i]) != 0) {
            runners[i].thread = pthread_self();
            run(&runners[i]);
        }
    }
    for (unsigned i = 0; i < c->threads; i++) {
        if (!pthread_equal(runners[i].thread, pthread_self())) {
            pthread_join(runners[i].thread, NULL);
        }
    }
    *elapsed_s += (double)(now_ns() - start) / 1e9;
}

/* ---- what came out --------------------------------------------------------------------------- */

/* Into the first runner's, which is of no more use afterwards. */
static void percentiles(const struct runner *runners, unsigned n, struct bench_row *row)
{
    struct mkv__hist *all = runners[0].took;
    for (unsigned i = 1; i < n; i++) {
        mkv__hist_merge(all, runners[i].took);
    }
    row->p50_us = (double)mkv__hist_percentile(all, 50) / 1e3;
    row->p99_us = (double)mkv__hist_percentile(all, 99) / 1e3;
    row->p999_us = (double)mkv__hist_percentile(all, 99.9) / 1e3;
    row->max_us = (double)mkv__hist_percentile(all, 100) / 1e3;
}

/* Bytes of a batch's request and reply beside its values. */
static uint64_t up_of(const struct bench_case *c)
{
    return REQUEST_HEAD + (uint64_t)c->batch * KEY_ON_WIRE;
}

static uint64_t down_of(const struct bench_case *c)
{
    return REPLY_HEAD + c->batch / 8u;
}

/* What both sides of the ratio count: bytes of values; of messages where there are none. */
static double counted(const struct bench_case *c)
{
    return (double)(c->op == MKV_OP_EXISTS ? up_of(c) + down_of(c) : bytes_of_batch(c));
}

/* ---- the ceiling ----------------------------------------------------------------------------- */

/* The best that sockets give: over one connection, over as many as there are callers, and over as
 * many as values have lanes; with as many bytes on their way at once as ours. */
#define CEILINGS 3

struct ceiling {
    unsigned connections; /* 0: there is none */
    struct bench_raw *raw;
    uint64_t exchanges;
    double elapsed_s;
};

static void close_ceilings(struct ceiling *ceilings)
{
    for (int i = 0; i < CEILINGS; i++) {
        bench_raw_close(ceilings[i].raw);
    }
}

static bool open_ceilings(const struct bench_case *c, struct ceiling *ceilings)
{
    uint64_t up = up_of(c) + (c->op == MKV_OP_SET ? bytes_of_batch(c) : 0);
    uint64_t down = down_of(c) + (c->op == MKV_OP_GET ? bytes_of_batch(c) : 0);
    unsigned lanes = c->op == MKV_OP_EXISTS ? 1 : c->lanes;
    const unsigned wanted[CEILINGS] = {1, c->threads, lanes > c->threads ? lanes : c->threads};
    for (int i = 0; i < CEILINGS && !c->no_ceiling; i++) {
        unsigned n = wanted[i] > 0 ? wanted[i]
                                   : 1; /* clang-tidy does not know that there are callers */
        ceilings[i] = (struct ceiling){0};
        if (i > 0 && n == wanted[i - 1]) {
            continue;
        }
        ceilings[i].connections = n;
        ceilings[i].raw = bench_raw_open(up * c->threads / n, down * c->threads / n, n,
                                         bench_working_set() / CEILINGS, c->congestion);
        if (ceilings[i].raw == NULL) {
            close_ceilings(ceilings);
            return false;
        }
    }
    return true;
}

static void run_ceilings(struct ceiling *ceilings, double seconds)
{
    for (int i = 0; i < CEILINGS; i++) {
        struct ceiling *o = &ceilings[i];
        if (o->raw != NULL) {
            bench_raw_run(o->raw, seconds, &o->exchanges, &o->elapsed_s);
        }
    }
}

static double best_of(const struct ceiling *ceilings, const struct bench_case *c)
{
    double best = 0;
    for (int i = 0; i < CEILINGS; i++) {
        const struct ceiling *o = &ceilings[i];
        if (o->raw != NULL) {
            double share = (double)c->threads / o->connections;
            double now = (double)o->exchanges * share * counted(c) / o->elapsed_s;
            best = now > best ? now : best;
        }
    }
    return best;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static uint64_t whole_of(const struct runner *runners, unsigned n)
{
    uint64_t whole = 0;
    for (unsigned i = 0; i < n; i++) {
        whole += runners[i].batches - runners[i].failed;
    }
    return whole;
}

/* In turns, so that the machine's mood is in both. Ends at once where nothing comes. */
static void measure(struct runner *runners, const struct bench_case *c, struct ceiling *ceilings,
                    pid_t server, void (*slice)(void *arg), void *arg, struct bench_row *row)
{
    unsigned slices = bench_slices(c->no_ceiling);
    double seconds = c->seconds / slices, ours_s = 0, cpu_s = 0;
    for (unsigned i = 0; i < slices; i++) {
        run_ceilings(ceilings, seconds);
        double before = bench_cpu_of(0) + (server > 0 ? bench_cpu_of(server) : 0);
        run_all(runners, c, seconds, &ours_s);
        cpu_s += bench_cpu_of(0) + (server > 0 ? bench_cpu_of(server) : 0) - before;
        slice(arg);
        if (whole_of(runners, c->threads) == 0) {
            return;
        }
    }
    for (unsigned i = 0; i < c->threads; i++) {
        row->batches += runners[i].batches;
        row->failed += runners[i].failed;
    }
    double whole = (double)whole_of(runners, c->threads);
    row->cpu_cores = cpu_s / ours_s;
    row->keys_per_s = whole * c->batch / ours_s;
    row->bytes_per_s = whole * counted(c) / ours_s;
    row->ceiling_bytes_per_s = best_of(ceilings, c);
    row->ratio = row->ceiling_bytes_per_s > 0 ? row->bytes_per_s / row->ceiling_bytes_per_s : 0;
    percentiles(runners, c->threads, row);
}

int bench_run(struct mkv_client *client, const struct bench_case *c, pid_t server,
              void (*slice)(void *arg), void *arg, struct bench_row *row)
{
    struct runner *runners = calloc(c->threads, sizeof(*runners));
    unsigned prepared = 0;
    bool ok = runners != NULL;
    *row = (struct bench_row){0};
    while (ok && prepared < c->threads) {
        ok = prepare(&runners[prepared], c, client, prepared);
        prepared++;
    }
    struct ceiling ceilings[CEILINGS] = {{0}};
    bool sockets = ok && open_ceilings(c, ceilings);
    if (sockets) {
        measure(runners, c, ceilings, server, slice, arg, row);
    }
    close_ceilings(ceilings);
    for (unsigned i = 0; i < prepared; i++) {
        dispose(&runners[i]);
    }
    free(runners);
    return !ok ? -1 : !sockets ? -2 : row->batches == 0 ? -3 : 0;
}
