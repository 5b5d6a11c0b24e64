/*
 * RDMA stops working while tcp goes on (packets to UDP port 4791 are dropped), and works again: a
 * client that lives on goes over to tcp and comes back by itself, and no byte is ever wrong.
 *
 *     rails ADDRESS
 *
 * Runs in the guest, as root; the server's end of the wire is right0. (What is dropped where it is sent
 * makes rdma_rxe spin in the kernel.)
 */
#include "router/probe.h"
#include "testing/rdma/shell.h"

#include <memkv/memkv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE (256u << 10)
#define BLOCK                                                                                   \
    "tc qdisc add dev right0 clsact && tc filter add dev right0 ingress protocol ip u32 match " \
    "ip protocol 17 0xff match ip dport 4791 0xffff action drop"
#define OPEN "tc qdisc del dev right0 clsact"

static struct mkv_client *client;
static uint8_t value[SIZE], back[SIZE];
static int hits, misses;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "rails: %s\n", what);
        (void)shell(OPEN " 2>/dev/null");
        exit(1);
    }
}

/* One get: a hit with the right bytes, or a miss. */
static bool get(void)
{
    int64_t r;

    memset(back, 0, SIZE);
    r = mkv_get(client, "rails", 5, back, SIZE, NULL);
    if (r != SIZE) {
        misses++;
        return false;
    }
    need(memcmp(value, back, SIZE) == 0, "wrong bytes");
    hits++;
    return true;
}

static bool is_over(const char *what)
{
    struct mkv__probe probe;
    bool found;

    (void)mkv__client_probe(client, 0, 1000000000, &probe);
    found = probe.error == 0 && strncmp(probe.path, what, strlen(what)) == 0;
    free(probe.stat);
    return found;
}

static void until_over(const char *what, double limit)
{
    double start = now();

    hits = misses = 0;
    while (!get() || !is_over(what)) {
        need(now() - start < limit, what);
        usleep(50000);
    }
    need(misses == 0, "requests were not issued again");
    printf("over %s after %.1f s: %d hits, %d misses on the way\n", what, now() - start, hits,
           misses);
}

int main(int argc, char **argv)
{
    struct mkv_option options[] = {
        {"servers", argc > 1 ? argv[1] : ""}, {"get_timeout", "2s"}, {"connect_timeout", "2s"}};
    struct mkv_client_options o = {.size = sizeof(o), .options = options, .n_options = 3};
    struct mkv_error error;

    if (mkv_client_open(&o, &client, &error) < 0) {
        fprintf(stderr, "rails: %s\n", error.text);
        return 1;
    }
    for (size_t i = 0; i < SIZE; i++) {
        value[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    need(mkv_set(client, "rails", 5, value, SIZE) >= 0, "set");
    until_over("rdma", 20);
    need(shell(BLOCK), "tc");
    until_over("tcp, not rdma", 40);
    need(shell(OPEN), "tc");
    until_over("rdma", 20);
    need(mkv_client_close(&client) == 0, "close");
    return 0;
}
