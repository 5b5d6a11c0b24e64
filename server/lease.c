#include "server/lease.h"

#include <string.h>

#define SECOND UINT64_C(1000000000)

void mkv__leases_init(struct mkv__leases *leases, uint64_t lease_ns, uint64_t limit)
{
    memset(leases, 0, sizeof(*leases));
    leases->lease_ns = lease_ns;
    leases->limit = limit;
}

void mkv__leases_tick(struct mkv__leases *leases, uint64_t now_ns)
{
    uint64_t now_s = now_ns / SECOND;
    if (leases->now_s + MKV_LEASE_BUCKETS < now_s) {
        leases->now_s = now_s - MKV_LEASE_BUCKETS;
    }
    while (leases->now_s < now_s) {
        uint64_t *bucket = &leases->bucket[leases->now_s++ % MKV_LEASE_BUCKETS];
        leases->total -= *bucket;
        *bucket = 0;
    }
}

void mkv__leases_end(struct mkv__leases *leases, struct mkv__object *object)
{
    if (object->lease_s != 0 && object->lease_s >= leases->now_s) {
        leases->bucket[object->lease_s % MKV_LEASE_BUCKETS] -= object->size;
        leases->total -= object->size;
    }
    object->lease_s = 0;
}

uint32_t mkv__leases_grant(struct mkv__leases *leases, struct mkv__object *object, uint64_t now_ns)
{
    bool renewal = object->lease_s != 0 && object->lease_s >= leases->now_s;
    if (leases->lease_ns == 0 || (!renewal && leases->total + object->size > leases->limit)) {
        return 0;
    }
    mkv__leases_end(leases, object);
    object->lease_until_ns = now_ns + leases->lease_ns;
    object->lease_s = (uint32_t)(object->lease_until_ns / SECOND);
    if (object->lease_s == 0) {
        object->lease_s = 1;
    }
    leases->bucket[object->lease_s % MKV_LEASE_BUCKETS] += object->size;
    leases->total += object->size;
    return (uint32_t)(leases->lease_ns / 1000000);
}
