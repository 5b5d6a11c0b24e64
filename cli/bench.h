/* The benchmark: what runs, and what came out. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <memkv/memkv.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct bench_case {
    enum mkv_op op;
    uint64_t value_bytes; /* 0 with exists */
    uint32_t batch;       /* keys */
    unsigned threads;
    double seconds;
    uint64_t seed;
};

struct bench_row {
    uint64_t batches, keys, failed;
    double elapsed_s, cpu_s;
    double p50_us, p99_us, p999_us; /* of a batch */
    double ceiling_bytes_per_s;     /* exists: of requests and replies */
    double bytes_per_s, keys_per_s, ratio;
};

/* bench_raw.c: bytes per second of a raw socket pair moving the same bytes in the same shape: a
 * request, then `down` bytes to the client or `up` bytes from it and a short answer. 0: failed. */
double bench_ceiling(uint64_t up, uint64_t down, unsigned connections, double seconds);

/* bench_server.c: memkv serve in a process of its own. */
struct bench_server {
    pid_t pid;
    char address[80];
};
int bench_server_start(struct bench_server *server, const char *memory);
void bench_server_stop(struct bench_server *server);
double bench_cpu_of(pid_t pid); /* seconds of CPU used so far */

/* bench_run.c */
int bench_run(struct mkv_client *client, const struct bench_case *c, pid_t server,
              struct bench_row *row_out);

#endif
