#include "server/arena.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Percent that `size` wastes: pages taken for 64 values of it, beyond the values themselves. */
static double waste(uint64_t size)
{
    struct mkv__arena *arena = NULL;
    struct mkv__extent extent[4];
    uint64_t count = size <= MIB ? 64 : 4;
    assert_int_equal(mkv__arena_create(512 * MIB, &arena), 0);
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(mkv__arena_alloc(arena, size, extent, 4), 1);
    }
    double taken = (double)(mkv__arena_total(arena) - mkv__arena_free_pages(arena));
    mkv__arena_destroy(&arena);
    return 100.0 * (taken / (double)(size * count) - 1.0);
}

static void waste_is_bounded(void **state)
{
    (void)state;
    double worst_small = 0, worst = 0;
    for (uint64_t size = 256; size < 4096; size++) {
        double w = waste(size);
        worst_small = w > worst_small ? w : worst_small;
    }
    printf("%12s %8s\n", "bytes", "waste %");
    uint64_t last_shown = 0;
    for (uint64_t size = 4096; size <= 64 * MIB; size += size < 36 * KIB ? 1 : size / 97) {
        double w = waste(size);
        worst = w > worst ? w : worst;
        if (size >= 2 * last_shown) {
            printf("%12llu %8.2f\n", (unsigned long long)size, w);
            last_shown = size;
        }
    }
    printf("worst: %.2f %% from 256 bytes, %.2f %% from 4 KiB\n", worst_small, worst);
    assert_true(worst_small <= 25.0);
    assert_true(worst <= 12.5);
    assert_true(waste(64 * MIB) < 0.01);
}

#define LIVE 4096

struct live {
    struct mkv__extent extents[MKV_EXTENTS_MAX];
    int n;
    uint64_t size;
    uint8_t mark;
};

static void fill(struct mkv__arena *arena, const struct live *v)
{
    for (int i = 0; i < v->n; i++) {
        uint8_t *at = mkv__arena_at(arena, v->extents[i].offset);
        at[0] = v->mark;
        at[v->extents[i].len - 1] = v->mark;
    }
}

static void check_and_free(struct mkv__arena *arena, struct live *v)
{
    uint64_t sum = 0;
    for (int i = 0; i < v->n; i++) {
        const uint8_t *at = mkv__arena_at(arena, v->extents[i].offset);
        assert_int_equal(at[0], v->mark);
        assert_int_equal(at[v->extents[i].len - 1], v->mark);
        sum += v->extents[i].len;
    }
    assert_int_equal(sum, v->size);
    mkv__arena_free(arena, v->extents, (uint32_t)v->n);
    v->size = 0;
}

static uint64_t random_size(uint64_t *seed, int phase)
{
    static const uint64_t top[] = {64 * KIB, 3000, 8 * MIB, 4 * KIB, 200 * KIB, 64 * MIB};
    return 1 + next_random(seed) % top[phase % 6];
}

/* Sizes of one kind until the arena is full, random ones go, another kind comes: nothing overlaps,
 * nothing leaks, and the new kind finds the memory of the old one. */
static void churn_of_sizes(void **state)
{
    (void)state;
    struct mkv__arena *arena = NULL;
    struct live *live = calloc(LIVE, sizeof(*live));
    assert_non_null(live);
    assert_int_equal(mkv__arena_create(96 * MIB, &arena), 0);
    uint64_t seed = 88172645463325252u;
    for (int phase = 0; phase < 12; phase++) {
        for (int step = 0; step < 20000; step++) {
            struct live *v = &live[next_random(&seed) % LIVE];
            if (v->size != 0) {
                check_and_free(arena, v);
                continue;
            }
            uint64_t size = random_size(&seed, phase);
            v->n = mkv__arena_alloc(arena, size, v->extents, MKV_EXTENTS_MAX);
            if (v->n > 0) {
                v->size = size;
                v->mark = (uint8_t)step;
                fill(arena, v);
            }
        }
        for (int i = 0; i < LIVE; i++) { /* a few stay and stand in the way */
            if (live[i].size != 0 && next_random(&seed) % 16 != 0) {
                check_and_free(arena, &live[i]);
            }
        }
    }
    for (int i = 0; i < LIVE; i++) {
        if (live[i].size != 0) {
            check_and_free(arena, &live[i]);
        }
    }
    assert_int_equal(mkv__arena_used(arena), 0);
    assert_int_equal(mkv__arena_free_pages(arena), mkv__arena_total(arena));
    struct mkv__extent whole;
    assert_int_equal(mkv__arena_alloc(arena, 96 * MIB, &whole, 1), 1); /* all joined again */
    mkv__arena_destroy(&arena);
    free(live);
}

