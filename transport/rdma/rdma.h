/*
 * What the files of transport/rdma share. A session (struct mkv__conn) begins as a tcp session,
 * which authenticates it and stays as its bootstrap; over it the queue pairs ("rails") shake hands
 * once more, each with its own nonces and keys and with QPN, PSN and GID in the transcript. From
 * then on messages and bulk go over the queue pairs. Where they cannot be had the session stays what
 * it is: tcp.
 *
 * Queue pair 0 carries messages, the others bulk and the replies that come after it.
 *
 * Lifetimes: as in tcp. A session that ends destroys its queue pairs first: then nobody writes to or
 * reads from the memory any more, whatever was on its way, and everything is given back.
 */
#ifndef TRANSPORT_RDMA_RDMA_H
#define TRANSPORT_RDMA_RDMA_H

#include "core/base.h"
#include "core/counter.h"
#include "core/errand.h"
#include "core/log.h"
#include "transport/rdma/verbs.h"
#include "transport/tcp/bootstrap.h"
#include "transport/transport.h"

#define MKV_RDMA_QPS    2u    /* of a session: messages, bulk */
#define MKV_RDMA_BUFFER 8192u /* bytes of a receive buffer: the longest SEND */
#define MKV_RDMA_RECEIVES \
    64u /* posted, of a session where its queue pairs share them, else of each */
#define MKV_RDMA_SENDS       16u /* send buffers per queue pair, at most 32 */
#define MKV_RDMA_INLINE      220u /* bytes of a SEND that should need no buffer, where the device can */
#define MKV_RDMA_VALUES      4096u       /* bytes of values that come with the reply, at most */
#define MKV_RDMA_PREFIX      8u          /* of each SEND: see output.c */
#define MKV_RDMA_DEPTH       256u        /* work requests of a send queue */
#define MKV_RDMA_COUNT       0x7fffffffu /* work requests are counted modulo this + 1 */
#define MKV_RDMA_SIGNAL      32u         /* at most as many in a row without a completion */
#define MKV_RDMA_SLICE       (1u << 20)  /* bytes of one WRITE or READ */
#define MKV_RDMA_FLIGHT      (4u << 20)  /* bytes of bulk on their way per queue pair */
#define MKV_RDMA_NIC_FLIGHT  (32u << 20) /* and on all queue pairs of a worker */
#define MKV_RDMA_FULL        (16u << 20) /* waiting output, bytes: send says -EAGAIN */
#define MKV_RDMA_SGE         8u          /* local pieces of one work request, at most */
#define MKV_RDMA_RUNS_MAX    8192u       /* of an exposure, as the peer is told */
#define MKV_RDMA_ATTRIBUTES  40u         /* bytes of a queue pair in the handshake */
#define MKV_RDMA_HAS_WINDOWS 1u /* flag among them: what it exposes are windows of type 2 */
#define MKV_RDMA_SHARES \
    2u /* flag: the receives of all its queue pairs are shared, and named once */
#define MKV_RDMA_DEVICES   8u
#define MKV_RDMA_WORKERS   64u                  /* of a listener */
#define MKV_RDMA_NETWORKS  8u                   /* of a device, that are looked at */
#define MKV_RDMA_GRACE_NS  UINT64_C(500000000)  /* until a fence is forced, as the peer is silent */
#define MKV_RDMA_STUCK_NS  UINT64_C(4000000000) /* a work request that takes longer never ends */
#define MKV_RDMA_AGAIN_NS  UINT64_C(3000000000) /* a session on tcp tries again to get queue pairs */
#define MKV_RDMA_LEFTOVERS 32u /* queue pairs that an endpoint still connects, and nobody wants */
#define MKV_RDMA_LOST      16u /* peers that an endpoint remembers */
#define MKV_RDMA_IDLE_NS   UINT64_C(1000000) /* without a completion: sleep until there is one */

/* ---- devices and memory ------------------------------------------------------------------------ */

