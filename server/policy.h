/*
 * Who goes first when memory is full: segmented LRU. New values are on probation; a hit moves them
 * to the protected segment, whose oldest go back to probation when it is over its share. So what
 * was used once does not flush what is used again and again.
 *
 * Values of one batch lie on one prefix: without its head a tail is of no use. So of a batch the
 * tail counts as older than the head, and goes first.
 *
 * This is a seam: the store tells what happens in these five words and knows no list. What another
 * policy may want to know of an object stands in its record: depth, size, segment, hash of its key.
 * Thread: under the store's lock.
 */
#ifndef SERVER_POLICY_H
#define SERVER_POLICY_H

#include "server/object.h"

#include <stdint.h>

struct mkv__policy_list {
    struct mkv__object *newest, *oldest;
    uint64_t bytes;
};

struct mkv__policy {
    struct mkv__policy_list probation, protected_;
    uint64_t protected_max; /* bytes */
};

void mkv__policy_init(struct mkv__policy *policy, uint64_t capacity);
/* Objects in the order of their prefix (object->depth too says where in it); NULLs are skipped. */
void mkv__policy_admitted(struct mkv__policy *policy, struct mkv__object *const *objects,
                          uint32_t n);
void mkv__policy_hit(struct mkv__policy *policy, struct mkv__object *const *objects, uint32_t n);
/* The next to go, or NULL. Ask again after removed or spared. */
struct mkv__object *mkv__policy_victim(struct mkv__policy *policy);
/* The victim cannot go now (leased, being read). */
void mkv__policy_spared(struct mkv__policy *policy, struct mkv__object *object);
/* Also for objects that were never admitted. */
void mkv__policy_removed(struct mkv__policy *policy, struct mkv__object *object);

#endif
