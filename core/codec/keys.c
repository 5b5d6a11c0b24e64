#include "core/codec/keys.h"

#define HEX_DIGITS 64u
#define HEX_BYTES  32u

enum { FORM_PLAIN, FORM_HEX };

static size_t common_prefix(const struct mkv__wire_key *keys, uint32_t n)
{
    size_t len = keys[0].key_len;
    for (uint32_t i = 1; i < n; i++) {
        size_t j = 0;
        while (j < len && j < keys[i].key_len && keys[i].key[j] == keys[0].key[j]) {
            j++;
        }
        len = j;
    }
    return len;
}

static size_t common_suffix(const struct mkv__wire_key *keys, uint32_t n, size_t prefix)
{
    size_t len = keys[0].key_len - prefix;
    for (uint32_t i = 1; i < n; i++) {
        size_t j = 0, room = keys[i].key_len - prefix;
        while (j < len && j < room &&
               keys[i].key[keys[i].key_len - 1 - j] == keys[0].key[keys[0].key_len - 1 - j]) {
            j++;
        }
        len = j;
    }
    return len;
}

#define IS_DIGIT 0x10u

/* The digit's value, and IS_DIGIT; 0 for what is none. */
static const uint8_t digits_of[256] = {
    ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14, ['5'] = 0x15,
    ['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19, ['a'] = 0x1a, ['b'] = 0x1b,
    ['c'] = 0x1c, ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f,
};

static bool is_hex(const uint8_t *p)
{
    uint8_t all = IS_DIGIT;
    for (uint32_t i = 0; i < HEX_DIGITS; i++) {
        all &= digits_of[p[i]];
    }
    return all != 0;
}

/* All keys are prefix, 64 hex digits, suffix, with the longest prefix and suffix outside of them? */
static bool all_hex(const struct mkv__wire_key *keys, uint32_t n, size_t *prefix, size_t *suffix)
{
    if (keys[0].key_len < HEX_DIGITS) {
        return false;
    }
    /* Digits of random keys often agree at the ends: look for the place that keeps 64 of them. */
    for (size_t at = 0; at + HEX_DIGITS <= keys[0].key_len; at++) {
        size_t rest = keys[0].key_len - at - HEX_DIGITS;
        if (at > *prefix || rest > *suffix) {
            continue;
        }
        bool all = true;
        for (uint32_t i = 0; all && i < n; i++) {
            all = keys[i].key_len == keys[0].key_len && is_hex(keys[i].key + at);
        }
        if (all) {
            *prefix = at;
            *suffix = rest;
            return true;
        }
    }
    return false;
}

size_t mkv__keys_bound(const struct mkv__wire_key *keys, uint32_t n)
{
    size_t len = 3 + 2 * 255;
    for (uint32_t i = 0; i < n; i++) {
        len += 1u + keys[i].key_len;
    }
    return len;
}

static void put_hex(struct mkv__cursor *c, const uint8_t *p)
{
    uint8_t *out = mkv__take(c, HEX_BYTES);
    for (uint32_t i = 0; out != NULL && i < HEX_BYTES; i++) {
        out[i] = (uint8_t)(digits_of[p[2 * i]] << 4 | (digits_of[p[2 * i + 1]] & 15));
    }
}

void mkv__keys_encode(struct mkv__cursor *c, const struct mkv__wire_key *keys, uint32_t n)
{
    if (n == 0) {
        mkv__put_le(c, 0, 3); /* no prefix, no suffix, plain */
        return;
    }
    size_t prefix = common_prefix(keys, n), suffix = common_suffix(keys, n, 0);
    bool hex = all_hex(keys, n, &prefix, &suffix);
    if (!hex) {
        suffix = common_suffix(keys, n, prefix);
    }
    mkv__put_le(c, prefix, 1);
    mkv__put_bytes(c, keys[0].key, prefix);
    mkv__put_le(c, suffix, 1);
    mkv__put_bytes(c, keys[0].key + keys[0].key_len - suffix, suffix);
    mkv__put_le(c, hex ? FORM_HEX : FORM_PLAIN, 1);
    for (uint32_t i = 0; i < n; i++) {
        size_t middle = keys[i].key_len - prefix - suffix;
        if (hex) {
            put_hex(c, keys[i].key + prefix);
        } else {
            mkv__put_le(c, middle, 1);
            mkv__put_bytes(c, keys[i].key + prefix, middle);
        }
    }
}

static void append(uint8_t *key, size_t *len, const uint8_t *p, size_t n)
{
    memcpy(key + *len, p, n);
    *len += n;
}

#define ROW(high)                                                                                  \
    high "0" high "1" high "2" high "3" high "4" high "5" high "6" high "7" high "8" high "9" high \
         "a" high "b" high "c" high "d" high "e" high "f"

/* Both digits of each byte. */
static const char pairs[] = ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6") ROW("7")
    ROW("8") ROW("9") ROW("a") ROW("b") ROW("c") ROW("d") ROW("e") ROW("f");

static void append_hex(uint8_t *key, size_t *len, const uint8_t *p)
{
    for (uint32_t i = 0; i < HEX_BYTES; i++) {
        memcpy(key + *len + 2 * i, pairs + 2 * p[i], 2);
    }
    *len += HEX_DIGITS;
}

void mkv__keys_decode(struct mkv__cursor *c, struct mkv__wire_key *keys, uint32_t n, uint8_t *arena,
                      size_t arena_len)
{
    size_t prefix_len = mkv__get_le(c, 1);
    const uint8_t *prefix = mkv__take(c, prefix_len);
    size_t suffix_len = mkv__get_le(c, 1);
    const uint8_t *suffix = mkv__take(c, suffix_len);
    uint64_t form = mkv__get_le(c, 1);
    if (form > FORM_HEX) {
        c->bad = true;
    }
    for (uint32_t i = 0; i < n && !c->bad; i++) {
        size_t middle_len = form == FORM_HEX ? HEX_BYTES : mkv__get_le(c, 1);
        const uint8_t *middle = mkv__take(c, middle_len);
        size_t total = prefix_len + suffix_len + (form == FORM_HEX ? HEX_DIGITS : middle_len);
        if (c->bad || total < 1 || total > 255 || total > arena_len) {
            c->bad = true;
            return;
        }
        size_t len = 0;
        append(arena, &len, prefix, prefix_len);
        if (form == FORM_HEX) {
            append_hex(arena, &len, middle);
        } else {
            append(arena, &len, middle, middle_len);
        }
        append(arena, &len, suffix, suffix_len);
        keys[i] = (struct mkv__wire_key){.key = arena, .key_len = (uint8_t)len};
        arena += len;
        arena_len -= len;
    }
}