/* Read by any thread. */
struct mkv__rdma_counts {
    struct mkv__counter sessions, doorbells, signaled;
    struct mkv__counter moved, copied; /* bytes of bulk posted; bytes copied by us, of messages */
    struct mkv__counter gid_at, gid_high, gid_low; /* of the last session: index and type, GID */
};

struct mkv__rdma_device {
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct mkv__source source; /* the channel's */
    struct mkv__source events; /* the device's own: ports, failures */
    bool down;                 /* its port */
    bool dead;                 /* it has said that it is beyond help */
    struct mkv__endpoint *endpoint;
    uint8_t port;
    uint8_t mtu;   /* enum ibv_mtu */
    uint8_t reads; /* outstanding READs of a queue pair */
    uint32_t max_sge;
    uint64_t max_mr_size;
    uint32_t vendor;                /* its id */
    bool srq;                       /* queue pairs can share receives */
    bool windows;                   /* it has those of type 2 */
    struct mkv__rdma_window *spare; /* not bound */
    struct mkv__rdma_counts counts;
    char name[64];
};

/* Memory that the devices may use. Registered on a device when it is first used there. */
struct mkv__rdma_region {
    struct mkv__rdma_region *next;
    uint8_t *base;
    size_t len;
    size_t chunk, n_chunks; /* each has a registration of its own */
    struct ibv_mr **mrs;    /* of each device those of all chunks */
};

/* What was registered for one transfer alone. */
struct mkv__rdma_strays {
    struct mkv__rdma_region **regions;
    uint32_t n, last; /* the one that was asked for last */
};

/* A window of type 2: opens a range of a registration to one queue pair, until it is invalidated. */
struct mkv__rdma_window {
    struct mkv__rdma_window *next;
    struct ibv_mw *mw; /* mw->rkey is the last one until the next bind is posted */
    struct ibv_mr *mr;
    uint64_t address, len;
    uint32_t rkey; /* since its bind was queued */
    bool bound;    /* a bind is queued or done, and nobody has invalidated it */
};

/* ---- what the peer has exposed ------------------------------------------------------------------- */

/* `count` runs of `len` bytes, `stride` bytes apart, from `address` on. 32 bytes on the wire. */
struct mkv__rdma_run {
    uint64_t address, stride;
    uint32_t len, count, rkey;
    uint64_t offset; /* of the first in the linear space */
};

struct mkv__rdma_remote {
    uint64_t request_id;
    bool known;      /* there was a request so far */
    bool there;      /* it may be written to and read from */
    bool fencing;    /* it was withdrawn, and the client waits for FENCED */
    bool in_message; /* it exposes nothing: its values go with the reply */
    bool replied;    /* behind the bulk, or with it */
    bool ended;      /* by a reply that closes its window */
    uint32_t n;
    uint64_t len;
    struct mkv__rdma_run *runs;
    uint64_t *ranges; /* that were written: offset and length each */
    uint32_t n_ranges;
    const struct mkv__bulk *lent; /* whose values they are, until it is done; or NULL */
    uint8_t *values;              /* those of bulks that are done, until they go; or NULL */
    uint32_t values_len;
};

/* ---- queue pairs ----------------------------------------------------------------------------------- */

enum mkv__rdma_job_kind {
    MKV_RDMA_MESSAGE,
    MKV_RDMA_WRITE,
    MKV_RDMA_READ,
    MKV_RDMA_BIND,
    MKV_RDMA_INVALIDATE,
};

