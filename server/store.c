#include "server/store_internal.h"

#include "core/checksum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK       64u                  /* keys looked up at once */
#define VERIFY_MAX  (UINT64_C(64) << 20) /* bytes that one request may have us read for their sums */
#define MEAN_OBJECT 16384u               /* bytes; a guess, the table grows when it is wrong */

int mkv__store_create(const struct mkv__store_options *options, struct mkv__store **store_out)
{
    struct mkv__store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        return -ENOMEM;
    }
    int r = mkv__arena_create(options->memory, &store->arena);
    if (r < 0) {
        goto free_store;
    }
    uint64_t total = mkv__arena_total(store->arena);
    r = mkv__index_create(total / MEAN_OBJECT, &store->index);
    if (r < 0) {
        goto destroy_arena;
    }
    pthread_mutex_init(&store->lock, NULL);
    mkv__policy_init(&store->policy, total);
    mkv__leases_init(&store->leases, options->lease_ns, total / 2);
    store->max_value = options->max_value;
    if (options->janitor) {
        r = mkv__store_janitor_start(store);
        if (r < 0) {
            goto destroy_index;
        }
    }
    *store_out = store;
    return 0;
destroy_index:
    pthread_mutex_destroy(&store->lock);
    mkv__index_destroy(&store->index);
destroy_arena:
    mkv__arena_destroy(&store->arena);
free_store:
    free(store);
    return r;
}

void mkv__store_destroy(struct mkv__store **store)
{
    struct mkv__store *s = *store;
    if (s == NULL) {
        return;
    }
    mkv__store_janitor_stop(s);
    struct mkv__object *object;
    while ((object = mkv__policy_victim(&s->policy)) != NULL) {
        mkv__store_kill(s, object);
    }
    mkv__index_destroy(&s->index);
    mkv__arena_destroy(&s->arena);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *store = NULL;
}

void *mkv__store_at(const struct mkv__store *store, uint64_t offset)
{
    return mkv__arena_at(store->arena, offset);
}

void mkv__store_memory(const struct mkv__store *store, void **base_out, uint64_t *len_out)
{
    *base_out = mkv__arena_base(store->arena);
    *len_out = mkv__arena_total(store->arena);
}

void mkv__store_stat(struct mkv__store *store, struct mkv__store_stat *stat_out)
{
    pthread_mutex_lock(&store->lock);
    *stat_out = store->stat;
    stat_out->bytes_used = mkv__arena_used(store->arena);
    stat_out->bytes_total = mkv__arena_total(store->arena);
    stat_out->objects = mkv__index_count(store->index);
    stat_out->leased_bytes = store->leases.total;
    stat_out->huge_pages = mkv__arena_huge(store->arena);
    pthread_mutex_unlock(&store->lock);
    stat_out->hits = __atomic_load_n(&store->hits, __ATOMIC_RELAXED);
    stat_out->misses = __atomic_load_n(&store->misses, __ATOMIC_RELAXED);
}

/* ---- lookup ------------------------------------------------------------------------------- */

static bool expired(const struct mkv__object *object, uint64_t now_ns)
{
    return object->expires_ns != 0 && now_ns >= object->expires_ns;
}

static void expire(struct mkv__store *store, struct mkv__object *object)
{
    pthread_mutex_lock(&store->lock);
    if (mkv__object_state(object) == MKV__READY) {
        mkv__store_kill(store, object);
        store->stat.expired++;
    }
    pthread_mutex_unlock(&store->lock);
}

/* Keeps a reference where there is a value that can be read. */
static struct mkv__object *readable(struct mkv__store *store, struct mkv__object *object,
                                    uint64_t now_ns)
{
    if (object == NULL || mkv__object_state(object) != MKV__READY || !mkv__object_get(object)) {
        return NULL;
    }
    bool old = expired(object, now_ns);
    if (old) {
        expire(store, object);
    }
    if (old || mkv__object_state(object) != MKV__READY) {
        mkv__store_put(store, &object, 1);
    }
    return object;
}

static void look(struct mkv__store *store, const struct mkv__request *request, uint64_t now_ns,
                 struct mkv__object **objects_out)
{
    for (uint32_t from = 0; from < request->n_keys; from += CHUNK) {
        uint32_t n = request->n_keys - from < CHUNK ? request->n_keys - from : CHUNK;
        struct mkv__index_key keys[CHUNK];
        for (uint32_t i = 0; i < n; i++) {
            keys[i] = mkv__store_key(request, from + i);
        }
        mkv__index_find(store->index, keys, n, &objects_out[from]);
        for (uint32_t i = from; i < from + n; i++) {
            objects_out[i] = readable(store, objects_out[i], now_ns);
        }
    }
}

