/*
 * The table behind which every transport stands: messages, and one-sided bulk that the server
 * drives. Knows no keys and no values.
 *
 * A *session* (struct mkv__conn) joins a client's worker and a server's worker. Messages are small,
 * ordered per lane and authenticated. Bulk moves between the server's pieces and the *exposure* of
 * one request of the client: a linear space of bytes that is the client's segments laid end to end.
 *
 *   client                                   server
 *   expose(request id, pieces)
 *   send(request)                  ------>   message()
 *                                            write(bulk) or read(bulk)    bytes move, nobody asks
 *                                            send(reply, after_bulk), then or after done(bulk)
 *   message(reply)                 <------   (delivered after the bulk's bytes have landed)
 *   conceal(exposure)                        nobody touches the memory any more
 *
 * Fence: after `concealed` the transport neither writes to nor reads from the exposure's memory. tcp
 * conceals at once: the rest of what is arriving goes into a scratch page, the rest of what is being
 * sent goes out as zeros, which no checksum accepts. conceal before the reply sends CANCEL, and the
 * server's `cancelled` is called.
 *
 * Every function and callback runs on the owner worker. Callbacks may call any function of the
 * table, close included. No slot of the table is NULL.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "core/auth/auth.h"
#include "core/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mkv__endpoint; /* one worker's instance of a transport */
struct mkv__listener;
struct mkv__conn;

/* Bytes [offset, offset + len) of an exposure's linear space lie at addr. */
struct mkv__piece {
    uint64_t offset;
    void *addr;
    uint64_t len;
};

/* Client: memory of one request. Filled and owned by the caller from expose until concealed. */
struct mkv__exposure {
    uint64_t request_id;             /* slot < max_requests | generation << 32 */
    bool writable;                   /* the peer writes (get); else it reads (set) */
    const struct mkv__piece *pieces; /* ascending, without gaps from 0 */
    uint32_t n_pieces;
    uint64_t len;
    /* bytes have landed at offset; called while they are hot in cache, not after conceal. Or NULL. */
    void (*landed)(struct mkv__exposure *e, uint64_t offset, const void *data, size_t len);
    /* bytes of a set that are sent to the peer go with their CRC64, see `checked`; not where the peer reads
     * by itself */
    bool summed;
    /* after conceal, possibly before it returns; or before `closed` when the session dies */
    void (*concealed)(struct mkv__exposure *e);
    void *owner;
    uint64_t transport[8]; /* the transport's */
};

/* Server: bulk of one request. Filled and owned by the caller from write/read until done. */
struct mkv__bulk {
    uint64_t request_id;
    const struct mkv__piece *pieces; /* ascending by offset, gaps allowed */
    uint32_t n_pieces;
    /* read only: bytes of piece have landed, hot in cache, in order within a piece. Returns
     * mkv__crc(0, data, len) where `checked`; else anything. May be NULL where not. */
    uint64_t (*landed)(struct mkv__bulk *b, uint32_t piece, uint64_t offset_in_piece,
                       const void *data, size_t len);
    /* read only. sent: the bytes are sent by the peer, so that some of them may be zeros of a withdrawn
     * request; `read` clears it where they are read without the peer's doing. checked: the peer's exposure
     * is `summed`, and what travels together must have the CRC64 that it came with; not looked at where not
     * sent. */
    bool sent, checked;
    /* status 0; -ECANCELED: aborted or withdrawn; -EBADMSG: what came is not what was sent, or no sum
     * came with it; -ECONNRESET. The pieces are free afterwards. */
    void (*done)(struct mkv__bulk *b, int status);
    void *owner;
    uint64_t transport[12];
};

struct mkv__message {
    uint8_t type; /* >= 32 */
    uint8_t cls;  /* enum mkv__class */
    uint16_t flags;
    bool after_bulk; /* reply: deliver after this request's bulk has landed */
    uint64_t request_id;
    uint32_t deadline_ms; /* left; 0: none */
    const uint8_t *body;
    uint32_t body_len;
};

struct mkv__conn_handlers {
    /* the handshake is done; peer is valid while the session lives */
    void (*opened)(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer);
    void (*message)(struct mkv__conn *conn, void *arg, const struct mkv__message *message);
    /* server: the client withdrew this request; abort its bulk and forget it */
    void (*cancelled)(struct mkv__conn *conn, void *arg, uint64_t request_id);
    void (*writable)(struct mkv__conn *conn, void *arg); /* after send said -EAGAIN */
    /* the last call: every exposure is concealed and every bulk done. error: -ECONNRESET, -EACCES
     * (key), -EPROTO (version, malformed), -ETIMEDOUT, -ECANCELED (close). why: for the log */
    void (*closed)(struct mkv__conn *conn, void *arg, int error, const char *why);
};

