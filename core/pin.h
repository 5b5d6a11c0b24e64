/*
 * A CPU for a worker: one of this process's allowed ones that no other worker of this host holds,
 * so that eight processes of one host do not all sit on one core. Who holds what is known by claims
 * on one file in /dev/shm (core/os/claim.h); they die with the process. Containers that have a
 * /dev/shm each do not see each other's claims: there the container's CPU set has to do.
 */
#ifndef CORE_PIN_H
#define CORE_PIN_H

#include "core/os/cpu.h"

#include <stdbool.h>

#define MKV__PIN_CLAIMS "/dev/shm/memkv-cpus"

struct mkv__pin {
    int cpu;                     /* -1: none was free, the thread stays on a set */
    int claims;                  /* -1: none held */
    struct mkv__cpu_set allowed; /* where a worker of this process may be */
    const char *note;            /* static; what did not go as asked, or NULL */
};

struct mkv__pin_options {
    const char *cpus;        /* "0-3,8": choose from these; NULL: from the process's affinity */
    int numa_node;           /* choose near it, when it has allowed CPUs; -1: any. Not with cpus */
    const char *claims_path; /* NULL: MKV__PIN_CLAIMS */
};

/* Chooses and pins the calling thread. Never fails: without a free CPU, or where claims do not
 * work, the thread runs on the whole set that it would have chosen from. */
void mkv__pin_take(struct mkv__pin *pin, const struct mkv__pin_options *options);
void mkv__pin_drop(struct mkv__pin *pin); /* the claim, not the affinity */

/* Whether there are more allowed CPUs than workers of this host on them, now. A few system calls. */
bool mkv__pin_may_spin(const struct mkv__pin *pin);

#endif
