/* A list of keys on the wire: common prefix and suffix once, hexadecimal middles as 32 bytes. */
#ifndef CORE_CODEC_KEYS_H
#define CORE_CODEC_KEYS_H

#include "core/codec/cursor.h"
#include "core/codec/message.h"

size_t mkv__keys_bound(const struct mkv__wire_key *keys, uint32_t n);
void mkv__keys_encode(struct mkv__cursor *c, const struct mkv__wire_key *keys, uint32_t n);
/* Joins the keys into the arena. Marks the cursor bad when anything is wrong. */
void mkv__keys_decode(struct mkv__cursor *c, struct mkv__wire_key *keys, uint32_t n, uint8_t *arena,
                      size_t arena_len);

#endif
