/* Little-endian reading and writing with bounds: after the first failure everything is 0 and `bad`. */
#ifndef CORE_CODEC_CURSOR_H
#define CORE_CODEC_CURSOR_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mkv__cursor {
    uint8_t *at, *end;
    bool bad;
};

static inline struct mkv__cursor mkv__cursor_over(const void *data, size_t len)
{
    /* The same cursor reads and writes; a reader never writes through it. */
    uint8_t *p = (uint8_t *)(uintptr_t)data;
    return (struct mkv__cursor){.at = p, .end = p == NULL ? p : p + len};
}

static inline size_t mkv__left(const struct mkv__cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* `len` bytes in place, or NULL. */
static inline uint8_t *mkv__take(struct mkv__cursor *c, size_t len)
{
    if (c->bad || len > mkv__left(c)) {
        c->bad = true;
        return NULL;
    }
    uint8_t *p = c->at;
    c->at += len;
    return p;
}

/* bytes: at most 8; a constant makes it one load, or store. */
static inline uint64_t mkv__get_le(struct mkv__cursor *c, size_t bytes)
{
    const uint8_t *p = mkv__take(c, bytes);
    uint64_t v = 0;
    if (p != NULL) {
        memcpy(&v, p, bytes);
    }
    return le64toh(v);
}

static inline void mkv__put_le(struct mkv__cursor *c, uint64_t v, size_t bytes)
{
    uint8_t *p = mkv__take(c, bytes);
    v = htole64(v);
    if (p != NULL) {
        memcpy(p, &v, bytes);
    }
}

static inline void mkv__put_bytes(struct mkv__cursor *c, const void *data, size_t len)
{
    uint8_t *p = mkv__take(c, len);
    if (p != NULL && data != NULL) {
        memcpy(p, data, len);
    }
}

#endif
