/*
 * Objects under keys: what the messages mean, without a connection.
 *
 * Readers find objects without a lock (QSBR) and hold references while their bytes travel. Everything
 * that changes the index, the arena or the policy happens under one lock, taken once per batch.
 *
 *   set_begin ─► writing ─► set_end(stored) ─► ready ─► evicted, deleted, replaced, expired ─► dead
 *                   └────► set_end(other) ──────────────────────────────────────────────────► dead
 *
 * The extents of a dead object are free with its last reference, its record after a grace period;
 * a janitor thread waits for those, and sleeps while nothing dies.
 *
 * Thread: any thread that is registered by mkv__store_thread_begin and online. Time is handed in.
 */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include "core/codec/message.h"
#include "server/object.h"

#include <stdbool.h>
#include <stdint.h>

struct mkv__store;

struct mkv__store_options {
    uint64_t memory;    /* bytes */
    uint64_t max_value; /* bytes */
    uint64_t lease_ns;  /* 0: no leases */
    bool janitor;       /* false: the owner calls mkv__store_reclaim (tests) */
};

struct mkv__store_stat {
    uint64_t bytes_used, bytes_total, objects, leased_bytes;
    uint64_t bytes_ready; /* taken from the kernel ahead; the server fills it in */
    uint64_t hits, misses, sets, kept, kept_differing, conflicts, full, damaged, evictions, deleted,
        poisoned, expired;
    bool huge_pages;
};

/* Errors: -EINVAL (memory), -ENOMEM. */
int mkv__store_create(const struct mkv__store_options *options, struct mkv__store **store_out);
/* No object is referenced any more; from a thread that is registered. NULL leaves NULL. */
void mkv__store_destroy(struct mkv__store **store);

/* Hooks for a worker (core/worker.h); arg is the store. */
void mkv__store_thread_begin(void *arg);
void mkv__store_thread_end(void *arg);
void mkv__store_quiescent(void *arg);
void mkv__store_offline(void *arg);
void mkv__store_online(void *arg);

/*
 * For each of the request's keys a status. HIT: objects_out[i] is referenced (get only, give it back
 * by mkv__store_put); else it is NULL. get renews or grants leases, exists does when asked.
 */
void mkv__store_get(struct mkv__store *store, const struct mkv__request *request, uint64_t now_ns,
                    struct mkv__object **objects_out, struct mkv__answer *answers_out);
void mkv__store_exists(struct mkv__store *store, const struct mkv__request *request,
                       uint64_t now_ns, struct mkv__answer *answers_out);
/* Gives references back; NULLs are skipped, the rest becomes NULL. */
void mkv__store_put(struct mkv__store *store, struct mkv__object **objects, uint32_t n);

/*
 * Statuses KEPT, CONFLICT, BUSY, FULL, ERROR (longer than max_value); or STORED, not true yet:
 * objects_out[i] is to be filled. Then set_end, once, for all of them: STORED publishes, any other
 * status drops. A status may become BUSY when somebody else was faster.
 */
void mkv__store_set_begin(struct mkv__store *store, const struct mkv__request *request,
                          uint64_t now_ns, struct mkv__object **objects_out,
                          struct mkv__answer *answers_out);
void mkv__store_set_end(struct mkv__store *store, struct mkv__object **objects, uint32_t n,
                        struct mkv__answer *answers);

/* Whether nobody has asked this about the namespace before: what is said of it is said once. Rarely
 * (1 in 4096) two namespaces count as one. */
bool mkv__store_first_conflict(struct mkv__store *store, const struct mkv__request *request);

void mkv__store_delete(struct mkv__store *store, const struct mkv__request *request,
                       struct mkv__answer *answers_out);
/* Verifies what a client found damaged: DELETED, HIT (it is fine), MISS, or LATE where more than
 * 64 MiB would have to be read. */
void mkv__store_report(struct mkv__store *store, const struct mkv__request *request,
                       uint64_t now_ns, struct mkv__answer *answers_out);

void *mkv__store_at(const struct mkv__store *store, uint64_t offset);
void mkv__store_memory(const struct mkv__store *store, void **base_out, uint64_t *len_out);
void mkv__store_stat(struct mkv__store *store, struct mkv__store_stat *stat_out);

/* Waits for a grace period and frees the records that have died. Returns their number. */
uint32_t mkv__store_reclaim(struct mkv__store *store);

#endif
