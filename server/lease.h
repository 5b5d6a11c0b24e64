/*
 * How many bytes are leased: a bucket for each second in which leases end. Leases may hold half of
 * the memory; beyond it EXISTS still says yes, with a lease of 0. Thread: under the store's lock.
 */
#ifndef SERVER_LEASE_H
#define SERVER_LEASE_H

#include "server/object.h"

#include <stdint.h>

#define MKV_LEASE_BUCKETS 4096u /* seconds; more than the longest lease */

struct mkv__leases {
    uint64_t bucket[MKV_LEASE_BUCKETS]; /* bytes */
    uint64_t total, limit;              /* bytes */
    uint64_t lease_ns;
    uint64_t now_s;
};

void mkv__leases_init(struct mkv__leases *leases, uint64_t lease_ns, uint64_t limit);
/* Takes the leases that have ended out of the total. */
void mkv__leases_tick(struct mkv__leases *leases, uint64_t now_ns);
/* Grants or renews; returns the milliseconds that the object's lease has left, 0: none. */
uint32_t mkv__leases_grant(struct mkv__leases *leases, struct mkv__object *object, uint64_t now_ns);
void mkv__leases_end(struct mkv__leases *leases, struct mkv__object *object);

#endif
