/* A bitwise reference: the sums are compared with the definition, not with themselves. */
#include "core/checksum.h"

#include "core/checksum_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define POLYNOMIAL 0xC96C5795D7870F42u /* ECMA-182, reflected */

static uint64_t times_x(uint64_t v)
{
    return (v >> 1) ^ (v & 1 ? POLYNOMIAL : 0);
}

/* The register after `len` bytes, without inversions; bit by bit. */
static uint64_t reference(uint64_t state, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        state ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            state = times_x(state);
        }
    }
    return state;
}

static uint64_t random64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void fill(uint8_t *data, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)random64(&seed);
    }
}

static void test_reference(void **state)
{
    (void)state;
    uint8_t data[3000];
    fill(data, sizeof(data), 1);
    for (size_t len = 0; len <= sizeof(data); len += len < 300 ? 1 : 97) {
        assert_int_equal(mkv__sum_slice(data, len, 0), reference(0, data, len));
    }
    /* The published check value of CRC-64/XZ, which is this CRC with both inversions. */
    assert_int_equal(~reference(~UINT64_C(0), (const uint8_t *)"123456789", 9),
                     UINT64_C(0x995dc9bbdf1939fa));
}

static void test_tables(void **state)
{
    (void)state;
    for (uint64_t v = 0; v < 16; v++) {
        assert_int_equal(mkv__crc_reduce[v], times_x(times_x(times_x(times_x(v)))));
    }
    /* x^(8 * d * 16^k): the register of a one at the front of so many zero bytes. */
    static uint8_t data[1 + 15 * 4096];
    data[0] = 0x80; /* reflected: x^0 of the first byte */
    for (int k = 0; k < 4; k++) {
        for (size_t d = 0; d < 16; d++) {
            size_t zeros = d << (4 * k);
            uint64_t one = mkv__sum_slice(data, 1, 0);
            assert_int_equal(mkv__sum_slice(data, 1, zeros), reference(one, data + 1, zeros));
        }
    }
    /* The rest by squaring: [k + 1][1] is [k][8] twice. */
    for (int k = 0; k < 16; k++) {
        for (size_t d = 1; d < 16; d++) {
            uint64_t half = mkv__crc_power[k][d / 2], next = mkv__crc_power[k][d - d / 2];
            uint64_t product = 0, b = half;
            for (uint64_t bit = UINT64_C(1) << 63; bit != 0; bit >>= 1) {
                product ^= next & bit ? b : 0;
                b = times_x(b);
            }
            if (d > 1) {
                assert_int_equal(product, mkv__crc_power[k][d]);
            }
            if (d == 15 && k < 15) {
                uint64_t more = 0;
                b = mkv__crc_power[k][1];
                for (uint64_t bit = UINT64_C(1) << 63; bit != 0; bit >>= 1) {
                    more ^= product & bit ? b : 0;
                    b = times_x(b);
                }
                assert_int_equal(more, mkv__crc_power[k + 1][1]);
            }
        }
    }
}

