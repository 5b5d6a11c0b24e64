#include "core/auth/auth.h"
#include "core/auth/crypto.h"
#include "core/codec/cursor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONCE_BYTES 32u
#define PROOF_BYTES 32u
#define EXTRA_MAX   256u

enum state { START, HELLO_SENT, WELCOME_SENT, DONE, FAILED };
enum {
    REFUSE_VERSION = 1,
    REFUSE_NO_KEY,
    REFUSE_UNKNOWN_KEY,
    REFUSE_WRONG_KEY,
    REFUSE_MALFORMED,
    REFUSE_ALGORITHM,
};
enum { MAC_NONE, MAC_GMAC }; /* HMAC-SHA256, HKDF-SHA256 and AES-256-GMAC together */

struct mkv__handshake {
    bool server, keyed;
    enum state state;
    struct mkv__hello ours, peer;
    uint8_t peer_extra[EXTRA_MAX];
    const struct mkv__auth_key *keys; /* server: looked at in START only */
    size_t n_keys;
    const struct mkv__auth_key *key; /* NULL: none, or &chosen */
    struct mkv__auth_key chosen;
    char namespaces[MKV_KEY_PREFIX_MAX + 1]; /* of chosen */
    struct mkv__digest *transcript;
};

static int choose(struct mkv__handshake *h, const struct mkv__auth_key *key)
{
    size_t len = key->namespaces != NULL ? strlen(key->namespaces) : 0;
    if (len > MKV_KEY_PREFIX_MAX) {
        return -EINVAL;
    }
    h->chosen = *key;
    if (key->namespaces != NULL) {
        memcpy(h->namespaces, key->namespaces, len + 1);
        h->chosen.namespaces = h->namespaces;
    }
    h->key = &h->chosen;
    return 0;
}

void mkv__handshake_use(struct mkv__handshake *h, const struct mkv__auth_key *keys, size_t n_keys)
{
    if (h->server && h->state == START) {
        h->keys = keys;
        h->n_keys = n_keys;
        h->keyed = n_keys > 0;
    }
}

int mkv__handshake_create(bool server, const struct mkv__hello *ours,
                          const struct mkv__auth_key *keys, size_t n_keys,
                          struct mkv__handshake **out)
{
    if (ours->extra_len > EXTRA_MAX) {
        return -EINVAL;
    }
    struct mkv__handshake *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return -ENOMEM;
    }
    h->server = server;
    h->ours = *ours;
    h->keyed = n_keys > 0;
    mkv__handshake_use(h, keys, n_keys);
    int r = !server && n_keys > 0 ? choose(h, &keys[0]) : 0;
    r = r < 0 ? r : mkv__digest_create(&h->transcript);
    if (r < 0) {
        mkv__handshake_destroy(&h);
        return r;
    }
    *out = h;
    return 0;
}

void mkv__handshake_destroy(struct mkv__handshake **handshake)
{
    if (*handshake != NULL) {
        mkv__digest_destroy(&(*handshake)->transcript);
        mkv__wipe(&(*handshake)->chosen, sizeof((*handshake)->chosen));
        free(*handshake);
        *handshake = NULL;
    }
}

static void put_hello(struct mkv__cursor *c, const struct mkv__hello *hello, bool keyed,
                      uint32_t key_id, const uint8_t nonce[NONCE_BYTES])
{
    mkv__put_le(c, hello->version_low, 1);
    mkv__put_le(c, hello->version_high, 1);
    mkv__put_le(c, keyed ? MAC_GMAC : MAC_NONE, 1);
    mkv__put_le(c, hello->lane, 1);
    mkv__put_le(c, hello->n_lanes, 1);
    mkv__put_le(c, key_id, 4);
    mkv__put_le(c, hello->features, 8);
    mkv__put_le(c, hello->session, 8);
    mkv__put_le(c, hello->max_requests, 4);
    mkv__put_le(c, hello->max_message, 4);
    mkv__put_le(c, hello->extra_len, 2);
    mkv__put_bytes(c, hello->extra, hello->extra_len);
    mkv__put_bytes(c, nonce, NONCE_BYTES);
}

