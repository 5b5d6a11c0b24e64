/*
 * Several threads use one client in every way at once while servers die, stop and are replaced, and
 * connections break; over one rail, then over three. A
 * value's bytes follow from its key, so: what is a hit has the right bytes, what a batch was given
 * is touched by nobody once the batch is done, and everything ends. STORM_SECONDS and STORM_SEED make
 * it longer and another; MEMKV_WORKERS reaches the servers.
 */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVERS   3
#define THREADS   4
#define KEYS      600u
#define BATCH     24u
#define VALUE_MAX 300000u
#define SEGMENTS  5u
#define MARK      0xa5
#define SECONDS   4.0
#define SLOW_S    10.0 /* deadlines are 2 s at most; the rest is for a busy machine */

static struct fleet fleet;

struct storm {
    struct mkv_client *client;
    uint64_t seed;
    bool *end; /* atomic */
    unsigned char *memory;
    uint64_t hits; /* atomic */
    uint64_t batches, wrong, touched, slow, errors;
};

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static size_t size_of(unsigned key)
{
    static const size_t sizes[] = {0, 1, 100, 4096, 5000, 65536, 131072 + 7, VALUE_MAX};
    return sizes[key % 8];
}

static void bytes_of(unsigned key, unsigned char *out, size_t len)
{
    uint64_t seed = key * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = next(&seed);
        memcpy(out + i, &word, len - i < 8 ? len - i : 8);
    }
}

/* A batch, and the memory of its values: BATCH slots of VALUE_MAX. */
struct work {
    struct mkv_batch *batch;
    unsigned char *memory;
    enum mkv_op op;
    unsigned n, keys[BATCH];
    unsigned called; /* atomic */
    bool marked;
};

static void done(void *arg, struct mkv_batch *batch)
{
    struct work *w = arg;
    /* A callback may look at its batch in every way, whoever waits for it. */
    (void)mkv_batch_wait(batch);
    for (int i = 0; i < 50; i++) {
        (void)mkv_batch_prefix(batch);
        sched_yield();
    }
    if (mkv_batch_test(batch) != 1) {
        abort();
    }
    __atomic_add_fetch(&w->called, 1, __ATOMIC_RELEASE);
}

static void add_keys(struct storm *s, struct work *w)
{
    bool small = next(&s->seed) % 2 == 0;
    w->n = 1 + (unsigned)(next(&s->seed) % (small ? 6 : BATCH));
    unsigned first = (unsigned)(next(&s->seed) % KEYS);
    for (unsigned i = 0; i < w->n; i++) {
        unsigned key = (first + i * 7) % KEYS;
        key = small ? key / 8 * 8 + key % 5 : key;
        struct mkv_segment segments[SEGMENTS];
        unsigned char *at = w->memory + (size_t)i * VALUE_MAX;
        size_t len = size_of(key), left = len, n = 0;
        char name[32];
        snprintf(name, sizeof(name), "storm-%u", key);
        w->keys[i] = key;
        if (w->op == MKV_OP_SET) {
            bytes_of(key, at, len);
        }
        if (w->op == MKV_OP_GET || w->op == MKV_OP_SET) {
            for (; n < SEGMENTS - 1 && left > 0; n++) {
                size_t part = (size_t)(next(&s->seed) % (left + 1));
                segments[n] = (struct mkv_segment){at + (len - left), part};
                left -= part;
            }
            segments[n++] = (struct mkv_segment){at + (len - left), left};
        }
        if (mkv_batch_add(w->batch, name, strlen(name), segments, n) != (int)i) {
            abort();
        }
    }
}

static void mark(struct work *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        memset(w->memory + (size_t)i * VALUE_MAX, MARK, size_of(w->keys[i]));
    }
    w->marked = true;
}

static void check_mark(struct storm *s, struct work *w)
{
    for (unsigned i = 0; w->marked && i < w->n; i++) {
        const unsigned char *at = w->memory + (size_t)i * VALUE_MAX;
        for (size_t k = 0; k < size_of(w->keys[i]); k++) {
            s->touched += at[k] != MARK;
        }
    }
}

static void check(struct storm *s, struct work *w)
{
    static __thread unsigned char want[VALUE_MAX];
    for (unsigned i = 0; i < w->n; i++) {
        enum mkv_status status = mkv_batch_status(w->batch, i);
        size_t len = size_of(w->keys[i]);
        s->errors += status == MKV_PENDING;
        if (w->op != MKV_OP_GET || status != MKV_HIT) {
            continue;
        }
        __atomic_add_fetch(&s->hits, 1, __ATOMIC_RELAXED);
        bytes_of(w->keys[i], want, len);
        s->wrong += memcmp(want, w->memory + (size_t)i * VALUE_MAX, len) != 0;
    }
}