/* Any cut into slices, added in any order, gives the sum of the whole. */
static void test_splits(void **state)
{
    (void)state;
    enum { BYTES = 100000, CUTS = 40 };
    static uint8_t data[BYTES];
    uint64_t random = 7;
    fill(data, BYTES, 2);
    uint64_t whole = reference(0, data, BYTES);
    for (int round = 0; round < 200; round++) {
        size_t cut[CUTS + 2] = {0}, n = 1 + random64(&random) % CUTS;
        for (size_t i = 1; i <= n; i++) {
            cut[i] = random64(&random) % (BYTES + 1);
        }
        cut[n + 1] = BYTES;
        for (size_t i = 1; i <= n; i++) { /* insertion sort */
            for (size_t j = i; j > 1 && cut[j - 1] > cut[j]; j--) {
                size_t swap = cut[j];
                cut[j] = cut[j - 1];
                cut[j - 1] = swap;
            }
        }
        size_t order[CUTS + 1];
        for (size_t i = 0; i <= n; i++) {
            size_t j = random64(&random) % (i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        uint64_t sum = 0;
        for (size_t i = 0; i <= n; i++) {
            size_t from = cut[order[i]], to = cut[order[i] + 1];
            sum ^= mkv__sum_slice(data + from, to - from, BYTES - to);
        }
        assert_int_equal(sum, whole);
    }
    assert_int_equal(mkv__sum_slice(data, 0, 12345), 0);
}

/* Far from the end, where no reference can count: shifts add up. */
static void test_far(void **state)
{
    (void)state;
    uint8_t data[64], zeros[1000] = {0};
    fill(data, sizeof(data), 3);
    uint64_t far[] = {1ull << 20, 64ull << 20, (1ull << 40) - 1, 1ull << 63, UINT64_MAX - 1000};
    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        uint64_t moved = mkv__sum_slice(data, sizeof(data), far[i]);
        assert_int_equal(mkv__sum_slice(data, sizeof(data), far[i] + 1000),
                         reference(moved, zeros, sizeof(zeros)));
    }
}

/* What another key, namespace, length, order or offset gives is another sum. */
static void test_seed(void **state)
{
    (void)state;
    uint64_t base = mkv__sum_seed("ns", 2, "key", 3, 100);
    assert_int_equal(base, mkv__sum_seed("ns", 2, "key", 3, 100));
    assert_int_not_equal(base, mkv__sum_seed("nS", 2, "key", 3, 100));
    assert_int_not_equal(base, mkv__sum_seed("ns", 2, "kez", 3, 100));
    assert_int_not_equal(base, mkv__sum_seed("ns", 2, "key", 3, 101));
    assert_int_not_equal(base, mkv__sum_seed("nsk", 3, "ey", 2, 100));
    assert_int_not_equal(base, mkv__sum_seed("", 0, "nskey", 5, 100));
    assert_int_not_equal(0, mkv__sum_seed("", 0, "", 0, 0));

    uint8_t data[4096], swapped[4096];
    fill(data, sizeof(data), 4);
    memcpy(swapped, data + 2048, 2048);
    memcpy(swapped + 2048, data, 2048);
    uint64_t sum = mkv__sum_slice(data, sizeof(data), 0);
    assert_int_not_equal(sum, mkv__sum_slice(swapped, sizeof(swapped), 0));
    assert_int_not_equal(mkv__sum_slice(data, 100, 0), mkv__sum_slice(data, 100, 1));
    for (size_t i = 0; i < sizeof(data) * 8; i += 61) {
        data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_not_equal(sum, mkv__sum_slice(data, sizeof(data), 0));
        data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

/* Placement and tables hang on these bits: they may not change between versions. */
static void test_hash_vectors(void **state)
{
    (void)state;
    assert_int_equal(mkv__hash("", 0, 0), UINT64_C(0xe220a8397b1dcdaf));
    assert_int_equal(mkv__hash("key", 3, 0), UINT64_C(0xf7852f3d9da957cd));
    assert_int_equal(mkv__hash("key", 3, 1), UINT64_C(0x2e01db164b620935));
}

static void test_hash_buckets(void **state)
{
    (void)state;
    enum { KEYS = 1 << 16, BUCKETS = 256 };
    static unsigned count[4][BUCKETS];
    memset(count, 0, sizeof(count));
    for (unsigned i = 0; i < KEYS; i++) { /* keys that differ in few bits */
        char key[80];
        int len = snprintf(key, sizeof(key), "model-page-%08u", i);
        uint64_t h = mkv__hash(key, (size_t)len, 0), other = mkv__hash(key, (size_t)len, 1);
        count[0][h % BUCKETS]++;
        count[1][h >> 56]++;
        count[2][(h >> 28) % BUCKETS]++;
        count[3][(h ^ other) % BUCKETS]++;
    }
    for (int which = 0; which < 4; which++) {
        double chi = 0, expected = (double)KEYS / BUCKETS;
        for (int b = 0; b < BUCKETS; b++) {
            double off = count[which][b] - expected;
            chi += off * off / expected;
        }
        /* 255 degrees of freedom: mean 255, deviation 22.6; far outside of this is no chance. */
        assert_true(chi > 130 && chi < 400);
    }
}

/* One bit of the key or of the seed flips about half of the hash. */
static void test_hash_avalanche(void **state)
{
    (void)state;
    uint8_t key[32];
    fill(key, sizeof(key), 5);
    uint64_t base = mkv__hash(key, sizeof(key), 9);
    unsigned flipped = 0, least = 64;
    for (unsigned bit = 0; bit < 8 * sizeof(key) + 64; bit++) {
        uint64_t h;
        if (bit < 8 * sizeof(key)) {
            key[bit / 8] ^= (uint8_t)(1u << bit % 8);
            h = mkv__hash(key, sizeof(key), 9);
            key[bit / 8] ^= (uint8_t)(1u << bit % 8);
        } else {
            h = mkv__hash(key, sizeof(key), 9 ^ (UINT64_C(1) << (bit - 8 * sizeof(key))));
        }
        unsigned n = (unsigned)__builtin_popcountll(h ^ base);
        flipped += n;
        least = n < least ? n : least;
    }
    double mean = flipped / (8.0 * sizeof(key) + 64);
    assert_true(mean > 30 && mean < 34);
    assert_true(least >= 12);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Of a frame: in any cut, and what the terms of values do not tell: where bytes are, and that equal values
 * are not zeros. */
static void test_plain_crc(void **state)
{
    (void)state;
    uint8_t data[4096], other[4096];
    assert_true(~mkv__crc(MKV_CRC_BEGIN, "123456789", 9) == UINT64_C(0x995dc9bbdf1939fa));
    fill(data, sizeof(data), 7);
    uint64_t whole = mkv__crc(MKV_CRC_BEGIN, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut += 37) {
        uint64_t crc = mkv__crc_shift(MKV_CRC_BEGIN, cut) ^ mkv__crc(0, data, cut);
        crc = mkv__crc_shift(crc, sizeof(data) - cut) ^ mkv__crc(0, data + cut, sizeof(data) - cut);
        assert_true(crc == whole);
        assert_true(mkv__crc(mkv__crc(MKV_CRC_BEGIN, data, cut), data + cut, sizeof(data) - cut) ==
                    whole);
        assert_true(mkv__sum_slice(data, cut, 99) == mkv__crc_shift(mkv__crc(0, data, cut), 99));
    }
    memcpy(data + 2048, data, 2048); /* two equal values */
    memset(other, 0, sizeof(other));
    uint64_t equal = mkv__crc(MKV_CRC_BEGIN, data, sizeof(data));
    uint64_t zeros = mkv__crc(MKV_CRC_BEGIN, other, sizeof(other));
    assert_true(equal != zeros && ~zeros != 0);
    memcpy(other, data, 2048); /* the second withdrawn, and the first */
    assert_true(mkv__crc(MKV_CRC_BEGIN, other, sizeof(other)) != equal);
    memset(other, 0, 2048);
    memcpy(other + 2048, data, 2048);
    assert_true(mkv__crc(MKV_CRC_BEGIN, other, sizeof(other)) != equal);
    fill(data, sizeof(data), 8); /* swapped */
    memcpy(other, data + 2048, 2048);
    memcpy(other + 2048, data, 2048);
    assert_true(mkv__crc(MKV_CRC_BEGIN, other, sizeof(other)) !=
                mkv__crc(MKV_CRC_BEGIN, data, sizeof(data)));
}

/* Printed, not asserted: machines differ. */
static void test_speed(void **state)
{
    (void)state;
    enum { BYTES = 256 << 10, SMALL = 1 << 10 };
    uint8_t *data = malloc(BYTES);
    uint64_t sum = 0;
    assert_non_null(data);
    fill(data, BYTES, 6);
    double start = seconds();
    for (int i = 0; i < 400; i++) {
        sum ^= mkv__sum_slice(data, BYTES, (uint64_t)i * BYTES);
    }
    double large = seconds() - start;
    start = seconds();
    for (uint64_t i = 0; i < 20000; i++) {
        sum ^= mkv__sum_slice(data, SMALL, (i * 1031) & 0xffffff);
    }
    double small = seconds() - start;
    printf("slices of 256K: %.1f GB/s, of 1K anywhere: %.0f ns each (%d)\n",
           400.0 * BYTES / large / 1e9, small / 20000 * 1e9, (int)(sum & 1));
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),    cmocka_unit_test(test_tables),
        cmocka_unit_test(test_splits),       cmocka_unit_test(test_far),
        cmocka_unit_test(test_seed),         cmocka_unit_test(test_hash_vectors),
        cmocka_unit_test(test_hash_buckets), cmocka_unit_test(test_hash_avalanche),
        cmocka_unit_test(test_plain_crc),    cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
