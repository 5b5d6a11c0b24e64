/*
 * Authentication of a connection: a shared 32-byte key proves both ends, nonces make it fresh, and
 * every control message afterwards carries a MAC.
 *
 *   client -> server  HELLO    lowest and highest version, features, key id, role and lane, nonce
 *   server -> client  WELCOME  chosen version, features, limits, nonce, proof of the server
 *   client -> server  PROVE    proof of the client
 *   (or REFUSE with a status and a text that says which side lacks what)
 *
 * proof = HMAC-SHA256(key, label || transcript so far); connection keys = HKDF-SHA256(key,
 * transcript hash, direction); MAC = AES-256-GMAC(nonce = direction || sequence). Without a key on
 * either side proofs and MACs are zeros. A key on one side only is refused.
 *
 * Bytes in, bytes out: knows no sockets, so that every transport shares it. `extra` is transport
 * data (RDMA: QPN, PSN, GID) inside the transcript.
 */
#ifndef CORE_AUTH_AUTH_H
#define CORE_AUTH_AUTH_H

#include "core/codec/header.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MKV_KEY_BYTES 32u

#define MKV_KEY_PREFIX_MAX 255u

struct mkv__auth_key {
    uint32_t id;
    uint8_t key[MKV_KEY_BYTES];
    const char *namespaces; /* prefix of the namespaces it may use, at most 255 bytes; NULL: all */
};

struct mkv__hello {
    uint8_t version_low, version_high;
    uint64_t features;
    uint64_t session; /* random; the lanes of one client session share it */
    uint8_t lane;     /* 0: control */
    uint8_t n_lanes;
    uint32_t max_requests, max_message; /* server's, in WELCOME */
    const uint8_t *extra;
    uint16_t extra_len;
};

struct mkv__handshake; /* heap object of one side of one connection */

/*
 * keys: n of them; the client uses keys[0], and copies it. n_keys 0: no authentication. A server
 * borrows them until it has taken HELLO, and copies the one that the client names; ours->extra is
 * borrowed until destroy. Errors: -ENOMEM, -EINVAL more than 256 bytes of extra or of a prefix.
 */
int mkv__handshake_create(bool server, const struct mkv__hello *ours,
                          const struct mkv__auth_key *keys, size_t n_keys,
                          struct mkv__handshake **out);
void mkv__handshake_destroy(struct mkv__handshake **handshake);
/* Server: other keys, borrowed as those before, which are borrowed no more. Without effect on a
 * handshake that has taken HELLO. */
void mkv__handshake_use(struct mkv__handshake *h, const struct mkv__auth_key *keys, size_t n_keys);
/* Client: writes HELLO (type and body) to send first. Returns the body length. */
int mkv__handshake_start(struct mkv__handshake *h, uint8_t *type_out, uint8_t *out, size_t cap);
/*
 * Takes one message of the peer. Returns the length of the answer body to send (>= 0; *type_out is
 * 0 when nothing is to be sent). Errors: -EACCES (the keys do not match or one side lacks one),
 * -EPROTO (version, malformed). On an error the server has an answer too: *type_out ==
 * MKV_TYPE_REFUSE and *out_len_out bytes in out. why_out (200 bytes) gets a text for the log.
 */
int mkv__handshake_take(struct mkv__handshake *h, uint8_t type, const uint8_t *body, size_t len,
                        uint8_t *type_out, uint8_t *out, size_t cap, size_t *out_len_out,
                        char why_out[200]);
bool mkv__handshake_done(const struct mkv__handshake *h);
/* Valid when done (the server: after HELLO). extra points into the handshake object. The client's
 * copy of its peer: version_low == version_high, the one that the server has chosen. */
const struct mkv__hello *mkv__handshake_peer(const struct mkv__handshake *h);
/* The handshake's own copy, valid until destroy; NULL: none. */
const struct mkv__auth_key *mkv__handshake_key(const struct mkv__handshake *h);

/* Sealing: one object per connection and direction. sequence starts at 1. */
struct mkv__seal;
/* When done; before, -EINVAL. */
int mkv__handshake_seals(struct mkv__handshake *h, struct mkv__seal **send_out,
                         struct mkv__seal **receive_out);
void mkv__seal_destroy(struct mkv__seal **seal);
/* Sets sequence and MAC in an encoded header. body_len 0 for DATA: only the header is covered.
 * Errors: -ENOMEM. */
int mkv__seal_apply(struct mkv__seal *seal, uint8_t header[MKV_HEADER_BYTES], const void *body,
                    size_t body_len);
/* Errors: -EACCES wrong MAC or sequence (a replay, a splice, a loss), -ENOMEM. */
int mkv__seal_check(struct mkv__seal *seal, const uint8_t header[MKV_HEADER_BYTES],
                    const void *body, size_t body_len);

/* Does now what of the next message's MAC does not depend on it, so that it need not be done when the
 * message is there: for who has nothing else to do. Errors: -ENOMEM. */
int mkv__seal_prepare(struct mkv__seal *seal);

/* From the system. Errors: -ENOMEM. Thread: any thread. */
int mkv__random(void *out, size_t len);
/* Errors: -ENOMEM. Thread: any thread. */
int mkv__sha256(const void *data, size_t len, uint8_t out[32]);

#endif