/* In the output queue of a queue pair, in the order in which they go out. */
struct mkv__rdma_job {
    struct mkv__rdma_job *next;          /* to be posted */
    struct mkv__rdma_job *after, **link; /* all of the queue pair that have not ended */
    enum mkv__rdma_job_kind kind;
    bool queued, aborted;
    uint32_t in_flight; /* work requests */
    /* bulk */
    struct mkv__bulk *bulk;
    struct mkv__rdma_strays strays;
    uint32_t piece, landed_piece; /* the next to post; read: the next to be told */
    uint64_t at, landed_at;       /* in it */
    /* bind, invalidate */
    struct mkv__rdma_window *window;
    bool writable;
    uint32_t slot; /* of the exposure */
    /* message */
    uint64_t request_id;
    bool replies; /* to it */
    size_t len, sent;
    size_t sealed;    /* without values at its end */
    uint8_t buffer;   /* the send buffer that it lies in, + 1; 0: none, or it has left */
    uint8_t *bytes;   /* there, or behind this */
    bool invalidates; /* its last SEND invalidates this window of the peer */
    uint32_t rkey;
    uint8_t own[];
};

/* A posted work request, until a completion says that it and all before it are done. */
struct mkv__rdma_posted {
    struct mkv__rdma_job *job; /* NULL: credits */
    uint64_t bytes;            /* of bulk */
    uint64_t posted_ns;
    uint8_t buffer; /* that it holds, + 1; 0: none */
};

/* What one doorbell announces. */
struct mkv__rdma_chain {
    uint32_t n, n_binds;
    struct ibv_send_wr wrs[MKV_RDMA_DEPTH];
    struct ibv_sge sges[MKV_RDMA_DEPTH][MKV_RDMA_SGE];
    struct mkv__rdma_window *binds[MKV_RDMA_DEPTH];
};

struct mkv__rdma_qp {
    struct mkv__conn *conn;
    uint8_t index;
    struct ibv_qp *qp;
    uint32_t psn;
    struct mkv__handshake *handshake;
    struct mkv__seal *send_seal, *receive_seal;
    uint8_t attributes[MKV_RDMA_ATTRIBUTES];
    uint8_t answer[MKV_HANDSHAKE_MAX]; /* of the handshake, when it is connected */
    uint8_t answer_type;               /* 0: none */
    size_t answer_len;
    bool up;             /* ready to send */
    bool touched, heard; /* the peer's TRY has come over it: the short one, the long one */

    struct mkv__rdma_job *jobs, **jobs_end;         /* to be posted */
    struct mkv__rdma_job *all;                      /* that have not ended */
    struct mkv__rdma_posted posted[MKV_RDMA_DEPTH]; /* ring */
    uint32_t posted_head, n_posted;                 /* head counts on, modulo 2^31 */
    uint64_t flight;                                /* bytes of bulk */
    uint32_t *credits;           /* receives that the peer has posted and we have not used */
    uint32_t *owed;              /* receives posted again that the peer has not been told of */
    uint32_t inline_bytes;       /* a SEND that is not longer leaves without its buffer */
    const uint32_t *invalidated; /* what the SEND in hand has closed, not found yet; or NULL */
    bool full;        /* as much as there may be was on its way: more when half of it is done */
    uint32_t buffers; /* send buffers that are free, a bit each */

    uint8_t *in; /* a message that arrives in several SENDs */
    size_t in_len, in_cap;
};

/* What the device has made for a session. */
struct mkv__rdma_objects {
    struct ibv_qp *qps[MKV_RDMA_QPS];
    struct ibv_srq *srq;
    struct ibv_cq *cq;
    unsigned n_events; /* of the cq, not acknowledged */
    struct ibv_mr *buffers_mr;
};

enum mkv__rdma_path { MKV_RDMA_ON_TCP, MKV_RDMA_SHAKING, MKV_RDMA_ON_RAILS };

/* An exposure, and what was registered for it. */
struct mkv__rdma_exposed {
    struct mkv__exposure *exposure;
    struct mkv__rdma_strays strays;
    struct mkv__rdma_window *windows;
    uint32_t n_closing; /* windows that are being invalidated; then it is given back */
    bool told;          /* the peer knows it */
    bool in_message; /* it is told of nothing but the length, and sends the bytes with its reply */
    bool withdrawn;  /* CANCEL is sent, FENCED has not come */
    uint64_t fence_ns; /* then it is forced */
};

