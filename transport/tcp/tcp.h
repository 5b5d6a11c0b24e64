/*
 * What the files of transport/tcp share. A session (struct mkv__conn) is one control lane and some
 * bulk lanes; a lane is one socket with an input parser and an output queue.
 *
 * Lifetimes: whatever a callback may close (sessions, lanes) is taken out of its lists at once and
 * freed by the endpoint's reaper at the end of the turn, so no frame of the stack looks at freed
 * memory. Entry points (events, timers, tasks, deferred) stand between mkv__tcp_enter and _leave,
 * so that an endpoint closed from inside a callback is freed when the last of them leaves.
 */
#ifndef TRANSPORT_TCP_TCP_H
#define TRANSPORT_TCP_TCP_H

#include "core/base.h"
#include "core/log.h"
#include "transport/tcp/bootstrap.h"
#include "transport/transport.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define MKV_TCP_LANES_MAX   16u          /* bulk lanes of a session */
#define MKV_TCP_IN_BYTES    (16u << 10)  /* input buffer; control grows it for a large message */
#define MKV_TCP_SCRATCH     (64u << 10)  /* where bytes go that nobody wants any more */
#define MKV_TCP_FRAMES      32u          /* sealed and not yet wholly in the kernel, per lane */
#define MKV_TCP_FRAME_IOV   128u         /* pieces of one DATA frame */
#define MKV_TCP_IOV         1024u        /* of one sendmsg */
#define MKV_TCP_BATCH       (1u << 20)   /* bytes of one sendmsg */
#define MKV_TCP_TURN_READ   (1u << 20)   /* bytes a lane may read per turn */
#define MKV_TCP_TURN_SENDS  4            /* sendmsg calls of a lane per turn */
#define MKV_TCP_WINDOW      (8u << 20)   /* bytes pulled and not landed, per session */
#define MKV_TCP_PULL_MIN    (256u << 10) /* a smaller rest of the window waits */
#define MKV_TCP_PULL_RANGES 256u         /* of one PULL */
#define MKV_TCP_PAUSE       (4u << 20)   /* waiting output, bytes: stop reading (server) */
#define MKV_TCP_FULL        (16u << 20)  /* waiting output, bytes: send says -EAGAIN */
#define MKV_TCP_JOBS_MAX    (64u << 10)  /* queued on a lane by the peer's PULLs */
#define MKV_TCP_OUT_KEPT    (1u << 20)   /* an empty output buffer longer than this is given back */
#define MKV_TCP_STRANGERS   1024u        /* connections of a worker that have not proved anything */
#define MKV_TCP_ADDRESSES   8u

/* A place in a list of pieces. */
struct mkv__tcp_cursor {
    const struct mkv__piece *pieces;
    uint32_t n, piece;
    uint64_t offset; /* in the piece */
};

/* In the output queue of a lane: a message, or bytes that become DATA frames when there is room. */
struct mkv__tcp_job {
    const void *owner; /* bulk or exposure; NULL: message */
    bool is_bulk;
    uint64_t request_id;
    uint64_t left; /* message: bytes of the frame; else body bytes not formed yet */
    struct mkv__tcp_cursor from;
};

/* Sealed: it has a sequence number, so it has to go out whole, as zeros if need be. */
struct mkv__tcp_frame {
    uint8_t header[MKV_HEADER_BYTES]; /* DATA */
    uint64_t total, sent;             /* header included */
    const void *owner;                /* NULL: message, or zeros when not is_message */
    bool is_message, is_bulk, last;   /* last: of its bulk */
    struct mkv__tcp_cursor from;
};

/* The body of a DATA frame that is arriving. Neither exposure nor bulk: discard. */
struct mkv__tcp_arrival {
    uint64_t left;
    uint64_t sum, expected; /* CRC64: the register so far; of all */
    struct mkv__exposure *exposure;
    struct mkv__bulk *bulk;
    struct mkv__tcp_cursor into;
};

enum mkv__tcp_state {
    MKV_TCP_CONNECTING, /* client: connect() is under way */
    MKV_TCP_HELLO,      /* handshake */
    MKV_TCP_READY,      /* sealed frames */
    MKV_TCP_DEAD,
};

struct mkv__tcp_lane {
    struct mkv__source source;
    struct mkv__endpoint *endpoint;
    struct mkv__conn *conn;             /* NULL: server, before PROVE */
    struct mkv__tcp_lane *next, **link; /* endpoint's strangers, by age, or its dead */
    enum mkv__tcp_state state;
    uint8_t index; /* 0: control */
    bool watched, blocked;
    unsigned events;
    struct mkv__handshake *handshake;
    struct mkv__seal *send_seal, *receive_seal;
    char name[64];

    uint8_t *in;
    size_t in_begin, in_end, in_cap;
    size_t in_need; /* bytes of the message that is arriving; 0: not known yet */
    struct mkv__tcp_arrival arrival;

    uint8_t *out; /* frames of messages, contiguous, [begin, end); sealed up to sealed */
    size_t out_begin, out_sealed, out_end, out_cap;
    struct mkv__tcp_job *jobs; /* ring */
    size_t jobs_head, n_jobs, jobs_cap;
    struct mkv__tcp_frame frames[MKV_TCP_FRAMES]; /* ring */
    uint32_t frames_head, n_frames;

