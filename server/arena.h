/*
 * The memory of all values and their records: one mapping, given out in extents.
 *
 *   up to 4032 bytes    a slab item, in steps of 64 bytes
 *   up to 32 KiB        a slab item, in steps of 512 bytes
 *   above, and whole pages of 4 KiB: a run of pages; several runs where memory is fragmented
 *
 * A slab of items of m steps is m pages, so that nothing is left over at its end; an empty slab goes
 * back to the pages at once, so that a change of sizes finds the memory again.
 *
 * Thread: one at a time; the store's lock is around it. Workers can get caches of their own between
 * themselves and these calls without a change of a caller.
 */
#ifndef SERVER_ARENA_H
#define SERVER_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MKV_EXTENTS_MAX 1024u /* of one value */

struct mkv__arena;

/* Bytes [offset, offset + len) of the arena. len is what was asked for, not the rounded size. */
struct mkv__extent {
    uint64_t offset;
    uint64_t len;
};

/* bytes are rounded down to 4 KiB. Errors: -EINVAL (none, or over 16 TiB), -ENOMEM. */
int mkv__arena_create(uint64_t bytes, struct mkv__arena **arena_out);
/* NULL leaves NULL. */
void mkv__arena_destroy(struct mkv__arena **arena);

/* Whether the kernel was willing to use huge pages. */
bool mkv__arena_huge(const struct mkv__arena *arena);
void *mkv__arena_at(const struct mkv__arena *arena, uint64_t offset);
void *mkv__arena_base(const struct mkv__arena *arena);

/* Takes `size` bytes in at most `max` extents. Returns their number (0 for size 0), or -ENOSPC. */
int mkv__arena_alloc(struct mkv__arena *arena, uint64_t size, struct mkv__extent *extents,
                     uint32_t max);
/* Extents exactly as they were given out. */
void mkv__arena_free(struct mkv__arena *arena, const struct mkv__extent *extents, uint32_t n);

uint64_t mkv__arena_total(const struct mkv__arena *arena);
/* Bytes given out, rounded sizes. */
uint64_t mkv__arena_used(const struct mkv__arena *arena);
/* Bytes in pages that are neither given out nor part of a slab. */
uint64_t mkv__arena_free_pages(const struct mkv__arena *arena);

#endif