enum mkv__rdma_counted { MKV_RDMA_NOT_COUNTED, MKV_RDMA_COUNTED_TCP, MKV_RDMA_COUNTED_RAILS };

struct mkv__conn {
    struct mkv__endpoint *endpoint;
    struct mkv__conn *tcp;
    struct mkv__conn *next, **link, *dead_next;
    const struct mkv__conn_handlers *handlers;
    void *arg;
    bool server, opened, closing, want_writable, polled;
    bool prepared; /* the MACs of the messages to come */
    char name[300];
    enum mkv__rdma_path path;
    const struct mkv__hello *peer;   /* of the tcp session */
    const struct mkv__auth_key *key; /* server: that the tcp session has proved; NULL: none */
    struct mkv__rdma_device *device;
    uint8_t device_index, gid_index, gid_type;
    uint8_t gid[16];
    struct ibv_srq *srq; /* NULL: each queue pair has receives of its own */
    uint32_t credits[MKV_RDMA_QPS], owed[MKV_RDMA_QPS]; /* the first is all's, where they share */
    struct ibv_cq *cq;
    unsigned n_events; /* of the cq, not acknowledged */
    uint64_t idle_ns;  /* since when there has been no completion; 0: there was one */
    struct mkv__rdma_qp *qps[MKV_RDMA_QPS];
    struct mkv__rdma_connects *connects; /* NULL: none was begun */
    struct mkv__rdma_connects *given_up; /* the last, while it is under way */
    unsigned n_up;                       /* that have shaken hands */
    bool peer_windows;                   /* the peer's exposures are windows */
    struct mkv__rdma_window *lost; /* still bound, and of no request (a fault that tests ask for) */
    bool rails;                    /* client: the server has said that its side is up */
    bool told;                     /* why it is on tcp has been logged */
    bool told_cause;               /* and what the server has said of it later */
    uint64_t over_tcp[MKV_REQUESTS_MAX]; /* the last request of this slot that went so, + 1 */
    uint8_t *buffers;                    /* receive buffers of all queue pairs, then send buffers */
    struct ibv_mr *buffers_mr;
    size_t waiting; /* bytes of messages not posted */
    bool starved;   /* by others, in the endpoint's list */
    struct mkv__conn *next_starved;

    struct mkv__rdma_exposed exposed[MKV_REQUESTS_MAX];
    struct mkv__rdma_remote remotes[MKV_REQUESTS_MAX];
    struct mkv__deferred pump;
    struct mkv__timer timer; /* fences, and work requests that never end */
    uint64_t fence_ns;       /* the first fence is forced then; 0: none */
    char why[300];           /* why it is on tcp */
    enum mkv__rdma_reason reason;
    bool of_peer;                        /* the reason */
    enum mkv__rdma_counted counted;      /* in the figures */
    struct mkv__rdma_device *counted_on; /* of those on rails */
};

/* A peer whose queue pairs broke: until then sessions with it open on tcp at once. */
struct mkv__rdma_lost {
    char name[300];
    uint64_t until_ns;
};

/* The networks that the device of an endpoint is in, when the listener is made. */
struct mkv__rdma_stop {
    unsigned rail, n;
    uint8_t gids[MKV_RDMA_NETWORKS][16];
    int bits[MKV_RDMA_NETWORKS];
};

struct mkv__listener {
    struct mkv__listener *tcp;
    struct mkv__listen_handlers handlers;
    size_t n;
    struct mkv__endpoint *endpoints[MKV_RDMA_WORKERS];
    struct mkv__rdma_stop stops[MKV_RDMA_WORKERS];
};

