/*
 * Requests: from messages of a session to the store, and the bytes between the store's extents and
 * the client's exposure. All of a session happens on its worker.
 */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include "core/log.h"
#include "server/store.h"
#include "transport/transport.h"

struct mkv__service; /* of one worker */

struct mkv__service_counters { /* single writer; read by the others relaxed */
    uint64_t connections, gets, sets, exists, others, late, cancelled, bytes_in, bytes_out;
};

struct mkv__service_options {
    struct mkv__store *store;
    const struct mkv__transport *transport;
    struct mkv__worker *worker;
    struct mkv__log *log;
    int admin; /* MKV__ADMIN_* */
    /* Writes the JSON of STAT; returns its length. */
    size_t (*stat)(void *arg, char *out, size_t cap);
    void *stat_arg;
};

int mkv__service_create(const struct mkv__service_options *options, struct mkv__service **out);
void mkv__service_destroy(struct mkv__service **service); /* its sessions are closed */
const struct mkv__service_counters *mkv__service_counters(const struct mkv__service *service);
/* A session is open: gives the handlers and their argument. */
int mkv__service_accept(struct mkv__service *service, struct mkv__conn *conn,
                        const struct mkv__auth_key *key, const struct mkv__conn_handlers **handlers,
                        void **arg_out);
/* Tells the clients to go elsewhere. Returns the number of requests that are not done. */
unsigned mkv__service_drain(struct mkv__service *service);

#endif