struct mkv__listen_handlers {
    /* a client's session is open; say which handlers it has. Runs on the session's worker. key:
     * valid until closed. */
    int (*accepted)(void *arg, struct mkv__worker *worker, struct mkv__conn *conn,
                    const struct mkv__hello *peer, const struct mkv__auth_key *key,
                    const struct mkv__conn_handlers **handlers_out, void **conn_arg_out);
    void *arg;
};

enum mkv__feature { MKV_FEATURE_RDMA = 1u << 0 };

/* A rail is a NIC and the worker that owns it. A side's rails are numbered from 0. */
#define MKV_RAILS_MAX 8u
struct mkv__rail {
    char device[64]; /* empty: whatever the routes say (tcp) */
    int numa_node;   /* -1: not known */
};
struct mkv__rails {
    unsigned n; /* >= 1 */
    struct mkv__rail rails[MKV_RAILS_MAX];
};

/* What keeps RDMA from working. The numbers travel: new ones come at the end. */
enum mkv__rdma_reason {
    MKV_REASON_NONE,        /* nothing does, or it is not wanted */
    MKV_REASON_NO_DEVICE,   /* the machine has none */
    MKV_REASON_NO_LIBRARY,  /* libibverbs is missing */
    MKV_REASON_NOT_NAMED,   /* none of those that are named is there */
    MKV_REASON_PORT_DOWN,   /* none is up */
    MKV_REASON_NO_GID,      /* none, or none that the other side can talk to */
    MKV_REASON_MEMORY,      /* it cannot be registered: memlock */
    MKV_REASON_MTU,         /* long packets do not arrive, short ones do */
    MKV_REASON_PEER_HAS_NO, /* device, or RDMA switched off */
    MKV_REASON_SILENCE,     /* nothing comes over the queue pairs */
    MKV_REASON_FAULT,       /* a device that fails, a peer that breaks off: see the text */
};

/* What there is and was, for statistics. */
struct mkv__rail_figures {
    char device[64], gid[48]; /* gid: of the last session; "" before there was one */
    const char *gid_type;     /* "RoCE v2" */
    uint32_t port, gid_index;
    uint32_t mtu; /* bytes */
    bool windows; /* how memory is exposed: windows of type 2, else registrations */
    uint64_t sessions, queue_pairs;
    uint64_t doorbells, signaled; /* work requests are posted by the one, completed by the other */
    uint64_t moved, copied;       /* bytes: of values by the device; in user space, of messages */
};
struct mkv__transport_figures {
    uint64_t over_rdma, over_tcp; /* sessions that are open */
    uint64_t to_rdma, to_tcp; /* changes: sessions that came back; that lost their queue pairs */
    /* bytes of values on their way, at most: per queue pair, per worker */
    uint64_t flight_cap, worker_flight_cap;
    unsigned n;
    struct mkv__rail_figures rails[MKV_RAILS_MAX]; /* by device */
};

struct mkv__endpoint_options {
    const struct mkv__auth_key *keys; /* borrowed until use_keys or endpoint_close */
    size_t n_keys;
    uint8_t lanes;      /* bulk lanes of a session, >= 1; control has its own */
    uint64_t features;  /* of HELLO: enum mkv__feature */
    const char *device; /* rdma: the one to use. Borrowed as keys are; NULL: all */
    uint8_t rail;       /* which of this side's rails: client rail i meets server rail i mod n */
    bool one_gid;       /* rdma: use that of index `gid`, instead of one by address */
    uint8_t gid;
    bool must;           /* rdma: a session without it is no session; else it stays on tcp */
    char congestion[16]; /* tcp: of its sockets; "": the system's */
    uint64_t connect_timeout_ns; /* until opened */
    uint64_t idle_ping_ns;       /* ping after this silence, close after three; 0: never */
    struct mkv__log *log;        /* may be NULL */
};

