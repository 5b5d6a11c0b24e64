/*
 * What the files of the client share.
 *
 * Who owns what: a batch belongs to its caller until submit and after completion, and to the worker
 * between. Servers, sessions, slots and requests belong to the worker; callers read of a server only
 * its breaker's state, which is atomic, and what never changes.
 */
#ifndef ROUTER_INTERNAL_H
#define ROUTER_INTERNAL_H

#include "core/codec/message.h"
#include "core/completion.h"
#include "core/config/config.h"
#include "core/log.h"
#include "core/rcu.h"
#include "core/worker.h"
#include "router/seam.h"
#include "transport/transport.h"

#include <memkv/memkv.h>

#include <pthread.h>

#define MKV_NO_SERVER UINT32_MAX

struct rpc;

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN };

/* A server; shared by all tables that name it with the same addresses (counted). */
struct server {
    struct mkv_client *client;
    char name[MKV_ADDRESS_TEXT];
    char (*addresses)[MKV_ADDRESS_TEXT];
    uint32_t n_addresses;
    uint64_t hash;       /* of the name */
    unsigned references; /* atomic */
    uint32_t breaker;    /* enum breaker_state; atomic, written by the worker */
    int last_error;      /* atomic, written by the worker */

    /* the worker's */
    struct mkv__conn *conn;
    bool open, going_away, renewing;
    bool full;        /* send said -EAGAIN, `writable` has not come since */
    uint32_t address; /* the one in use; after a failure the next */
    uint32_t max_out; /* requests that the peer takes at once */
    unsigned failures;
    uint64_t judged_ns; /* when it last answered, or last counted as too late */
    char why[200];
    uint64_t backoff_ns;
    struct mkv__timer probe;
    struct mkv__deferred refill; /* a slot is free and something waits */
    struct rpc *slots[MKV_REQUESTS_MAX];
    uint32_t generations[MKV_REQUESTS_MAX];
    uint32_t n_free, free_slots[MKV_REQUESTS_MAX];
    struct rpc *waiting, **waiting_end;
    uint32_t version_high, n_connects;
    struct mkv__task retire; /* after the last reference is gone */
};

/* A list of servers: immutable, published by RCU, counted. */
struct table {
    unsigned references; /* atomic */
    uint32_t n;
    struct server **servers;
    uint32_t *weights;
};

enum batch_state { BATCH_IDLE, BATCH_FLYING, BATCH_DONE };

struct value {
    uint64_t key_at; /* in the batch's arena of keys */
    uint64_t length;
    uint64_t hash;     /* of namespace and key */
    uint64_t checksum; /* set: of the value; get: its seed */
    uint32_t first_segment, n_segments;
    uint32_t server; /* asked in this round */
    uint8_t key_len;
};

struct answer {
    uint8_t status; /* enum mkv_status */
    bool differs;
    int error;
    uint64_t length;
};

struct mkv_batch {
    struct mkv_client *client;
    unsigned forks;
    enum batch_state state;
    enum mkv_op op;
    uint32_t flags, first_depth, ttl_ms;
    uint64_t timeout_ns, deadline_ns;
    mkv_done_fn done_fn;
    void *done_arg;
    uint8_t namespace_[MKV_NAMESPACE_MAX];
    uint8_t namespace_len;

    uint8_t *keys;
    size_t keys_len, keys_cap;
    struct value *values;
    struct answer *answers;
    uint32_t n, cap;
    struct mkv_segment *segments;
    size_t n_segments, segments_cap;
    uint32_t *order;  /* positions of the values, grouped by server */
    uint32_t *begins; /* per server of the table: where its group begins in order */
    size_t begins_cap;
    struct mkv_region **regions; /* that the segments lie in, counted while in flight */
    size_t n_regions, regions_cap;

