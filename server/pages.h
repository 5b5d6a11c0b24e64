/*
 * Runs of 4-KiB pages: free runs in bins by length, neighbours joined when freed. The table of
 * pages has room for the slabs' figures too. Thread: one at a time.
 */
#ifndef SERVER_PAGES_H
#define SERVER_PAGES_H

#include <stdint.h>

#define MKV_PAGE_BYTES 4096u
#define MKV_PAGE_NONE  UINT32_MAX

enum mkv__page_kind {
    MKV__PAGE_USED,      /* or inside of a free run */
    MKV__PAGE_FREE,      /* first or last of a free run */
    MKV__PAGE_SLAB_HEAD, /* the first of a slab */
    MKV__PAGE_SLAB,      /* another one of a slab; prev is its head */
};

struct mkv__page {
    uint64_t free;       /* slab head: a bit for each free item */
    uint32_t len;        /* free run, slab head: pages */
    uint32_t next, prev; /* list of free runs or of slabs with room */
    uint8_t kind;        /* enum mkv__page_kind */
    uint8_t cls;         /* slab head: class of the items */
    uint8_t items;       /* slab head */
};

/* Bins: 8 for each power of two of pages. */
#define MKV_PAGE_BINS (33u * 8u)

struct mkv__pages {
    struct mkv__page *page;
    uint32_t n;
    uint32_t n_free;
    uint64_t full[(MKV_PAGE_BINS + 63) / 64]; /* a bit for each bin that is not empty */
    uint32_t bin[MKV_PAGE_BINS];
};

int mkv__pages_init(struct mkv__pages *pages, uint32_t n);
void mkv__pages_fini(struct mkv__pages *pages);

/* A run of n pages; the first, or MKV_PAGE_NONE. */
uint32_t mkv__pages_take(struct mkv__pages *pages, uint32_t n);
/* A run of at most n pages out of the longest free one; *got_out of them. */
uint32_t mkv__pages_take_most(struct mkv__pages *pages, uint32_t n, uint32_t *got_out);
void mkv__pages_give(struct mkv__pages *pages, uint32_t first, uint32_t n);

#endif
