/*
 * Sets that are withdrawn while their bytes leave: what goes out in their place is zeros, and none of it is
 * ever a hit. The values of a batch are equal, so that no checksum can do with what they have in common.
 */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 300u
#define N      64u
#define BYTE   0xa5

static struct fleet fleet;

static struct mkv_batch *batch_of(struct mkv_client *client, enum mkv_op op, unsigned round,
                                  unsigned char *memory, size_t size, size_t stride)
{
    struct mkv_batch *b;

    assert_int_equal(mkv_batch_create(client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, op, NULL), 0);
    for (unsigned i = 0; i < N; i++) {
        struct mkv_segment segment = {memory + i * stride, size};
        char key[32];
        int len = snprintf(key, sizeof(key), "%u-%u-%zu", round, i, size);

        assert_true(mkv_batch_add(b, key, (size_t)len, &segment, 1) >= 0);
    }
    return b;
}

/* Returns how many are there; each is whole. */
static unsigned check(struct mkv_client *client, unsigned round, unsigned char *memory, size_t size)
{
    unsigned hits = 0;
    struct mkv_batch *b;

    memset(memory, 0, N * size);
    b = batch_of(client, MKV_OP_GET, round, memory, size, size);
    assert_int_equal(mkv_batch_run(b), 0);
    (void)mkv_batch_wait(b);
    for (unsigned i = 0; i < N; i++) {
        if (mkv_batch_status(b, i) != MKV_HIT) {
            continue;
        }
        hits++;
        for (size_t k = 0; k < size; k++) {
            if (memory[i * size + k] != BYTE) {
                fail_msg("round %u, value %u of %zu bytes: byte %zu is %02x", round, i, size, k,
                         memory[i * size + k]);
            }
        }
    }
    mkv_batch_destroy(&b);
    return hits;
}

static void withdrawn(const char *checksum, size_t size)
{
    struct mkv_client *writer = fleet_client(&fleet, 1, "checksum", checksum, NULL);
    struct mkv_client *reader = fleet_client(&fleet, 1, "checksum", checksum, NULL);
    unsigned char *value = malloc(size), *memory = malloc(N * size);
    unsigned hits = 0;

    if (value == NULL || memory == NULL) {
        abort();
    }
    memset(value, BYTE, size);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct mkv_batch *b[2];

        for (unsigned k = 0; k < 2; k++) {
            b[k] = batch_of(writer, MKV_OP_SET, 2 * round + k, value, size, 0);
            assert_int_equal(mkv_batch_submit(b[k]), 0);
        }
        usleep(round * 37 % 4000);
        for (unsigned k = 0; k < 2; k++) {
            (void)mkv_batch_cancel(b[k]);
        }
        for (unsigned k = 0; k < 2; k++) {
            (void)mkv_batch_wait(b[k]);
            mkv_batch_destroy(&b[k]);
            hits += check(reader, 2 * round + k, memory, size);
        }
    }
    printf("%zu bytes, checksum %s: %u of %u were stored\n", size, checksum, hits, 2 * ROUNDS * N);
    assert_true(hits > 0 && hits < 2 * ROUNDS * N);
    free(value);
    free(memory);
    assert_int_equal(mkv_client_close(&writer), 0);
    assert_int_equal(mkv_client_close(&reader), 0);
}

static void no_zeros_are_stored(void **state)
{
    (void)state;
    fleet_start(&fleet, 1, "256M");
    withdrawn("yes", 64 << 10);
    withdrawn("no", 64 << 10);
    withdrawn("yes", 8 << 10);
    fleet_stop(&fleet);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_zeros_are_stored)};

    (void)argc;
    fleet_command = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
