#include "core/codec/cursor.h"
#include "core/codec/header.h"
#include "core/codec/keys.h"
#include "core/codec/message.h"

#include <errno.h>

enum { ALL_EQUAL, EACH };

/* Far above every value and address, and so low that sums and products of them do not wrap. */
#define LENGTH_MAX ((uint64_t)1 << 40)
#define OFFSET_MAX ((uint64_t)1 << 56)

static bool has_values(uint8_t type)
{
    return type == MKV_TYPE_GET || type == MKV_TYPE_SET;
}

size_t mkv__request_bound(const struct mkv__request *r)
{
    return 64 + r->namespace_len + mkv__keys_bound(r->keys, r->n_keys) + (size_t)r->n_keys * 28 +
           (size_t)r->n_segments * MKV_SEGMENT_BYTES;
}

static void put_positions(struct mkv__cursor *c, const struct mkv__request *r)
{
    bool consecutive = true;
    for (uint32_t i = 1; i < r->n_keys; i++) {
        consecutive = consecutive && r->keys[i].position == r->keys[0].position + i;
    }
    mkv__put_le(c, consecutive ? ALL_EQUAL : EACH, 1);
    uint32_t n = consecutive ? r->n_keys > 0 : r->n_keys;
    for (uint32_t i = 0; i < n; i++) {
        mkv__put_le(c, r->keys[i].position, 4);
    }
}

static void put_lengths(struct mkv__cursor *c, const struct mkv__request *r)
{
    bool equal = true;
    for (uint32_t i = 1; i < r->n_keys; i++) {
        equal = equal && r->keys[i].length == r->keys[0].length;
    }
    mkv__put_le(c, equal ? ALL_EQUAL : EACH, 1);
    uint32_t n = equal ? r->n_keys > 0 : r->n_keys;
    for (uint32_t i = 0; i < n; i++) {
        mkv__put_le(c, r->keys[i].length, 8);
    }
}

int64_t mkv__request_encode(const struct mkv__request *r, uint8_t *out, size_t cap)
{
    struct mkv__cursor c = mkv__cursor_over(out, cap);
    mkv__put_le(&c, r->flags, 4);
    mkv__put_le(&c, r->namespace_len, 1);
    mkv__put_bytes(&c, r->namespace_, r->namespace_len);
    mkv__put_le(&c, r->n_keys, 4);
    mkv__put_le(&c, r->parent, 8);
    mkv__put_le(&c, r->depth, 4);
    mkv__keys_encode(&c, r->keys, r->n_keys);
    put_positions(&c, r);
    if (has_values(r->type)) {
        put_lengths(&c, r);
    }
    if (r->type == MKV_TYPE_GET) {
        mkv__put_le(&c, r->range_offset, 8);
        mkv__put_le(&c, r->range_len, 8);
    }
    if (r->type == MKV_TYPE_SET) {
        mkv__put_le(&c, r->encoding, 2);
        mkv__put_le(&c, r->ttl_ms, 4);
    }
    for (uint32_t i = 0; i < r->n_keys; i++) {
        if (r->type == MKV_TYPE_SET || r->type == MKV_TYPE_REPORT) {
            mkv__put_le(&c, r->keys[i].checksum, 8);
        }
        if (r->type == MKV_TYPE_REPORT) {
            mkv__put_le(&c, r->keys[i].generation, 4);
        }
        if (r->type == MKV_TYPE_SET && r->encoding != 0) {
            mkv__put_le(&c, r->keys[i].raw_length, 8);
        }
    }
    if (r->flags & MKV_REQ_SEGMENTS) {
        mkv__put_le(&c, r->n_segments, 4);
        mkv__put_bytes(&c, r->segments, (size_t)r->n_segments * MKV_SEGMENT_BYTES);
    }
    return c.bad ? -EMSGSIZE : (int64_t)(c.at - out);
}

void mkv__segment_encode(const struct mkv__segment *s, uint8_t out[MKV_SEGMENT_BYTES])
{
    struct mkv__cursor c = mkv__cursor_over(out, MKV_SEGMENT_BYTES);
    mkv__put_le(&c, s->region, 2);
    mkv__put_le(&c, s->offset, 8);
    mkv__put_le(&c, s->length, 4);
    mkv__put_le(&c, s->count, 4);
    mkv__put_le(&c, s->stride, 8);
}

void mkv__segment_get(const struct mkv__request *r, uint32_t index, struct mkv__segment *out)
{
    struct mkv__cursor c = mkv__cursor_over(r->segments + (size_t)index * MKV_SEGMENT_BYTES,
                                            MKV_SEGMENT_BYTES);
    out->region = (uint16_t)mkv__get_le(&c, 2);
    out->offset = mkv__get_le(&c, 8);
    out->length = (uint32_t)mkv__get_le(&c, 4);
    out->count = (uint32_t)mkv__get_le(&c, 4);
    out->stride = mkv__get_le(&c, 8);
}

