/*
 * The record of one value. Lies in the arena: this head, then its extents, namespace and key. The
 * value itself lies in the extents.
 *
 * A record is written before it enters the index and constant afterwards, but for what is marked:
 *   atomic  any thread
 *   lock    under the store's lock
 */
#ifndef SERVER_OBJECT_H
#define SERVER_OBJECT_H

#include "core/rcu.h"
#include "server/arena.h"

#include <stdbool.h>
#include <stdint.h>

enum mkv__object_state {
    MKV__WRITING, /* in the index, so that a second writer learns of the first; no reader sees it */
    MKV__READY,
    MKV__DEAD, /* out of the index; the memory goes with the last reference */
};

enum mkv__policy_segment { MKV__OUTSIDE, MKV__PROBATION, MKV__PROTECTED };

struct mkv__object {
    struct cds_lfht_node node;
    struct mkv__object *newer, *older; /* lock: the policy's list; older: list of the retired too */
    uint64_t hash;
    uint64_t length;
    uint64_t checksum;       /* constant where there was no `unsummed` */
    uint64_t expires_ns;     /* 0: never */
    uint64_t lease_until_ns; /* lock */
    uint64_t size;           /* of value and record, as the arena counts */
    uint32_t lease_s;        /* lock: the second whose bucket counts the lease; 0: none */
    uint32_t generation;
    uint32_t refs; /* atomic; one is the index's, or the writer's for a replacement */
    uint32_t n_extents;
    uint32_t depth;   /* keys before it in its prefix, as far as its client told: for the policy */
    uint8_t state;    /* atomic; enum mkv__object_state */
    uint8_t segment;  /* lock; enum mkv__policy_segment */
    uint8_t unsummed; /* atomic: `checksum`, atomic too, is not made yet. Cleared by any reader */
    bool replacing;   /* lock: a replacement is being written */
    bool replacement; /* not in the index before it is ready */
    uint8_t namespace_len, key_len;
    struct mkv__extent extents[];
};

static inline const uint8_t *mkv__object_namespace(const struct mkv__object *object)
{
    return (const uint8_t *)&object->extents[object->n_extents];
}

static inline const uint8_t *mkv__object_key(const struct mkv__object *object)
{
    return mkv__object_namespace(object) + object->namespace_len;
}

static inline uint64_t mkv__object_bytes(uint32_t n_extents, uint8_t namespace_len, uint8_t key_len)
{
    return sizeof(struct mkv__object) + n_extents * sizeof(struct mkv__extent) + namespace_len +
           key_len;
}

static inline uint8_t mkv__object_state(const struct mkv__object *object)
{
    return __atomic_load_n(&object->state, __ATOMIC_ACQUIRE);
}

/* Whether there is a checksum. */
static inline bool mkv__object_sum(const struct mkv__object *object, uint64_t *sum_out)
{
    bool summed = __atomic_load_n(&object->unsummed, __ATOMIC_ACQUIRE) == 0;
    *sum_out = __atomic_load_n(&object->checksum, __ATOMIC_RELAXED);
    return summed;
}

/* A reference, unless the last one is gone. */
static inline bool mkv__object_get(struct mkv__object *object)
{
    uint32_t refs = __atomic_load_n(&object->refs, __ATOMIC_RELAXED);
    do {
        if (refs == 0) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&object->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    return true;
}

/* Returns true to the one that gave the last reference back. */
static inline bool mkv__object_put(struct mkv__object *object)
{
    return __atomic_sub_fetch(&object->refs, 1, __ATOMIC_ACQ_REL) == 0;
}

#endif
