#include "server/arena.h"

#include "server/pages.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define FINE        64u
#define COARSE      512u
#define FINE_MAX    4032u
#define SLAB_MAX    32768u
#define N_FINE      (FINE_MAX / FINE) /* items of 1 to 63 steps of 64 */
#define COARSE_LOW  8u                /* items of 8 to 64 steps of 512 */
#define N_CLASSES   (N_FINE + SLAB_MAX / COARSE - COARSE_LOW + 1)
#define PAGES_LIMIT (UINT64_C(16) << 40)
#define HUGE_BYTES  (UINT64_C(2) << 20)

struct mkv__arena {
    uint8_t *base;
    void *mapping;
    size_t mapping_len;
    uint64_t total, used;
    bool huge;
    struct mkv__pages pages;
    uint32_t room[N_CLASSES]; /* slabs with a free item */
};

static uint32_t class_of(uint64_t size)
{
    if (size <= FINE_MAX) {
        return (uint32_t)((size + FINE - 1) / FINE) - 1;
    }
    return N_FINE + (uint32_t)((size + COARSE - 1) / COARSE) - COARSE_LOW;
}

/* Steps of an item, which is also the number of pages of its slab. */
static uint32_t class_steps(uint32_t cls)
{
    return cls < N_FINE ? cls + 1 : cls - N_FINE + COARSE_LOW;
}

static uint32_t class_bytes(uint32_t cls)
{
    return class_steps(cls) * (cls < N_FINE ? FINE : COARSE);
}

int mkv__arena_create(uint64_t bytes, struct mkv__arena **arena_out)
{
    uint64_t total = bytes / MKV_PAGE_BYTES * MKV_PAGE_BYTES;
    if (total == 0 || total > PAGES_LIMIT) {
        return -EINVAL;
    }
    struct mkv__arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL) {
        return -ENOMEM;
    }
    arena->total = total;
    arena->mapping_len = total + HUGE_BYTES;
    arena->mapping = mmap(NULL, arena->mapping_len, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena->mapping == MAP_FAILED) {
        goto free_arena;
    }
    uint64_t start = ((uint64_t)(uintptr_t)arena->mapping + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
    arena->base = (uint8_t *)arena->mapping + (start - (uint64_t)(uintptr_t)arena->mapping);
    if (mkv__pages_init(&arena->pages, (uint32_t)(total / MKV_PAGE_BYTES)) < 0) {
        goto unmap;
    }
    arena->huge = madvise(arena->base, total, MADV_HUGEPAGE) == 0;
    (void)madvise(arena->mapping, arena->mapping_len, MADV_DONTDUMP);
    for (uint32_t i = 0; i < N_CLASSES; i++) {
        arena->room[i] = MKV_PAGE_NONE;
    }
    *arena_out = arena;
    return 0;
unmap:
    munmap(arena->mapping, arena->mapping_len);
free_arena:
    free(arena);
    return -ENOMEM;
}

void mkv__arena_destroy(struct mkv__arena **arena)
{
    if (*arena != NULL) {
        mkv__pages_fini(&(*arena)->pages);
        munmap((*arena)->mapping, (*arena)->mapping_len);
        free(*arena);
        *arena = NULL;
    }
}

bool mkv__arena_huge(const struct mkv__arena *arena)
{
    return arena->huge;
}

void *mkv__arena_at(const struct mkv__arena *arena, uint64_t offset)
{
    assert(offset < arena->total);
    return arena->base + offset;
}

void *mkv__arena_base(const struct mkv__arena *arena)
{
    return arena->base;
}

uint64_t mkv__arena_total(const struct mkv__arena *arena)
{
    return arena->total;
}

uint64_t mkv__arena_used(const struct mkv__arena *arena)
{
    return arena->used;
}

uint64_t mkv__arena_free_pages(const struct mkv__arena *arena)
{
    return (uint64_t)arena->pages.n_free * MKV_PAGE_BYTES;
}

/* ---- slabs -------------------------------------------------------------------------------- */

static void room_add(struct mkv__arena *arena, uint32_t head)
{
    struct mkv__page *page = arena->pages.page, *slab = &page[head];
    slab->prev = MKV_PAGE_NONE;
    slab->next = arena->room[slab->cls];
    if (slab->next != MKV_PAGE_NONE) {
        page[slab->next].prev = head;
    }
    arena->room[slab->cls] = head;
}

static void room_remove(struct mkv__arena *arena, uint32_t head)
{
    struct mkv__page *page = arena->pages.page, *slab = &page[head];
    if (slab->prev != MKV_PAGE_NONE) {
        page[slab->prev].next = slab->next;
    } else {
        arena->room[slab->cls] = slab->next;
    }
    if (slab->next != MKV_PAGE_NONE) {
        page[slab->next].prev = slab->prev;
    }
}

static uint64_t all_items(uint32_t items)
{
    return items == 64 ? UINT64_MAX : (UINT64_C(1) << items) - 1;
}

