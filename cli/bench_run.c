#include "cli/bench.h"

#include "cli/cli.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define SAMPLES_MAX ((size_t)1 << 20)
#define KEY_BYTES   64

struct runner {
    const struct bench_case *c;
    struct mkv_client *client;
    unsigned index;
    uint64_t first_key, n_keys; /* get, exists: those that are there; set: counts up */
    uint8_t *values;
    uint64_t until_ns;
    uint64_t batches, failed;
    float *samples; /* microseconds, one per batch */
};

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* A key as engines have it: 64 hexadecimal digits. */
static void key_of(uint64_t seed, uint64_t number, char out[KEY_BYTES + 1])
{
    for (int i = 0; i < 4; i++) {
        snprintf(out + 16 * i, 17, "%016llx",
                 (unsigned long long)mix(seed ^ mix(number * 4 + (uint64_t)i)));
    }
}

static int one_batch(struct runner *r, struct mkv_batch *batch, enum mkv_op op, uint64_t first)
{
    struct mkv_batch_options options = {.size = sizeof(options), .timeout_ns = 8000000000u};
    char key[KEY_BYTES + 1];
    int e = mkv_batch_begin(batch, op, &options);
    for (uint32_t i = 0; i < r->c->batch && e >= 0; i++) {
        uint64_t number = first + i;
        struct mkv_segment segment = {r->values + i * r->c->value_bytes, r->c->value_bytes};
        key_of(r->c->seed ^ mix(r->c->value_bytes), number, key);
        e = mkv_batch_add(batch, key, KEY_BYTES, &segment, op == MKV_OP_EXISTS ? 0 : 1);
    }
    e = e < 0 ? e : mkv_batch_submit(batch);
    if (e >= 0) {
        mkv_batch_wait(batch);
        e = mkv_batch_prefix(batch) == r->c->batch ? 0 : 1;
    }
    return e;
}

static int fill(struct runner *r, struct mkv_batch *batch)
{
    for (uint64_t at = 0; at < r->n_keys; at += r->c->batch) {
        if (one_batch(r, batch, MKV_OP_SET, r->first_key + at) != 0) {
            return -1;
        }
    }
    return 0;
}

static void *run(void *arg)
{
    struct runner *r = arg;
    struct mkv_batch *batch;
    if (mkv_batch_create(r->client, &batch) < 0) {
        r->failed++;
        return NULL;
    }
    for (uint64_t at = 0; now_ns() < r->until_ns; at += r->c->batch) {
        uint64_t first = r->first_key + (r->c->op == MKV_OP_SET ? at : at % r->n_keys);
        uint64_t start = now_ns();
        r->failed += one_batch(r, batch, r->c->op, first) != 0;
        if (r->batches < SAMPLES_MAX) {
            r->samples[r->batches] = (float)((double)(now_ns() - start) / 1e3);
        }
        r->batches++;
    }
    mkv_batch_destroy(&batch);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void percentiles(struct runner *runners, unsigned n, struct bench_row *row)
{
    size_t total = 0, at = 0;
    for (unsigned i = 0; i < n; i++) {
        total += runners[i].batches < SAMPLES_MAX ? runners[i].batches : SAMPLES_MAX;
    }
    float *all = malloc((total + 1) * sizeof(*all));
    if (all == NULL || total == 0) {
        free(all);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        size_t k = runners[i].batches < SAMPLES_MAX ? runners[i].batches : SAMPLES_MAX;
        memcpy(all + at, runners[i].samples, k * sizeof(*all));
        at += k;
    }
    qsort(all, total, sizeof(*all), by_value);
    row->p50_us = (double)all[total / 2];
    row->p99_us = (double)all[total * 99 / 100];
    row->p999_us = (double)all[total * 999 / 1000];
    free(all);
}

static double own_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int prepare(struct runner *r, const struct bench_case *c, struct mkv_client *client,
                   unsigned index)
{
    uint64_t room = c->batch * (c->value_bytes > 0 ? c->value_bytes : 1);
    uint64_t wanted = ((uint64_t)192 << 20) / c->threads / room;
    uint64_t batches = c->value_bytes == 0 ? 64 : wanted < 1 ? 1 : wanted > 256 ? 256 : wanted;
    *r = (struct runner){.c = c, .client = client, .index = index, .n_keys = batches * c->batch};
    r->first_key = (uint64_t)index << 40;
    r->samples = malloc(SAMPLES_MAX * sizeof(*r->samples));
    void *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                   -1, 0);
    r->values = p == MAP_FAILED ? NULL : p;
    struct mkv_batch *batch;
    if (r->samples == NULL || r->values == NULL || mkv_batch_create(client, &batch) < 0) {
        return -1;
    }
    for (uint64_t i = 0; i + 8 <= room; i += 8) {
        uint64_t word = mix(c->seed ^ i);
        memcpy(r->values + i, &word, 8);
    }
    int e = c->op == MKV_OP_SET ? 0 : fill(r, batch);
    r->first_key += c->op == MKV_OP_SET ? (uint64_t)1 << 39 : 0;
    mkv_batch_destroy(&batch);
    return e;
}

