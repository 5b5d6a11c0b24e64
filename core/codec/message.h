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
       MKV_REQ_UNSUMMED = 1u << 6, /* set: without checksums; get: none is wanted */
};
enum { /* flags of an answer */
       MKV_ANSWER_HOT = 1u << 0,
       MKV_ANSWER_TIER = 1u << 1,
       MKV_ANSWER_LEASED = 1u << 2,
       MKV_ANSWER_UNSUMMED = 1u << 3, /* nobody has made a checksum so far */
};

/* One key of a request. key is prefix, middle and suffix joined. */
struct mkv__wire_key {
    const uint8_t *key;
    uint8_t key_len;
    uint32_t position;   /* in the caller's batch; increasing */
    uint64_t length;     /* get, set: bytes of the value */
    uint64_t checksum;   /* set, report */
    uint32_t generation; /* report: of the object that was read; 0: unknown */
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
    uint32_t n_segments;     /* get, set with MKV_REQ_SEGMENTS; else 0 */
    const uint8_t *segments; /* encoded, MKV_SEGMENT_BYTES each; decoded: points into `body` */
};

#define MKV_SEGMENT_BYTES 26u

/*
 * `count` runs of `length` bytes, `stride` bytes apart, in a region that the client has announced on
 * this connection. A request's segments laid end to end are its linear space: the values end to end.
 */
struct mkv__segment {
    uint16_t region;
    uint64_t offset; /* bytes, of the first run in the region */
    uint32_t length, count;
    uint64_t stride; /* bytes; 0 with one run */
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

void mkv__segment_encode(const struct mkv__segment *segment, uint8_t out[MKV_SEGMENT_BYTES]);
/* index < n_segments. What request_decode took holds no empty run, no overlap and no overflow. */
void mkv__segment_get(const struct mkv__request *request, uint32_t index,
                      struct mkv__segment *segment_out);

/*
 * Upper bound of the encoded size; and the encoding. Returns the length written, or -EMSGSIZE.
 * Fields that the type does not carry are ignored. The caller keeps to what the decoder checks:
 * key_len >= 1, positions increasing, segments as long as the values.
 */
size_t mkv__request_bound(const struct mkv__request *request);
int64_t mkv__request_encode(const struct mkv__request *request, uint8_t *out, size_t cap);
/*
 * Decodes into keys[max_keys] and an arena of arena_len bytes for the joined keys (256 per key is
 * always enough). max_keys at most 4096. Errors: -EPROTO, -EMSGSIZE too many keys. namespace_ points
 * into `body`.
 */
int mkv__request_decode(uint8_t type, const uint8_t *body, size_t len, struct mkv__wire_key *keys,
                        uint32_t max_keys, uint8_t *arena, size_t arena_len,
                        struct mkv__request *request_out);

size_t mkv__reply_bound(uint8_t type, uint32_t n);
int64_t mkv__reply_encode(const struct mkv__reply *reply, uint8_t *out, size_t cap);
/*
 * An EXISTS reply of hits and misses is a bitmap, and carries flags, lease, generations, lengths and
 * checksums only where a hit has them (the server leaves out what was not asked for). With any other
 * status it is a list of records, as all others are. Both give back exactly what was encoded.
 */
int mkv__reply_decode(uint8_t type, const uint8_t *body, size_t len, struct mkv__answer *answers,
                      uint32_t max, struct mkv__reply *reply_out);

#endif