/* Full, and values of random sizes come and go for long: how full is it when one finds no room? */
static double fullness(uint64_t least, uint64_t most)
{
    struct mkv__arena *arena = NULL;
    struct live *live = calloc(8 * LIVE, sizeof(*live));
    uint64_t seed = 0x9e3779b97f4a7c15u, bytes = 0;
    double worst = 1;
    int n = 0;
    assert_non_null(live);
    assert_int_equal(mkv__arena_create(64 * MIB, &arena), 0);
    for (int step = 0; step < 60000; step++) {
        struct live *v = &live[n];
        uint64_t size = least + next_random(&seed) % (most - least);
        v->n = n < 8 * LIVE ? mkv__arena_alloc(arena, size, v->extents, MKV_EXTENTS_MAX) : -1;
        if (v->n > 0) {
            v->size = size;
            bytes += size;
            n++;
            continue;
        }
        if (n == 0) {
            fail_msg("%llu bytes do not fit into an empty arena", (unsigned long long)size);
            break;
        }
        double full = (double)bytes / (double)mkv__arena_total(arena);
        worst = full < worst ? full : worst;
        int gone = (int)(next_random(&seed) % (uint64_t)n);
        bytes -= live[gone].size;
        mkv__arena_free(arena, live[gone].extents, (uint32_t)live[gone].n);
        live[gone] = live[--n];
    }
    while (n-- > 0) {
        mkv__arena_free(arena, live[n].extents, (uint32_t)live[n].n);
    }
    assert_int_equal(mkv__arena_free_pages(arena), mkv__arena_total(arena));
    mkv__arena_destroy(&arena);
    free(live);
    return 100 * worst;
}

static void random_sizes_fill_it(void **state)
{
    (void)state;
    double small = fullness(4 * KIB, 64 * KIB), large = fullness(64 * KIB, 4 * MIB),
           mixed = fullness(4 * KIB, MIB);
    printf("full at the worst: %.1f %% (4K-64K), %.1f %% (64K-4M), %.1f %% (4K-1M)\n", small, large,
           mixed);
    assert_true(small >= 85 && large >= 90 && mixed >= 90);
}

static void fragmented_memory_gives_several_extents(void **state)
{
    (void)state;
    struct mkv__arena *arena = NULL;
    struct mkv__extent page[256], many[256];
    assert_int_equal(mkv__arena_create(MIB, &arena), 0);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(mkv__arena_alloc(arena, 4096, &page[i], 1), 1);
    }
    assert_int_equal(mkv__arena_alloc(arena, 1, many, 1), -ENOSPC);
    for (int i = 0; i < 256; i += 2) {
        mkv__arena_free(arena, &page[i], 1);
    }
    assert_int_equal(mkv__arena_alloc(arena, 8192, many, 1), -ENOSPC);
    assert_int_equal(mkv__arena_alloc(arena, 65536, many, 15), -ENOSPC);
    assert_int_equal(mkv__arena_free_pages(arena), 512 * KIB); /* the attempt left nothing */
    assert_int_equal(mkv__arena_alloc(arena, 65535, many, 16), 16);
    assert_int_equal(many[15].len, 4095);
    mkv__arena_free(arena, many, 16);
    assert_int_equal(mkv__arena_alloc(arena, 20 * KIB + 1, many, 16), 6); /* no room for a slab */
    mkv__arena_destroy(&arena);
}

static void zero_bytes_and_bad_sizes(void **state)
{
    (void)state;
    struct mkv__arena *arena = NULL;
    struct mkv__extent extent;
    assert_int_equal(mkv__arena_create(100, &arena), -EINVAL);
    assert_int_equal(mkv__arena_create(UINT64_MAX, &arena), -EINVAL);
    assert_null(arena);
    assert_int_equal(mkv__arena_create(MIB, &arena), 0);
    assert_int_equal(mkv__arena_alloc(arena, 0, &extent, 1), 0);
    assert_int_equal(mkv__arena_alloc(arena, MIB + 1, &extent, 1), -ENOSPC);
    assert_int_equal(mkv__arena_alloc(arena, UINT64_MAX, &extent, 1), -ENOSPC);
    assert_int_equal(mkv__arena_used(arena), 0);
    mkv__arena_destroy(&arena);
    mkv__arena_destroy(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waste_is_bounded),
        cmocka_unit_test(churn_of_sizes),
        cmocka_unit_test(random_sizes_fill_it),
        cmocka_unit_test(fragmented_memory_gives_several_extents),
        cmocka_unit_test(zero_bytes_and_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