static void dispose(struct runner *r)
{
    if (r->values != NULL) {
        munmap(r->values, r->c->batch * (r->c->value_bytes > 0 ? r->c->value_bytes : 1));
    }
    free(r->samples);
}

static double ceiling(const struct bench_case *c)
{
    uint64_t bytes = c->batch * c->value_bytes;
    uint64_t up = c->op == MKV_OP_SET ? bytes : c->batch * 32u + 128;
    uint64_t down = c->op == MKV_OP_GET ? bytes : c->op == MKV_OP_SET ? 64 : c->batch / 8 + 96;
    return bench_ceiling(up, down, c->threads, c->seconds / 2);
}

int bench_run(struct mkv_client *client, const struct bench_case *c, pid_t server,
              struct bench_row *row)
{
    struct runner *runners = calloc(c->threads, sizeof(*runners));
    pthread_t *threads = calloc(c->threads, sizeof(*threads));
    int r = runners == NULL || threads == NULL ? -1 : 0;
    unsigned prepared = 0;
    *row = (struct bench_row){0};
    while (r == 0 && prepared < c->threads) {
        r = prepare(&runners[prepared], c, client, prepared);
        prepared++;
    }
    if (r == 0) {
        /* Half of the ceiling before and half after: the machine's mood is in both. */
        row->ceiling_bytes_per_s = ceiling(c) / 2;
        uint64_t start = now_ns();
        double cpu = own_cpu() + bench_cpu_of(server);
        for (unsigned i = 0; i < c->threads; i++) {
            runners[i].until_ns = start + (uint64_t)(c->seconds * 1e9);
            pthread_create(&threads[i], NULL, run, &runners[i]);
        }
        for (unsigned i = 0; i < c->threads; i++) {
            pthread_join(threads[i], NULL);
            row->batches += runners[i].batches;
            row->failed += runners[i].failed;
        }
        row->elapsed_s = (double)(now_ns() - start) / 1e9;
        row->cpu_s = own_cpu() + bench_cpu_of(server) - cpu;
        row->keys = (row->batches - row->failed) * c->batch;
        row->keys_per_s = (double)row->keys / row->elapsed_s;
        uint64_t moved = c->op == MKV_OP_EXISTS ? 32 + 1 : c->value_bytes;
        row->bytes_per_s = row->keys_per_s * (double)moved;
        percentiles(runners, c->threads, row);
        row->ceiling_bytes_per_s += ceiling(c) / 2;
        row->ratio = row->ceiling_bytes_per_s > 0 ? row->bytes_per_s / row->ceiling_bytes_per_s : 0;
    }
    for (unsigned i = 0; i < prepared; i++) {
        dispose(&runners[i]);
    }
    free(runners);
    free(threads);
    return r;
}