/* The peer's greeting. Returns its MAC algorithm, MAC_NONE: it has no key; or -EPROTO. */
static int get_hello(struct mkv__handshake *h, struct mkv__cursor *c, uint32_t *key_id_out)
{
    struct mkv__hello *p = &h->peer;
    p->version_low = (uint8_t)mkv__get_le(c, 1);
    p->version_high = (uint8_t)mkv__get_le(c, 1);
    int algorithm = (int)mkv__get_le(c, 1);
    p->lane = (uint8_t)mkv__get_le(c, 1);
    p->n_lanes = (uint8_t)mkv__get_le(c, 1);
    *key_id_out = (uint32_t)mkv__get_le(c, 4);
    p->features = mkv__get_le(c, 8);
    p->session = mkv__get_le(c, 8);
    p->max_requests = (uint32_t)mkv__get_le(c, 4);
    p->max_message = (uint32_t)mkv__get_le(c, 4);
    uint16_t extra_len = (uint16_t)mkv__get_le(c, 2);
    if (extra_len > sizeof(h->peer_extra)) {
        return -EPROTO;
    }
    const uint8_t *extra = mkv__take(c, extra_len);
    if (mkv__take(c, NONCE_BYTES) == NULL) {
        return -EPROTO;
    }
    if (extra_len > 0) {
        memcpy(h->peer_extra, extra, extra_len);
    }
    p->extra = h->peer_extra;
    p->extra_len = extra_len;
    return algorithm;
}

static int proof(struct mkv__handshake *h, const char *label, uint8_t out[PROOF_BYTES])
{
    if (h->key == NULL) {
        memset(out, 0, PROOF_BYTES);
        return 0;
    }
    uint8_t digest[32];
    int r = mkv__digest_now(h->transcript, digest);
    return r < 0 ? r : mkv__hmac(h->key->key, label, digest, out);
}

int mkv__handshake_start(struct mkv__handshake *h, uint8_t *type_out, uint8_t *out, size_t cap)
{
    uint8_t nonce[NONCE_BYTES];
    int r = mkv__random(nonce, sizeof(nonce));
    if (r < 0) {
        return r;
    }
    struct mkv__cursor c = mkv__cursor_over(out, cap);
    put_hello(&c, &h->ours, h->keyed, h->key != NULL ? h->key->id : 0, nonce);
    if (c.bad) {
        return -EMSGSIZE;
    }
    h->state = HELLO_SENT;
    *type_out = MKV_TYPE_HELLO;
    mkv__digest_add(h->transcript, out, (size_t)(c.at - out));
    return (int)(c.at - out);
}

struct answer {
    uint8_t *type, *out;
    size_t cap, *len;
    char *why;
};

/* Nothing that the peer did: out of memory, randomness or room. */
static int fail(struct mkv__handshake *h, const struct answer *a, int error)
{
    snprintf(a->why, 200, "the handshake cannot be computed");
    h->state = FAILED;
    return error;
}

static int refuse(struct mkv__handshake *h, const struct answer *a, int status, int error,
                  const char *text)
{
    snprintf(a->why, 200, "%s", text);
    h->state = FAILED;
    if (h->server) {
        struct mkv__cursor c = mkv__cursor_over(a->out, a->cap);
        mkv__put_le(&c, (uint64_t)status, 1);
        mkv__put_bytes(&c, text, strlen(text));
        *a->type = MKV_TYPE_REFUSE;
        *a->len = c.bad ? 0 : (size_t)(c.at - a->out);
    }
    return error;
}

static int wrong_key(struct mkv__handshake *h, const struct answer *a, const char *text)
{
    char whole[200];
    if (h->key == NULL) { /* zeros that are not zeros */
        return refuse(h, a, REFUSE_MALFORMED, -EPROTO, "a proof, and neither side has a key");
    }
    snprintf(whole, sizeof(whole), "wrong key (key id %u): %s", (unsigned)h->key->id, text);
    return refuse(h, a, REFUSE_WRONG_KEY, -EACCES, whole);
}

static const struct mkv__auth_key *find_key(const struct mkv__handshake *h, uint32_t id)
{
    for (size_t i = 0; i < h->n_keys; i++) {
        if (h->keys[i].id == id) {
            return &h->keys[i];
        }
    }
    return NULL;
}

static int check_hello(struct mkv__handshake *h, int algorithm, uint32_t key_id,
                       const struct answer *a)
{
    char text[200];
    if (h->peer.version_low > h->peer.version_high) {
        return refuse(h, a, REFUSE_MALFORMED, -EPROTO, "a malformed greeting");
    }
    if (h->peer.version_high < h->ours.version_low || h->peer.version_low > h->ours.version_high) {
        bool old = h->peer.version_high < h->ours.version_low;
        snprintf(text, sizeof(text),
                 "no common version: server speaks %u..%u, client %u..%u; upgrade the %s",
                 h->ours.version_low, h->ours.version_high, h->peer.version_low,
                 h->peer.version_high, old ? "client" : "server");
        return refuse(h, a, REFUSE_VERSION, -EPROTO, text);
    }
    if (h->keyed && algorithm == MAC_NONE) {
        return refuse(
            h, a, REFUSE_NO_KEY, -EACCES,
            "the server has a key and this client sent none: set MEMKV_AUTH_KEY at the client");
    }
    if (!h->keyed && algorithm != MAC_NONE) {
        return refuse(
            h, a, REFUSE_NO_KEY, -EACCES,
            "the client has a key and this server has none: set MEMKV_AUTH_KEY at the server");
    }
    if (h->keyed && algorithm != MAC_GMAC) {
        snprintf(text, sizeof(text),
                 "the client asks for MAC algorithm %d, the server knows %d: upgrade the server",
                 algorithm, MAC_GMAC);
        return refuse(h, a, REFUSE_ALGORITHM, -EPROTO, text);
    }
    const struct mkv__auth_key *key = h->keyed ? find_key(h, key_id) : NULL;
    if (key != NULL && choose(h, key) < 0) {
        return fail(h, a, -EINVAL);
    }
    if (h->keyed && key == NULL) {
        snprintf(text, sizeof(text),
                 "the server has no key with id %u: add it there, or set auth_key_id at the client",
                 (unsigned)key_id);
        return refuse(h, a, REFUSE_UNKNOWN_KEY, -EACCES, text);
    }
    return 0;
}