struct mkv__endpoint {
    struct mkv__worker *worker;
    struct mkv__endpoint_options options;
    struct mkv__endpoint *tcp;
    const struct mkv__verbs *verbs; /* NULL: no RDMA here, see why */
    struct mkv__rdma_device devices[MKV_RDMA_DEVICES];
    unsigned n_devices;
    bool off; /* memory could not be registered: sessions stay on tcp */
    struct mkv__rdma_region *regions;
    struct mkv__conn *conns, *dead_conns;
    struct mkv__rdma_connects *leftovers; /* that nobody waits for */
    unsigned n_leftovers;
    struct mkv__rdma_lost lost[MKV_RDMA_LOST]; /* a ring */
    unsigned next_lost;
    uint8_t introduction[18]; /* what HELLO says beside */
    struct mkv__poller poller;
    bool polling;
    struct mkv__deferred reaper;
    struct mkv__log_limit limit;
    unsigned busy;
    bool closed;
    uint64_t flight; /* bytes of bulk */
    struct mkv__conn *starved, **starved_end;
    struct mkv__rdma_chain chain;
    struct mkv__counter over_rdma, over_tcp, to_rdma, to_tcp; /* as in the figures */
    char why[300];
    enum mkv__rdma_reason reason;
};

/* endpoint.c */
void mkv__rdma_enter(struct mkv__endpoint *ep);
void mkv__rdma_leave(struct mkv__endpoint *ep);

/* device.c */
/* Opens what there is. None is no error: ep->why says what keeps RDMA from working. */
void mkv__rdma_devices_open(struct mkv__endpoint *ep);
void mkv__rdma_devices_close(struct mkv__endpoint *ep);
/* gid.c */
/* Chooses device, port and GID by the address of our end of the tcp session: the network has chosen
 * that one. -ENODEV with conn->why. */
int mkv__rdma_choose(struct mkv__conn *conn);
/* Client: tells servers our rail and its address, so that a session comes to the right worker. */
void mkv__rdma_introduce(struct mkv__endpoint *ep);
/* Server: fills the stops in. */
void mkv__rdma_networks(struct mkv__listener *listener);
/* The worker for this client: of a device in the client's network, if there is one; of the rails that
 * this leaves, rail mod n. */
size_t mkv__rdma_stop_for(void *listener, const struct mkv__hello *peer);

/* events.c */
int mkv__rdma_events_open(struct mkv__rdma_device *device);
void mkv__rdma_events_close(struct mkv__rdma_device *device);

/* 4: RoCE v2 over IPv4, 3: over IPv6, 2: over a link-local address; 1: RoCE v1 and InfiniBand. */
int mkv__rdma_gid_rank(const uint8_t raw[16], unsigned type);

/* figures.c */
/* What a session goes over: "rdma: mlx5_0 port 1 gid 3 (RoCE v2), mtu 4096, 2 queue pairs". */
void mkv__rdma_describe(const struct mkv__conn *conn, char *out, size_t cap);
const char *mkv__rdma_gid_type(unsigned type);
void mkv__rdma_gid_text(const uint8_t gid[16], char out[48]);
/* The session has opened, goes over something else, or ends: it is counted anew. */
void mkv__rdma_count(struct mkv__conn *conn);
void mkv__rdma_count_end(struct mkv__conn *conn, int error);
void mkv__rdma_figures(const struct mkv__endpoint *ep, struct mkv__transport_figures *sums);

/* region.c */
int mkv__rdma_region_add(struct mkv__endpoint *ep, void *addr, size_t len);
void mkv__rdma_region_remove(struct mkv__endpoint *ep, void *addr, size_t len);
/* The registration on a device that has this address, NULL: none; and how many bytes from there on.
 * own: what was registered for this transfer. What was for others goes when they end. */
struct ibv_mr *mkv__rdma_region_at(struct mkv__endpoint *ep, struct mkv__rdma_strays *own,
                                   const void *addr, unsigned device, uint64_t *len_out);
/* Registers what of these pieces is not registered yet. Errors: -ENOMEM (memlock), -EFAULT. */
int mkv__rdma_strays_get(struct mkv__endpoint *ep, const struct mkv__piece *pieces, uint32_t n,
                         unsigned device, int access, struct mkv__rdma_strays *out);
