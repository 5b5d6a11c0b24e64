/* AES-256-GMAC: AES-256-GCM of nothing, with the message as additional data. */
#include "core/auth/crypto.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define SEQUENCE_AT 40u
#define MAC_AT      48u

struct mkv__seal {
    EVP_CIPHER_CTX *context; /* NULL: no key */
    uint64_t sequence;       /* the last one */
    uint8_t direction;
};

int mkv__seal_create(const uint8_t *key, unsigned direction, struct mkv__seal **out)
{
    struct mkv__seal *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->direction = (uint8_t)direction;
    if (key != NULL) {
        s->context = EVP_CIPHER_CTX_new();
        if (s->context == NULL ||
            EVP_EncryptInit_ex(s->context, EVP_aes_256_gcm(), NULL, key, NULL) != 1) {
            mkv__seal_destroy(&s);
            return -ENOMEM;
        }
    }
    *out = s;
    return 0;
}

void mkv__seal_destroy(struct mkv__seal **seal)
{
    if (*seal != NULL) {
        EVP_CIPHER_CTX_free((*seal)->context);
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
    static const uint8_t zeros[MKV_MAC_BYTES];
    uint8_t nonce[12] = {s->direction};
    int n = 0;
    put64(nonce + 4, sequence);
    bool ok = EVP_EncryptInit_ex(s->context, NULL, NULL, NULL, nonce) == 1 &&
              EVP_EncryptUpdate(s->context, NULL, &n, header, (int)MAC_AT) == 1 &&
              EVP_EncryptUpdate(s->context, NULL, &n, zeros, (int)MKV_MAC_BYTES) == 1 &&
              (len == 0 || EVP_EncryptUpdate(s->context, NULL, &n, body, (int)len) == 1) &&
              EVP_EncryptFinal_ex(s->context, out, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(s->context, EVP_CTRL_GCM_GET_TAG, (int)MKV_MAC_BYTES, out) == 1;
    return ok ? 0 : -ENOMEM;
}

int mkv__seal_apply(struct mkv__seal *s, uint8_t header[MKV_HEADER_BYTES], const void *body,
                    size_t len)
{
    put64(header + SEQUENCE_AT, ++s->sequence);
    if (s->context == NULL) {
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
    int r = s->context != NULL ? mac_of(s, s->sequence + 1, header, body, len, mac) : 0;
    if (r < 0 || !mkv__same(mac, header + MAC_AT, MKV_MAC_BYTES)) {
        return -EACCES;
    }
    s->sequence++;
    return 0;
}