static int put_welcome(struct mkv__handshake *h, const struct answer *a)
{
    uint8_t nonce[NONCE_BYTES], sum[PROOF_BYTES];
    struct mkv__cursor c = mkv__cursor_over(a->out, a->cap);
    struct mkv__hello welcome = h->ours;
    uint8_t chosen = h->peer.version_high < h->ours.version_high ? h->peer.version_high
                                                                 : h->ours.version_high;
    welcome.version_low = chosen;
    welcome.version_high = chosen;
    welcome.session = h->peer.session;
    welcome.lane = h->peer.lane;
    int r = mkv__random(nonce, sizeof(nonce));
    put_hello(&c, &welcome, h->keyed, h->key != NULL ? h->key->id : 0, nonce);
    mkv__digest_add(h->transcript, a->out, (size_t)(c.at - a->out));
    r = r < 0 ? r : proof(h, "memkv server", sum);
    mkv__put_bytes(&c, sum, PROOF_BYTES);
    if (r < 0 || c.bad) {
        return fail(h, a, r < 0 ? r : -EMSGSIZE);
    }
    mkv__digest_add(h->transcript, sum, PROOF_BYTES);
    h->state = WELCOME_SENT;
    *a->type = MKV_TYPE_WELCOME;
    *a->len = (size_t)(c.at - a->out);
    return (int)*a->len;
}

static int take_hello(struct mkv__handshake *h, const uint8_t *body, size_t len,
                      const struct answer *a)
{
    struct mkv__cursor c = mkv__cursor_over(body, len);
    uint32_t key_id = 0;
    int algorithm = get_hello(h, &c, &key_id);
    if (algorithm < 0 || mkv__left(&c) != 0) {
        return refuse(h, a, REFUSE_MALFORMED, -EPROTO, "a malformed greeting");
    }
    int r = check_hello(h, algorithm, key_id, a);
    if (r < 0) {
        return r;
    }
    mkv__digest_add(h->transcript, body, len);
    return put_welcome(h, a);
}

static int take_welcome(struct mkv__handshake *h, const uint8_t *body, size_t len,
                        const struct answer *a)
{
    struct mkv__cursor c = mkv__cursor_over(body, len);
    uint32_t key_id = 0;
    int algorithm = get_hello(h, &c, &key_id);
    size_t greeting = len - mkv__left(&c);
    const uint8_t *theirs = mkv__take(&c, PROOF_BYTES);
    if (algorithm < 0 || theirs == NULL || mkv__left(&c) != 0 ||
        h->peer.session != h->ours.session || h->peer.lane != h->ours.lane) {
        return refuse(h, a, 0, -EPROTO, "a malformed answer to the greeting");
    }
    if ((algorithm != MAC_NONE) != h->keyed) {
        return refuse(h, a, 0, -EACCES,
                      h->keyed
                          ? "the client has a key and the server has none: set MEMKV_AUTH_KEY at "
                            "the server"
                          : "the server has a key and this client has none: set MEMKV_AUTH_KEY");
    }
    if (h->peer.version_low != h->peer.version_high || h->peer.version_low < h->ours.version_low ||
        h->peer.version_low > h->ours.version_high) {
        return refuse(h, a, 0, -EPROTO, "the server chose a version that was not offered");
    }
    if (h->keyed && algorithm != MAC_GMAC) {
        return refuse(h, a, 0, -EPROTO, "the server chose a MAC algorithm that was not offered");
    }
    uint8_t sum[PROOF_BYTES];
    mkv__digest_add(h->transcript, body, greeting);
    int r = proof(h, "memkv server", sum);
    if (r < 0) {
        return fail(h, a, r);
    }
    if (!mkv__same(sum, theirs, PROOF_BYTES)) {
        return wrong_key(h, a,
                         "the server does not prove to have this client's key, or something "
                         "between has changed the greeting");
    }
    mkv__digest_add(h->transcript, sum, PROOF_BYTES);
    r = proof(h, "memkv client", sum);
    if (r < 0 || a->cap < PROOF_BYTES) {
        return fail(h, a, r < 0 ? r : -EMSGSIZE);
    }
    memcpy(a->out, sum, PROOF_BYTES);
    mkv__digest_add(h->transcript, sum, PROOF_BYTES);
    h->state = DONE;
    *a->type = MKV_TYPE_PROVE;
    *a->len = PROOF_BYTES;
    return PROOF_BYTES;
}