void mkv__rdma_strays_put(struct mkv__endpoint *ep, struct mkv__rdma_strays *strays);

/* window.c */
/* One of this device; bound by nobody. NULL: there are no more. */
struct mkv__rdma_window *mkv__rdma_window_get(struct mkv__rdma_device *device);
/* Not bound any more; may be NULL, a list. */
void mkv__rdma_windows_put(struct mkv__rdma_device *device, struct mkv__rdma_window *windows);
/* Bound or not: afterwards none of them opens anything. Sets *list to NULL. */
void mkv__rdma_windows_destroy(struct mkv__rdma_window **list);

/* conn.c */
extern const struct mkv__conn_handlers mkv__rdma_over_tcp;
struct mkv__conn *mkv__rdma_conn_new(struct mkv__endpoint *ep, bool server);
int mkv__rdma_connect(struct mkv__endpoint *ep, const char *address,
                      const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out);
void mkv__rdma_close(struct mkv__conn *conn);
void mkv__rdma_conn_fail(struct mkv__conn *conn, int error, const char *why);
void mkv__rdma_conn_free(struct mkv__conn *conn);
void mkv__rdma_tell_opened(struct mkv__conn *conn);
void mkv__rdma_wake(struct mkv__conn *conn);
int mkv__rdma_send(struct mkv__conn *conn, const struct mkv__message *message);
uint64_t mkv__rdma_unsent(const struct mkv__conn *conn);

/* Queue pairs with this peer broke: the next session shall not wait for others. */
void mkv__rdma_lost(struct mkv__conn *conn);

/* handshake.c: the queue pairs', over the tcp session */
void mkv__rdma_shake_begin(struct mkv__conn *conn);
void mkv__rdma_shake(struct mkv__conn *conn, const struct mkv__message *message);
/* Client: tries again at `due_ns`. */
void mkv__rdma_shake_at(struct mkv__conn *conn, uint64_t due_ns);
/* The queue pairs do not come up in time, or break before they are. */
void mkv__rdma_shake_failed(struct mkv__conn *conn, enum mkv__rdma_reason reason, const char *why);
/* The same because nothing, or nothing long, has come over them. */
void mkv__rdma_unheard(struct mkv__conn *conn);
/* A queue pair has been connected to the peer's, or could not be. */
void mkv__rdma_connected(struct mkv__rdma_qp *qp, int error);
/* Those that the session has given up could not be: why it is on tcp. */
void mkv__rdma_not_connected(struct mkv__conn *conn, const char *device, const uint8_t gid[16],
                             int error);
/* The session goes over to its queue pairs, if nothing is left to wait for. */
void mkv__rdma_up_if_all_is(struct mkv__conn *conn);
/* TRY, with so many bytes, has come over a queue pair that is shaking. */
int mkv__rdma_heard(struct mkv__rdma_qp *qp, size_t len);
void mkv__rdma_rails_free(struct mkv__conn *conn);

/* qp.c */
int mkv__rdma_qps_create(struct mkv__conn *conn); /* in INIT, with their receives posted */
/* Takes what the peer says of its queue pair, and connects ours: mkv__rdma_connected follows, in a later
 * turn, unless this fails. */
int mkv__rdma_qp_meet(struct mkv__rdma_qp *qp, const uint8_t *attributes, size_t len);
/* Afterwards no memory is touched any more. */
void mkv__rdma_qps_destroy(struct mkv__conn *conn);
/* Posts receive buffer i. */
int mkv__rdma_receive(struct mkv__conn *conn, uint32_t i);

/* connect.c */
/* Off the worker; then mkv__rdma_connected. */
int mkv__rdma_qp_connect(struct mkv__rdma_qp *qp, const uint8_t *attributes);
/* Whether it is under way. */
bool mkv__rdma_connects(const struct mkv__rdma_qp *qp);
/* The session gives its queue pairs up. True: one of them is under way, so the objects, and the session's
 * buffers, are left behind until that ends. False: there is nothing to wait for. */
