/*
 * Moves values from and to memory that is registered, and prints how many bytes that were.
 *
 *     moves ADDRESS
 *
 * Runs in the guest.
 */
#include <memkv/memkv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE ((size_t)1 << 20)
#define N    16u

static struct mkv_client *client;
static uint8_t *memory;

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "moves: %s\n", what);
        exit(1);
    }
}

static void move(enum mkv_op op, enum mkv_status wanted)
{
    struct mkv_batch *batch;

    need(mkv_batch_create(client, &batch) == 0 && mkv_batch_begin(batch, op, NULL) == 0, "batch");
    for (unsigned i = 0; i < N; i++) {
        struct mkv_segment all = {memory + i * SIZE, SIZE};
        char key[16];
        int len = snprintf(key, sizeof(key), "move-%u", i);

        need(mkv_batch_add(batch, key, (size_t)len, &all, 1) >= 0, "add");
    }
    need(mkv_batch_submit(batch) >= 0 && mkv_batch_wait(batch) >= 0, "batch");
    for (unsigned i = 0; i < N; i++) {
        need(mkv_batch_status(batch, i) == wanted, "status");
    }
    mkv_batch_destroy(&batch);
}

int main(int argc, char **argv)
{
    struct mkv_option options[] = {{"servers", argc > 1 ? argv[1] : ""}, {"transport", "rdma"}};
    struct mkv_client_options o = {.size = sizeof(o), .options = options, .n_options = 2};
    struct mkv_region *region;
    struct mkv_error error;

    if (mkv_client_open(&o, &client, &error) < 0) {
        fprintf(stderr, "moves: %s\n", error.text);
        return 1;
    }
    memory = malloc(N * SIZE);
    need(memory != NULL && mkv_region_open(client, memory, N * SIZE, NULL, &region) == 0, "region");
    for (size_t i = 0; i < N * SIZE; i++) {
        memory[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    move(MKV_OP_SET, MKV_STORED);
    memset(memory, 0, N * SIZE);
    move(MKV_OP_GET, MKV_HIT);
    for (size_t i = 0; i < N * SIZE; i++) {
        need(memory[i] == (uint8_t)(i * 2654435761u >> 24), "wrong bytes");
    }
    need(mkv_region_close(&region) == 0 && mkv_client_close(&client) == 0, "close");
    free(memory);
    printf("%zu\n", 2 * N * SIZE);
    return 0;
}
