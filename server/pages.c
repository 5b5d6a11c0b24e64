#include "server/pages.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define LOOK 32 /* runs of the bin that fits by chance */

/* The bin that a run of n pages lies in: floor(log2) and the next three bits. */
static uint32_t bin_of(uint32_t n)
{
    uint32_t log = 31u - (uint32_t)__builtin_clz(n);
    uint32_t low = log >= 3 ? (n >> (log - 3)) & 7u : (n << (3 - log)) & 7u;
    return log * 8 + low;
}

static void unlink_run(struct mkv__pages *pages, uint32_t first)
{
    struct mkv__page *p = &pages->page[first];
    uint32_t b = bin_of(p->len);
    if (p->prev != MKV_PAGE_NONE) {
        pages->page[p->prev].next = p->next;
    } else {
        pages->bin[b] = p->next;
        if (p->next == MKV_PAGE_NONE) {
            pages->full[b / 64] &= ~(UINT64_C(1) << (b % 64));
        }
    }
    if (p->next != MKV_PAGE_NONE) {
        pages->page[p->next].prev = p->prev;
    }
    pages->n_free -= p->len;
    pages->page[first + p->len - 1].kind = MKV__PAGE_USED;
    p->kind = MKV__PAGE_USED;
}

static void link_run(struct mkv__pages *pages, uint32_t first, uint32_t n)
{
    struct mkv__page *p = &pages->page[first], *last = &pages->page[first + n - 1];
    uint32_t b = bin_of(n);
    last->kind = MKV__PAGE_FREE;
    last->len = n;
    p->kind = MKV__PAGE_FREE;
    p->len = n;
    p->prev = MKV_PAGE_NONE;
    p->next = pages->bin[b];
    if (p->next != MKV_PAGE_NONE) {
        pages->page[p->next].prev = first;
    }
    pages->bin[b] = first;
    pages->full[b / 64] |= UINT64_C(1) << (b % 64);
    pages->n_free += n;
}

int mkv__pages_init(struct mkv__pages *pages, uint32_t n)
{
    memset(pages, 0, sizeof(*pages));
    /* Not touched before use: an empty arena of a terabyte costs no table. */
    void *table = mmap(NULL, (size_t)n * sizeof(struct mkv__page), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED) {
        return -ENOMEM;
    }
    pages->page = table;
    pages->n = n;
    memset(pages->bin, 0xff, sizeof(pages->bin));
    link_run(pages, 0, n);
    return 0;
}

void mkv__pages_fini(struct mkv__pages *pages)
{
    if (pages->page != NULL) {
        munmap(pages->page, (size_t)pages->n * sizeof(struct mkv__page));
        pages->page = NULL;
    }
}

/* The first bin from b on that is not empty. */
static uint32_t next_bin(const struct mkv__pages *pages, uint32_t b)
{
    for (uint32_t word = b / 64; word < sizeof(pages->full) / 8; word++) {
        uint64_t bits = pages->full[word];
        if (word == b / 64) {
            bits &= UINT64_MAX << (b % 64);
        }
        if (bits != 0) {
            return word * 64 + (uint32_t)__builtin_ctzll(bits);
        }
    }
    return MKV_PAGE_BINS;
}

static uint32_t last_bin(const struct mkv__pages *pages)
{
    for (uint32_t word = sizeof(pages->full) / 8; word-- > 0;) {
        if (pages->full[word] != 0) {
            return word * 64 + 63u - (uint32_t)__builtin_clzll(pages->full[word]);
        }
    }
    return MKV_PAGE_BINS;
}

static uint32_t cut(struct mkv__pages *pages, uint32_t first, uint32_t n)
{
    uint32_t len = pages->page[first].len;
    unlink_run(pages, first);
    if (len > n) {
        link_run(pages, first + n, len - n);
    }
    pages->page[first].kind = MKV__PAGE_USED;
    pages->page[first + n - 1].kind = MKV__PAGE_USED;
    return first;
}

uint32_t mkv__pages_take(struct mkv__pages *pages, uint32_t n)
{
    if (n > pages->n_free) {
        return MKV_PAGE_NONE;
    }
    uint32_t exact = bin_of(n);
    uint32_t run = pages->bin[exact];
    for (int i = 0; i < LOOK && run != MKV_PAGE_NONE; i++, run = pages->page[run].next) {
        if (pages->page[run].len >= n) {
            return cut(pages, run, n);
        }
    }
    uint32_t b = next_bin(pages, exact + 1);
    return b < MKV_PAGE_BINS ? cut(pages, pages->bin[b], n) : MKV_PAGE_NONE;
}

uint32_t mkv__pages_take_most(struct mkv__pages *pages, uint32_t n, uint32_t *got_out)
{
    uint32_t b = last_bin(pages);
    if (b == MKV_PAGE_BINS) {
        return MKV_PAGE_NONE;
    }
    uint32_t first = pages->bin[b];
    *got_out = pages->page[first].len < n ? pages->page[first].len : n;
    return cut(pages, first, *got_out);
}

void mkv__pages_give(struct mkv__pages *pages, uint32_t first, uint32_t n)
{
    if (first > 0 && pages->page[first - 1].kind == MKV__PAGE_FREE) {
        uint32_t before = pages->page[first - 1].len;
        unlink_run(pages, first - before);
        first -= before;
        n += before;
    }
    if (first + n < pages->n && pages->page[first + n].kind == MKV__PAGE_FREE) {
        uint32_t after = pages->page[first + n].len;
        unlink_run(pages, first + n);
        n += after;
    }
    link_run(pages, first, n);
}
