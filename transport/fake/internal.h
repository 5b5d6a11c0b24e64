#ifndef TRANSPORT_FAKE_INTERNAL_H
#define TRANSPORT_FAKE_INTERNAL_H

#include "core/base.h"
#include "transport/fake/fake.h"

#define MKV_FAKE_FULL (16u << 20) /* bytes on their way: send says -EAGAIN */

/* Something that will happen to a session's end. */
enum mkv__fake_what {
    MKV_FAKE_ACCEPT,  /* server: the session is there */
    MKV_FAKE_OPENED,  /* client */
    MKV_FAKE_REFUSED, /* client; value: the error */
    MKV_FAKE_MESSAGE,
    MKV_FAKE_CANCEL,
    MKV_FAKE_HANGUP,
    MKV_FAKE_PUSH,      /* server: the next chunk of a write leaves */
    MKV_FAKE_LAND,      /* client: a chunk of a write arrives */
    MKV_FAKE_TWICE,     /* client: it arrives again; not told */
    MKV_FAKE_ASK,       /* server: the next chunk of a read is asked for */
    MKV_FAKE_PULL,      /* client: is asked for a chunk */
    MKV_FAKE_DATA,      /* server: a chunk of a read arrives */
    MKV_FAKE_CONCEALED, /* client: from now on nobody touches the memory */
};

struct mkv__fake_event {
    struct mkv__fake_event *next;
    uint64_t due_ns;
    enum mkv__fake_what what;
    uint64_t request_id;
    struct mkv__bulk *bulk; /* the server's: compared with what is in flight before use */
    uint64_t serial;        /* of the bulk */
    uint64_t offset, len;
    uint64_t sum; /* DATA: what the client says of it */
    int value;
    struct mkv__message message;
    uint8_t bytes[]; /* len of them: bulk, or the message's body */
};

/* Order lanes: 0 control, then one per slot, for its bulk and what follows it. */
#define MKV_FAKE_LANES (1 + MKV_REQUESTS_MAX)

struct mkv__fake_flight { /* a bulk of the server */
    struct mkv__bulk *bulk;
    uint64_t serial;
    bool write;
    uint32_t piece;
    uint64_t at; /* in the piece: what has left, or been asked for */
    uint32_t got_piece;
    uint64_t got_at;               /* read: what has landed */
    struct mkv__fake_event *reply; /* leaves when all has; or NULL */
    struct mkv__fake_flight *next;
};

struct mkv__conn {
    struct mkv__endpoint *endpoint;
    struct mkv__conn *next, **link;
    struct mkv__conn *peer; /* NULL: gone */
    const struct mkv__conn_handlers *handlers;
    void *arg;
    struct mkv__listen_handlers accept;
    bool server, opened, closing, started, want_writable;
    char name[80];
    struct mkv__handshake *handshake;
    struct mkv__fake_event *events; /* by time */
    size_t coming;                  /* bytes of messages among them */
    uint64_t last_ns[MKV_FAKE_LANES];
    struct mkv__exposure *exposures[MKV_REQUESTS_MAX];
    bool lingers[MKV_REQUESTS_MAX]; /* of exposures: conceal was called */
    struct mkv__fake_flight *flights;
    struct mkv__timer timer, give_up;
};

struct mkv__listener {
    struct mkv__listener *next;
    struct mkv__listen_handlers handlers;
    char address[80];
    size_t n;
    struct mkv__endpoint *endpoints[];
};

struct mkv__endpoint {
    struct mkv__worker *worker;
    struct mkv__endpoint_options options;
    struct mkv__conn *conns, *dead;
    struct mkv__deferred reaper;
    unsigned busy;
    bool closed;
};

uint64_t mkv__fake_random(uint64_t below); /* 0 .. below - 1; 0 of 0 */
extern struct mkv__fake_options mkv__fake_options;

/* endpoint.c */
void mkv__fake_enter(struct mkv__endpoint *ep);
void mkv__fake_leave(struct mkv__endpoint *ep);
struct mkv__conn *mkv__fake_conn_new(struct mkv__endpoint *ep);
void mkv__fake_dead(struct mkv__conn *conn);
int mkv__fake_endpoint_open(struct mkv__worker *worker, const struct mkv__endpoint_options *options,
                            struct mkv__endpoint **out);
void mkv__fake_endpoint_close(struct mkv__endpoint **endpoint);
int mkv__fake_listen(struct mkv__endpoint *const *endpoints, size_t n, const char *address,
                     const struct mkv__listen_handlers *handlers, struct mkv__listener **out);
const char *mkv__fake_listener_address(const struct mkv__listener *listener);
void mkv__fake_listener_close(struct mkv__listener **listener);
struct mkv__listener *mkv__fake_listener_find(const char *address);

/* conn.c */
int mkv__fake_connect(struct mkv__endpoint *ep, const char *address,
                      const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out);
void mkv__fake_close(struct mkv__conn *conn);
void mkv__fake_fail(struct mkv__conn *conn, int error, const char *why);
int mkv__fake_send(struct mkv__conn *conn, const struct mkv__message *message);
uint64_t mkv__fake_unsent(const struct mkv__conn *conn);
const char *mkv__fake_peer_name(const struct mkv__conn *conn);
/* NULL: no memory. len bytes follow it. */
struct mkv__fake_event *mkv__fake_event_new(enum mkv__fake_what what, uint64_t id, uint64_t len);
/* It happens to conn (NULL: freed) after a while, not before what is on the lane already. */
void mkv__fake_later(struct mkv__conn *conn, uint32_t lane, struct mkv__fake_event *event);

/* bulk.c */
int mkv__fake_expose(struct mkv__conn *conn, struct mkv__exposure *exposure);
void mkv__fake_conceal(struct mkv__conn *conn, struct mkv__exposure *exposure, bool answered);
int mkv__fake_write(struct mkv__conn *conn, struct mkv__bulk *bulk);
int mkv__fake_read(struct mkv__conn *conn, struct mkv__bulk *bulk);
void mkv__fake_abort(struct mkv__conn *conn, struct mkv__bulk *bulk);
void mkv__fake_bulk_event(struct mkv__conn *conn, const struct mkv__fake_event *event);
/* A reply to this request waits until its write has left. False: nothing of it is in flight. */
bool mkv__fake_behind(struct mkv__conn *conn, struct mkv__fake_event *reply);
void mkv__fake_withdrawn(struct mkv__conn *conn, uint64_t request_id);
void mkv__fake_bulk_end(struct mkv__conn *conn, int error); /* conceals and completes all */

static inline uint32_t mkv__fake_slot(uint64_t request_id)
{
    return (uint32_t)request_id;
}

#endif
