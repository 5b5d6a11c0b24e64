/* Clients with several rails on the fake transport, and the pages that they move. */
#ifndef TESTING_ROUTER_RAILS_H
#define TESTING_ROUTER_RAILS_H

#include "testing/router/rig.h"

#define KIB   1024u
#define PAGE  (64 * KIB)
#define PAGES 32u /* 2 MiB */

extern struct rig rig;
extern unsigned char memory[PAGES * PAGE], got[PAGES * PAGE];

void start(unsigned rails, unsigned servers); /* rig_fini ends it */
struct mkv_batch *submit(enum mkv_op op, const char *tag, unsigned n, unsigned char *at,
                         size_t page, const struct mkv_batch_options *options);
/* PAGES of them; all are stored, or hits with the right bytes. */
void write_pages(const char *tag);
void read_pages(const char *tag);

#endif
