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
int mkv__hkdf(const uint8_t *key, size_t key_len, const uint8_t *salt, size_t salt_len,
              const char *label, uint8_t out[MKV_KEY_BYTES]);

/* AES-256-GMAC with one key: begin, then end. head and body are taken as one piece; a nonce is used
 * once. */
struct mkv__gmac;
int mkv__gmac_create(const uint8_t key[MKV_KEY_BYTES], struct mkv__gmac **out);
void mkv__gmac_destroy(struct mkv__gmac **gmac);
int mkv__gmac_begin(struct mkv__gmac *gmac, const uint8_t nonce[12]);
int mkv__gmac_end(struct mkv__gmac *gmac, const void *head, size_t head_len, const void *body,
                  size_t body_len, uint8_t out[MKV_MAC_BYTES]);

bool mkv__same(const void *a, const void *b, size_t len); /* in constant time */
void mkv__wipe(void *p, size_t len);

/* key NULL: sequence numbers only. direction: 0 client to server, 1 server to client. */
int mkv__seal_create(const uint8_t *key, unsigned direction, struct mkv__seal **out);

#endif
