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
    unsigned lanes; /* connections for values */
    const char *transport;
    const char *servers;    /* NULL: of its own */
    const char *congestion; /* of the ceiling's sockets, as of ours */
    double seconds;         /* of ours, and again of the ceiling */
    bool no_ceiling;        /* who runs it has another one to compare with */
    uint64_t seed;
    uint64_t nonce; /* makes the keys of this run's sets new to the servers */
};

struct bench_row {
    uint64_t batches, failed;
    double p50_us, p99_us, p999_us, max_us; /* of a batch */
    double cpu_cores;
    double bytes_per_s, keys_per_s;    /* exists: bytes of requests and replies */
    double ceiling_bytes_per_s, ratio; /* 0: no ceiling */
};

/* Larger than a last-level cache: what each side moves its bytes from and to, in turn. */
uint64_t bench_working_set(void);
/* Memory of at least that size, or NULL; bench_unmap ends it. */
void *bench_map(uint64_t bytes);
void bench_unmap(void *memory, uint64_t bytes);

/*
 * bench_raw.c: raw sockets that move bytes in the shape of a case: `up` bytes to the other side,
 * then `down` bytes from it, again and again on each of the connections. Each side's bytes come from
 * and go through `room` bytes of memory.
 */
struct bench_raw;
struct bench_raw *bench_raw_open(uint64_t up, uint64_t down, unsigned connections, uint64_t room,
                                 const char *congestion);
void bench_raw_close(struct bench_raw *raw);
/* Exchanges for about `seconds`. Adds to the number of exchanges of all connections and to the time
 * that they took. */
void bench_raw_run(struct bench_raw *raw, double seconds, uint64_t *exchanges, double *elapsed_s);

/* bench_server.c: memkv serve in a process of its own. */
struct bench_server {
    pid_t pid;
    char address[80];
};
int bench_server_start(struct bench_server *server);
void bench_server_stop(struct bench_server *server);
double bench_cpu_of(pid_t pid); /* seconds of CPU used so far; 0: of this process */

/* Ours and the ceiling take turns. */
static inline unsigned bench_slices(bool no_ceiling)
{
    return no_ceiling ? 1 : 8;
}

/* bench_run.c. `slice` is called after each turn. 0; -1: the values for get and exists cannot be
 * stored; -2: no sockets for the ceiling; -3: nothing came. */
int bench_run(struct mkv_client *client, const struct bench_case *c, pid_t server,
              void (*slice)(void *arg), void *arg, struct bench_row *row_out);

#endif