void mkv__store_put(struct mkv__store *store, struct mkv__object **objects, uint32_t n)
{
    bool locked = false;
    for (uint32_t i = 0; i < n; i++) {
        if (objects[i] != NULL && mkv__object_put(objects[i])) {
            if (!locked) {
                pthread_mutex_lock(&store->lock);
                locked = true;
            }
            mkv__store_release(store, objects[i]);
        }
        objects[i] = NULL;
    }
    if (locked) {
        pthread_mutex_unlock(&store->lock);
    }
}

static struct mkv__answer hit(const struct mkv__object *object)
{
    struct mkv__answer answer = {
        .status = MKV_WIRE_HIT, .generation = object->generation, .length = object->length};
    answer.flags = mkv__object_sum(object, &answer.checksum) ? 0 : MKV_ANSWER_UNSUMMED;
    return answer;
}

static uint64_t sum_now(const struct mkv__store *store, const struct mkv__object *object)
{
    uint64_t sum = mkv__sum_seed(mkv__object_namespace(object), object->namespace_len,
                                 mkv__object_key(object), object->key_len, object->length);
    uint64_t after = object->length;
    for (uint32_t i = 0; i < object->n_extents; i++) {
        const struct mkv__extent *extent = &object->extents[i];
        after -= extent->len;
        sum ^= mkv__sum_slice(mkv__arena_at(store->arena, extent->offset), extent->len, after);
    }
    return sum;
}

/* Its writer sent no checksum: the first reader that wants one pays for it. False: it costs more than
 * is left. */
static bool make_sum(const struct mkv__store *store, struct mkv__object *object, uint64_t *left)
{
    uint64_t sum;
    if (mkv__object_sum(object, &sum)) {
        return true;
    }
    if (object->length > *left) {
        return false;
    }
    *left -= object->length;
    __atomic_store_n(&object->checksum, sum_now(store, object), __ATOMIC_RELAXED);
    __atomic_store_n(&object->unsummed, 0, __ATOMIC_RELEASE);
    return true;
}

/* What nobody asked for is left out: a reply of bare hits is a bitmap. */
static struct mkv__answer is_there(const struct mkv__object *object, uint32_t flags)
{
    bool more = (flags & MKV_REQ_WANT_LEN) != 0;
    return more ? hit(object) : (struct mkv__answer){.status = MKV_WIRE_HIT};
}

static void lease(struct mkv__store *store, struct mkv__object *object, uint64_t now_ns,
                  struct mkv__answer *answer)
{
    answer->lease_ms = mkv__leases_grant(&store->leases, object, now_ns);
    if (answer->lease_ms != 0) {
        answer->flags |= MKV_ANSWER_LEASED;
    }
}

/* One lock for the whole batch: recency, leases. */
static void touch(struct mkv__store *store, struct mkv__object **objects, uint32_t n,
                  uint64_t now_ns, bool leases, struct mkv__answer *answers)
{
    pthread_mutex_lock(&store->lock);
    mkv__policy_hit(&store->policy, objects, n);
    mkv__leases_tick(&store->leases, now_ns);
    for (uint32_t i = 0; i < n && leases; i++) {
        if (objects[i] != NULL && mkv__object_state(objects[i]) == MKV__READY) {
            lease(store, objects[i], now_ns, &answers[i]);
        }
    }
    pthread_mutex_unlock(&store->lock);
}

void mkv__store_get(struct mkv__store *store, const struct mkv__request *request, uint64_t now_ns,
                    struct mkv__object **objects_out, struct mkv__answer *answers_out)
{
    uint64_t hits = 0, left = VERIFY_MAX;
    bool skip = false, unsummed = (request->flags & MKV_REQ_UNSUMMED) != 0;
    look(store, request, now_ns, objects_out);
    for (uint32_t i = 0; i < request->n_keys; i++) {
        struct mkv__object *object = objects_out[i];
        answers_out[i] = (struct mkv__answer){.status = MKV_WIRE_MISS};
        bool other_length = object != NULL && object->length != request->keys[i].length;
        bool wants_sum = object != NULL && !other_length && !skip && !unsummed;
        bool too_much = wants_sum && !make_sum(store, object, &left);
        if (object != NULL && !too_much) {
            answers_out[i] = hit(object);
        }
        if (other_length) {
            answers_out[i].status = MKV_WIRE_MISS;
        }
        if (skip) {
            answers_out[i] = (struct mkv__answer){.status = MKV_WIRE_SKIPPED};
        }
        if (other_length || skip || too_much) {
            mkv__store_put(store, &objects_out[i], 1);
        }
        hits += answers_out[i].status == MKV_WIRE_HIT;
        skip = skip ||
               ((request->flags & MKV_REQ_PREFIX) != 0 && answers_out[i].status == MKV_WIRE_MISS);
    }
    __atomic_fetch_add(&store->hits, hits, __ATOMIC_RELAXED);
    __atomic_fetch_add(&store->misses, request->n_keys - hits, __ATOMIC_RELAXED);
    if (hits != 0) {
        touch(store, objects_out, request->n_keys, now_ns, true, answers_out);
    }
}

