/*
 * A CPU for a worker: one of this process's allowed ones that no other worker of this host holds.
 * It is claimed by a lock on a file in /dev/shm that dies with the process.
 */
#ifndef CORE_PIN_H
#define CORE_PIN_H

#include <stdbool.h>

struct mkv__pin {
    int cpu;       /* -1: none free, the thread stays on the allowed set */
    int lock_fd;   /* -1: none */
    bool may_spin; /* more CPUs allowed than workers hold */
};

/*
 * Chooses, for the calling thread, which it pins. cpus: "0-3,8" to choose from, NULL: the process's
 * affinity; taken as given, also when held by others. numa_node -1: any. Never fails: without a free
 * CPU the thread runs on the set (of the node, if one was asked for).
 */
void mkv__pin_take(struct mkv__pin *pin, const char *cpus, int numa_node);
void mkv__pin_drop(struct mkv__pin *pin);
int mkv__pin_allowed(void); /* CPUs in the process's affinity */

#endif
