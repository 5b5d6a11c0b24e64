/* Birth and death of objects: eviction, retired records, the janitor. */
#include "server/store_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define GATHER_NS 20000000 /* the janitor waits so long for more records to die */
#define SPARE_MAX 4096     /* leased or referenced objects that one eviction looks past */

static uint64_t record_bytes(const struct mkv__object *object)
{
    return mkv__object_bytes(object->n_extents, object->namespace_len, object->key_len);
}

static struct mkv__extent record_extent(const struct mkv__store *store,
                                        const struct mkv__object *object)
{
    return (struct mkv__extent){
        .offset = (uint64_t)((const uint8_t *)object -
                             (const uint8_t *)mkv__arena_base(store->arena)),
        .len = record_bytes(object),
    };
}

void mkv__store_release(struct mkv__store *store, struct mkv__object *object)
{
    mkv__arena_free(store->arena, object->extents, object->n_extents);
    object->older = store->retired;
    store->retired = object;
    store->retired_bytes += record_bytes(object);
    if (store->janitor_runs) {
        pthread_cond_signal(&store->work);
    }
}

void mkv__store_drop(struct mkv__store *store, struct mkv__object *object)
{
    assert(mkv__object_state(object) != MKV__DEAD);
    mkv__leases_end(&store->leases, object);
    mkv__policy_removed(&store->policy, object);
    __atomic_store_n(&object->state, MKV__DEAD, __ATOMIC_RELEASE);
    if (mkv__object_put(object)) {
        mkv__store_release(store, object);
    }
}

void mkv__store_kill(struct mkv__store *store, struct mkv__object *object)
{
    mkv__index_remove(store->index, object);
    mkv__store_drop(store, object);
}

static bool evictable(const struct mkv__object *object, uint64_t now_ns)
{
    bool leased = object->lease_s != 0 && now_ns < object->lease_until_ns;
    return !leased && !object->replacing && __atomic_load_n(&object->refs, __ATOMIC_RELAXED) == 1;
}

/* One object less; false: there is none that may go. */
static bool evict(struct mkv__store *store, uint64_t now_ns, uint64_t *budget)
{
    struct mkv__object *object;
    for (int i = 0; i < SPARE_MAX && (object = mkv__policy_victim(&store->policy)) != NULL; i++) {
        if (!evictable(object, now_ns)) {
            mkv__policy_spared(&store->policy, object);
            continue;
        }
        *budget = *budget > object->size ? *budget - object->size : 0;
        mkv__store_kill(store, object);
        store->stat.evictions++;
        return true;
    }
    return false;
}

static int alloc(struct mkv__store *store, uint64_t bytes, uint32_t max, uint64_t now_ns,
                 uint64_t *budget)
{
    int n = mkv__arena_alloc(store->arena, bytes, store->scratch, max);
    while (n < 0 && *budget > 0 && evict(store, now_ns, budget)) {
        n = mkv__arena_alloc(store->arena, bytes, store->scratch, max);
    }
    if (n < 0) {
        *budget = 0; /* the rest of the batch takes what is there */
    }
    return n;
}

struct mkv__object *mkv__store_new(struct mkv__store *store, const struct mkv__index_key *key,
                                   uint64_t length, uint64_t now_ns, uint64_t *budget)
{
    struct mkv__extent extents[MKV_EXTENTS_MAX];
    int n = alloc(store, length, MKV_EXTENTS_MAX, now_ns, budget);
    if (n < 0) {
        return NULL;
    }
    memcpy(extents, store->scratch, (size_t)n * sizeof(extents[0]));
    uint64_t bytes = mkv__object_bytes((uint32_t)n, key->namespace_len, key->key_len);
    if (alloc(store, bytes, 1, now_ns, budget) < 0) {
        mkv__arena_free(store->arena, extents, (uint32_t)n);
        return NULL;
    }
    struct mkv__object *object = mkv__arena_at(store->arena, store->scratch[0].offset);
    memset(object, 0, sizeof(*object));
    object->hash = key->hash;
    object->length = length;
    object->size = length + bytes;
    object->generation = ++store->generation;
    object->refs = 2;
    object->n_extents = (uint32_t)n;
    object->state = MKV__WRITING;
    object->namespace_len = key->namespace_len;
    object->key_len = key->key_len;
    memcpy(object->extents, extents, (size_t)n * sizeof(extents[0]));
    uint8_t *text = (uint8_t *)&object->extents[n];
    memcpy(text, key->namespace_, key->namespace_len);
    memcpy(text + key->namespace_len, key->key, key->key_len);
    return object;
}

