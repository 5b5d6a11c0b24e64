/*
 * The header before everything that travels: 64 bytes, little-endian.
 *
 *   0 magic u32 | 4 version u8 | 5 type u8 | 6 flags u16 | 8 request id u64 | 16 deadline ms u32 |
 *   20 class u8 | 21 zero u8[3] | 24 body length u32 | 28 zero u32 | 32 aux u64 | 40 sequence u64 |
 *   48 MAC u8[16]
 *
 * DATA has no deadline: there 16 is the lower and 28 the upper half of the sum of its bytes.
 *
 * aux: DATA: offset in the request's exposure; replies: credits, 0 so far; others: 0. The MAC covers the header (MAC field zero) and, but for DATA, the body.
 */
#ifndef CORE_CODEC_HEADER_H
#define CORE_CODEC_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#define MKV_WIRE_MAGIC    0x31564b4du /* "MKV1" */
#define MKV_WIRE_VERSION  1
#define MKV_HEADER_BYTES  64u
#define MKV_MAC_BYTES     16u
#define MKV_MESSAGE_MAX   (512u << 10) /* body of a control message, bytes */
#define MKV_DATA_MAX      (256u << 10) /* body of a DATA frame, bytes */
#define MKV_HANDSHAKE_MAX 1024u        /* body of a handshake message, bytes */
#define MKV_REQUESTS_MAX  256u         /* outstanding per connection: slots */
#define MKV_KEYS_MAX      4096u        /* per message */

/* Types below 32 belong to the transports, from 32 on to router and server. */
enum mkv__type {
    MKV_TYPE_HELLO = 1, /* handshake, see core/auth */
    MKV_TYPE_WELCOME,
    MKV_TYPE_PROVE,
    MKV_TYPE_REFUSE, /* body: status u8, text */
    MKV_TYPE_DATA,   /* bulk bytes at aux of the exposure of request id */
    MKV_TYPE_PULL,   /* server asks for bytes: n x {offset u64, length u64} */
    MKV_TYPE_CANCEL, /* the client withdrew the exposure of request id */
    MKV_TYPE_PING,
    MKV_TYPE_PONG,
    /* of what stands on a tcp session; tcp carries them like messages */
    MKV_TYPE_RAIL = 24, /* the handshake of a queue pair: index u8, type u8, body */
    MKV_TYPE_RAILS,     /* server: they are up; either: they cannot be, with a text */
    MKV_TYPE_TRY,    /* over rdma, once on each queue pair and each way: bytes that mean nothing */
    MKV_TYPE_FENCED, /* server, over rdma: nothing of the withdrawn request id moves any more */
    MKV_TYPE_GET = 32,
    MKV_TYPE_SET,
    MKV_TYPE_EXISTS,
    MKV_TYPE_DELETE,
    MKV_TYPE_REPORT,
    MKV_TYPE_STAT,
    MKV_TYPE_REPLY = 64, /* + 0; the reply to a request has type request + 32 */
    MKV_TYPE_GOAWAY = 127,
};
#define MKV_TYPE_REPLY_TO(type) ((type) + 32)

/*
 * A receiver ignores a flag of 0x4000..0x0100 that it does not know, or refuses where this bit is
 * set too: the server answers a request for keys with MKV_WIRE_ERROR; all else is -EPROTO.
 */
#define MKV_FLAG_CRITICAL 0x8000u

enum mkv__class { MKV_CLASS_URGENT, MKV_CLASS_BACKGROUND };

struct mkv__header {
    uint8_t version, type, cls;
    uint16_t flags;
    uint64_t request_id; /* slot u32 | generation u32 << 32 */
    uint32_t deadline_ms;
    uint32_t body_len;
    uint64_t aux;
    uint64_t sum; /* DATA, instead of deadline_ms; 0: the receiver has not asked for it */
    uint64_t sequence;
    uint8_t mac[MKV_MAC_BYTES];
};

void mkv__header_encode(const struct mkv__header *header, uint8_t out[MKV_HEADER_BYTES]);
/*
 * -EPROTO: not our magic, unknown version or class, reserved bytes set, body too long for the type,
 * a critical flag on what is not a request for keys.
 */
int mkv__header_decode(const uint8_t in[MKV_HEADER_BYTES], struct mkv__header *header_out);

#endif
