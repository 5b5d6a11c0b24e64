/*
 * One request from its message to its answer, and what the service's files share.
 *
 *   MOVING   a window of values is being written or read
 *   WAITING  the answer could not be sent yet (the connection is full)
 *
 * Both can be forgotten: the client withdrew the request, or its session died.
 */
#ifndef SERVER_TRANSFER_H
#define SERVER_TRANSFER_H

#include "server/service.h"

struct mkv__session;

struct mkv__transfer {
    struct mkv__bulk bulk;
    struct mkv__timer timer; /* the deadline */
    struct mkv__session *session;
    struct mkv__transfer *next, *prev; /* of the session, or of the service's free list */
    struct mkv__transfer *next_waiting;
    uint64_t request_id;
    uint64_t bytes; /* counted in flight */
    uint8_t type;
    bool moving, waiting, forgotten, moved;
    bool checked;  /* SET: sums come with the bytes, where a client has to send them */
    bool stopped;  /* its time was over, and it was to stop */
    bool answered; /* GET: the reply is sent behind the last bytes */
    bool *gone;    /* set when it is destroyed while its bulk begins; or NULL */
    uint32_t n;
    uint32_t next_key, next_extent; /* where the next window begins */
    uint64_t next_offset;           /* of that key in the request's linear space */
    uint32_t cap, cap_pieces;
    struct mkv__object **objects;
    struct mkv__answer *answers;
    uint64_t *lengths; /* of the request's keys */
    uint64_t *sums;
    struct mkv__piece *pieces;
    uint32_t *piece_key;
    uint64_t *piece_after; /* bytes of the value from the piece's begin to the value's end */
};

struct mkv__session {
    struct mkv__service *service;
    struct mkv__conn *conn;
    const struct mkv__auth_key *key; /* NULL: no authentication */
    struct mkv__session *next, *prev;
    struct mkv__transfer *transfers, *waiting, **waiting_end;
    uint32_t n_transfers;
    bool admin;
    /* How fast this client takes and gives bytes; of others' slowness it shall not suffer. */
    uint64_t in_flight_bytes;
    uint64_t busy_since_ns, busy_bytes; /* since bytes have been in flight without a break */
    uint64_t rate; /* bytes per second of the last long busy time; 0: unknown */
};

struct mkv__service {
    struct mkv__service_options o;
    struct mkv__service_figures figures;
    struct mkv__session *sessions;
    struct mkv__transfer *free;
    size_t free_bytes; /* what those of the free list hold */
    bool draining;
    struct mkv__timer drain; /* looks whether all is finished and has left */
    void (*idle)(void *arg);
    void *idle_arg;
    struct mkv__wire_key *keys; /* scratch of the decoder */
    uint8_t *key_bytes;
    uint8_t *body; /* scratch of the encoder */
};

/* A transfer with room for n keys, in the session's list. NULL: no memory. */
struct mkv__transfer *mkv__transfer_create(struct mkv__session *session, uint64_t request_id,
                                           uint8_t type, uint32_t n);
/* Gives back what it holds and returns it to the free list. */
void mkv__transfer_destroy(struct mkv__transfer *transfer);
/* The memory itself; of one from the free list. */
void mkv__transfer_free(struct mkv__transfer *transfer);
struct mkv__transfer *mkv__transfer_find(struct mkv__session *session, uint64_t request_id);

/* Objects and answers are filled in: moves what there is to move, then answers. deadline_ms 0: none.
 * May have destroyed the transfer when it returns. */
void mkv__transfer_start(struct mkv__transfer *transfer, uint32_t deadline_ms);
/* Answers as it stands, or waits until that is possible. */
void mkv__transfer_answer(struct mkv__transfer *transfer);
/* The client withdrew the request. */
void mkv__transfer_forget(struct mkv__transfer *transfer);
/* The connection takes messages again. */
void mkv__session_writable(struct mkv__session *session);
/* Whether `bytes` more can be moved within the deadline, as far as can be told. */
bool mkv__session_in_time(const struct mkv__session *session, uint64_t bytes, uint32_t deadline_ms);

#endif