/* ---- records and the janitor -------------------------------------------------------------- */

uint32_t mkv__store_reclaim(struct mkv__store *store)
{
    pthread_mutex_lock(&store->lock);
    struct mkv__object *dead = store->retired;
    store->retired = NULL;
    store->retired_bytes = 0;
    pthread_mutex_unlock(&store->lock);
    if (dead == NULL) {
        return 0;
    }
    urcu_qsbr_synchronize_rcu();
    MKV_TSAN_ACQUIRE(store); /* pairs with mkv__store_quiescent */
    uint32_t n = 0;
    pthread_mutex_lock(&store->lock);
    while (dead != NULL) {
        struct mkv__object *older = dead->older;
        struct mkv__extent extent = record_extent(store, dead);
        mkv__arena_free(store->arena, &extent, 1);
        dead = older;
        n++;
    }
    pthread_mutex_unlock(&store->lock);
    return n;
}

static void grow(struct mkv__store *store)
{
    urcu_qsbr_thread_online();
    mkv__index_grow(store->index);
    urcu_qsbr_thread_offline();
    pthread_mutex_lock(&store->lock);
    store->crowded = false;
    pthread_mutex_unlock(&store->lock);
}

/* Gathers: a grace period for one record would cost as much as one for thousands. */
static bool wait_for_work(struct mkv__store *store, bool *crowded_out)
{
    pthread_mutex_lock(&store->lock);
    while (!store->janitor_stop && store->retired == NULL && !store->crowded) {
        pthread_cond_wait(&store->work, &store->lock);
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += GATHER_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    uint64_t enough = mkv__arena_total(store->arena) / 64;
    while (!store->janitor_stop && store->retired_bytes < enough && !store->crowded) {
        if (pthread_cond_timedwait(&store->work, &store->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    bool stop = store->janitor_stop;
    *crowded_out = store->crowded;
    pthread_mutex_unlock(&store->lock);
    return !stop;
}

static void *janitor(void *arg)
{
    struct mkv__store *store = arg;
    bool crowded = false;
    urcu_qsbr_register_thread();
    urcu_qsbr_thread_offline();
    while (wait_for_work(store, &crowded)) {
        if (crowded) {
            grow(store);
        }
        mkv__store_reclaim(store);
    }
    urcu_qsbr_unregister_thread();
    return NULL;
}

int mkv__store_janitor_start(struct mkv__store *store)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&store->work, &attr);
    pthread_condattr_destroy(&attr);
    store->janitor_runs = true;
    if (pthread_create(&store->janitor, NULL, janitor, store) != 0) {
        store->janitor_runs = false;
        pthread_cond_destroy(&store->work);
        return -ENOMEM;
    }
    return 0;
}

void mkv__store_janitor_stop(struct mkv__store *store)
{
    if (!store->janitor_runs) {
        return;
    }
    pthread_mutex_lock(&store->lock);
    store->janitor_stop = true;
    pthread_cond_signal(&store->work);
    pthread_mutex_unlock(&store->lock);
    urcu_qsbr_thread_offline(); /* it may be waiting for a grace period, and so for us */
    pthread_join(store->janitor, NULL);
    urcu_qsbr_thread_online();
    pthread_cond_destroy(&store->work);
    store->janitor_runs = false;
}

/* ---- hooks for threads -------------------------------------------------------------------- */

void mkv__store_thread_begin(void *arg)
{
    (void)arg;
    urcu_qsbr_register_thread();
}

void mkv__store_thread_end(void *arg)
{
    if (arg != NULL) {
        MKV_TSAN_RELEASE(arg);
    }
    urcu_qsbr_unregister_thread();
}

void mkv__store_quiescent(void *arg)
{
    MKV_TSAN_RELEASE(arg);
    urcu_qsbr_quiescent_state();
}

void mkv__store_offline(void *arg)
{
    MKV_TSAN_RELEASE(arg);
    urcu_qsbr_thread_offline();
}

void mkv__store_online(void *arg)
{
    (void)arg;
    urcu_qsbr_thread_online();
}
