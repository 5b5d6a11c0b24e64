/*
 * What the files of the client share.
 *
 * Who owns what: a batch belongs to its caller until submit and after completion. Between, each of
 * its parts, with the requests made for it and the answers to its keys, belongs to the worker of the
 * rail that the part is on. A session, its slots and its queue belong to the worker of its rail. Of
 * a server others read only the state of its rails, which is atomic, and what never changes.
 */
#ifndef ROUTER_INTERNAL_H
#define ROUTER_INTERNAL_H

#include "core/codec/message.h"
#include "core/completion.h"
#include "core/config/config.h"
#include "core/log.h"
#include "core/os/cpu.h"
#include "core/rcu.h"
#include "core/worker.h"
#include "router/seam.h"
#include "transport/transport.h"

#include <memkv/memkv.h>

#include <pthread.h>

#define MKV_NO_SERVER UINT32_MAX

struct rpc;
struct rail;
struct server;

/* A rail's session with a server. The rail's worker owns all of it. */
struct session {
    struct server *server;
    struct rail *rail;
    struct mkv__conn *conn;
    bool open, going_away, renewing;
    bool full;        /* send said -EAGAIN, `writable` has not come since */
    bool degraded;    /* as last looked at */
    bool good;        /* open, and not degraded */
    bool told_lost;   /* the log has a line, and will have one when it is back */
    uint32_t address; /* the one in use; after a failure the next */
    uint32_t max_out; /* requests that the peer takes at once */
    unsigned failures;
    uint64_t judged_ns; /* when it last answered, or last counted as too late */
    uint64_t lost_ns;   /* when it was last lost and made anew at once; 0: never */
    char why[200];
    uint64_t backoff_ns;
    struct mkv__timer probe;
    struct mkv__timer look;      /* while degraded: is it still? */
    struct mkv__deferred refill; /* a slot is free and something waits */
    struct rpc *slots[MKV_REQUESTS_MAX];
    uint32_t generations[MKV_REQUESTS_MAX];
    uint32_t n_free, free_slots[MKV_REQUESTS_MAX];
    struct rpc *waiting, **waiting_end;
    uint32_t version_high, n_connects;
    bool retired;
    uint32_t asked;           /* atomic: `attempt` is on its way */
    struct mkv__task attempt; /* another rail was refused: is this one, too? */
    struct mkv__task retire;  /* after the server's last reference is gone */
};

/* What is known of a server, for all rails in one word. Each rail's worker alone changes its bits. */
#define RAIL_CLOSED(i) (UINT32_C(1) << (i))        /* its breaker is closed */
#define RAIL_OPEN(i)   (UINT32_C(1) << (8 + (i)))  /* its session is open */
#define RAIL_POOR(i)   (UINT32_C(1) << (16 + (i))) /* was lost and is not back, or is degraded */
#define SERVER_AWAY    (UINT32_C(1) << 24)         /* any rail's: a new session would fail */
#define RAILS_ALL      UINT32_C(0xff)
_Static_assert(MKV_RAILS_MAX == 8, "eight bits each");

/* A server; shared by all tables that name it with the same addresses (counted). */
struct server {
    struct mkv_client *client;
    char name[MKV_ADDRESS_TEXT];
    char (*addresses)[MKV_ADDRESS_TEXT];
    uint32_t n_addresses;
    uint64_t hash;             /* of the name */
    unsigned references;       /* atomic */
    unsigned retiring;         /* atomic: rails whose session has not retired, and attempts */
    uint32_t state;            /* atomic: RAIL_..., SERVER_AWAY */
    uint32_t hangs;            /* atomic: rails whose breaker opened while there was a session */
    int last_error;            /* atomic */
    struct session sessions[]; /* one for each rail */
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
    uint64_t checksum; /* set: of the value, where the batch is not unsummed; get: its seed */
    uint32_t first_segment, n_segments;
    uint32_t server; /* asked in this round */
    uint8_t key_len;
    uint8_t part;     /* the one it belongs to */
    uint8_t reissued; /* how often it was out when a session was lost, and was sent again */
    bool goes_again;  /* in this round */
};

