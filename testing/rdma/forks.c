/*
 * A process that has memory registered forks, with transfers in flight: the parent's go on into the
 * parent's memory, whatever the child writes to its own; the child's handles answer -ECANCELED.
 *
 *     forks ADDRESS
 *
 * Runs in the guest.
 */
#include <memkv/memkv.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE  ((size_t)256 << 10)
#define N     16u
#define FORKS 10

static struct mkv_client *client;
static uint8_t *memory;

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "forks: %s\n", what);
        exit(1);
    }
}

static uint8_t byte_of(size_t at)
{
    return (uint8_t)(at * 2654435761u >> 24);
}

static struct mkv_batch *begin(enum mkv_op op)
{
    struct mkv_batch *batch;

    need(mkv_batch_create(client, &batch) == 0 && mkv_batch_begin(batch, op, NULL) == 0, "batch");
    for (unsigned i = 0; i < N; i++) {
        struct mkv_segment all = {memory + i * SIZE, SIZE};
        char key[16];
        int len = snprintf(key, sizeof(key), "fork-%u", i);

        need(mkv_batch_add(batch, key, (size_t)len, &all, 1) >= 0, "add");
    }
    need(mkv_batch_submit(batch) >= 0, "submit");
    return batch;
}

/* In the child: 0, all is as it should be. */
static int child(void)
{
    uint8_t small[8];

    memset(memory, 0xcc, N * SIZE); /* a copy of its own, or it would spoil the parent's */
    if (mkv_get(client, "fork-0", 6, small, sizeof(small), NULL) != -ECANCELED) {
        return 1;
    }
    return mkv_client_close(&client) == 0 ? 0 : 2;
}

static void fork_in_flight(void)
{
    struct mkv_batch *batch;
    int status = -1;
    pid_t pid;

    memset(memory, 0, N * SIZE);
    batch = begin(MKV_OP_GET);
    pid = fork();
    if (pid == 0) {
        _exit(child());
    }
    need(pid > 0, "fork");
    need(mkv_batch_wait(batch) >= 0, "the parent's batch failed");
    for (unsigned i = 0; i < N; i++) {
        need(mkv_batch_status(batch, i) == MKV_HIT, "the parent's value is a miss");
    }
    for (size_t i = 0; i < N * SIZE; i++) {
        need(memory[i] == byte_of(i), "the parent's memory has other bytes");
    }
    mkv_batch_destroy(&batch);
    need(waitpid(pid, &status, 0) == pid, "wait");
    if (status != 0) {
        fprintf(stderr, "forks: the child ended with status 0x%x\n", (unsigned)status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct mkv_option options[] = {{"servers", argc > 1 ? argv[1] : ""}, {"transport", "rdma"}};
    struct mkv_client_options o = {.size = sizeof(o), .options = options, .n_options = 2};
    struct mkv_region *region;
    struct mkv_batch *batch;
    struct mkv_error error;

    if (mkv_client_open(&o, &client, &error) < 0) {
        fprintf(stderr, "forks: %s\n", error.text);
        return 1;
    }
    memory = mmap(NULL, N * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED, "memory");
    need(mkv_region_open(client, memory, N * SIZE, NULL, &region) == 0, "region");
    for (size_t i = 0; i < N * SIZE; i++) {
        memory[i] = byte_of(i);
    }
    batch = begin(MKV_OP_SET);
    need(mkv_batch_wait(batch) >= 0, "set");
    mkv_batch_destroy(&batch);
    for (int i = 0; i < FORKS; i++) {
        fork_in_flight();
    }
    need(mkv_region_close(&region) == 0 && mkv_client_close(&client) == 0, "close");
    return 0;
}
