/*
 * The link of one of two rails goes down in the middle of batches, and comes up again: the caller sees
 * no error and no wrong byte, and the rail is in use again by itself.
 *
 *     links ADDRESS
 *
 * Runs in the guest, as root, with rdma_devices rxe0,rxe1.
 */
#include "testing/rdma/shell.h"

#include <memkv/memkv.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE   ((size_t)256 << 10)
#define N      16u
#define LOSSES 8u /* until one comes while requests are out on the rail */
#define DOWN   "ip link set left1 down"
#define UP                                                                                   \
    "ip link set left1 up && ip route replace 10.0.1.2 dev left1 src 10.0.1.1 table 100 && " \
    "ip route replace 10.0.1.1 dev right1 src 10.0.1.2 table 100"

static struct mkv_client *client;
static uint8_t *memory, *right;
static bool up_again; /* atomic */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "links: %s\n", what);
        (void)shell(UP);
        exit(1);
    }
}

static struct mkv_client_stats stats(void)
{
    struct mkv_client_stats s = {.size = sizeof(s)};

    need(mkv_client_stats(client, &s) == 0, "stats");
    return s;
}

static void move(enum mkv_op op)
{
    struct mkv_batch *batch;

    need(mkv_batch_create(client, &batch) == 0 && mkv_batch_begin(batch, op, NULL) == 0, "batch");
    for (unsigned i = 0; i < N; i++) {
        struct mkv_segment all = {memory + i * SIZE, SIZE};
        char key[16];
        int len = snprintf(key, sizeof(key), "link-%u", i);

        need(mkv_batch_add(batch, key, (size_t)len, &all, 1) >= 0, "add");
    }
    need(mkv_batch_submit(batch) >= 0, "submit");
    if (mkv_batch_wait(batch) < 0) {
        fprintf(stderr, "links: %s\n", mkv_error_text(mkv_batch_wait(batch)));
        need(false, "the caller saw an error");
    }
    for (unsigned i = 0; i < N; i++) {
        need(op != MKV_OP_GET || mkv_batch_status(batch, i) == MKV_HIT, "a miss");
    }
    mkv_batch_destroy(&batch);
}

static void get(void)
{
    for (size_t i = 0; i < N * SIZE; i += 4096) {
        memory[i] ^= 0xff;
    }
    move(MKV_OP_GET);
    need(memcmp(memory, right, N * SIZE) == 0, "wrong bytes");
}

static void until_rails_are(unsigned n, double limit)
{
    double start = now();

    while (stats().rails_up != n) {
        need(now() - start < limit, "rails");
        get();
    }
    printf("%u rails after %.1f s\n", n, now() - start);
}

static void *down_and_up(void *arg)
{
    const unsigned *round = arg;
    usleep(1500000 + 37000 * *round);
    need(shell(DOWN), "down");
    usleep(4000000);
    need(shell(UP), "up");
    __atomic_store_n(&up_again, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Returns how many batches there were meanwhile. */
static unsigned lose_it_once(unsigned round)
{
    pthread_t thread;
    unsigned batches = 0;

    up_again = false;
    need(pthread_create(&thread, NULL, down_and_up, &round) == 0, "thread");
    while (!__atomic_load_n(&up_again, __ATOMIC_ACQUIRE)) {
        get();
        batches++;
    }
    need(pthread_join(thread, NULL) == 0, "join");
    until_rails_are(2, 5);
    return batches;
}

int main(int argc, char **argv)
{
    struct mkv_option options[] = {{"servers", argc > 1 ? argv[1] : ""},
                                   {"get_timeout", "8s"},
                                   {"set_timeout", "8s"},
                                   {"rdma_devices", "rxe0,rxe1"}};
    struct mkv_client_options o = {.size = sizeof(o), .options = options, .n_options = 4};
    struct mkv_region *region;
    struct mkv_error error;
    unsigned batches = 0;

    if (mkv_client_open(&o, &client, &error) < 0) {
        fprintf(stderr, "links: %s\n", error.text);
        return 1;
    }
    memory = malloc(N * SIZE);
    right = malloc(N * SIZE);
    need(memory != NULL && right != NULL &&
             mkv_region_open(client, memory, N * SIZE, NULL, &region) == 0,
         "region");
    for (size_t i = 0; i < N * SIZE; i++) {
        memory[i] = right[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    move(MKV_OP_SET);
    until_rails_are(2, 10);
    for (unsigned i = 0; i < LOSSES && stats().reissued == 0; i++) {
        batches += lose_it_once(i);
    }
    printf("%u batches meanwhile, %llu requests issued again\n", batches,
           (unsigned long long)stats().reissued);
    need(stats().reissued > 0, "nothing was out on the rail when it was lost");
    need(mkv_region_close(&region) == 0 && mkv_client_close(&client) == 0, "close");
    free(memory);
    free(right);
    return 0;
}