    struct table *table;
    struct rpc *rpcs, **rpcs_end; /* of this round, in the order of its keys */
    struct rpc *spare_rpcs;       /* for use again */
    unsigned left;                /* rpcs of this round not done */
    unsigned round;
    bool late;
    int stop_error;
    struct mkv__timer deadline;
    struct mkv__task start, cancel;
    uint32_t cancelling; /* atomic: enum in batch.c */
    bool finish_on_cancel;
    bool started; /* the worker's: it has run `start` */
    bool orphan;  /* destroyed in a callback before it was done; the worker frees it */
    struct mkv__completion completion;
    uint32_t ready;  /* atomic: results may be read; set before the callback */
    uint64_t flight; /* counts submits */
    bool *gone;      /* in the callback: set when it destroys the batch */
    bool listed;     /* among the client's done batches; under its mutex */
    struct mkv_batch *next_done;
    char **stat_out; /* a STAT of one server (probe.c); else NULL */
    struct server *stat_server;
};

enum rpc_state {
    RPC_IDLE,
    RPC_WAITING,    /* in the server's queue */
    RPC_SENT,       /* has a slot; the answer, the deadline or the session's end come next */
    RPC_ANSWERED,   /* its memory is being concealed, then it ends with its error */
    RPC_RETREATING, /* the session was full: concealed, then queued again in its old place */
};

/* One request to one server for some keys of a batch. */
struct rpc {
    struct mkv_batch *batch;
    struct rpc *next;         /* of the batch */
    struct rpc *next_waiting; /* at the server */
    struct server *server;
    enum rpc_state state;
    bool exposed;
    uint32_t slot;
    uint64_t sent_ns;
    uint32_t n, cap;
    uint32_t *keys;    /* positions in the batch */
    uint64_t *offsets; /* n + 1: where each value begins in the exposure */
    uint64_t *sums;    /* get: of what has landed */
    struct mkv__piece *pieces;
    uint32_t n_pieces, pieces_cap;
    uint32_t at;        /* get: the key that bytes landed for last */
    uint32_t n_damaged; /* get: values that did not match their checksum */
    int error;
    struct mkv__exposure exposure;
};

struct stats {
    uint64_t batches, keys, hits, misses, unknown, bytes_read, bytes_written, requests,
        second_rounds, timeouts, connection_errors, checksum_errors, connects;
};

struct mkv_client {
    unsigned forks;
    struct mkv__config *config;
    struct mkv__log log;
    const struct mkv__transport *transport;
    struct mkv__endpoint_options endpoint_options;
    struct mkv__rails rails;
    char not_rdma[500]; /* why; empty: it is, or is not wanted */
    struct mkv__worker *worker;
    struct mkv__endpoint *endpoint;
    struct table *table;   /* RCU */
    pthread_mutex_t mutex; /* replacing the table; the list of done batches */
    uint64_t changed_ns;   /* atomic: when list or a breaker changed last */
    uint64_t grace_ns;
    unsigned objects;           /* atomic: batches and regions */
    unsigned n_regions;         /* atomic */
    struct mkv_region *regions; /* under the mutex */
    int event;
    bool manual, verify, spin;
    bool calling;                 /* manual: a done_fn runs */
    uint64_t (*clock)(void *arg); /* NULL: CLOCK_MONOTONIC */
    void *clock_arg;
    struct mkv__log_limit damage_limit;
    struct mkv_batch *done, **done_end;
    uint8_t namespace_[MKV_NAMESPACE_MAX];
    uint8_t namespace_len;
    struct stats stats; /* each atomic, relaxed */
    /* scratch of the worker */
    uint8_t *body;
    struct mkv__wire_key *wire_keys;
    struct mkv__answer *wire_answers;
};

#define COUNT(client, name, n) __atomic_fetch_add(&(client)->stats.name, (n), __ATOMIC_RELAXED)