/* Whether a key may be sent to the same server once more. */
enum again {
    AGAIN_NO,
    AGAIN_UNSENT,
    AGAIN_LOST, /* it was out: once for each rail */
    AGAIN_BUSY, /* the server has not noticed yet that it was lost: after a pause */
};

struct answer {
    uint8_t status; /* enum mkv_status */
    bool differs;
    uint8_t again; /* enum again */
    int error;
    uint64_t length;
};

/*
 * The keys of a batch that are on one rail: all of them, or some where it is split. It belongs to
 * the worker of its rail; that one alone moves it to another rail, by posting `start` there.
 */
struct part {
    struct mkv_batch *batch;
    struct rail *rail;            /* atomic: written by its owner, read by who cancels */
    uint8_t number;               /* of the batch: parts[number] */
    uint32_t n;                   /* keys */
    uint32_t *order;              /* room for n positions, grouped by server */
    uint32_t *begins;             /* per server of the table: where its group begins in order */
    struct rpc *rpcs, **rpcs_end; /* of this round, in the order of its keys */
    struct rpc *spare_rpcs;       /* for use again */
    unsigned left;                /* rpcs of this round not done */
    unsigned round;               /* of rank */
    unsigned repeats;             /* rounds that sent something to the same server again */
    bool late;
    bool started; /* the worker of this rail has run `start` */
    bool ended;
    int stop_error;
    uint32_t rails; /* after the pause: which to choose from */
    unsigned pauses;
    struct mkv__timer deadline, pause;
    struct mkv__task start, cancel;
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
    uint32_t *order;  /* the parts', one after another */
    uint32_t *begins; /* as well */
    size_t begins_cap;
    struct share *shares; /* split.c: per server of the table */
    size_t shares_cap;
    struct mkv_region **regions; /* that the segments lie in, counted while in flight */
    size_t n_regions, regions_cap;

    struct table *table;
    struct part first, *parts[MKV_RAILS_MAX]; /* parts[0] is the first; kept for use again */
    unsigned n_parts;
    uint32_t pending; /* atomic: parts that have not ended, and who else holds it in flight */
    bool unsummed;    /* a set whose values' checksums come with their bytes, or not at all */
    bool cancelled;   /* the owner's */
    bool orphan;      /* atomic: destroyed in a callback while in flight: nobody is told */
    struct mkv__completion completion; /* one more part: destroyed, who completes it frees it */
    uint32_t ready;                    /* atomic: results may be read; set before the callback */
    struct rail *caller;               /* atomic: whose worker runs its callback */
    bool *gone;  /* in the callback: set when it destroys the batch or submits it again */
    bool listed; /* among the client's done batches; under its mutex */
    struct mkv_batch *next_done;
    char **stat_out; /* a STAT of one server (probe.c); else NULL */
    struct server *stat_server;
    int stat_error;
};

enum rpc_state {
    RPC_IDLE,
    RPC_WAITING,    /* in the session's queue */
    RPC_SENT,       /* has a slot; the answer, the deadline or the session's end come next */
    RPC_ANSWERED,   /* its memory is being concealed, or its session is gone: it ends by itself */
    RPC_RETREATING, /* the session was full: concealed, then queued again in its old place */
};

/* One request over one session for some keys of a part. */
struct rpc {
    struct part *part;
    struct rpc *next;         /* of the part */
    struct rpc *next_waiting; /* at the session */
    struct session *session;
    enum rpc_state state;
    enum again again; /* with an error */
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
        second_rounds, timeouts, connection_errors, checksum_errors, connects, reissued;
};

/* A NIC, and the worker that owns it: its endpoint, its sessions with all servers. */
struct rail {
    struct mkv_client *client;
    unsigned number;
    const char *device; /* its name; "": whatever the routes say */
    struct mkv__worker *worker;
    struct mkv__endpoint *endpoint;
    struct mkv__cpu_set near; /* the CPUs of its NUMA node; none: not known */
    uint32_t n_parts;         /* of batches, that are under way here; the worker's */
    /* scratch of the worker */
    uint8_t *body;
    struct mkv__wire_key *wire_keys;
    struct mkv__answer *wire_answers;
};

