/*
 * Two ends of a transport on workers that the test turns itself: one client, two server workers, no
 * thread. A case sets what the ends do in their callbacks, then turns until something is so.
 */
#ifndef TESTING_CONFORMANCE_RIG_H
#define TESTING_CONFORMANCE_RIG_H

#include "transport/transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a transport is put under test; the rest of the suite is the same for all. */
struct mkv__subject {
    const struct mkv__transport *transport;
    bool fake_clock; /* the workers' clock is the rig's */
    const char *any_address;
    bool must;         /* of the endpoints' options */
    bool told_at_last; /* a client hears of bytes that were written with the reply, not before */
    void (*reset)(uint64_t seed); /* may be NULL */
    /* changes the options of an endpoint. May be NULL */
    void (*tune)(struct mkv__endpoint_options *options, bool server);
};

#define RIG_SLOTS 16u

struct rig;

/* One end's view of a session. */
struct end {
    struct rig *rig;
    struct mkv__conn *conn;
    bool server;
    int opened, closed, messages, cancelled, writable;
    int error;     /* of closed */
    char why[200]; /* of closed */
    uint64_t cancelled_id;
    uint8_t body[64]; /* of the last message, its beginning */
    uint32_t body_len;
    bool after_bulk;
    uint64_t sum; /* of all bodies' first 8 bytes, to see order */
    void (*on_opened)(struct end *end);
    void (*on_message)(struct end *end, const struct mkv__message *message);
    void (*on_cancelled)(struct end *end, uint64_t request_id);
    void (*on_writable)(struct end *end);
};

/* A request's memory on one side. */
struct memory {
    struct rig *rig;
    struct end *end;
    uint8_t *base; /* pieces with canaries between */
    size_t size;
    struct mkv__piece *pieces;
    uint32_t n;
    uint64_t len; /* sum of the pieces */
    struct mkv__exposure exposure;
    struct mkv__bulk bulk;
    uint64_t landed;
    bool checked; /* both sides make sums of a read */
    uint64_t lie; /* what the server's are wrong by */
    int concealed, done, status;
    void (*on_landed)(struct memory *m);
    void (*on_concealed)(struct memory *m);
    void (*on_done)(struct memory *m);
};

struct rig {
    const struct mkv__subject *subject;
    const struct mkv__transport *t;
    uint64_t now_ns;
    struct mkv__worker *client_worker, *server_worker[2];
    struct mkv__endpoint *client_endpoint, *server_endpoint[2];
    struct mkv__listener *listener;
    struct end client, server;
    int sessions; /* accepted */
    int on_worker[2];
    bool server_stalls, client_stalls; /* their workers are not turned */
    struct memory mine, theirs;
};

void rig_init(struct rig *rig, const struct mkv__subject *subject,
              const struct mkv__auth_key *client_key, const struct mkv__auth_key *server_key);
void rig_fini(struct rig *rig);
void rig_connect(struct rig *rig); /* and waits until both ends are open */
void rig_dial(struct rig *rig);
/* True as soon as *flag >= least; false: not within some seconds. */
bool rig_until(struct rig *rig, const int *flag, int least);
void rig_turns(struct rig *rig, int n);

/* n pieces of irregular length, `len` in all; gaps: holes in the linear space. */
void memory_init(struct memory *m, struct end *end, uint32_t n, uint64_t len, bool gaps);
void memory_fini(struct memory *m);
void memory_fill(struct memory *m, uint64_t salt); /* the byte at an offset depends on it alone */
bool memory_is(const struct memory *m, uint64_t salt);
bool memory_canaries(const struct memory *m);
uint8_t memory_byte(uint64_t offset, uint64_t salt);
int memory_expose(struct memory *m, uint64_t id, bool writable);
int memory_bulk(struct memory *m, uint64_t id, bool write);

int end_send(struct end *end, uint8_t type, uint64_t id, bool after_bulk, const void *body,
             uint32_t len);

#endif