static int take_prove(struct mkv__handshake *h, const uint8_t *body, size_t len,
                      const struct answer *a)
{
    uint8_t sum[PROOF_BYTES];
    int r = proof(h, "memkv client", sum);
    if (r < 0) {
        return fail(h, a, r);
    }
    if (len != PROOF_BYTES) {
        return refuse(h, a, REFUSE_MALFORMED, -EPROTO, "a malformed proof");
    }
    if (!mkv__same(sum, body, PROOF_BYTES)) {
        return wrong_key(h, a, "the client does not prove to have the server's key");
    }
    mkv__digest_add(h->transcript, sum, PROOF_BYTES);
    h->state = DONE;
    return 0;
}

/* Nobody has proved anything yet: the text may be anybody's, so only plain characters pass. */
static int take_refuse(struct mkv__handshake *h, const uint8_t *body, size_t len,
                       const struct answer *a)
{
    char text[180] = "without a reason";
    size_t n = 0;
    for (size_t i = 1; i < len && n < sizeof(text) - 1; i++) {
        text[n++] = body[i] >= 32 && body[i] < 127 ? (char)body[i] : '?';
        text[n] = '\0';
    }
    snprintf(a->why, 200, "refused: %s", text);
    h->state = FAILED;
    bool key = len > 0 && body[0] >= REFUSE_NO_KEY && body[0] <= REFUSE_WRONG_KEY;
    return key ? -EACCES : -EPROTO;
}

int mkv__handshake_take(struct mkv__handshake *h, uint8_t type, const uint8_t *body, size_t len,
                        uint8_t *type_out, uint8_t *out, size_t cap, size_t *out_len,
                        char why_out[200])
{
    struct answer a = {type_out, out, cap, out_len, why_out};
    *type_out = 0;
    *out_len = 0;
    why_out[0] = '\0';
    if (h->server && h->state == START && type == MKV_TYPE_HELLO) {
        return take_hello(h, body, len, &a);
    }
    if (h->server && h->state == WELCOME_SENT && type == MKV_TYPE_PROVE) {
        return take_prove(h, body, len, &a);
    }
    if (!h->server && h->state == HELLO_SENT && type == MKV_TYPE_WELCOME) {
        return take_welcome(h, body, len, &a);
    }
    if (!h->server && h->state == HELLO_SENT && type == MKV_TYPE_REFUSE) {
        return take_refuse(h, body, len, &a);
    }
    return refuse(h, &a, REFUSE_MALFORMED, -EPROTO, "a message that does not belong here");
}

bool mkv__handshake_done(const struct mkv__handshake *h)
{
    return h->state == DONE;
}

const struct mkv__hello *mkv__handshake_peer(const struct mkv__handshake *h)
{
    return &h->peer;
}

const struct mkv__auth_key *mkv__handshake_key(const struct mkv__handshake *h)
{
    return h->key;
}

static int derive(const struct mkv__handshake *h, const uint8_t digest[32], const char *label,
                  uint8_t out[MKV_KEY_BYTES])
{
    return mkv__hkdf(h->key->key, MKV_KEY_BYTES, digest, 32, label, out);
}

int mkv__handshake_seals(struct mkv__handshake *h, struct mkv__seal **send_out,
                         struct mkv__seal **receive_out)
{
    if (h->state != DONE) {
        return -EINVAL;
    }
    uint8_t digest[32], keys[2][MKV_KEY_BYTES] = {{0}};
    int r = mkv__digest_now(h->transcript, digest);
    if (r == 0 && h->key != NULL) {
        r = derive(h, digest, "memkv client to server", keys[0]);
        r = r < 0 ? r : derive(h, digest, "memkv server to client", keys[1]);
    }
    const uint8_t *none = NULL;
    unsigned ours = h->server ? 1 : 0;
    struct mkv__seal *send = NULL, *receive = NULL;
    r = r < 0 ? r : mkv__seal_create(h->key != NULL ? keys[ours] : none, ours, &send);
    r = r < 0 ? r : mkv__seal_create(h->key != NULL ? keys[!ours] : none, !ours, &receive);
    mkv__wipe(keys, sizeof(keys));
    if (r < 0) {
        mkv__seal_destroy(&send);
        return r;
    }
    *send_out = send;
    *receive_out = receive;
    return 0;
}