struct mkv_client {
    unsigned forks;
    struct mkv__config *config;
    struct mkv__log log;
    const struct mkv__transport *transport;
    struct mkv__endpoint_options endpoint_options;
    struct mkv__rails found; /* as the transport gave them */
    struct rail rails[MKV_RAILS_MAX];
    unsigned n_rails;
    struct table *table;   /* RCU */
    pthread_mutex_t mutex; /* replacing the table; the list of done batches */
    uint64_t changed_ns;   /* atomic: when list or a breaker changed last */
    uint64_t grace_ns;
    unsigned objects;           /* atomic: batches and regions */
    unsigned n_regions;         /* atomic */
    struct mkv_region *regions; /* under the mutex */
    int event;
    bool manual, spin;
    bool verify;                  /* gets by their checksums */
    unsigned sets;                /* atomic: that might have gone unsummed */
    struct rail *calling;         /* manual: where a done_fn runs */
    uint64_t (*clock)(void *arg); /* NULL: CLOCK_MONOTONIC */
    void *clock_arg;
    struct mkv__log_limit damage_limit;
    struct mkv_batch *done, **done_end;
    uint8_t namespace_[MKV_NAMESPACE_MAX];
    uint8_t namespace_len;
    struct stats stats; /* each atomic, relaxed */
};

#define COUNT(client, name, n) __atomic_fetch_add(&(client)->stats.name, (n), __ATOMIC_RELAXED)

/* client.c */
unsigned mkv__forks(void); /* of this process since it was loaded */
uint64_t mkv__client_now(const struct mkv_client *client);

/* rail.c */
/* Those that the transport has found, or `wanted` of them without a device. */
void mkv__rails_count(struct mkv_client *client, unsigned wanted);
int mkv__rails_open(struct mkv_client *client); /* after an error: close */
int mkv__rails_start(struct mkv_client *client);
void mkv__rails_shut(struct mkv_client *client); /* the endpoints, on their workers; then stop */
void mkv__rails_stop(struct mkv_client *client);
void mkv__rails_close(struct mkv_client *client); /* frees what has been opened */
/* The rail whose worker the caller is, in a callback, where nothing may wait; NULL: none. */
struct rail *mkv__client_rail(const struct mkv_client *client);
/* Runs the turns of a rail whose worker is taken, until the batch of one part is done or goes on over
 * another rail, and gives it back. */
void mkv__rail_run(struct rail *rail, const struct mkv_batch *batch);
/* Sleeps, or turns the workers where a test does that. */
void mkv__client_wait(struct mkv_client *client, struct mkv__completion *completion);

/* table.c */
int mkv__table_make(struct mkv_client *client, const struct mkv__server_list *list,
                    const struct table *old, struct table **out);
bool mkv__table_is(const struct table *table, const struct mkv__server_list *list);
/* With a reference; NULL while the client closes. */
struct table *mkv__table_get(struct mkv_client *client);
void mkv__table_put(struct table *table);
void mkv__server_put(struct server *server);
void mkv__server_left(struct server *server); /* ends one of what `retiring` counts */
/*
 * The server for a key: the first in its rendezvous order that is up; with `after`, the first behind
 * that one. MKV_NO_SERVER: none.
 */
uint32_t mkv__table_place(const struct table *table, uint64_t key_hash, uint32_t after);

/* Rails that the server can be asked over. It is up while there is one: a rail that is lost moves no
 * key to another server. */