struct mkv__transport_limits {
    uint32_t max_message;  /* body, bytes */
    uint32_t max_requests; /* outstanding per session */
    uint32_t max_keys;     /* per message */
    uint32_t max_pieces;   /* per exposure or bulk */
    uint64_t max_exposure; /* bytes, of a bulk too */
    /* What `read` has read to its end was all there before the exposure was concealed, while the
     * session is not degraded. Else some of it may be zeros, and `checked` or checksums have to tell. */
    bool reads_are_fenced;
};

struct mkv__transport {
    const char *name;
    struct mkv__transport_limits limits;

    int (*endpoint_open)(struct mkv__worker *worker, const struct mkv__endpoint_options *options,
                         struct mkv__endpoint **out);
    /* closes what is left; the callbacks come before it returns */
    void (*endpoint_close)(struct mkv__endpoint **endpoint);
    /* Handshakes that begin from now on use these keys instead, borrowed as those of the options
     * (which are borrowed no more). Sessions, and handshakes that have chosen a key, go on. */
    void (*use_keys)(struct mkv__endpoint *endpoint, const struct mkv__auth_key *keys,
                     size_t n_keys);

    /* address "host:port"; port 0: any. Sessions are spread over endpoints[n] (one per worker,
     * endpoints[0] listens). Errors: -EADDRINUSE and other bind errors as -errno. */
    int (*listen)(struct mkv__endpoint *const *endpoints, size_t n, const char *address,
                  const struct mkv__listen_handlers *handlers, struct mkv__listener **out);
    const char *(*listener_address)(const struct mkv__listener *listener);
    void (*listener_close)(struct mkv__listener **listener);

    /* Returns at once; opened or closed is called later, never from inside. */
    int (*connect)(struct mkv__endpoint *endpoint, const char *address,
                   const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out);
    /* conceals all, then calls closed(-ECANCELED), before it returns; the handle is gone */
    void (*close)(struct mkv__conn *conn);

    /* -EAGAIN: too much is waiting, `writable` will be called; -EMSGSIZE; -ECONNRESET */
    int (*send)(struct mkv__conn *conn, const struct mkv__message *message);
    /* Bytes, of messages and writes, that the peer's host has not confirmed: lost by a close now. */
    uint64_t (*unsent)(const struct mkv__conn *conn);

    /* -EMSGSIZE: over max_pieces or max_exposure (so do write and read); -ECONNRESET */
    int (*expose)(struct mkv__conn *conn, struct mkv__exposure *exposure);
    /* answered: the reply has come, so the server is done and no CANCEL is needed */
    void (*conceal)(struct mkv__conn *conn, struct mkv__exposure *exposure, bool answered);

    int (*write)(struct mkv__conn *conn, struct mkv__bulk *bulk);
    int (*read)(struct mkv__conn *conn, struct mkv__bulk *bulk); /* one per request at a time */
    /* done(-ECANCELED) follows. Where the reply of a write is sent already it is not delivered, or it
     * is too late and done(0) comes in time. */
    void (*abort)(struct mkv__conn *conn, struct mkv__bulk *bulk);

    /* Memory that exposures and bulks will lie in; tcp needs none and answers 0. */
    int (*region_add)(struct mkv__endpoint *endpoint, void *addr, size_t len);
    void (*region_remove)(struct mkv__endpoint *endpoint, void *addr, size_t len);

    const char *(*peer_name)(const struct mkv__conn *conn); /* "10.0.0.10:9900" */
    /* What the session goes over: "tcp", "rdma: mlx5_0 port 1 gid 3", "tcp, not rdma: why". */
    void (*describe)(const struct mkv__conn *conn, char *out, size_t cap);
    /* It goes over something slower than the transport's own (rdma: over tcp). Changes while the
     * session lives, both ways. */
    bool (*degraded)(const struct mkv__conn *conn);
    /* Why it does; of_peer: it is the peer's side that lacks it. */
    enum mkv__rdma_reason (*reason)(const struct mkv__conn *conn, bool *of_peer_out);
    /* Adds this endpoint's. Thread: any thread, while the endpoint is open. */
    void (*figures)(const struct mkv__endpoint *endpoint, struct mkv__transport_figures *sums);

    /* The NUMA node of the NIC that has, or reaches, this address: a worker that speaks there should
     * run near it. -1: not known. Does not block. Thread: any thread. */
    int (*numa_node)(const char *address);
};

extern const struct mkv__transport mkv__tcp;  /* transport/tcp */
extern const struct mkv__transport mkv__rdma; /* transport/rdma */
extern const struct mkv__transport mkv__fake; /* transport/fake */

#endif
