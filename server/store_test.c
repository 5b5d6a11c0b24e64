#include "server/store_internal.h"

#include "core/checksum.h"
#include "core/codec/header.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KIB    (UINT64_C(1) << 10)
#define MIB    (UINT64_C(1) << 20)
#define SECOND UINT64_C(1000000000)

static const uint8_t ns[] = "model";

struct batch {
    struct mkv__request request;
    struct mkv__wire_key keys[64];
    char text[64][16];
    struct mkv__object *objects[64];
    struct mkv__answer answers[64];
};

static struct mkv__store *create(uint64_t memory)
{
    struct mkv__store *store = NULL;
    const struct mkv__store_options options = {
        .memory = memory, .max_value = memory / 2, .lease_ns = 10 * SECOND};
    assert_int_equal(mkv__store_create(&options, &store), 0);
    return store;
}

static void add(struct batch *b, unsigned key, uint64_t length, uint64_t checksum)
{
    uint32_t i = b->request.n_keys++;
    b->request.keys = b->keys;
    b->request.namespace_ = ns;
    b->request.namespace_len = 5;
    b->keys[i] = (struct mkv__wire_key){
        .key = (const uint8_t *)b->text[i],
        .key_len = (uint8_t)snprintf(b->text[i], sizeof(b->text[i]), "key%u", key),
        .position = i,
        .length = length,
        .checksum = checksum,
    };
}

static void fill(struct mkv__store *store, const struct mkv__object *o, uint8_t mark)
{
    for (uint32_t i = 0; i < o->n_extents; i++) {
        memset(mkv__store_at(store, o->extents[i].offset), mark, o->extents[i].len);
    }
}

static bool holds(struct mkv__store *store, const struct mkv__object *o, uint8_t mark)
{
    for (uint32_t i = 0; i < o->n_extents; i++) {
        const uint8_t *at = mkv__store_at(store, o->extents[i].offset);
        for (uint64_t j = 0; j < o->extents[i].len; j++) {
            if (at[j] != mark) {
                return false;
            }
        }
    }
    return true;
}

static uint8_t set(struct mkv__store *store, unsigned key, uint64_t length, uint8_t mark,
                   uint32_t flags, uint32_t ttl_ms, uint64_t now)
{
    struct batch b = {.request = {.flags = flags, .ttl_ms = ttl_ms}};
    add(&b, key, length, mark);
    mkv__store_set_begin(store, &b.request, now, b.objects, b.answers);
    if (b.objects[0] != NULL) {
        fill(store, b.objects[0], mark);
    }
    mkv__store_set_end(store, b.objects, 1, b.answers);
    assert_null(b.objects[0]);
    return b.answers[0].status;
}

/* The status; a hit's bytes are looked at. */
static uint8_t get(struct mkv__store *store, unsigned key, uint64_t length, uint64_t now)
{
    struct batch b = {0};
    add(&b, key, length, 0);
    mkv__store_get(store, &b.request, now, b.objects, b.answers);
    if (b.objects[0] != NULL) {
        assert_int_equal(b.answers[0].length, length);
        assert_true(holds(store, b.objects[0], (uint8_t)b.answers[0].checksum));
    }
    mkv__store_put(store, b.objects, 1);
    return b.answers[0].status;
}

static uint8_t delete_(struct mkv__store *store, unsigned key)
{
    struct batch b = {0};
    add(&b, key, 0, 0);
    mkv__store_delete(store, &b.request, b.answers);
    return b.answers[0].status;
}

static struct mkv__answer exists(struct mkv__store *store, unsigned key, uint32_t flags,
                                 uint64_t now)
{
    struct batch b = {.request = {.flags = flags}};
    add(&b, key, 0, 0);
    mkv__store_exists(store, &b.request, now, b.answers);
    return b.answers[0];
}