bool mkv__rdma_connects_leave(struct mkv__conn *conn, const struct mkv__rdma_objects *objects);
/* The session ends: it does not want to hear of what it has left behind. */
void mkv__rdma_connects_forget(struct mkv__conn *conn);
/* Waits for all that was left behind, before devices are closed. */
void mkv__rdma_leftovers_end(struct mkv__endpoint *ep);
/* Queue pairs that have failed, or were never up. */
void mkv__rdma_objects_destroy(const struct mkv__verbs *verbs, struct mkv__rdma_objects *objects);

/* output.c */
/* What a message carries beside its body. */
struct mkv__rdma_extra {
    const void *before; /* the body */
    size_t before_len;
    const void *values; /* behind it; not sealed */
    size_t values_len;
    const uint32_t *invalidate; /* a window of the peer that ends with this message; NULL: none */
};
/* extra: NULL: nothing. */
int mkv__rdma_put_message(struct mkv__rdma_qp *qp, const struct mkv__header *header,
                          const void *body, const struct mkv__rdma_extra *extra);
/* Without a body, before all that has not begun to leave. */
int mkv__rdma_put_first(struct mkv__rdma_qp *qp, const struct mkv__header *header);
int mkv__rdma_put_bind(struct mkv__rdma_qp *qp, struct mkv__rdma_window *window, bool writable);
int mkv__rdma_put_invalidate(struct mkv__rdma_qp *qp, struct mkv__rdma_window *window,
                             uint32_t slot);
int mkv__rdma_put_bulk(struct mkv__rdma_qp *qp, enum mkv__rdma_job_kind kind,
                       struct mkv__bulk *bulk);
/* Nothing of a write is to be moved, since it has moved or its request was withdrawn: its owner is told
 * in this turn. */
int mkv__rdma_put_over(struct mkv__rdma_qp *qp, struct mkv__bulk *bulk, bool moved);
void mkv__rdma_flush(struct mkv__rdma_qp *qp);
/* It leaves the list of those that wait for others' transfers. */
void mkv__rdma_unstarve(struct mkv__conn *conn);
/* The first of them goes on, if there is room. */
void mkv__rdma_feed(struct mkv__endpoint *ep);
void mkv__rdma_job_unqueue(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job);
/* Tells the owner of a bulk, and frees the job. */
void mkv__rdma_job_end(struct mkv__rdma_qp *qp, struct mkv__rdma_job *job, int status);
void mkv__rdma_jobs_drop(struct mkv__rdma_qp *qp, int status);

/* sent.c */
/* A completion of this queue pair's send queue: all up to it are done. */
void mkv__rdma_sent(struct mkv__rdma_qp *qp, uint64_t wr_id);

/* input.c */
/* The session is over, and the peer may have been the first to see that: tells a cause that lies
 * among the completions that nobody has looked at. */
void mkv__rdma_last_look(struct mkv__conn *conn);
int mkv__rdma_poll(struct mkv__poller *poller, uint64_t now_ns);
void mkv__rdma_channel_ready(struct mkv__worker *worker, struct mkv__source *source,
                             unsigned events);
/* From now on the completion queue is looked at once a turn, until it is empty for a while. */
void mkv__rdma_polled(struct mkv__conn *conn);

/* exposure.c */
int mkv__rdma_expose(struct mkv__conn *conn, struct mkv__exposure *exposure);
void mkv__rdma_conceal(struct mkv__conn *conn, struct mkv__exposure *exposure, bool answered);
void mkv__rdma_conceal_all(struct mkv__conn *conn);
void mkv__rdma_fenced(struct mkv__conn *conn, uint64_t request_id);
/* The peer has closed a window of this request with its reply. False: it has not. */
bool mkv__rdma_invalidated(struct mkv__conn *conn, uint64_t request_id, uint32_t rkey);
/* We have closed one. */
void mkv__rdma_closed_window(struct mkv__conn *conn, uint32_t slot);
/* The exposure of a request that is about to be sent, as the peer is told: *out is freed by the
 * caller, NULL when there is none. */
