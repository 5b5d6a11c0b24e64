/*
 * Bodies of the messages between router and server. docs/protocol.md is the byte-by-byte page.
 *
 * A request lists keys of one namespace. On the wire a batch's common prefix and suffix are sent
 * once, and middles of 64 lower-case hex digits travel as 32 bytes. Decoding copies nothing but the
 * keys (into an arena of the caller) and checks every count, length and offset before use.
 */
#ifndef CORE_CODEC_MESSAGE_H
#define CORE_CODEC_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

enum mkv__wire_status {
    MKV_WIRE_HIT = 1,
    MKV_WIRE_MISS, /* also: stored under another length, which then is in length */
    MKV_WIRE_STORED,
    MKV_WIRE_KEPT,     /* same length is there; checksum tells whether the bytes differ */
    MKV_WIRE_CONFLICT, /* another length is there */
    MKV_WIRE_BUSY,     /* another request is writing this key */
    MKV_WIRE_FULL,
    MKV_WIRE_LATE,
    MKV_WIRE_SKIPPED, /* after the first miss of a PREFIX get */
    MKV_WIRE_DAMAGED, /* set: bytes did not match their checksum; nothing stored */
    MKV_WIRE_DELETED,
    MKV_WIRE_DENIED,
    MKV_WIRE_ERROR, /* unsupported or malformed request: see text */
};

enum { /* request flags (u32 in the body) */
       MKV_REQ_PREFIX = 1u << 0,
       MKV_REQ_LEASE = 1u << 1,
       MKV_REQ_WANT_LEN = 1u << 2,
       MKV_REQ_REPLACE = 1u << 3,
       MKV_REQ_ATOMIC = 1u << 4,   /* all or nothing; answer: not supported yet */
       MKV_REQ_SEGMENTS = 1u << 5, /* a segment table follows; tcp sends none */
};
enum { MKV_ANSWER_HOT = 1u << 0, MKV_ANSWER_TIER = 1u << 1, MKV_ANSWER_LEASED = 1u << 2 };

/* One key of a request. key is prefix, middle and suffix joined. */
struct mkv__wire_key {
    const uint8_t *key;
    uint8_t key_len;
    uint32_t position;   /* in the caller's batch; increasing */
    uint64_t length;     /* get, set: bytes of the value */
    uint64_t checksum;   /* set */
    uint64_t raw_length; /* set; equals length with encoding 0 */
};

struct mkv__request {
    uint8_t type; /* MKV_TYPE_GET .. MKV_TYPE_REPORT */
    uint32_t flags;
    const uint8_t *namespace_;
    uint8_t namespace_len;
    uint64_t parent;                  /* hash of the key before the first; 0: unknown */
    uint32_t depth;                   /* of the first key in its prefix; 0: unknown */
    uint16_t encoding;                /* set; 0: raw */
    uint32_t ttl_ms;                  /* set; 0: the server's */
    uint64_t range_offset, range_len; /* get; range_len 0: the whole value */
    uint32_t n_keys;
    struct mkv__wire_key *keys;
};

struct mkv__answer {
    uint8_t status; /* enum mkv__wire_status */
    uint8_t flags;
    uint32_t generation;
    uint32_t lease_ms;
    uint64_t length;
    uint64_t checksum;
};

struct mkv__reply {
    uint8_t type; /* of the request + 32 */
    uint32_t n;
    struct mkv__answer *answers;
};

/* Upper bound of the encoded size; and the encoding. Returns the length written, or -EMSGSIZE. */
size_t mkv__request_bound(const struct mkv__request *request);
int64_t mkv__request_encode(const struct mkv__request *request, uint8_t *out, size_t cap);
/*
 * Decodes into keys[max_keys] and an arena of arena_len bytes for the joined keys (256 per key is
 * always enough). Errors: -EPROTO, -EMSGSIZE too many keys. namespace_ points into `body`.
 */
int mkv__request_decode(uint8_t type, const uint8_t *body, size_t len, struct mkv__wire_key *keys,
                        uint32_t max_keys, uint8_t *arena, size_t arena_len,
                        struct mkv__request *request_out);

size_t mkv__reply_bound(uint8_t type, uint32_t n);
int64_t mkv__reply_encode(const struct mkv__reply *reply, uint8_t *out, size_t cap);
/* An EXISTS reply is a bitmap (plus lengths, checksums and the lease where asked for). */
int mkv__reply_decode(uint8_t type, const uint8_t *body, size_t len, struct mkv__answer *answers,
                      uint32_t max, struct mkv__reply *reply_out);

#endif