/* client.c */
unsigned mkv__forks(void); /* of this process since it was loaded */
uint64_t mkv__client_now(const struct mkv_client *client);
/* On the worker, where nothing may wait. */
bool mkv__client_in_callback(const struct mkv_client *client);
/* For a task on the worker: sleeps, or turns the worker where a test does that. */
void mkv__client_wait(struct mkv_client *client, struct mkv__completion *completion);

/* table.c */
int mkv__table_make(struct mkv_client *client, const struct mkv__server_list *list,
                    const struct table *old, struct table **out);
bool mkv__table_is(const struct table *table, const struct mkv__server_list *list);
/* With a reference; NULL while the client closes. */
struct table *mkv__table_get(struct mkv_client *client);
void mkv__table_put(struct table *table);
void mkv__server_put(struct server *server);
/*
 * The server for a key: the first in its rendezvous order whose breaker is closed; with `after`,
 * the first behind that one. MKV_NO_SERVER: none.
 */
uint32_t mkv__table_place(const struct table *table, uint64_t key_hash, uint32_t after);

/* breaker.c; worker only */
void mkv__breaker_init(struct server *server,
                       void (*probe)(struct mkv__worker *, struct mkv__timer *));
/* Arms the probe, with a longer pause each time where `longer`. */
void mkv__breaker_probe_later(struct server *server, bool longer);
void mkv__breaker_open(struct server *server);
void mkv__breaker_close(struct server *server);
/* Counts; opens after some in a row, or at once when there is no session. */
void mkv__breaker_failed(struct server *server, int error, const char *why);
static inline bool mkv__breaker_closed(const struct server *server)
{
    return __atomic_load_n(&server->breaker, __ATOMIC_RELAXED) == BREAKER_CLOSED;
}
static inline int mkv__server_error(const struct server *server)
{
    return __atomic_load_n(&server->last_error, __ATOMIC_RELAXED);
}

/* session.c; worker only */
void mkv__server_init(struct server *server);
void mkv__server_submit(struct rpc *rpc); /* sends, or queues and connects, or fails it */
void mkv__server_withdraw(struct rpc *rpc, int error); /* the fence; mkv__rpc_finished follows */
void mkv__server_shut(struct server *server);
/* Sends a message whose reply does not matter; dropped when it cannot go now. */
void mkv__server_tell(struct server *server, uint8_t type, const uint8_t *body, uint32_t len);

/* rpc.c; worker only */
struct rpc *mkv__rpc_new(struct mkv_batch *batch);
void mkv__rpc_free(struct rpc *rpc);
int mkv__rpc_fill(struct rpc *rpc, const uint32_t *keys, uint32_t n);
int64_t mkv__rpc_encode(struct rpc *rpc, uint8_t *type_out);
void mkv__rpc_expose(struct rpc *rpc, uint64_t request_id);
void mkv__rpc_answer(struct rpc *rpc, const struct mkv__message *message);
/* The rpc has ended, its memory is fenced: tells the batch. error 0: answered. */
void mkv__rpc_finished(struct rpc *rpc, int error);

/* round.c */
int mkv__batch_plan(struct mkv_batch *batch); /* owner, in submit: the first round's requests */
void mkv__batch_unplan(struct mkv_batch *batch);
void mkv__batch_start(struct mkv__worker *worker, struct mkv__task *task);
void mkv__batch_rpc_done(struct mkv_batch *batch);        /* worker */
void mkv__batch_stop(struct mkv_batch *batch, int error); /* worker */
bool mkv__batch_in_grace(const struct mkv_batch *batch);

/* batch.c */
void mkv__batch_complete(struct mkv_batch *batch); /* worker */
int mkv__grow(void *pointer, size_t *cap, size_t wanted, size_t item);

/* notify.c */
void mkv__notify(struct mkv_batch *batch);   /* worker */
void mkv__unnotify(struct mkv_batch *batch); /* owner: it will not be reaped */

/* region.c */
int mkv__regions_hold(struct mkv_batch *batch); /* owner: those that its segments lie in */
void mkv__regions_drop(struct mkv_batch *batch);

#endif
