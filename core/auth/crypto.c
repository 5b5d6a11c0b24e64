#include "core/auth/crypto.h"

#include "core/os/random.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct mkv__digest {
    EVP_MD_CTX *context, *copy;
    bool bad; /* something was not added */
};

/*
 * OpenSSL looks algorithms up under locks of the whole process. A fork while another thread holds
 * one would leave it held in the child for ever, and every handshake there hang. So whoever looks
 * one up holds this gate, and a fork waits for it. Static, as OpenSSL's own locks are. What is done
 * for each message takes no lock.
 */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void gate_lock(void)
{
    pthread_mutex_lock(&gate);
}

static void gate_unlock(void)
{
    pthread_mutex_unlock(&gate);
}

static void watch_forks(void)
{
    pthread_atfork(gate_lock, gate_unlock, gate_unlock);
}

static void enter(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    gate_lock();
}

int mkv__random(void *out, size_t len)
{
    /* OpenSSL's generator has locks too, and state to share. */
    return mkv__os_random(out, len) < 0 ? -ENOMEM : 0;
}

int mkv__sha256(const void *data, size_t len, uint8_t out[32])
{
    enter();
    bool ok = EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1;
    gate_unlock();
    return ok ? 0 : -ENOMEM;
}

bool mkv__same(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void mkv__wipe(void *p, size_t len)
{
    OPENSSL_cleanse(p, len);
}

int mkv__digest_create(struct mkv__digest **out)
{
    struct mkv__digest *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return -ENOMEM;
    }
    enter();
    d->context = EVP_MD_CTX_new();
    d->copy = EVP_MD_CTX_new();
    bool ok = d->context != NULL && d->copy != NULL &&
              EVP_DigestInit_ex(d->context, EVP_sha256(), NULL) == 1;
    gate_unlock();
    if (!ok) {
        mkv__digest_destroy(&d);
        return -ENOMEM;
    }
    *out = d;
    return 0;
}

void mkv__digest_destroy(struct mkv__digest **digest)
{
    if (*digest != NULL) {
        EVP_MD_CTX_free((*digest)->context);
        EVP_MD_CTX_free((*digest)->copy);
        free(*digest);
        *digest = NULL;
    }
}

void mkv__digest_add(struct mkv__digest *d, const void *data, size_t len)
{
    d->bad = EVP_DigestUpdate(d->context, data, len) != 1 || d->bad;
}

int mkv__digest_now(struct mkv__digest *d, uint8_t out[32])
{
    bool ok = !d->bad && EVP_MD_CTX_copy_ex(d->copy, d->context) == 1 &&
              EVP_DigestFinal_ex(d->copy, out, NULL) == 1;
    return ok ? 0 : -ENOMEM;
}

int mkv__hmac(const uint8_t key[MKV_KEY_BYTES], const char *label, const uint8_t data[32],
              uint8_t out[32])
{
    uint8_t text[96];
    size_t n = strlen(label);
    assert(n + 32 <= sizeof(text));
    memcpy(text, label, n);
    memcpy(text + n, data, 32);
    unsigned len = 32;
    enter();
    bool ok = HMAC(EVP_sha256(), key, (int)MKV_KEY_BYTES, text, n + 32, out, &len) != NULL;
    gate_unlock();
    return ok ? 0 : -ENOMEM;
}

int mkv__hkdf(const uint8_t *key, size_t key_len, const uint8_t *salt, size_t salt_len,
              const char *label, uint8_t out[MKV_KEY_BYTES])
{
    enter();
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    const unsigned char *info = (const unsigned char *)label;
    size_t len = MKV_KEY_BYTES;
    bool ok = c != NULL && EVP_PKEY_derive_init(c) > 0 &&
              EVP_PKEY_CTX_set_hkdf_md(c, EVP_sha256()) > 0 &&
              EVP_PKEY_CTX_set1_hkdf_salt(c, salt, (int)salt_len) > 0 &&
              EVP_PKEY_CTX_set1_hkdf_key(c, key, (int)key_len) > 0 &&
              EVP_PKEY_CTX_add1_hkdf_info(c, info, (int)strlen(label)) > 0 &&
              EVP_PKEY_derive(c, out, &len) > 0;
    EVP_PKEY_CTX_free(c);
    gate_unlock();
    return ok ? 0 : -ENOMEM;
}

/* GMAC is GCM of nothing, with the message as additional data. */
struct mkv__gmac {
    EVP_CIPHER_CTX *context;
};

int mkv__gmac_create(const uint8_t key[MKV_KEY_BYTES], struct mkv__gmac **out)
{
    struct mkv__gmac *g = calloc(1, sizeof(*g));
    if (g == NULL) {
        return -ENOMEM;
    }
    enter();
    g->context = EVP_CIPHER_CTX_new();
    bool ok = g->context != NULL &&
              EVP_EncryptInit_ex(g->context, EVP_aes_256_gcm(), NULL, key, NULL) == 1;
    gate_unlock();
    if (!ok) {
        mkv__gmac_destroy(&g);
        return -ENOMEM;
    }
    *out = g;
    return 0;
}

void mkv__gmac_destroy(struct mkv__gmac **gmac)
{
    if (*gmac != NULL) {
        EVP_CIPHER_CTX_free((*gmac)->context);
        free(*gmac);
        *gmac = NULL;
    }
}

static bool take(EVP_CIPHER_CTX *context, const void *data, size_t len)
{
    int n;
    return len == 0 || EVP_EncryptUpdate(context, NULL, &n, data, (int)len) == 1;
}

int mkv__gmac_begin(struct mkv__gmac *g, const uint8_t nonce[12])
{
    return EVP_EncryptInit_ex(g->context, NULL, NULL, NULL, nonce) == 1 ? 0 : -ENOMEM;
}

int mkv__gmac_end(struct mkv__gmac *g, const void *head, size_t head_len, const void *body,
                  size_t body_len, uint8_t out[MKV_MAC_BYTES])
{
    int n;
    bool ok = take(g->context, head, head_len) && take(g->context, body, body_len) &&
              EVP_EncryptFinal_ex(g->context, out, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(g->context, EVP_CTRL_GCM_GET_TAG, (int)MKV_MAC_BYTES, out) == 1;
    return ok ? 0 : -ENOMEM;
}
