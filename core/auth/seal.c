/* Sequence numbers and MACs of one direction of a connection. */
#include "core/auth/crypto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEQUENCE_AT 40u
#define MAC_AT      48u

struct mkv__seal {
    struct mkv__gmac *gmac; /* NULL: no key */
    uint64_t sequence;      /* the last one */
    uint8_t direction;
};

int mkv__seal_create(const uint8_t *key, unsigned direction, struct mkv__seal **out)
{
    struct mkv__seal *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->direction = (uint8_t)direction;
    int r = key != NULL ? mkv__gmac_create(key, &s->gmac) : 0;
    if (r < 0) {
        free(s);
        return r;
    }
    *out = s;
    return 0;
}

void mkv__seal_destroy(struct mkv__seal **seal)
{
    if (*seal != NULL) {
        mkv__gmac_destroy(&(*seal)->gmac);
        free(*seal);
        *seal = NULL;
    }
}

static void put64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

static int mac_of(struct mkv__seal *s, uint64_t sequence, const uint8_t *header, const void *body,
                  size_t len, uint8_t out[MKV_MAC_BYTES])
{
    uint8_t nonce[12] = {s->direction}, head[MKV_HEADER_BYTES] = {0};
    put64(nonce + 4, sequence);
    memcpy(head, header, MAC_AT);
    return mkv__gmac_of(s->gmac, nonce, head, sizeof(head), body, len, out);
}

int mkv__seal_apply(struct mkv__seal *s, uint8_t header[MKV_HEADER_BYTES], const void *body,
                    size_t len)
{
    put64(header + SEQUENCE_AT, ++s->sequence);
    if (s->gmac == NULL) {
        memset(header + MAC_AT, 0, MKV_MAC_BYTES);
        return 0;
    }
    return mac_of(s, s->sequence, header, body, len, header + MAC_AT);
}

int mkv__seal_check(struct mkv__seal *s, const uint8_t header[MKV_HEADER_BYTES], const void *body,
                    size_t len)
{
    if (get64(header + SEQUENCE_AT) != s->sequence + 1) {
        return -EACCES;
    }
    uint8_t mac[MKV_MAC_BYTES] = {0};
    int r = s->gmac != NULL ? mac_of(s, s->sequence + 1, header, body, len, mac) : 0;
    if (r < 0) {
        return r;
    }
    if (!mkv__same(mac, header + MAC_AT, MKV_MAC_BYTES)) {
        return -EACCES;
    }
    s->sequence++;
    return 0;
}
