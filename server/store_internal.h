/* What the files of the store share. Everything but what is atomic is under the lock. */
#ifndef SERVER_STORE_INTERNAL_H
#define SERVER_STORE_INTERNAL_H

#include "server/index.h"
#include "server/lease.h"
#include "server/policy.h"
#include "server/store.h"

#include <pthread.h>

struct mkv__store {
    pthread_mutex_t lock;
    struct mkv__arena *arena;
    struct mkv__index *index;
    struct mkv__policy policy;
    struct mkv__leases leases;
    uint64_t max_value;
    uint32_t generation;
    struct mkv__store_stat stat;
    uint64_t hits, misses; /* atomic */
    uint64_t told[64];     /* atomic: a bit for the hash of each namespace that had a conflict */
    struct mkv__extent scratch[MKV_EXTENTS_MAX];

    struct mkv__object *retired; /* dead records, by `older` */
    uint64_t retired_bytes;
    pthread_t janitor;
    pthread_cond_t work;
    bool janitor_runs, janitor_stop, crowded;
};

static inline struct mkv__index_key mkv__store_key(const struct mkv__request *request, uint32_t i)
{
    const struct mkv__wire_key *key = &request->keys[i];
    return (struct mkv__index_key){
        .namespace_ = request->namespace_,
        .key = key->key,
        .namespace_len = request->namespace_len,
        .key_len = key->key_len,
        .hash = mkv__index_hash(request->namespace_, request->namespace_len, key->key,
                                key->key_len),
    };
}

/* What follows: under the lock. */

/* The object is out of the index already (or never was in it). */
void mkv__store_drop(struct mkv__store *store, struct mkv__object *object);
/* Takes it out of the index and drops the index's reference. */
void mkv__store_kill(struct mkv__store *store, struct mkv__object *object);
/* The last reference is gone: frees the extents, retires the record. */
void mkv__store_release(struct mkv__store *store, struct mkv__object *object);
/* A new object in state writing with two references, not in the index; NULL: no memory. budget: how
 * many bytes may still be evicted for it. */
struct mkv__object *mkv__store_new(struct mkv__store *store, const struct mkv__index_key *key,
                                   uint64_t length, uint64_t now_ns, uint64_t *budget);

int mkv__store_janitor_start(struct mkv__store *store);
void mkv__store_janitor_stop(struct mkv__store *store);

#endif
