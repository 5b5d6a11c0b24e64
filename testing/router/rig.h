/*
 * A client on the fake transport, servers that do as the test says, one clock: a test turns all of
 * them by hand. Every call asserts that it worked.
 */
#ifndef TESTING_ROUTER_RIG_H
#define TESTING_ROUTER_RIG_H

#include "core/codec/message.h"
#include "router/seam.h"

#include <memkv/memkv.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_SERVERS 5
#define RIG_CONNS   8
#define RIG_MS      UINT64_C(1000000)
#define RIG_S       UINT64_C(1000000000)

struct rig;
struct rig_value;
struct rig_held;
struct rig_job;

struct rig_server {
    struct rig *rig;
    unsigned number;
    char address[32];
    struct mkv__worker *worker;
    struct mkv__endpoint *endpoint;
    struct mkv__listener *listener;
    struct mkv__conn *conns[RIG_CONNS]; /* in the place of the one that was there before */
    struct rig_seen {
        int requests;
        uint32_t keys, first, last; /* positions */
        uint64_t bytes;
    } seen[RIG_CONNS]; /* of requests that have come over it */
    struct rig_value *values;
    struct rig_held *held;
    struct rig_job *jobs;
    /* what it does */
    bool stalled;   /* it is not turned */
    bool hold;      /* requests are kept, and answered by rig_release */
    bool short_;    /* one answer too few */
    bool wrong;     /* replies of another type */
    bool spoil;     /* what it sends does not match its checksum */
    uint8_t say;    /* enum mkv__wire_status for every key, and no bytes; 0: as it should */
    uint64_t other; /* length that it gives with `say` */
    /* what has come */
    int accepted, requests, cancels, reports, n_held;
    int damaged;                    /* sets whose bytes did not have the sums that came with them */
    uint32_t keys, flags, position; /* of all; of the last request, and its first key's */
    uint64_t checksum;              /* of the last request, its first key's */
    uint8_t cls;
};

struct rig {
    uint64_t now_ns;
    unsigned n;
    struct rig_server servers[RIG_SERVERS];
    struct mkv_client *client;
    char *log;
    size_t log_len;
};

/* What the next rigs differ in; a test puts it back. */
struct rig_setting {
    uint32_t linger_in;                     /* conceal takes its time, once in so many; 0: never */
    const struct mkv__transport *transport; /* the client's; NULL: the fake */
    unsigned rails;                         /* the client's; 0: one */
    uint32_t death_in;                      /* a session dies, once in so many events; 0: never */
    uint64_t seed;
};
extern struct rig_setting rig_setting;

/* n servers, named s0, s1, ..., of which the client knows `known`. Pairs of option and value follow,
 * then NULL. */
void rig_init(struct rig *rig, unsigned n, unsigned known, ...);
void rig_fini(struct rig *rig); /* all batches are destroyed */
const char *rig_list(const struct rig *rig, unsigned n);

void rig_turn(struct rig *rig); /* everybody once; 20 us */
void rig_turns(struct rig *rig, int n);
void rig_pass(struct rig *rig, uint64_t ns); /* time, with some hundred turns in it */
/* Until the batch is done; its first error. Fails the test after 20 s of the rig's time. */
int rig_wait(struct rig *rig, struct mkv_batch *batch);

void rig_die(struct rig_server *server);                /* no listener, no session */
void rig_live(struct rig_server *server);               /* listens again; values are as they were */
void rig_cut(struct rig_server *server, unsigned conn); /* this session, and nothing else */
void rig_forget(struct rig_server *server);
void rig_release(struct rig_server *server); /* what was held is answered */
void rig_goaway(struct rig_server *server);
bool rig_has(const struct rig_server *server, const char *key);

/* Keys TAG-0 ...; values of `page` bytes in memory, two segments each; memory NULL: no segments. */
struct mkv_batch *rig_batch(struct rig *rig, enum mkv_op op, const char *tag, unsigned n,
                            unsigned char *memory, size_t page,
                            const struct mkv_batch_options *options);
void rig_fill(const char *tag, unsigned n, unsigned char *memory, size_t page);
/* Runs one; the leading run. */
unsigned rig_run(struct rig *rig, enum mkv_op op, const char *tag, unsigned n,
                 unsigned char *memory, size_t page);
/* Some key whose owner among the first `known` servers is this one; static memory. */
const char *rig_key(const struct rig *rig, unsigned known, unsigned server);
struct mkv_batch *rig_one(struct rig *rig, enum mkv_op op, const char *key, void *value, size_t len,
                          const struct mkv_batch_options *options);

struct mkv_client_stats rig_stats(struct rig *rig);
unsigned rig_logged(const struct rig *rig, const char *text); /* lines that have it */

#endif
