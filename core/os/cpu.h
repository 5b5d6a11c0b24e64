/* Which CPUs a thread may use (Linux: sched_getaffinity, sysfs). */
#ifndef CORE_OS_CPU_H
#define CORE_OS_CPU_H

#include <stdbool.h>
#include <stdint.h>

#define MKV__CPUS 1024u /* CPU numbers are below it */

struct mkv__cpu_set {
    uint64_t bits[MKV__CPUS / 64];
};

static inline bool mkv__cpu_has(const struct mkv__cpu_set *set, unsigned cpu)
{
    return (set->bits[cpu / 64] >> cpu % 64) & 1;
}
static inline void mkv__cpu_add(struct mkv__cpu_set *set, unsigned cpu)
{
    set->bits[cpu / 64] |= UINT64_C(1) << cpu % 64;
}
unsigned mkv__cpu_count(const struct mkv__cpu_set *set);

/* Of the calling thread. -errno. */
int mkv__cpu_allowed(struct mkv__cpu_set *set_out);
int mkv__cpu_bind(const struct mkv__cpu_set *set); /* what the host forbids is left out */
int mkv__cpu_current(void);                        /* -1: not known */

/* "0-3,8". -EINVAL: malformed, empty or too large a number. */
int mkv__cpu_parse(const char *text, struct mkv__cpu_set *set_out);

/* The CPUs of a NUMA node. -ENOENT: not known. */
int mkv__cpu_of_node(int node, struct mkv__cpu_set *set_out);

#endif
