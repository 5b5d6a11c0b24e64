/* The few things that are taken from OpenSSL, each in one call. Returns 0 or -ENOMEM: what
 * else can be amiss there (no entropy, no provider) is no better for the caller. */
#ifndef CORE_AUTH_CRYPTO_H
#define CORE_AUTH_CRYPTO_H

#include "core/auth/auth.h"

struct mkv__digest; /* SHA-256 that can be looked at while it goes on */
int mkv__digest_create(struct mkv__digest **out);
void mkv__digest_destroy(struct mkv__digest **digest);
void mkv__digest_add(struct mkv__digest *digest, const void *data, size_t len);
int mkv__digest_now(struct mkv__digest *digest, uint8_t out[32]);

/* HMAC-SHA256(key, label || data) */
int mkv__hmac(const uint8_t key[MKV_KEY_BYTES], const char *label, const uint8_t data[32],
              uint8_t out[32]);
/* HKDF-SHA256(key, salt, label) */
int mkv__hkdf(const uint8_t key[MKV_KEY_BYTES], const uint8_t salt[32], const char *label,
              uint8_t out[MKV_KEY_BYTES]);
bool mkv__same(const void *a, const void *b, size_t len); /* in constant time */
void mkv__wipe(void *p, size_t len);

/* key NULL: sequence numbers only. direction: 0 client to server, 1 server to client. */
int mkv__seal_create(const uint8_t *key, unsigned direction, struct mkv__seal **out);

#endif