static void one(struct storm *s, struct work *w)
{
    static const enum mkv_op ops[] = {MKV_OP_GET,    MKV_OP_SET, MKV_OP_GET,    MKV_OP_SET,
                                      MKV_OP_EXISTS, MKV_OP_GET, MKV_OP_DELETE, MKV_OP_SET};
    uint64_t dice = next(&s->seed);
    bool hasty = dice % 10 < 3, calls = dice / 16 % 4 == 0;
    struct mkv_batch_options o = {.size = sizeof(o),
                                  .timeout_ns = hasty ? 20000 + dice % 4000000 : 2000000000u,
                                  .flags = dice / 64 % 8 == 0 ? MKV_PREFIX : 0,
                                  .done = calls ? done : NULL,
                                  .done_arg = w};
    check_mark(s, w);
    w->marked = false;
    w->op = ops[dice / 1024 % 8];
    w->op = w->op == MKV_OP_DELETE && dice / 8192 % 4 != 0 ? MKV_OP_EXISTS : w->op;
    if (w->op == MKV_OP_SET && dice / 65536 % 8 == 0) {
        o.flags |= MKV_REPLACE;
    }
    o.flags |= dice / 1048576 % 4 == 0 ? MKV_NOTIFY : 0; /* and nobody reaps */
    if (mkv_batch_begin(w->batch, w->op, &o) < 0) {
        abort();
    }
    add_keys(s, w);
    w->called = 0;
    double begin = fleet_now();
    unsigned end = (unsigned)(dice / 4194304 % 16);
    if (end >= 7) {
        if (dice / 67108864 % 4 == 0) {
            usleep((unsigned)(dice / 268435456 % 2000));
        }
        begin = fleet_now();
        if (mkv_batch_run(w->batch) < 0) {
            abort();
        }
    } else if (mkv_batch_submit(w->batch) < 0) {
        abort();
    }
    s->batches++;
    if (end == 0) {
        mkv_batch_cancel(w->batch);
    } else if (end == 1) {
        usleep((unsigned)(dice % 300));
        mkv_batch_destroy(&w->batch);
    } else if (end < 5) {
        while (!mkv_batch_test(w->batch)) {
            sched_yield();
        }
    }
    if (w->batch != NULL) {
        mkv_batch_wait(w->batch);
        check(s, w);
    } else if (mkv_batch_create(s->client, &w->batch) < 0) {
        abort();
    }
    s->slow += fleet_now() - begin > SLOW_S;
    s->errors += calls != (__atomic_load_n(&w->called, __ATOMIC_ACQUIRE) == 1);
    mark(w);
}

static void *storm(void *arg)
{
    struct storm *s = arg;
    struct work works[3] = {0};
    for (int i = 0; i < 3; i++) {
        works[i].memory = calloc(BATCH, VALUE_MAX);
        if (works[i].memory == NULL || mkv_batch_create(s->client, &works[i].batch) < 0) {
            abort();
        }
    }
    struct mkv_region *region = NULL;
    for (unsigned i = 0; !__atomic_load_n(s->end, __ATOMIC_RELAXED); i++) {
        if (i % 32 == 0) { /* nothing of this thread is in flight */
            s->errors += mkv_region_close(&region) < 0;
            s->errors += mkv_region_open(s->client, works[1].memory, (size_t)BATCH * VALUE_MAX,
                                         NULL, &region) < 0;
        }
        one(s, &works[i % 3]);
    }
    s->errors += mkv_region_close(&region) < 0;
    for (int i = 0; i < 3; i++) {
        check_mark(s, &works[i]);
        mkv_batch_destroy(&works[i].batch);
        free(works[i].memory);
    }
    return NULL;
}

/* A server that crashed would only look like one more that was killed. */
static void assert_alive(int i)
{
    assert_int_equal(waitpid(fleet.servers[i].pid, NULL, WNOHANG), 0);
}

static void weather(struct mkv_client *c, uint64_t *seed)
{
    int i = (int)(next(seed) % SERVERS);
    assert_alive(i);
    switch (next(seed) % 6) {
    case 0:
        fleet_kill(&fleet, i);
        usleep((unsigned)(next(seed) % 100000));
        fleet_restart(&fleet, i);
        break;
    case 1:
        fleet_pause(&fleet, i);
        usleep((unsigned)(next(seed) % 50000));
        fleet_resume(&fleet, i);
        break;
    case 2:
        assert_int_equal(mkv_client_set_servers(c, fleet_list(&fleet, 1 + i), NULL), 0);
        break;
    case 3:
    case 4:
        fleet_cut(next(seed)); /* the server lives, and a rail is lost */
        break;
    default:
        assert_int_equal(mkv_client_set_servers(c, fleet_list(&fleet, SERVERS), NULL), 0);
        break;
    }
    usleep((unsigned)(next(seed) % 60000));
}

static bool any_hits(const struct storm *storms)
{
    uint64_t hits = 0;
    for (int i = 0; i < THREADS; i++) {
        hits += __atomic_load_n(&storms[i].hits, __ATOMIC_RELAXED);
    }
    return hits > 0;
}

