/* Small things that every room uses. */
#ifndef CORE_BASE_H
#define CORE_BASE_H

#include <stddef.h>

#define MKV_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define MKV_ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define MKV_MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MKV_MAX(a, b)                       ((a) > (b) ? (a) : (b))

#endif