void mkv__store_exists(struct mkv__store *store, const struct mkv__request *request,
                       uint64_t now_ns, struct mkv__answer *answers_out)
{
    bool run = true; /* leases are for the leading run: nobody fetches what lies after a gap */
    for (uint32_t from = 0; from < request->n_keys; from += CHUNK) {
        struct mkv__request part = *request;
        struct mkv__object *objects[CHUNK];
        part.keys += from;
        part.n_keys = request->n_keys - from < CHUNK ? request->n_keys - from : CHUNK;
        look(store, &part, now_ns, objects);
        uint32_t leading = 0;
        for (uint32_t i = 0; i < part.n_keys; i++) {
            answers_out[from + i] = (struct mkv__answer){.status = MKV_WIRE_MISS};
            if (objects[i] != NULL) {
                answers_out[from + i] = is_there(objects[i], request->flags);
            }
            run = run && objects[i] != NULL;
            leading += run;
        }
        if ((request->flags & MKV_REQ_LEASE) != 0 && leading != 0) {
            touch(store, objects, leading, now_ns, true, &answers_out[from]);
        }
        mkv__store_put(store, objects, part.n_keys);
    }
}

/* ---- delete, report ----------------------------------------------------------------------- */

void mkv__store_delete(struct mkv__store *store, const struct mkv__request *request,
                       struct mkv__answer *answers_out)
{
    pthread_mutex_lock(&store->lock);
    for (uint32_t i = 0; i < request->n_keys; i++) {
        struct mkv__index_key key = mkv__store_key(request, i);
        struct mkv__object *object;
        mkv__index_find(store->index, &key, 1, &object);
        answers_out[i] = (struct mkv__answer){.status = MKV_WIRE_MISS};
        if (object != NULL && mkv__object_state(object) == MKV__READY) {
            mkv__store_kill(store, object);
            store->stat.deleted++;
            answers_out[i].status = MKV_WIRE_DELETED;
        }
    }
    pthread_mutex_unlock(&store->lock);
}

static bool sound(const struct mkv__store *store, const struct mkv__object *object)
{
    uint64_t sum;
    return !mkv__object_sum(object, &sum) || sum_now(store, object) == sum;
}

static void drop_poisoned(struct mkv__store *store, struct mkv__object *object)
{
    pthread_mutex_lock(&store->lock);
    if (mkv__object_state(object) == MKV__READY) {
        mkv__store_kill(store, object);
        store->stat.poisoned++;
    }
    pthread_mutex_unlock(&store->lock);
}

void mkv__store_report(struct mkv__store *store, const struct mkv__request *request,
                       uint64_t now_ns, struct mkv__answer *answers_out)
{
    uint64_t left = VERIFY_MAX;
    for (uint32_t i = 0; i < request->n_keys; i++) {
        struct mkv__request one = *request;
        struct mkv__object *object;
        one.keys += i;
        one.n_keys = 1;
        look(store, &one, now_ns, &object);
        answers_out[i] = (struct mkv__answer){.status = MKV_WIRE_MISS};
        if (object == NULL) {
            continue;
        }
        answers_out[i] = hit(object);
        uint32_t reported = one.keys->generation;
        if (reported != 0 && reported != object->generation) {
            /* another object by now: nobody has said anything against this one */
        } else if (object->length > left) {
            answers_out[i].status = MKV_WIRE_LATE;
        } else {
            left -= object->length;
            if (!sound(store, object)) {
                drop_poisoned(store, object);
                answers_out[i].status = MKV_WIRE_DELETED;
            }
        }
        mkv__store_put(store, &object, 1);
    }
}
