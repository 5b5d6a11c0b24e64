/* The writing half of the store. */
#include "server/store_internal.h"

#include "core/checksum.h"

#include <stdlib.h>
#include <string.h>

#define SLACK (UINT64_C(4) << 20) /* bytes that a batch may evict beyond twice its own size */

static struct mkv__object *find(struct mkv__store *store, const struct mkv__index_key *key)
{
    struct mkv__object *object;
    mkv__index_find(store->index, key, 1, &object);
    return object;
}

static bool taken(const struct mkv__object *object)
{
    return mkv__object_state(object) == MKV__WRITING || object->replacing;
}

/* What SET answers to a key that is there already. */
static void answer_existing(struct mkv__store *store, struct mkv__object *there,
                            const struct mkv__wire_key *key, bool unsummed,
                            struct mkv__answer *answer)
{
    *answer = (struct mkv__answer){
        .status = there->length == key->length ? MKV_WIRE_KEPT : MKV_WIRE_CONFLICT,
        .generation = there->generation,
        .length = there->length,
    };
    bool summed = mkv__object_sum(there, &answer->checksum);
    answer->flags = summed ? 0 : MKV_ANSWER_UNSUMMED;
    if (answer->status == MKV_WIRE_KEPT) {
        store->stat.kept++;
        store->stat.kept_differing += summed && !unsummed && answer->checksum != key->checksum;
        mkv__policy_hit(&store->policy, &there, 1);
    } else {
        store->stat.conflicts++;
    }
}

bool mkv__store_first_conflict(struct mkv__store *store, const struct mkv__request *request)
{
    uint64_t hash = mkv__hash(request->namespace_, request->namespace_len, 0);
    uint64_t bit = UINT64_C(1) << (hash % 64);
    uint64_t was = __atomic_fetch_or(&store->told[hash / 64 % 64], bit, __ATOMIC_RELAXED);
    return (was & bit) == 0;
}

static struct mkv__object *begin_one(struct mkv__store *store, const struct mkv__request *request,
                                     uint32_t i, uint64_t now_ns, uint64_t *budget,
                                     struct mkv__answer *answer)
{
    const struct mkv__wire_key *wire = &request->keys[i];
    struct mkv__index_key key = mkv__store_key(request, i);
    bool unsummed = (request->flags & MKV_REQ_UNSUMMED) != 0;
    *answer = (struct mkv__answer){.status = MKV_WIRE_ERROR};
    if (wire->length > store->max_value) {
        return NULL;
    }
    struct mkv__object *there = find(store, &key);
    if (there != NULL && there->expires_ns != 0 && now_ns >= there->expires_ns && !taken(there)) {
        mkv__store_kill(store, there);
        store->stat.expired++;
        there = NULL;
    }
    if (there != NULL && taken(there)) {
        answer->status = MKV_WIRE_BUSY;
        return NULL;
    }
    if (there != NULL && (request->flags & MKV_REQ_REPLACE) == 0) {
        answer_existing(store, there, wire, unsummed, answer);
        return NULL;
    }
    if (there != NULL) {
        there->replacing = true; /* and so no victim */
    }
    struct mkv__object *object = mkv__store_new(store, &key, wire->length, now_ns, budget);
    if (object == NULL) {
        if (there != NULL) {
            there->replacing = false;
        }
        store->stat.full++;
        answer->status = MKV_WIRE_FULL;
        return NULL;
    }
    object->checksum = unsummed ? 0 : wire->checksum;
    object->unsummed = unsummed;
    object->expires_ns = request->ttl_ms != 0 ? now_ns + UINT64_C(1000000) * request->ttl_ms : 0;
    object->replacement = there != NULL;
    if (__builtin_add_overflow(request->depth, wire->position, &object->depth)) {
        object->depth = UINT32_MAX;
    }
    if (there == NULL) {
        mkv__index_add(store->index, object);
    }
    answer->status = MKV_WIRE_STORED;
    answer->generation = object->generation;
    answer->length = object->length;
    answer->checksum = object->checksum;
    answer->flags = unsummed ? MKV_ANSWER_UNSUMMED : 0;
    return object;
}

void mkv__store_set_begin(struct mkv__store *store, const struct mkv__request *request,
                          uint64_t now_ns, struct mkv__object **objects_out,
                          struct mkv__answer *answers_out)
{
    uint64_t budget = SLACK;
    for (uint32_t i = 0; i < request->n_keys; i++) {
        uint64_t length = request->keys[i].length;
        budget += length <= store->max_value ? 2 * length : 0;
    }
    /* No batch may flush all the others. */
    uint64_t total = mkv__arena_total(store->arena);
    budget = budget < total / 2 ? budget : total / 2;
    pthread_mutex_lock(&store->lock);
    for (uint32_t i = 0; i < request->n_keys; i++) {
        objects_out[i] = begin_one(store, request, i, now_ns, &budget, &answers_out[i]);
    }
    if (mkv__index_crowded(store->index) && !store->crowded && store->janitor_runs) {
        store->crowded = true;
        pthread_cond_signal(&store->work);
    }
    pthread_mutex_unlock(&store->lock);
}

static struct mkv__index_key key_of(const struct mkv__object *object)
{
    return (struct mkv__index_key){
        .namespace_ = mkv__object_namespace(object),
        .key = mkv__object_key(object),
        .namespace_len = object->namespace_len,
        .key_len = object->key_len,
        .hash = object->hash,
    };
}

/* Returns whether the new value is in the index now. */
static bool replace(struct mkv__store *store, struct mkv__object *object)
{
    struct mkv__index_key key = key_of(object);
    struct mkv__object *old = find(store, &key);
    if (old == NULL) { /* deleted meanwhile */
        mkv__index_add(store->index, object);
        return true;
    }
    if (mkv__object_state(old) == MKV__WRITING) { /* deleted, and somebody began anew */
        return false;
    }
    mkv__index_replace(store->index, old, object);
    mkv__store_drop(store, old);
    return true;
}

static void abandon(struct mkv__store *store, struct mkv__object *object)
{
    if (!object->replacement) {
        mkv__store_kill(store, object);
        return;
    }
    struct mkv__index_key key = key_of(object);
    struct mkv__object *old = find(store, &key);
    if (old != NULL) {
        old->replacing = false;
    }
    mkv__store_drop(store, object);
}

void mkv__store_set_end(struct mkv__store *store, struct mkv__object **objects, uint32_t n,
                        struct mkv__answer *answers)
{
    pthread_mutex_lock(&store->lock);
    for (uint32_t i = 0; i < n; i++) {
        struct mkv__object *object = objects[i];
        if (object == NULL) {
            continue;
        }
        bool stored = answers[i].status == MKV_WIRE_STORED;
        if (stored && object->replacement && !replace(store, object)) {
            answers[i].status = MKV_WIRE_BUSY;
            mkv__store_drop(store, object);
            stored = false;
        } else if (!stored) {
            store->stat.damaged += answers[i].status == MKV_WIRE_DAMAGED;
            abandon(store, object);
        }
        if (stored) {
            __atomic_store_n(&object->state, MKV__READY, __ATOMIC_RELEASE);
            store->stat.sets++;
        } else if (mkv__object_put(object)) {
            mkv__store_release(store, object);
            objects[i] = NULL;
        } else {
            objects[i] = NULL;
        }
    }
    mkv__policy_admitted(&store->policy, objects, n);
    for (uint32_t i = 0; i < n; i++) {
        if (objects[i] != NULL && mkv__object_put(objects[i])) {
            mkv__store_release(store, objects[i]);
        }
        objects[i] = NULL;
    }
    pthread_mutex_unlock(&store->lock);
}