    /* server, until it is part of a session */
    struct mkv__listener *listener; /* until handed over */
    struct mkv__listen_handlers accept;
    struct mkv__tcp_port *route_to; /* after HELLO: handed over when the event ends */
    struct mkv__timer timer;
    struct mkv__task task;
};

struct mkv__tcp_resolver;

struct mkv__conn {
    struct mkv__endpoint *endpoint;
    struct mkv__conn *next, **link;            /* endpoint's sessions, or its dead */
    const struct mkv__conn_handlers *handlers; /* server: NULL until accepted */
    void *arg;
    struct mkv__listen_handlers accept;
    bool server, started, opened, closing, paused, resume, want_writable;
    uint64_t session;
    uint8_t n_lanes, n_ready; /* control included */
    struct mkv__tcp_lane *lanes[1 + MKV_TCP_LANES_MAX];
    size_t waiting; /* bytes of messages not in the kernel */

    struct mkv__exposure *exposures[MKV_REQUESTS_MAX];
    struct mkv__bulk *reads[MKV_REQUESTS_MAX];
    uint16_t pulls[MKV_REQUESTS_MAX]; /* ring of slots of reads with something left to ask */
    uint32_t pulls_head, n_pulls;
    uint64_t pulled; /* bytes asked for and not landed */

    struct mkv__deferred pump;
    struct mkv__timer timer; /* start, connect timeout, ping */
    uint64_t heard_ns, give_up_ns;
    unsigned silences; /* pings since it was heard last */
    struct sockaddr_storage addresses[MKV_TCP_ADDRESSES];
    unsigned n_addresses, address;
    struct mkv__tcp_resolver *resolver;
    char host[256], port[8];
    char name[300];
};

/* Where other workers' listeners hand lanes to. Counted; the endpoint is the owner worker's. */
struct mkv__tcp_port {
    unsigned references; /* atomic */
    struct mkv__worker *worker;
    struct mkv__endpoint *endpoint; /* NULL: closed */
};

struct mkv__endpoint {
    struct mkv__worker *worker;
    struct mkv__endpoint_options options;
    const uint8_t *extra; /* of HELLO */
    uint16_t extra_len;
    struct mkv__conn *conns, *dead_conns;
    struct mkv__tcp_lane *strangers, **strangers_end, *dead_lanes;
    uint32_t n_strangers;
    struct mkv__listener *listeners;
    struct mkv__tcp_port *port;
    struct mkv__deferred reaper;
    struct mkv__log_limit limit;
    unsigned busy;
    bool closed;
    uint8_t scratch[MKV_TCP_SCRATCH];
    struct iovec iov[MKV_TCP_IOV];
};

/* endpoint.c */
void mkv__tcp_enter(struct mkv__endpoint *ep);
void mkv__tcp_leave(struct mkv__endpoint *ep);
int mkv__tcp_endpoint_open(struct mkv__worker *worker, const struct mkv__endpoint_options *options,
                           struct mkv__endpoint **out);
void mkv__tcp_endpoint_close(struct mkv__endpoint **endpoint);
void mkv__tcp_port_put(struct mkv__tcp_port *port);

/* address.c */
int mkv__tcp_address_split(const char *address, char host[256], char port[8]);
/* Numeric only: the amount of addresses, 0 when it is a name. */
int mkv__tcp_address_numeric(const char *host, const char *port,
                             struct sockaddr_storage out[MKV_TCP_ADDRESSES], bool passive);
socklen_t mkv__tcp_address_len(const struct sockaddr_storage *address);
void mkv__tcp_address_text(const struct sockaddr_storage *address, char *out, size_t cap);
/* Looks a name up on a thread of its own, then mkv__tcp_conn_resolved on the worker. */
int mkv__tcp_resolve(struct mkv__conn *conn);
void mkv__tcp_resolve_forget(struct mkv__conn *conn);

/* listener.c */
int mkv__tcp_listen(struct mkv__endpoint *const *endpoints, size_t n, const char *address,
                    const struct mkv__listen_handlers *handlers, struct mkv__listener **out);
const char *mkv__tcp_listener_address(const struct mkv__listener *listener);
void mkv__tcp_listener_close(struct mkv__listener **listener);
void mkv__tcp_listener_stop(struct mkv__listener *listener); /* the handle stays */
/* After HELLO: chooses the worker by the session's id; hand_over ends this worker's ownership. */
void mkv__tcp_listener_route(struct mkv__tcp_lane *lane);
void mkv__tcp_listener_hand_over(struct mkv__tcp_lane *lane);

/* conn.c */
int mkv__tcp_connect(struct mkv__endpoint *ep, const char *address,
                     const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out);
