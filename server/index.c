#include "server/index.h"

#include "core/checksum.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN (UINT64_C(1) << 10)
#define SLOTS_MAX (UINT64_C(1) << 26)

struct mkv__index {
    struct cds_lfht *table;
    uint64_t count;
    uint64_t slots; /* atomic */
};

uint64_t mkv__index_hash(const uint8_t *namespace_, uint8_t namespace_len, const uint8_t *key,
                         uint8_t key_len)
{
    return mkv__hash(key, key_len, mkv__hash(namespace_, namespace_len, 0));
}

int mkv__index_create(uint64_t slots, struct mkv__index **index_out)
{
    uint64_t size = SLOTS_MIN;
    while (size < slots && size < SLOTS_MAX) {
        size *= 2;
    }
    struct mkv__index *index = calloc(1, sizeof(*index));
    if (index == NULL) {
        return -ENOMEM;
    }
    index->slots = size;
    index->table = cds_lfht_new_flavor(size, SLOTS_MIN, 0, 0, &urcu_qsbr_flavor, NULL);
    if (index->table == NULL) {
        free(index);
        return -ENOMEM;
    }
    *index_out = index;
    return 0;
}

void mkv__index_destroy(struct mkv__index **index)
{
    if (*index != NULL) {
        int r = cds_lfht_destroy((*index)->table, NULL);
        assert(r == 0);
        (void)r;
        free(*index);
        *index = NULL;
    }
}

static struct mkv__object *object_of(struct cds_lfht_node *node)
{
    return caa_container_of(node, struct mkv__object, node);
}

static int matches(struct cds_lfht_node *node, const void *arg)
{
    const struct mkv__index_key *key = arg;
    struct mkv__object *object = object_of(node);
    MKV_TSAN_ACQUIRE(object); /* pairs with publish() */
    return object->hash == key->hash && object->key_len == key->key_len &&
           object->namespace_len == key->namespace_len &&
           memcmp(mkv__object_key(object), key->key, key->key_len) == 0 &&
           memcmp(mkv__object_namespace(object), key->namespace_, key->namespace_len) == 0;
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

void mkv__index_find(struct mkv__index *index, const struct mkv__index_key *keys, uint32_t n,
                     struct mkv__object **objects_out)
{
    for (uint32_t i = 0; i < n; i++) {
        struct cds_lfht_iter iter;
        cds_lfht_lookup(index->table, keys[i].hash, matches, &keys[i], &iter);
        struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
        objects_out[i] = node != NULL ? object_of(node) : NULL;
    }
}

static void publish(struct mkv__object *object)
{
    cds_lfht_node_init(&object->node);
    MKV_TSAN_RELEASE(object);
}

struct mkv__object *mkv__index_add(struct mkv__index *index, struct mkv__object *object)
{
    struct mkv__index_key key = key_of(object);
    publish(object);
    struct cds_lfht_node *there = cds_lfht_add_unique(index->table, object->hash, matches, &key,
                                                      &object->node);
    index->count += there == &object->node;
    return object_of(there);
}

void mkv__index_remove(struct mkv__index *index, struct mkv__object *object)
{
    int r = cds_lfht_del(index->table, &object->node);
    assert(r == 0);
    (void)r;
    index->count--;
}

void mkv__index_replace(struct mkv__index *index, struct mkv__object *old,
                        struct mkv__object *object)
{
    struct mkv__index_key key = key_of(object);
    publish(object);
    struct cds_lfht_node *was = cds_lfht_add_replace(index->table, object->hash, matches, &key,
                                                     &object->node);
    assert(was == &old->node);
    (void)was;
    (void)old;
}

uint64_t mkv__index_count(const struct mkv__index *index)
{
    return index->count;
}

bool mkv__index_crowded(const struct mkv__index *index)
{
    uint64_t slots = __atomic_load_n(&index->slots, __ATOMIC_RELAXED);
    return index->count > 2 * slots && slots < SLOTS_MAX;
}

void mkv__index_grow(struct mkv__index *index)
{
    uint64_t slots = 2 * __atomic_load_n(&index->slots, __ATOMIC_RELAXED);
    cds_lfht_resize(index->table, slots);
    __atomic_store_n(&index->slots, slots, __ATOMIC_RELAXED);
}