int mkv__rdma_exposure_encode(struct mkv__conn *conn, uint64_t request_id, uint8_t **out,
                              size_t *len_out);
/* Server: what came with a request. */
int mkv__rdma_remote_take(struct mkv__conn *conn, uint64_t request_id, const uint8_t *bytes,
                          size_t len);
/* Server: another request of the slot, which exposes nothing so far. */
void mkv__rdma_remote_new(struct mkv__rdma_remote *remote, uint64_t request_id);
/* The bytes at offset that lie together: how many, and where. 0: outside. */
uint64_t mkv__rdma_remote_at(const struct mkv__rdma_remote *remote, uint64_t offset,
                             uint64_t *address_out, uint32_t *rkey_out);
/* Client: bytes that the server says it has written, or that came with its reply: values, NULL where
 * none did. False: not of this exposure. */
bool mkv__rdma_landed(struct mkv__conn *conn, uint64_t request_id, const uint8_t *ranges,
                      size_t len, const uint8_t *values, size_t values_len);

/* bulk.c */
/* Copies values that are still a bulk's, which is done. */
int mkv__rdma_values_keep(struct mkv__conn *conn, struct mkv__rdma_remote *remote);
/* The reply to this request, if it has not begun to leave, does not. False: there is none. */
bool mkv__rdma_unsay(struct mkv__rdma_qp *qp, uint64_t request_id);
/* Forgets those that were to go with a reply, or have gone. */
void mkv__rdma_values_drop(struct mkv__rdma_remote *remote);
int mkv__rdma_write(struct mkv__conn *conn, struct mkv__bulk *bulk);
int mkv__rdma_read(struct mkv__conn *conn, struct mkv__bulk *bulk);
void mkv__rdma_abort(struct mkv__conn *conn, struct mkv__bulk *bulk);
void mkv__rdma_withdrawn(struct mkv__conn *conn, uint64_t request_id);
/* Says FENCED where the client waits for it and nothing of the request is on its way any more. */
void mkv__rdma_fence_now(struct mkv__conn *conn, uint64_t request_id);

/* Whether a request's bytes and messages go over tcp, though there may be rails by now. */
static inline bool mkv__rdma_by_tcp(const struct mkv__conn *conn, uint64_t request_id)
{
    uint32_t slot = (uint32_t)request_id;

    return conn->path != MKV_RDMA_ON_RAILS ||
           (slot < MKV_REQUESTS_MAX && conn->over_tcp[slot] == request_id + 1);
}

static inline uint32_t mkv__rdma_slot(uint64_t request_id)
{
    return (uint32_t)request_id;
}

static inline struct mkv__rdma_qp *mkv__rdma_bulk_qp(struct mkv__conn *conn, uint64_t request_id)
{
    return conn->qps[1 + mkv__rdma_slot(request_id) % (MKV_RDMA_QPS - 1)];
}

static inline void mkv__rdma_buffer_put(struct mkv__rdma_qp *qp, uint8_t buffer)
{
    qp->buffers |= buffer ? 1u << (buffer - 1) : 0;
}

/* Receive buffers come first, send buffers after them. */
static inline uint8_t *mkv__rdma_receive_buffer(const struct mkv__conn *conn, uint32_t i)
{
    return conn->buffers + (size_t)i * MKV_RDMA_BUFFER;
}

static inline uint32_t mkv__rdma_receives(const struct mkv__conn *conn)
{
    return conn->device->srq ? MKV_RDMA_RECEIVES : MKV_RDMA_QPS * MKV_RDMA_RECEIVES;
}

static inline uint8_t *mkv__rdma_send_buffer(const struct mkv__rdma_qp *qp, uint32_t i)
{
    return mkv__rdma_receive_buffer(qp->conn,
                                    mkv__rdma_receives(qp->conn) + qp->index * MKV_RDMA_SENDS + i);
}

#endif
