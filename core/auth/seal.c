/* Sequence numbers and MACs of one direction of a connection. */
#include "core/auth/crypto.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEQUENCE_AT 40u
#define MAC_AT      48u
#define SHORT       512u /* bytes of a body that it is cheaper to copy than to add by a call */

struct mkv__seal {
    struct mkv__gmac *gmac; /* NULL: no key */
    uint64_t sequence;      /* the last one */
    bool prepared;          /* for the next */
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
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

int mkv__seal_prepare(struct mkv__seal *s)
{
    uint8_t nonce[12] = {s->direction};
    if (s->gmac == NULL || s->prepared) {
        return 0;
    }
    put64(nonce + 4, s->sequence + 1);
    int r = mkv__gmac_begin(s->gmac, nonce);
    s->prepared = r == 0;
    return r;
}

/* Of the next message. */
static int mac_of(struct mkv__seal *s, const uint8_t *header, const void *body, size_t len,
                  uint8_t out[MKV_MAC_BYTES])
{
    uint8_t whole[MKV_HEADER_BYTES + SHORT];
    size_t with_head = len <= SHORT ? len : 0;
    int r = mkv__seal_prepare(s);
    if (r < 0) {
        return r;
    }
    s->prepared = false;
    memcpy(whole, header, MAC_AT);
    memset(whole + MAC_AT, 0, MKV_MAC_BYTES);
    if (with_head > 0) {
        memcpy(whole + MKV_HEADER_BYTES, body, with_head);
    }
    return mkv__gmac_end(s->gmac, whole, MKV_HEADER_BYTES + with_head, body, len - with_head, out);
}

int mkv__seal_apply(struct mkv__seal *s, uint8_t header[MKV_HEADER_BYTES], const void *body,
                    size_t len)
{
    put64(header + SEQUENCE_AT, s->sequence + 1);
    memset(header + MAC_AT, 0, MKV_MAC_BYTES);
    int r = s->gmac != NULL ? mac_of(s, header, body, len, header + MAC_AT) : 0;
    s->sequence++;
    return r;
}

int mkv__seal_check(struct mkv__seal *s, const uint8_t header[MKV_HEADER_BYTES], const void *body,
                    size_t len)
{
    if (get64(header + SEQUENCE_AT) != s->sequence + 1) {
        return -EACCES;
    }
    uint8_t mac[MKV_MAC_BYTES] = {0};
    int r = s->gmac != NULL ? mac_of(s, header, body, len, mac) : 0;
    if (r < 0) {
        return r;
    }
    if (!mkv__same(mac, header + MAC_AT, MKV_MAC_BYTES)) {
        return -EACCES;
    }
    s->sequence++;
    return 0;
}
