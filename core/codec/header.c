#include "core/codec/header.h"

#include "core/codec/cursor.h"

#include <errno.h>

void mkv__header_encode(const struct mkv__header *h, uint8_t out[MKV_HEADER_BYTES])
{
    struct mkv__cursor c = mkv__cursor_over(out, MKV_HEADER_BYTES);
    mkv__put_le(&c, MKV_WIRE_MAGIC, 4);
    mkv__put_le(&c, h->version, 1);
    mkv__put_le(&c, h->type, 1);
    mkv__put_le(&c, h->flags, 2);
    mkv__put_le(&c, h->request_id, 8);
    mkv__put_le(&c, h->type == MKV_TYPE_DATA ? (uint32_t)h->sum : h->deadline_ms, 4);
    mkv__put_le(&c, h->cls, 1);
    mkv__put_le(&c, 0, 3);
    mkv__put_le(&c, h->body_len, 4);
    mkv__put_le(&c, h->type == MKV_TYPE_DATA ? h->sum >> 32 : 0, 4);
    mkv__put_le(&c, h->aux, 8);
    mkv__put_le(&c, h->sequence, 8);
    mkv__put_bytes(&c, h->mac, MKV_MAC_BYTES);
}

static uint32_t longest_body(uint8_t type)
{
    switch (type) {
    case MKV_TYPE_HELLO:
    case MKV_TYPE_WELCOME:
    case MKV_TYPE_PROVE:
    case MKV_TYPE_REFUSE:
        return MKV_HANDSHAKE_MAX;
    case MKV_TYPE_DATA:
        return MKV_DATA_MAX;
    case MKV_TYPE_CANCEL:
    case MKV_TYPE_PING:
    case MKV_TYPE_PONG:
    case MKV_TYPE_GOAWAY:
        return 0;
    default:
        return MKV_MESSAGE_MAX;
    }
}

int mkv__header_decode(const uint8_t in[MKV_HEADER_BYTES], struct mkv__header *out)
{
    struct mkv__cursor c = mkv__cursor_over(in, MKV_HEADER_BYTES);
    uint64_t magic = mkv__get_le(&c, 4);
    struct mkv__header h = {0};
    h.version = (uint8_t)mkv__get_le(&c, 1);
    h.type = (uint8_t)mkv__get_le(&c, 1);
    h.flags = (uint16_t)mkv__get_le(&c, 2);
    h.request_id = mkv__get_le(&c, 8);
    h.deadline_ms = (uint32_t)mkv__get_le(&c, 4);
    h.cls = (uint8_t)mkv__get_le(&c, 1);
    uint64_t zero = mkv__get_le(&c, 3);
    h.body_len = (uint32_t)mkv__get_le(&c, 4);
    uint64_t upper = mkv__get_le(&c, 4);
    if (h.type == MKV_TYPE_DATA) {
        h.sum = upper << 32 | h.deadline_ms;
        h.deadline_ms = 0;
        upper = 0;
    }
    zero |= upper;
    h.aux = mkv__get_le(&c, 8);
    h.sequence = mkv__get_le(&c, 8);
    memcpy(h.mac, mkv__take(&c, MKV_MAC_BYTES), MKV_MAC_BYTES);
    bool for_keys = h.type >= MKV_TYPE_GET && h.type <= MKV_TYPE_REPORT;
    bool critical = (h.flags & MKV_FLAG_CRITICAL) != 0 && !for_keys;
    if (magic != MKV_WIRE_MAGIC || h.version != MKV_WIRE_VERSION || zero != 0 ||
        h.body_len > longest_body(h.type) || h.cls > MKV_CLASS_BACKGROUND || critical) {
        return -EPROTO;
    }
    *out = h;
    return 0;
}