void mkv__tcp_close(struct mkv__conn *conn);
void mkv__tcp_conn_resolved(struct mkv__conn *conn, int error);
/* Ends the session: conceals, completes, tells; -EPROTO and -EACCES are logged. */
void mkv__tcp_conn_fail(struct mkv__conn *conn, int error, const char *why);
void mkv__tcp_conn_free(struct mkv__conn *conn);
int mkv__tcp_join(struct mkv__tcp_lane *lane); /* server, after PROVE */
void mkv__tcp_lane_is_ready(struct mkv__tcp_lane *lane);
void mkv__tcp_connect_failed(struct mkv__conn *conn, int error);
void mkv__tcp_wake(struct mkv__conn *conn); /* pump at the end of the turn */
int mkv__tcp_send(struct mkv__conn *conn, const struct mkv__message *message);
uint64_t mkv__tcp_unsent(const struct mkv__conn *conn);
const char *mkv__tcp_peer_name(const struct mkv__conn *conn);

/* lane.c: one socket */
struct mkv__tcp_lane *mkv__tcp_lane_new(struct mkv__endpoint *ep, int fd, uint8_t index);
int mkv__tcp_lane_interest(struct mkv__tcp_lane *lane);
void mkv__tcp_lane_unlink(struct mkv__tcp_lane *lane);
void mkv__tcp_lane_kill(struct mkv__tcp_lane *lane); /* closes the socket; the reaper frees */
void mkv__tcp_lane_free(struct mkv__tcp_lane *lane);
/* Logs, then ends what the lane belongs to. */
void mkv__tcp_lane_fail(struct mkv__tcp_lane *lane, int error, const char *why);
void mkv__tcp_lane_ready(struct mkv__worker *worker, struct mkv__source *source, unsigned events);
/* Client: HELLO. */
int mkv__tcp_lane_start(struct mkv__tcp_lane *lane);

/* input.c */
void mkv__tcp_input(struct mkv__tcp_lane *lane); /* parse what is buffered, then read */

/* handshake.c: a frame of the handshake */
void mkv__tcp_shake(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                    const uint8_t *body);

/* output.c */
int mkv__tcp_put_message(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                         const void *body);
int mkv__tcp_put_job(struct mkv__tcp_lane *lane, const struct mkv__tcp_job *job);
/* Owner's jobs are dropped, its sealed frames become zeros. True: there were some. */
bool mkv__tcp_drop(struct mkv__tcp_lane *lane, const void *owner);
void mkv__tcp_flush(struct mkv__tcp_lane *lane);

/* cursor.c */
void mkv__tcp_cursor_settle(struct mkv__tcp_cursor *c); /* past finished and empty pieces */
void mkv__tcp_cursor_advance(struct mkv__tcp_cursor *c, uint64_t len);
uint64_t mkv__tcp_cursor_run(struct mkv__tcp_cursor c, uint64_t max, uint32_t max_pieces);
/* Fills iov with at most len bytes; adds to *n up to cap. Returns the bytes. */
uint64_t mkv__tcp_cursor_iov(struct mkv__tcp_cursor c, uint64_t len, struct iovec *iov, size_t *n,
                             size_t cap);
/* Of an exposure's linear space. */
struct mkv__tcp_cursor mkv__tcp_cursor_at(const struct mkv__exposure *e, uint64_t offset);

/* exposure.c */
int mkv__tcp_expose(struct mkv__conn *conn, struct mkv__exposure *exposure);
void mkv__tcp_conceal(struct mkv__conn *conn, struct mkv__exposure *exposure, bool answered);
void mkv__tcp_conceal_all(struct mkv__conn *conn);
/* Client: a DATA header, a PULL. Errors: -EPROTO with *why_out. */
int mkv__tcp_data_for_client(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                             const char **why_out);
int mkv__tcp_pulled(struct mkv__conn *conn, const struct mkv__header *header, const uint8_t *body,
                    const char **why_out);

/* bulk.c */
int mkv__tcp_write(struct mkv__conn *conn, struct mkv__bulk *bulk);
int mkv__tcp_read(struct mkv__conn *conn, struct mkv__bulk *bulk);
void mkv__tcp_abort(struct mkv__conn *conn, struct mkv__bulk *bulk);
void mkv__tcp_bulk_fail_all(struct mkv__conn *conn, int error);
int mkv__tcp_data_for_server(struct mkv__tcp_lane *lane, const struct mkv__header *header,
                             const char **why_out);
/* A frame did not have the sum that it came with. */
void mkv__tcp_read_damaged(struct mkv__conn *conn, struct mkv__bulk *bulk);
void mkv__tcp_read_landed(struct mkv__conn *conn, struct mkv__bulk *bulk, uint64_t len);
void mkv__tcp_pull(struct mkv__conn *conn);
/* The reply of this request is about to be queued behind its write, if that has not left yet. */
void mkv__tcp_answered(struct mkv__tcp_lane *lane, uint64_t request_id);
void mkv__tcp_withdrawn(struct mkv__conn *conn, uint64_t request_id);

static inline uint32_t mkv__tcp_slot(uint64_t request_id)
{
    return (uint32_t)request_id;
}

static inline struct mkv__tcp_lane *mkv__tcp_bulk_lane(struct mkv__conn *conn, uint64_t request_id)
{
    return conn->lanes[1 + mkv__tcp_slot(request_id) % (conn->n_lanes - 1u)];
}

#endif
