/*
 * Weighted rendezvous hashing (D. Thaler, C. Ravishankar, 1998; the weighted form, the least of
 * -ln(u) / w over servers with u uniform in (0, 1), is in J. Schindelhauer, G. Schomaker, 2005). All
 * arithmetic is on integers, so that every client on every machine agrees. Test vectors:
 * placement_vectors.txt.
 */
#ifndef ROUTER_PLACEMENT_H
#define ROUTER_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

uint64_t mkv__place_key(const void *namespace_, uint32_t namespace_len, const void *key,
                        uint32_t key_len);
uint64_t mkv__place_server(const char *name);
/* u of a key at a server: 64 uniform bits. */
uint64_t mkv__place_draw(uint64_t key, uint64_t server);
/* Is draw a with weight wa before draw b with weight wb? */
bool mkv__place_before(uint64_t a, uint32_t wa, uint64_t b, uint32_t wb);

#endif
