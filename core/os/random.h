/* Randomness of the system (Linux: getrandom): no state in this process, so a fork shares none. */
#ifndef CORE_OS_RANDOM_H
#define CORE_OS_RANDOM_H

#include <stddef.h>

/* Errors: -EIO. Thread: any thread. */
int mkv__os_random(void *out, size_t len);

#endif
