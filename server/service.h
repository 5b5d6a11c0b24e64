/*
 * One worker's share of the server: sessions, their requests, and the transfers of values between
 * the store's extents and the clients. A request is handled to its end here.
 *
 *   message ─► decode ─► store ─┬─► answer                                     exists, delete, ...
 *                               ├─► write values ─────────────► answer         get
 *                               └─► read values, hash ─► publish ─► answer     set
 *
 * Everything runs on the owner worker, but for mkv__service_figures (any thread).
 */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include "core/counter.h"
#include "server/store.h"
#include "transport/transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mkv__service;

/* Counters and gauges; nothing else may stand here (they are summed as an array). */
struct mkv__service_figures {
    struct mkv__counter connections, in_flight_bytes, in_flight;
    struct mkv__counter get, set, exists, del, report, stat;
    struct mkv__counter bytes_out, bytes_in;
    struct mkv__counter late, cancelled, denied, malformed;
};

struct mkv__service_options {
    struct mkv__worker *worker;
    const struct mkv__transport *transport;
    struct mkv__store *store;
    struct mkv__log *log;              /* may be NULL */
    struct mkv__log_limit *bad_frames; /* shared; lines about malformed messages */
    int admin;                         /* MKV__ADMIN_*: who may delete and replace */
    bool verify;                       /* checksums of what arrives */
    /* The text of STAT, from malloc; NULL: no memory. */
    char *(*stat_text)(void *arg);
    void *arg;
};

/* Errors: -ENOMEM. */
int mkv__service_create(const struct mkv__service_options *options,
                        struct mkv__service **service_out);
/* All sessions are closed. NULL leaves NULL. */
void mkv__service_destroy(struct mkv__service **service);

/* For the transport's `accepted`. Errors: -ENOMEM. */
int mkv__service_accept(struct mkv__service *service, struct mkv__conn *conn,
                        const struct mkv__auth_key *key,
                        const struct mkv__conn_handlers **handlers_out, void **arg_out);

/* Says GOAWAY to all and takes no more SETs; calls idle(arg), once and never from inside, when no
 * request is in flight and all answers have reached their clients' hosts. */
void mkv__service_drain(struct mkv__service *service, void (*idle)(void *arg), void *arg);

const struct mkv__service_figures *mkv__service_figures(const struct mkv__service *service);

#endif
