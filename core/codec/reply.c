#include "core/codec/cursor.h"
#include "core/codec/header.h"
#include "core/codec/message.h"

#include <errno.h>

#define ANSWER_BYTES 26u

enum { FORM_RECORDS, FORM_BITMAP };

/* What follows the bitmap of an EXISTS reply. */
enum {
    PART_LEASE = 1u << 0, /* u32 lease in ms, bitmap of the keys that have it */
    PART_FLAGS = 1u << 1, /* from here on one field for each hit */
    PART_GENERATION = 1u << 2,
    PART_LENGTH = 1u << 3,
    PART_CHECKSUM = 1u << 4,
    PARTS = (1u << 5) - 1,
};

/* Flags but LEASED, which the lease itself says. */
static uint8_t other_flags(const struct mkv__answer *a)
{
    return a->flags & (uint8_t)~MKV_ANSWER_LEASED;
}

/* A bitmap gives back hits of one lease, and misses that say nothing else. */
static bool fits_bitmap(const struct mkv__reply *r, unsigned *parts_out, uint32_t *lease_out)
{
    unsigned parts = 0;
    uint32_t lease = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct mkv__answer *a = &r->answers[i];
        bool leased = a->lease_ms != 0;
        bool rest = a->flags != 0 || leased || a->generation != 0 || a->length != 0 ||
                    a->checksum != 0;
        if (a->status == MKV_WIRE_MISS && !rest) {
            continue;
        }
        if (a->status != MKV_WIRE_HIT || leased != ((a->flags & MKV_ANSWER_LEASED) != 0) ||
            (leased && lease != 0 && a->lease_ms != lease)) {
            return false;
        }
        lease = leased ? a->lease_ms : lease;
        parts |= leased ? PART_LEASE : 0;
        parts |= other_flags(a) != 0 ? PART_FLAGS : 0;
        parts |= a->generation != 0 ? PART_GENERATION : 0;
        parts |= a->length != 0 ? PART_LENGTH : 0;
        parts |= a->checksum != 0 ? PART_CHECKSUM : 0;
    }
    *parts_out = parts;
    *lease_out = lease;
    return r->n > 0 && r->type == MKV_TYPE_REPLY_TO(MKV_TYPE_EXISTS);
}

size_t mkv__reply_bound(uint8_t type, uint32_t n)
{
    (void)type;
    return 16 + (size_t)n * ANSWER_BYTES; /* a bitmap with all its parts is smaller */
}

static bool bit(const uint8_t *bits, uint32_t i)
{
    return (bits[i / 8] >> (i % 8) & 1) != 0;
}

static uint8_t *take_bitmap(struct mkv__cursor *c, uint32_t n)
{
    return mkv__take(c, ((size_t)n + 7) / 8);
}

static void put_hits(struct mkv__cursor *c, const struct mkv__reply *r, bool leases)
{
    uint8_t *bits = take_bitmap(c, r->n);
    if (bits == NULL) {
        return;
    }
    memset(bits, 0, (r->n + 7) / 8);
    for (uint32_t i = 0; i < r->n; i++) {
        const struct mkv__answer *a = &r->answers[i];
        if (leases ? a->lease_ms != 0 : a->status == MKV_WIRE_HIT) {
            bits[i / 8] |= (uint8_t)(1u << (i % 8));
        }
    }
}

static void put_bitmap(struct mkv__cursor *c, const struct mkv__reply *r, unsigned parts,
                       uint32_t lease)
{
    mkv__put_le(c, parts, 1);
    put_hits(c, r, false);
    if (parts & PART_LEASE) {
        mkv__put_le(c, lease, 4);
        put_hits(c, r, true);
    }
    for (uint32_t i = 0; i < r->n && !c->bad; i++) {
        const struct mkv__answer *a = &r->answers[i];
        if (a->status == MKV_WIRE_HIT) {
            mkv__put_le(c, other_flags(a), parts & PART_FLAGS ? 1 : 0);
            mkv__put_le(c, a->generation, parts & PART_GENERATION ? 4 : 0);
            mkv__put_le(c, a->length, parts & PART_LENGTH ? 8 : 0);
            mkv__put_le(c, a->checksum, parts & PART_CHECKSUM ? 8 : 0);
        }
    }
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
    unsigned parts = 0;
    uint32_t lease = 0;
    bool bitmap = fits_bitmap(r, &parts, &lease);
    mkv__put_le(&c, r->n, 4);
    mkv__put_le(&c, bitmap ? FORM_BITMAP : FORM_RECORDS, 1);
    if (bitmap) {
        put_bitmap(&c, r, parts, lease);
    }
    for (uint32_t i = 0; !bitmap && i < r->n; i++) {
        put_record(&c, &r->answers[i]);
    }
    return c.bad ? -EMSGSIZE : (int64_t)(c.at - out);
}

/* Bits behind the last key must be 0: one reply has one form. */
static bool tail_is_clear(const uint8_t *bits, uint32_t n)
{
    return n % 8 == 0 || bits[n / 8] >> (n % 8) == 0;
}

static void get_bitmap(struct mkv__cursor *c, struct mkv__answer *answers, uint32_t n)
{
    unsigned parts = (unsigned)mkv__get_le(c, 1);
    const uint8_t *hits = take_bitmap(c, n), *leased = NULL;
    uint32_t lease = 0;
    if (parts & PART_LEASE) {
        lease = (uint32_t)mkv__get_le(c, 4);
        leased = take_bitmap(c, n);
        c->bad = c->bad || lease == 0;
    }
    if (c->bad || (parts & ~PARTS) != 0 || !tail_is_clear(hits, n) ||
        (leased != NULL && !tail_is_clear(leased, n))) {
        c->bad = true;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool has_lease = leased != NULL && bit(leased, i);
        answers[i] = (struct mkv__answer){.status = MKV_WIRE_MISS};
        if (!bit(hits, i)) {
            c->bad = c->bad || has_lease;
            continue;
        }
        answers[i].status = MKV_WIRE_HIT;
        answers[i].flags = (uint8_t)mkv__get_le(c, parts & PART_FLAGS ? 1 : 0);
        c->bad = c->bad || (answers[i].flags & MKV_ANSWER_LEASED) != 0;
        answers[i].flags |= has_lease ? MKV_ANSWER_LEASED : 0;
        answers[i].lease_ms = has_lease ? lease : 0;
        answers[i].generation = (uint32_t)mkv__get_le(c, parts & PART_GENERATION ? 4 : 0);
        answers[i].length = mkv__get_le(c, parts & PART_LENGTH ? 8 : 0);
        answers[i].checksum = mkv__get_le(c, parts & PART_CHECKSUM ? 8 : 0);
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
