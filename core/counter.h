/*
 * A counter with one writer at a time and any number of readers: no locked instruction, no cache
 * line that bounces. Where several threads count the same thing, each has its own counter and
 * readers sum. A sum taken while writers run is a moment's figure, not a snapshot.
 *
 *   add, max     owner      beside read: yes   beside add of another thread: no
 *   read         any thread
 */
#ifndef CORE_COUNTER_H
#define CORE_COUNTER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mkv__counter {
    uint64_t value; /* atomic, relaxed */
};

static inline uint64_t mkv__counter_read(const struct mkv__counter *counter)
{
    return __atomic_load_n(&counter->value, __ATOMIC_RELAXED);
}

static inline void mkv__counter_add(struct mkv__counter *counter, uint64_t n)
{
    __atomic_store_n(&counter->value, counter->value + n, __ATOMIC_RELAXED);
}

static inline void mkv__counter_inc(struct mkv__counter *counter)
{
    mkv__counter_add(counter, 1);
}

/* Goes down as well: for gauges ("connections"), whose single writer never takes it below 0. */
static inline void mkv__counter_sub(struct mkv__counter *counter, uint64_t n)
{
    __atomic_store_n(&counter->value, counter->value - n, __ATOMIC_RELAXED);
}

/* For high-water marks. */
static inline void mkv__counter_max(struct mkv__counter *counter, uint64_t value)
{
    if (value > counter->value) {
        __atomic_store_n(&counter->value, value, __ATOMIC_RELAXED);
    }
}

/*
 * Adds all n counters at `counters` (a struct of nothing but counters) to those at `sums`, which
 * belong to the caller. Thread: any thread for `counters`.
 */
void mkv__counter_sum(struct mkv__counter *sums, const struct mkv__counter *counters, size_t n);

#ifdef __cplusplus
}
#endif

#endif
