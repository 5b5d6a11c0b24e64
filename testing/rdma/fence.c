/*
 * Promise 3 over RDMA, on a wire that is late: the server is stopped while it moves a value, what it
 * has sent arrives seconds after the deadline. Nobody writes to the caller's buffer any more, and
 * nothing that is read from it later is ever stored.
 *
 *     fence ADDRESS SERVER_PID        0: the promise holds
 *     fence ADDRESS SERVER_PID none   without the fence. 0: the promise is broken, as it has to be
 *
 * Runs in the guest, as root; the server's end of the wire is right0.
 */
#include "core/fault.h"
#include "testing/rdma/shell.h"

#include <memkv/memkv.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SIZE    ((size_t)4 << 20)
#define WIRE_S  2.0
#define MINE    0xee /* what the caller puts into its buffer afterwards */
#define LATE    "tc qdisc add dev right0 root netem delay 2000ms limit 100000"
#define ON_TIME "tc qdisc del dev right0 root"

static struct mkv_client *client;
static uint8_t *buffer;
static pid_t server;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
    usleep((useconds_t)(seconds * 1e6));
}

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fence: %s\n", what);
        kill(server, SIGCONT);
        (void)shell(ON_TIME " 2>/dev/null");
        exit(2);
    }
}

static size_t changed(void)
{
    size_t n = 0;

    for (size_t i = 0; i < SIZE; i++) {
        n += buffer[i] != MINE;
    }
    return n;
}

/* A batch of one key whose bytes are on the late wire when the server stops; its end by deadline. */
static void run_into_the_deadline(enum mkv_op op, const char *key)
{
    struct mkv_batch_options options = {.size = sizeof(options), .timeout_ns = 600000000};
    struct mkv_segment all = {buffer, SIZE};
    struct mkv_batch *batch;
    double start, took;

    need(mkv_exists(client, "nothing", 7) == 0, "no session");
    need(shell(LATE), "tc");
    need(mkv_batch_create(client, &batch) == 0 && mkv_batch_begin(batch, op, &options) == 0 &&
             mkv_batch_add(batch, key, strlen(key), &all, 1) == 0,
         "batch");
    start = now();
    need(mkv_batch_submit(batch) >= 0, "submit");
    pause_for(0.3);
    need(kill(server, SIGSTOP) == 0, "stop");
    need(mkv_batch_wait(batch) < 0, "the wire was not late");
    took = now() - start;
    need(mkv_batch_status(batch, 0) == MKV_UNKNOWN, "an answer came");
    memset(buffer, MINE, SIZE); /* the caller's again */
    mkv_batch_destroy(&batch);
    printf("the call took %.2f s, with a deadline of 0.60 s\n", took);
    need(took < 1.6, "the call outlived its deadline and a fence");
    pause_for(WIRE_S + 1);
}

static void go_on(void)
{
    need(kill(server, SIGCONT) == 0, "go on");
    need(shell(ON_TIME), "tc");
    for (double end = now() + 20; mkv_exists(client, "nothing", 7) != 0;) {
        need(now() < end, "the server does not come back");
        pause_for(0.1);
    }
}

static bool get_is_fenced(void)
{
    size_t n;

    memset(buffer, 0x5a, SIZE);
    need(mkv_set(client, "fence", 5, buffer, SIZE) >= 0, "set");
    memset(buffer, MINE, SIZE);
    run_into_the_deadline(MKV_OP_GET, "fence");
    n = changed();
    printf("get: %zu bytes of the buffer were written to after the call\n", n);
    go_on();
    pause_for(0.5);
    return n == 0 && changed() == 0;
}

static bool set_is_fenced(void)
{
    uint64_t length = 0;
    size_t wrong = 0;
    int64_t r;

    memset(buffer, 0x33, SIZE);
    run_into_the_deadline(MKV_OP_SET, "late");
    go_on();
    pause_for(0.5);
    r = mkv_get(client, "late", 4, buffer, SIZE, &length);
    for (size_t i = 0; r > 0 && i < SIZE; i++) {
        wrong += buffer[i] != 0x33;
    }
    printf("set: %s, %zu bytes of it put there after the call\n", r > 0 ? "stored" : "not stored",
           wrong);
    return wrong == 0;
}

int main(int argc, char **argv)
{
    struct mkv_option options[] = {{"servers", argc > 1 ? argv[1] : ""}, {"transport", "rdma"}};
    struct mkv_client_options o = {.size = sizeof(o), .options = options, .n_options = 2};
    bool without = argc > 3 && strcmp(argv[3], "none") == 0;
    struct mkv_region *region;
    struct mkv_error error;
    bool holds;

    if (argc < 3) {
        fprintf(stderr, "fence ADDRESS SERVER_PID [none]\n");
        return 2;
    }
    server = (pid_t)atoi(argv[2]);
    buffer = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(buffer != MAP_FAILED, "memory");
    /* Without end it waits for a late wire, which would else break its queue pairs by itself. */
    mkv__fault_arm(without ? "rdma." : "rdma.patience", 1, UINT64_MAX);
    if (mkv_client_open(&o, &client, &error) < 0) {
        fprintf(stderr, "fence: %s\n", error.text);
        return 2;
    }
    need(mkv_region_open(client, buffer, SIZE, NULL, &region) == 0, "region");
    holds = get_is_fenced();
    holds = (without || set_is_fenced()) && holds;
    mkv__fault_disarm();
    need(mkv_region_close(&region) == 0 && mkv_client_close(&client) == 0, "close");
    munmap(buffer, SIZE);
    puts(holds ? "the fence holds" : "the fence does not hold");
    return holds != without ? 0 : 1;
}