/* A slab of m pages has no tail; where no such run is left, a shorter one will do. */
static uint32_t slab_create(struct mkv__arena *arena, uint32_t cls)
{
    uint32_t bytes = class_bytes(cls), n = class_steps(cls), head = MKV_PAGE_NONE;
    for (; n > 0 && n * MKV_PAGE_BYTES >= bytes; n /= 2) {
        head = mkv__pages_take(&arena->pages, n);
        if (head != MKV_PAGE_NONE) {
            break;
        }
    }
    if (head == MKV_PAGE_NONE) {
        return head;
    }
    struct mkv__page *slab = &arena->pages.page[head];
    slab->kind = MKV__PAGE_SLAB_HEAD;
    slab->len = n;
    slab->cls = (uint8_t)cls;
    slab->items = (uint8_t)(n * MKV_PAGE_BYTES / bytes);
    slab->free = all_items(slab->items);
    for (uint32_t i = 1; i < n; i++) {
        slab[i].kind = MKV__PAGE_SLAB;
        slab[i].prev = head;
    }
    room_add(arena, head);
    return head;
}

static void slab_destroy(struct mkv__arena *arena, uint32_t head)
{
    struct mkv__page *slab = &arena->pages.page[head];
    uint32_t n = slab->len;
    room_remove(arena, head);
    for (uint32_t i = 0; i < n; i++) {
        slab[i].kind = MKV__PAGE_USED;
    }
    mkv__pages_give(&arena->pages, head, n);
}

static int item_alloc(struct mkv__arena *arena, uint64_t size, struct mkv__extent *extent)
{
    uint32_t cls = class_of(size), bytes = class_bytes(cls);
    uint32_t head = arena->room[cls];
    if (head == MKV_PAGE_NONE) {
        head = slab_create(arena, cls);
        if (head == MKV_PAGE_NONE) {
            return -ENOSPC;
        }
    }
    struct mkv__page *slab = &arena->pages.page[head];
    uint32_t item = (uint32_t)__builtin_ctzll(slab->free);
    slab->free &= slab->free - 1;
    if (slab->free == 0) {
        room_remove(arena, head);
    }
    arena->used += bytes;
    extent->offset = (uint64_t)head * MKV_PAGE_BYTES + (uint64_t)item * bytes;
    extent->len = size;
    return 1;
}

static void item_free(struct mkv__arena *arena, uint32_t head, uint64_t offset)
{
    struct mkv__page *slab = &arena->pages.page[head];
    uint32_t bytes = class_bytes(slab->cls);
    uint32_t item = (uint32_t)((offset - (uint64_t)head * MKV_PAGE_BYTES) / bytes);
    assert((slab->free >> item & 1) == 0);
    if (slab->free == 0) {
        room_add(arena, head);
    }
    slab->free |= UINT64_C(1) << item;
    arena->used -= bytes;
    if (slab->free == all_items(slab->items)) {
        slab_destroy(arena, head);
    }
}

/* ---- runs of pages ------------------------------------------------------------------------ */

static uint32_t pages_for(uint64_t bytes)
{
    return (uint32_t)((bytes + MKV_PAGE_BYTES - 1) / MKV_PAGE_BYTES);
}

static void run_free(struct mkv__arena *arena, const struct mkv__extent *extent)
{
    uint32_t n = pages_for(extent->len);
    arena->used -= (uint64_t)n * MKV_PAGE_BYTES;
    mkv__pages_give(&arena->pages, (uint32_t)(extent->offset / MKV_PAGE_BYTES), n);
}

static int runs_alloc(struct mkv__arena *arena, uint64_t size, struct mkv__extent *extents,
                      uint32_t max)
{
    if (size > arena->total || pages_for(size) > arena->pages.n_free) {
        return -ENOSPC;
    }
    uint32_t n = 0;
    for (uint64_t left = size; left > 0; n++) {
        uint32_t want = pages_for(left), got = want;
        uint32_t first = n < max ? mkv__pages_take(&arena->pages, want) : MKV_PAGE_NONE;
        if (first == MKV_PAGE_NONE && n < max && max > 1) {
            first = mkv__pages_take_most(&arena->pages, want, &got);
        }
        if (first == MKV_PAGE_NONE) {
            mkv__arena_free(arena, extents, n);
            return -ENOSPC;
        }
        uint64_t bytes = (uint64_t)got * MKV_PAGE_BYTES;
        extents[n].offset = (uint64_t)first * MKV_PAGE_BYTES;
        extents[n].len = bytes < left ? bytes : left;
        left -= extents[n].len;
        arena->used += bytes;
    }
    return (int)n;
}

int mkv__arena_alloc(struct mkv__arena *arena, uint64_t size, struct mkv__extent *extents,
                     uint32_t max)
{
    if (size == 0) {
        return 0;
    }
    /* What rounds to whole pages anyway does not need a slab. */
    uint64_t rounded = size <= SLAB_MAX ? class_bytes(class_of(size)) : size;
    if (size <= SLAB_MAX && rounded % MKV_PAGE_BYTES != 0) {
        int r = item_alloc(arena, size, extents);
        if (r >= 0 || size <= FINE_MAX) {
            return r;
        }
    }
    return runs_alloc(arena, size, extents, max);
}

void mkv__arena_free(struct mkv__arena *arena, const struct mkv__extent *extents, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = (uint32_t)(extents[i].offset / MKV_PAGE_BYTES);
        const struct mkv__page *page = &arena->pages.page[first];
        if (page->kind == MKV__PAGE_SLAB_HEAD) {
            item_free(arena, first, extents[i].offset);
        } else if (page->kind == MKV__PAGE_SLAB) {
            item_free(arena, page->prev, extents[i].offset);
        } else {
            run_free(arena, &extents[i]);
        }
    }
}