static void get_positions(struct mkv__cursor *c, struct mkv__request *r)
{
    uint64_t form = mkv__get_le(c, 1);
    c->bad = c->bad || form > EACH;
    for (uint32_t i = 0; i < r->n_keys && !c->bad; i++) {
        uint32_t before = i > 0 ? r->keys[i - 1].position : 0;
        if (form == EACH || i == 0) {
            r->keys[i].position = (uint32_t)mkv__get_le(c, 4);
        } else {
            r->keys[i].position = before + 1;
        }
        c->bad = c->bad || (i > 0 && r->keys[i].position <= before);
    }
}

static void get_lengths(struct mkv__cursor *c, struct mkv__request *r)
{
    uint64_t form = mkv__get_le(c, 1);
    c->bad = c->bad || form > EACH;
    for (uint32_t i = 0; i < r->n_keys && !c->bad; i++) {
        r->keys[i].length = form == EACH || i == 0 ? mkv__get_le(c, 8) : r->keys[0].length;
        r->keys[i].raw_length = r->keys[i].length;
        c->bad = c->bad || r->keys[i].length > LENGTH_MAX;
    }
}

static void get_tail(struct mkv__cursor *c, struct mkv__request *r)
{
    if (r->type == MKV_TYPE_GET) {
        r->range_offset = mkv__get_le(c, 8);
        r->range_len = mkv__get_le(c, 8);
        c->bad = c->bad || r->range_offset > LENGTH_MAX || r->range_len > LENGTH_MAX;
    }
    if (r->type == MKV_TYPE_SET) {
        r->encoding = (uint16_t)mkv__get_le(c, 2);
        r->ttl_ms = (uint32_t)mkv__get_le(c, 4);
    }
    for (uint32_t i = 0; i < r->n_keys && !c->bad; i++) {
        if (r->type == MKV_TYPE_SET || r->type == MKV_TYPE_REPORT) {
            r->keys[i].checksum = mkv__get_le(c, 8);
        }
        if (r->type == MKV_TYPE_REPORT) {
            r->keys[i].generation = (uint32_t)mkv__get_le(c, 4);
        }
        if (r->type == MKV_TYPE_SET && r->encoding != 0) {
            r->keys[i].raw_length = mkv__get_le(c, 8);
            c->bad = c->bad || r->keys[i].raw_length > LENGTH_MAX;
        }
    }
}

static bool segment_is_sound(const struct mkv__segment *s)
{
    if (s->length == 0 || s->count == 0 || s->offset > OFFSET_MAX) {
        return false;
    }
    if (s->count == 1) {
        return s->stride == 0;
    }
    return s->stride >= s->length && s->stride <= OFFSET_MAX / (s->count - 1);
}

/* The bytes of the values, as this request moves them. */
static uint64_t bytes_of(const struct mkv__request *r)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->n_keys; i++) {
        sum += r->range_len != 0 ? r->range_len : r->keys[i].length;
    }
    return sum;
}

static void get_segments(struct mkv__cursor *c, struct mkv__request *r)
{
    uint64_t sum = 0;
    r->n_segments = (uint32_t)mkv__get_le(c, 4);
    r->segments = mkv__take(c, (size_t)r->n_segments * MKV_SEGMENT_BYTES);
    for (uint32_t i = 0; i < r->n_segments && !c->bad; i++) {
        struct mkv__segment s;
        mkv__segment_get(r, i, &s);
        c->bad = !segment_is_sound(&s) ||
                 __builtin_add_overflow(sum, (uint64_t)s.length * s.count, &sum);
    }
    c->bad = c->bad || !has_values(r->type) || sum != bytes_of(r);
}

int mkv__request_decode(uint8_t type, const uint8_t *body, size_t len, struct mkv__wire_key *keys,
                        uint32_t max_keys, uint8_t *arena, size_t arena_len,
                        struct mkv__request *out)
{
    struct mkv__cursor c = mkv__cursor_over(body, len);
    struct mkv__request r = {.type = type, .keys = keys};
    r.flags = (uint32_t)mkv__get_le(&c, 4);
    r.namespace_len = (uint8_t)mkv__get_le(&c, 1);
    r.namespace_ = mkv__take(&c, r.namespace_len);
    r.n_keys = (uint32_t)mkv__get_le(&c, 4);
    r.parent = mkv__get_le(&c, 8);
    r.depth = (uint32_t)mkv__get_le(&c, 4);
    if (c.bad) {
        return -EPROTO;
    }
    if (r.n_keys > max_keys) {
        return -EMSGSIZE;
    }
    mkv__keys_decode(&c, keys, r.n_keys, arena, arena_len);
    get_positions(&c, &r);
    if (has_values(type)) {
        get_lengths(&c, &r);
    }
    get_tail(&c, &r);
    if (r.flags & MKV_REQ_SEGMENTS) {
        get_segments(&c, &r);
    }
    if (c.bad || mkv__left(&c) != 0) {
        return -EPROTO;
    }
    *out = r;
    return 0;
}
