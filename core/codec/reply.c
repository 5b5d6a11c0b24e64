#include "core/codec/cursor.h"
#include "core/codec/header.h"
#include "core/codec/message.h"

#include <errno.h>

#define ANSWER_BYTES 26u

/* EXISTS: all answers are HIT or MISS, without lengths: a bitmap. Else a record each. */
enum { FORM_RECORDS, FORM_BITMAP };

static bool fits_bitmap(const struct mkv__reply *r)
{
    if (r->type != MKV_TYPE_REPLY_TO(MKV_TYPE_EXISTS)) {
        return false;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        const struct mkv__answer *a = &r->answers[i];
        if ((a->status != MKV_WIRE_HIT && a->status != MKV_WIRE_MISS) || a->length != 0) {
            return false;
        }
    }
    return true;
}

size_t mkv__reply_bound(uint8_t type, uint32_t n)
{
    (void)type;
    return 16 + (size_t)n * ANSWER_BYTES;
}

static void put_bitmap(struct mkv__cursor *c, const struct mkv__reply *r)
{
    uint32_t lease = 0;
    uint8_t *bits = mkv__take(c, (r->n + 7) / 8);
    if (bits != NULL) {
        memset(bits, 0, (r->n + 7) / 8);
    }
    for (uint32_t i = 0; bits != NULL && i < r->n; i++) {
        if (r->answers[i].status == MKV_WIRE_HIT) {
            bits[i / 8] |= (uint8_t)(1u << (i % 8));
            lease = r->answers[i].lease_ms > lease ? r->answers[i].lease_ms : lease;
        }
    }
    mkv__put_le(c, lease, 4);
}

static void put_record(struct mkv__cursor *c, const struct mkv__answer *a)
{
    mkv__put_le(c, a->status, 1);
    mkv__put_le(c, a->flags, 1);
    mkv__put_le(c, a->generation, 4);
    mkv__put_le(c, a->lease_ms, 4);
    mkv__put_le(c, a->length, 8);
    mkv__put_le(c, a->checksum, 8);
}

int64_t mkv__reply_encode(const struct mkv__reply *r, uint8_t *out, size_t cap)
{
    struct mkv__cursor c = mkv__cursor_over(out, cap);
    bool bitmap = fits_bitmap(r);
    mkv__put_le(&c, r->n, 4);
    mkv__put_le(&c, bitmap ? FORM_BITMAP : FORM_RECORDS, 1);
    if (bitmap) {
        put_bitmap(&c, r);
    }
    for (uint32_t i = 0; !bitmap && i < r->n; i++) {
        put_record(&c, &r->answers[i]);
    }
    return c.bad ? -EMSGSIZE : (int64_t)(c.at - out);
}

static void get_bitmap(struct mkv__cursor *c, struct mkv__answer *answers, uint32_t n)
{
    const uint8_t *bits = mkv__take(c, (n + 7) / 8);
    uint32_t lease = (uint32_t)mkv__get_le(c, 4);
    for (uint32_t i = 0; !c->bad && i < n; i++) {
        bool hit = bits[i / 8] >> (i % 8) & 1;
        answers[i] = (struct mkv__answer){.status = hit ? MKV_WIRE_HIT : MKV_WIRE_MISS,
                                          .flags = hit && lease > 0 ? MKV_ANSWER_LEASED : 0,
                                          .lease_ms = hit ? lease : 0};
    }
}

static void get_record(struct mkv__cursor *c, struct mkv__answer *a)
{
    a->status = (uint8_t)mkv__get_le(c, 1);
    a->flags = (uint8_t)mkv__get_le(c, 1);
    a->generation = (uint32_t)mkv__get_le(c, 4);
    a->lease_ms = (uint32_t)mkv__get_le(c, 4);
    a->length = mkv__get_le(c, 8);
    a->checksum = mkv__get_le(c, 8);
    c->bad = c->bad || a->status < MKV_WIRE_HIT || a->status > MKV_WIRE_ERROR;
}

int mkv__reply_decode(uint8_t type, const uint8_t *body, size_t len, struct mkv__answer *answers,
                      uint32_t max, struct mkv__reply *out)
{
    struct mkv__cursor c = mkv__cursor_over(body, len);
    uint32_t n = (uint32_t)mkv__get_le(&c, 4);
    uint64_t form = mkv__get_le(&c, 1);
    if (c.bad || n > max || form > FORM_BITMAP ||
        (form == FORM_BITMAP && type != MKV_TYPE_REPLY_TO(MKV_TYPE_EXISTS))) {
        return -EPROTO;
    }
    if (form == FORM_BITMAP) {
        get_bitmap(&c, answers, n);
    }
    for (uint32_t i = 0; form == FORM_RECORDS && i < n && !c.bad; i++) {
        get_record(&c, &answers[i]);
    }
    if (c.bad || mkv__left(&c) != 0) {
        return -EPROTO;
    }
    *out = (struct mkv__reply){.type = type, .n = n, .answers = answers};
    return 0;
}