static void first_wins(void **state)
{
    (void)state;
    struct mkv__store *store = create(8 * MIB);
    struct mkv__store_stat stat;
    assert_int_equal(get(store, 1, 5000, 1), MKV_WIRE_MISS);
    assert_int_equal(set(store, 1, 5000, 7, 0, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(set(store, 1, 5000, 7, 0, 0, 1), MKV_WIRE_KEPT);
    assert_int_equal(set(store, 1, 5000, 8, 0, 0, 1), MKV_WIRE_KEPT);
    assert_int_equal(set(store, 1, 5001, 8, 0, 0, 1), MKV_WIRE_CONFLICT);
    assert_int_equal(get(store, 1, 5000, 1), MKV_WIRE_HIT);
    assert_int_equal(get(store, 1, 5001, 1), MKV_WIRE_MISS);
    assert_int_equal(set(store, 1, 77, 9, MKV_REQ_REPLACE, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(get(store, 1, 77, 1), MKV_WIRE_HIT);
    assert_int_equal(set(store, 2, 0, 0, 0, 0, 1), MKV_WIRE_STORED); /* no bytes */
    assert_int_equal(get(store, 2, 0, 1), MKV_WIRE_HIT);
    assert_int_equal(set(store, 3, 4 * MIB + 1, 0, 0, 0, 1), MKV_WIRE_ERROR);
    mkv__store_stat(store, &stat);
    assert_int_equal(stat.kept, 2);
    assert_int_equal(stat.kept_differing, 1);
    assert_int_equal(stat.conflicts, 1);
    assert_int_equal(stat.objects, 2);
    assert_int_equal(stat.hits, 3);
    assert_int_equal(stat.misses, 2);
    mkv__store_destroy(&store);
}

static void visible_only_when_whole(void **state)
{
    (void)state;
    struct mkv__store *store = create(8 * MIB);
    struct mkv__store_stat stat;
    struct batch b = {0};
    add(&b, 1, 100, 5);
    add(&b, 1, 100, 5); /* the same key again: the first is being written */
    add(&b, 2, 100, 5);
    mkv__store_set_begin(store, &b.request, 1, b.objects, b.answers);
    assert_int_equal(b.answers[0].status, MKV_WIRE_STORED);
    assert_int_equal(b.answers[1].status, MKV_WIRE_BUSY);
    assert_int_equal(get(store, 1, 100, 1), MKV_WIRE_MISS);
    assert_int_equal(exists(store, 1, 0, 1).status, MKV_WIRE_MISS);
    assert_int_equal(delete_(store, 1), MKV_WIRE_MISS);
    assert_int_equal(set(store, 1, 100, 6, 0, 0, 1), MKV_WIRE_BUSY);
    b.answers[0].status = MKV_WIRE_DAMAGED;
    fill(store, b.objects[2], 5);
    mkv__store_set_end(store, b.objects, 3, b.answers);
    assert_int_equal(get(store, 1, 100, 1), MKV_WIRE_MISS);
    assert_int_equal(get(store, 2, 100, 1), MKV_WIRE_HIT);
    assert_int_equal(set(store, 1, 100, 6, 0, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(delete_(store, 1), MKV_WIRE_DELETED);
    assert_int_equal(delete_(store, 2), MKV_WIRE_DELETED);
    mkv__store_reclaim(store);
    mkv__store_stat(store, &stat);
    assert_int_equal(stat.bytes_used, 0);
    mkv__store_destroy(&store);
}

/* Where in its prefix a value lies is the policy's to know. */
static void depth_is_kept(void **state)
{
    (void)state;
    struct mkv__store *store = create(MIB);
    struct batch b = {.request = {.depth = 100}};
    for (unsigned i = 0; i < 3; i++) {
        add(&b, i, 10, 5);
    }
    b.keys[1].position = 7;
    b.keys[2].position = UINT32_MAX - 50;
    mkv__store_set_begin(store, &b.request, 1, b.objects, b.answers);
    assert_int_equal(b.objects[0]->depth, 100);
    assert_int_equal(b.objects[1]->depth, 107);
    assert_int_equal(b.objects[2]->depth, UINT32_MAX);
    mkv__store_set_end(store, b.objects, 3, b.answers);
    mkv__store_destroy(&store);
}

static void an_abandoned_replacement_leaves_the_old_value(void **state)
{
    (void)state;
    struct mkv__store *store = create(8 * MIB);
    assert_int_equal(set(store, 1, 100, 1, 0, 0, 1), MKV_WIRE_STORED);
    struct batch b = {.request = {.flags = MKV_REQ_REPLACE}};
    add(&b, 1, 200, 2);
    mkv__store_set_begin(store, &b.request, 1, b.objects, b.answers);
    assert_int_equal(get(store, 1, 100, 1), MKV_WIRE_HIT);
    assert_int_equal(set(store, 1, 200, 3, MKV_REQ_REPLACE, 0, 1), MKV_WIRE_BUSY);
    b.answers[0].status = MKV_WIRE_LATE;
    mkv__store_set_end(store, b.objects, 1, b.answers);
    assert_int_equal(get(store, 1, 100, 1), MKV_WIRE_HIT);
    /* Deleted and begun anew by another one meanwhile: the replacement is too late. */
    struct batch c = {.request = {.flags = MKV_REQ_REPLACE}}, d = {0};
    add(&c, 1, 200, 2);
    mkv__store_set_begin(store, &c.request, 1, c.objects, c.answers);
    assert_int_equal(delete_(store, 1), MKV_WIRE_DELETED);
    add(&d, 1, 300, 4);
    mkv__store_set_begin(store, &d.request, 1, d.objects, d.answers);
    assert_int_equal(d.answers[0].status, MKV_WIRE_STORED);
    mkv__store_set_end(store, c.objects, 1, c.answers);
    assert_int_equal(c.answers[0].status, MKV_WIRE_BUSY);
    fill(store, d.objects[0], 4);
    mkv__store_set_end(store, d.objects, 1, d.answers);
    assert_int_equal(get(store, 1, 300, 1), MKV_WIRE_HIT);
    mkv__store_destroy(&store);
}

static void a_reader_keeps_what_is_deleted(void **state)
{
    (void)state;
    struct mkv__store *store = create(MIB);
    assert_int_equal(set(store, 1, 300 * KIB, 1, 0, 0, 1), MKV_WIRE_STORED);
    struct batch b = {0};
    add(&b, 1, 300 * KIB, 0);
    mkv__store_get(store, &b.request, 1, b.objects, b.answers);
    assert_int_equal(delete_(store, 1), MKV_WIRE_DELETED);
    assert_int_equal(set(store, 2, 300 * KIB, 2, 0, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(set(store, 3, 300 * KIB, 3, 0, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(set(store, 4, 300 * KIB, 4, 0, 0, 1), MKV_WIRE_STORED);
    assert_true(holds(store, b.objects[0], 1));
    mkv__store_put(store, b.objects, 1);
    mkv__store_destroy(&store);
}

static void leases_and_ttl(void **state)
{
    (void)state;
    struct mkv__store *store = create(MIB);
    uint64_t now = 100 * SECOND;
    assert_int_equal(set(store, 1, 400 * KIB, 1, 0, 0, now), MKV_WIRE_STORED);
    assert_int_equal(set(store, 2, 400 * KIB, 2, 0, 0, now), MKV_WIRE_STORED);
    assert_int_equal(exists(store, 1, 0, now).lease_ms, 0);
    assert_int_equal(exists(store, 1, MKV_REQ_LEASE, now).lease_ms, 10000);
    /* Leases hold at most half of the memory; then still a yes, but without. */
    struct mkv__answer second = exists(store, 2, MKV_REQ_LEASE, now);
    assert_int_equal(second.status, MKV_WIRE_HIT);
    assert_int_equal(second.lease_ms, 0);
    assert_int_equal(set(store, 3, 400 * KIB, 3, 0, 0, now), MKV_WIRE_STORED);
    assert_int_equal(get(store, 1, 400 * KIB, now), MKV_WIRE_HIT); /* was the oldest */
    assert_int_equal(get(store, 2, 400 * KIB, now), MKV_WIRE_MISS);
    now += 30 * SECOND;
    assert_int_equal(exists(store, 3, MKV_REQ_LEASE, now).lease_ms, 10000); /* 1's has ended */
    assert_int_equal(delete_(store, 1), MKV_WIRE_DELETED);
    assert_int_equal(set(store, 5, 100, 5, 0, 1000, now), MKV_WIRE_STORED);
    assert_int_equal(get(store, 5, 100, now + SECOND - 1), MKV_WIRE_HIT);
    assert_int_equal(get(store, 5, 100, now + SECOND), MKV_WIRE_MISS);
    assert_int_equal(set(store, 5, 100, 6, 0, 0, now + SECOND), MKV_WIRE_STORED);
    mkv__store_destroy(&store);
}

static void a_full_store_says_so(void **state)
{
    (void)state;
    struct mkv__store *store = create(MIB);
    struct batch b = {0};
    assert_int_equal(set(store, 1, 400 * KIB, 1, 0, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(set(store, 2, 400 * KIB, 2, 0, 0, 1), MKV_WIRE_STORED);
    add(&b, 1, 400 * KIB, 0);
    add(&b, 2, 400 * KIB, 0);
    mkv__store_get(store, &b.request, 1, b.objects, b.answers); /* both are being read */
    assert_int_equal(set(store, 3, 400 * KIB, 3, 0, 0, 1), MKV_WIRE_FULL);
    mkv__store_put(store, b.objects, 2);
    assert_int_equal(set(store, 3, 400 * KIB, 3, 0, 0, 20 * SECOND), MKV_WIRE_STORED);
    mkv__store_destroy(&store);
}

static void prefix_get_skips(void **state)
{
    (void)state;
    struct mkv__store *store = create(MIB);
    struct batch b = {.request = {.flags = MKV_REQ_PREFIX}};
    assert_int_equal(set(store, 1, 10, 1, 0, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(set(store, 3, 10, 3, 0, 0, 1), MKV_WIRE_STORED);
    for (unsigned i = 1; i <= 3; i++) {
        add(&b, i, 10, 0);
    }
    mkv__store_get(store, &b.request, 1, b.objects, b.answers);
    assert_int_equal(b.answers[0].status, MKV_WIRE_HIT);
    assert_int_equal(b.answers[0].flags, MKV_ANSWER_LEASED);
    assert_int_equal(b.answers[1].status, MKV_WIRE_MISS);
    assert_int_equal(b.answers[2].status, MKV_WIRE_SKIPPED);
    assert_null(b.objects[2]);
    mkv__store_put(store, b.objects, 3);
    mkv__store_destroy(&store);
}

static void a_report_drops_what_is_poisoned(void **state)
{
    (void)state;
    struct mkv__store *store = create(MIB);
    struct batch b = {0};
    uint8_t value[9000];
    memset(value, 4, sizeof(value));
    uint64_t sum = mkv__sum_seed(ns, 5, "key1", 4, sizeof(value)) ^
                   mkv__sum_slice(value, sizeof(value), 0);
    add(&b, 1, sizeof(value), sum);
    mkv__store_set_begin(store, &b.request, 1, b.objects, b.answers);
    struct mkv__object *object = b.objects[0];
    fill(store, object, 4);
    mkv__store_set_end(store, b.objects, 1, b.answers);
    mkv__store_report(store, &b.request, 1, b.answers);
    assert_int_equal(b.answers[0].status, MKV_WIRE_HIT);
    ((uint8_t *)mkv__store_at(store, object->extents[0].offset))[17] ^= 1;
    b.request.keys[0].generation = object->generation + 1; /* of another object */
    mkv__store_report(store, &b.request, 1, b.answers);
    assert_int_equal(b.answers[0].status, MKV_WIRE_HIT);
    b.request.keys[0].generation = object->generation;
    mkv__store_report(store, &b.request, 1, b.answers);
    assert_int_equal(b.answers[0].status, MKV_WIRE_DELETED);
    mkv__store_report(store, &b.request, 1, b.answers);
    assert_int_equal(b.answers[0].status, MKV_WIRE_MISS);
    mkv__store_destroy(&store);
}

/* ---- against a model ---------------------------------------------------------------------- */

#define KEYS 200

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The model knows what was stored last; the store may have evicted it, but never invents. */
static void random_operations(uint64_t seed)
{
    struct mkv__store *store = create(2 * MIB);
    struct mkv__store_stat stat;
    uint64_t length[KEYS] = {0};
    bool there[KEYS] = {false};
    uint64_t now = SECOND, state = seed * 2654435761u + 88172645463325252u;
    for (int step = 0; step < 3000; step++) {
        unsigned key = (unsigned)(next_random(&state) % KEYS);
        uint64_t size = next_random(&state) % (next_random(&state) % 8 == 0 ? 300000 : 9000);
        uint8_t mark = (uint8_t)next_random(&state), status = 0;
        now += SECOND / 10;
        switch (next_random(&state) % 8) {
        case 0:
            status = delete_(store, key);
            assert_true(status == MKV_WIRE_MISS || (status == MKV_WIRE_DELETED && there[key]));
            there[key] = false;
            break;
        case 1:
        case 2:
        case 3: {
            bool replace = next_random(&state) % 4 == 0;
            status = set(store, key, size, mark, replace ? MKV_REQ_REPLACE : 0, 0, now);
            if (status == MKV_WIRE_KEPT || status == MKV_WIRE_CONFLICT) {
                assert_true(there[key] && !replace);
                assert_int_equal(status == MKV_WIRE_KEPT, length[key] == size);
            } else if (status == MKV_WIRE_STORED) {
                there[key] = true;
                length[key] = size;
            } else {
                assert_int_equal(status, MKV_WIRE_FULL);
            }
            break;
        }
        case 4:
            status = exists(store, key, MKV_REQ_LEASE, now).status;
            assert_true(status == MKV_WIRE_MISS || there[key]);
            break;
        case 5:
            (void)mkv__store_reclaim(store);
            break;
        default:
            status = get(store, key, length[key], now);
            assert_true(status == MKV_WIRE_MISS || there[key]);
            break;
        }
        mkv__store_quiescent(store);
    }
    for (unsigned key = 0; key < KEYS; key++) {
        (void)delete_(store, key);
    }
    (void)mkv__store_reclaim(store);
    mkv__store_stat(store, &stat);
    assert_int_equal(stat.bytes_used, 0);
    assert_int_equal(stat.leased_bytes, 0);
    assert_int_equal(stat.objects, 0);
    assert_true(stat.evictions > 0 && stat.hits > 0);
    mkv__store_destroy(&store);
}

static void never_other_bytes_than_those_stored(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        random_operations(seed);
    }
}

/* ---- two threads -------------------------------------------------------------------------- */

static void *storm(void *arg)
{
    struct mkv__store *store = arg;
    mkv__store_thread_begin(store);
    uint64_t state = (uint64_t)(uintptr_t)&state | 1;
    for (int step = 0; step < 4000; step++) {
        unsigned key = (unsigned)(next_random(&state) % 40);
        switch (next_random(&state) % 5) {
        case 0:
            (void)delete_(store, key);
            break;
        case 1:
        case 2:
            (void)set(store, key, 100 + 3000 * key, (uint8_t)step, 0, 0, SECOND);
            break;
        default:
            (void)get(store, key, 100 + 3000 * key, SECOND);
            break;
        }
        mkv__store_quiescent(store);
    }
    mkv__store_thread_end(store);
    return NULL;
}

static void two_threads_and_the_janitor(void **state)
{
    (void)state;
    struct mkv__store *store = NULL;
    struct mkv__store_stat stat;
    const struct mkv__store_options options = {
        .memory = MIB, .max_value = MIB, .lease_ns = 0, .janitor = true};
    assert_int_equal(mkv__store_create(&options, &store), 0);
    pthread_t threads[2];
    mkv__store_offline(store);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, storm, store), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    mkv__store_online(store);
    for (unsigned key = 0; key < 40; key++) {
        (void)delete_(store, key);
    }
    mkv__store_stat(store, &stat);
    assert_int_equal(stat.objects, 0);
    assert_true(stat.hits > 0 && stat.sets > 0);
    mkv__store_destroy(&store);
}

/* The janitor waits for a grace period, which the thread that ends it holds up. */
static void it_ends_while_records_die(void **state)
{
    (void)state;
    struct mkv__store *store = NULL;
    const struct mkv__store_options options = {.memory = MIB, .max_value = MIB, .janitor = true};
    assert_int_equal(mkv__store_create(&options, &store), 0);
    assert_int_equal(set(store, 1, 100, 1, 0, 0, 1), MKV_WIRE_STORED);
    assert_int_equal(delete_(store, 1), MKV_WIRE_DELETED);
    for (bool taken = false; !taken;) {
        pthread_mutex_lock(&store->lock);
        taken = store->retired == NULL;
        pthread_mutex_unlock(&store->lock);
        sched_yield();
    }
    mkv__store_destroy(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_wins),
        cmocka_unit_test(visible_only_when_whole),
        cmocka_unit_test(depth_is_kept),
        cmocka_unit_test(an_abandoned_replacement_leaves_the_old_value),
        cmocka_unit_test(a_reader_keeps_what_is_deleted),
        cmocka_unit_test(leases_and_ttl),
        cmocka_unit_test(a_full_store_says_so),
        cmocka_unit_test(prefix_get_skips),
        cmocka_unit_test(a_report_drops_what_is_poisoned),
        cmocka_unit_test(never_other_bytes_than_those_stored),
        cmocka_unit_test(two_threads_and_the_janitor),
        cmocka_unit_test(it_ends_while_records_die),
    };
    mkv__store_thread_begin(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mkv__store_thread_end(NULL);
    return failed;
}