static inline uint32_t mkv__state_usable(uint32_t state)
{
    uint32_t closed = state & RAILS_ALL, open = state >> 8 & RAILS_ALL;
    return state & SERVER_AWAY ? closed & open : closed;
}
static inline uint32_t mkv__server_usable(const struct server *server)
{
    return mkv__state_usable(__atomic_load_n(&server->state, __ATOMIC_RELAXED));
}
static inline bool mkv__server_up(const struct server *server)
{
    return mkv__server_usable(server) != 0;
}
/* Of these the ones to choose from: poor ones only where there is nothing better. */
static inline uint32_t mkv__server_good(const struct server *server)
{
    uint32_t state = __atomic_load_n(&server->state, __ATOMIC_RELAXED);
    uint32_t usable = mkv__state_usable(state), good = usable & ~(state >> 16);
    return good != 0 ? good : usable;
}
static inline int mkv__server_error(const struct server *server)
{
    return __atomic_load_n(&server->last_error, __ATOMIC_RELAXED);
}

/* breaker.c; worker only */
/* Changes bits of the server's state; says what that means for the server. */
void mkv__breaker_change(struct session *session, uint32_t clear, uint32_t set);
bool mkv__breaker_is_closed(const struct session *session);
/* Arms the probe, with a longer pause each time where `longer`. */
void mkv__breaker_probe_later(struct session *session, bool longer);
void mkv__breaker_open(struct session *session);
void mkv__breaker_close(struct session *session); /* the session has opened */
/* Counts; opens after some in a row, or at once when there is no session. */
void mkv__breaker_failed(struct session *session, int error, const char *why);
/* The session is as it should be, or not: where there are several rails, a line in the log. */
void mkv__breaker_rail(struct session *session, bool good, const char *why);

/* session.c; worker only */
void mkv__session_init(struct session *session, struct server *server, struct rail *rail);
void mkv__session_submit(struct rpc *rpc); /* sends, or queues and connects, or fails it */
void mkv__session_withdraw(struct rpc *rpc, int error); /* the fence; mkv__rpc_finished follows */
void mkv__session_shut(struct session *session);        /* for good */
/* Sends a message whose reply does not matter; dropped when it cannot go now. */
void mkv__session_tell(struct session *session, uint8_t type, const uint8_t *body, uint32_t len);

/* rpc.c; worker only */
struct rpc *mkv__rpc_new(struct part *part);
void mkv__rpc_free(struct rpc *rpc);
int mkv__rpc_fill(struct rpc *rpc, const uint32_t *keys, uint32_t n);
int64_t mkv__rpc_encode(struct rpc *rpc, uint8_t *type_out);
void mkv__rpc_expose(struct rpc *rpc, uint64_t request_id);
void mkv__rpc_answer(struct rpc *rpc, const struct mkv__message *message);
/* The rpc has ended, its memory is fenced: tells the part. error 0: answered. */
void mkv__rpc_finished(struct rpc *rpc, int error);

/* split.c; owner, in submit */
int mkv__batch_split(struct mkv_batch *batch); /* which part each key belongs to, on which rail */

/* round.c */
int mkv__batch_plan(struct mkv_batch *batch); /* owner, in submit: the first round's requests */
void mkv__batch_unplan(struct mkv_batch *batch);
void mkv__part_start(struct mkv__worker *worker, struct mkv__task *task);
void mkv__part_cancel(struct mkv__worker *worker, struct mkv__task *task);
void mkv__part_rpc_done(struct part *part);        /* worker */
void mkv__part_stop(struct part *part, int error); /* worker; does nothing after its end */
bool mkv__part_in_grace(const struct part *part);
static inline struct rail *mkv__part_rail(const struct part *part) /* any thread */
{
    return __atomic_load_n(&part->rail, __ATOMIC_ACQUIRE);
}

/* batch.c */
/* Ends one of what `pending` counts; the last completes the batch. Worker of that rail. */
void mkv__batch_release(struct mkv_batch *batch, struct rail *rail);
int mkv__grow(void *pointer, size_t *cap, size_t wanted, size_t item);

/* notify.c */
bool mkv__notify(struct mkv_batch *batch);   /* worker; false: it was destroyed meanwhile */
void mkv__unnotify(struct mkv_batch *batch); /* owner: it will not be reaped */

/* region.c */
int mkv__regions_hold(struct mkv_batch *batch); /* owner: those that its segments lie in */
void mkv__regions_drop(struct mkv_batch *batch);

#endif