static void storm_over(unsigned rails)
{
    struct storm storms[THREADS] = {0}, sum = {0};
    pthread_t threads[THREADS];
    bool end = false;
    const char *seed_text = getenv("STORM_SEED"), *seconds_text = getenv("STORM_SECONDS");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 0) : 1;
    double seconds = seconds_text != NULL ? strtod(seconds_text, NULL) : SECONDS;
    fleet_rails = rails;
    fleet_start(&fleet, SERVERS, "24M");
    struct mkv_client *c = fleet_client(&fleet, SERVERS, NULL);
    assert_int_equal(mkv_client_close(&c), 0); /* what the first one leaves stays (sanitizers) */
    int fds = fleet_count("/proc/self/fd"), tasks = fleet_count("/proc/self/task");
    c = fleet_client(&fleet, SERVERS, NULL);
    for (int i = 0; i < THREADS; i++) {
        storms[i] = (struct storm){.client = c, .end = &end, .seed = seed * 1000 + (unsigned)i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, storm, &storms[i]), 0);
    }
    double until = fleet_now() + seconds, patience = until + 60; /* a slow machine hits late */
    while (fleet_now() < until || (!any_hits(storms) && fleet_now() < patience)) {
        weather(c, &seed);
    }
    __atomic_store_n(&end, true, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum.batches += storms[i].batches;
        sum.hits += storms[i].hits;
        sum.wrong += storms[i].wrong;
        sum.touched += storms[i].touched;
        sum.slow += storms[i].slow;
        sum.errors += storms[i].errors;
    }
    for (int i = 0; i < SERVERS; i++) {
        assert_alive(i);
    }
    struct mkv_client_stats stats = fleet_stats(c);
    print_message("%d batches, %d hits; %d wrong, %d touched, %d slow, %d errors; damage %d; "
                  "%d issued again\n",
                  (int)sum.batches, (int)sum.hits, (int)sum.wrong, (int)sum.touched, (int)sum.slow,
                  (int)sum.errors, (int)stats.checksum_errors, (int)stats.reissued);
    assert_true(sum.hits > 0);
    assert_int_equal(sum.wrong + sum.touched + sum.slow + sum.errors, 0);
    assert_int_equal(stats.checksum_errors, 0);
    assert_int_equal(mkv_client_close(&c), 0);
    assert_int_equal(fleet_count("/proc/self/fd"), fds);
    assert_int_equal(fleet_count("/proc/self/task"), tasks);
    fleet_stop(&fleet);
}

static void everything_at_once(void **state)
{
    (void)state;
    storm_over(0);
}

static void over_several_rails(void **state)
{
    (void)state;
    storm_over(3);
}

/* Batches that a callback destroys while they end on other workers ------------------------------- */

#define ROUNDS 100

struct pair {
    struct mkv_batch *other;
    unsigned called; /* atomic */
};

static void destroys_the_other(void *arg, struct mkv_batch *batch)
{
    struct pair *pair = arg;
    (void)batch;
    mkv_batch_destroy(&pair->other);
    __atomic_add_fetch(&pair->called, 1, __ATOMIC_RELEASE);
}

static struct mkv_batch *set_of(struct mkv_client *c, uint64_t n, unsigned char *memory,
                                const struct mkv_batch_options *o)
{
    return pages_batch(c, MKV_OP_SET, "pair", 1 + (unsigned)(n % BATCH), memory, 65536, o);
}

/* What it sends is the same all the time: that of a batch which was destroyed may still be read. */
static void *pairs(void *arg)
{
    struct storm *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t dice = next(&s->seed);
        struct pair pair = {0};
        struct mkv_batch_options o = {
            .size = sizeof(o), .flags = MKV_REPLACE, .done = destroys_the_other, .done_arg = &pair};
        struct mkv_batch_options other = {.size = sizeof(other),
                                          .flags = MKV_REPLACE | (dice % 3 == 0 ? MKV_NOTIFY : 0)};
        struct mkv_batch *b = set_of(s->client, dice / 8, s->memory, &o);
        pair.other = set_of(s->client, dice / 1024, s->memory, &other);
        s->errors += mkv_batch_submit(pair.other) < 0;
        if (dice / 65536 % 2 == 0) {
            usleep((unsigned)(dice / 131072 % 500));
        }
        s->errors += mkv_batch_submit(b) < 0;
        mkv_batch_wait(b);
        s->errors += __atomic_load_n(&pair.called, __ATOMIC_ACQUIRE) != 1;
        mkv_batch_destroy(&b);
    }
    return NULL;
}

static void destroyed_while_they_end(void **state)
{
    (void)state;
    struct storm storms[THREADS] = {0};
    pthread_t threads[THREADS];
    fleet_rails = 3;
    fleet_start(&fleet, 2, "64M");
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    unsigned char *memory = malloc((size_t)BATCH * 65536);
    assert_non_null(memory);
    pages_fill("pair", BATCH, memory, 65536);
    for (int i = 0; i < THREADS; i++) {
        storms[i] = (struct storm){.client = c, .seed = 77 + (unsigned)i, .memory = memory};
        assert_int_equal(pthread_create(&threads[i], NULL, pairs, &storms[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(storms[i].errors, 0);
    }
    for (double end = fleet_now() + 30; mkv_client_close(&c) == -EBUSY; sched_yield()) {
        assert_true(fleet_now() < end); /* the last ones are on their way */
    }
    free(memory);
    fleet_stop(&fleet);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(over_several_rails),
        cmocka_unit_test(destroyed_while_they_end),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
