/*
 * From (namespace, key) to object: liburcu's cds_lfht under QSBR.
 *
 *                find   add, remove, replace   grow
 *   find         yes    yes                    yes
 *   add, ...     yes    no (the store's lock)  yes
 *   grow         yes    yes                    no
 *
 * Thread: registered with QSBR and online. What find returned is valid until the thread's next
 * quiescent state; an object that was removed may be reused after a grace period.
 */
#ifndef SERVER_INDEX_H
#define SERVER_INDEX_H

#include "server/object.h"

#include <stdint.h>

struct mkv__index;

struct mkv__index_key {
    const uint8_t *namespace_, *key;
    uint8_t namespace_len, key_len;
    uint64_t hash; /* mkv__index_hash */
};

uint64_t mkv__index_hash(const uint8_t *namespace_, uint8_t namespace_len, const uint8_t *key,
                         uint8_t key_len);

/* slots: objects to expect; more make it slower, not wrong. Errors: -ENOMEM. */
int mkv__index_create(uint64_t slots, struct mkv__index **index_out);
/* Empty. NULL leaves NULL. */
void mkv__index_destroy(struct mkv__index **index);

/* Looks up a whole batch: the object or NULL for each key. */
void mkv__index_find(struct mkv__index *index, const struct mkv__index_key *keys, uint32_t n,
                     struct mkv__object **objects_out);
/* Returns `object`, or the one that is there already. */
struct mkv__object *mkv__index_add(struct mkv__index *index, struct mkv__object *object);
void mkv__index_remove(struct mkv__index *index, struct mkv__object *object);
void mkv__index_replace(struct mkv__index *index, struct mkv__object *old,
                        struct mkv__object *object);

/* Under the store's lock. */
uint64_t mkv__index_count(const struct mkv__index *index);
bool mkv__index_crowded(const struct mkv__index *index);
/* Doubles the table; not under the store's lock: it waits for grace periods. */
void mkv__index_grow(struct mkv__index *index);

#endif
