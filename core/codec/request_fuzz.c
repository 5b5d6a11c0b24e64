#include "core/codec/header.h"
#include "core/codec/message.h"

#include "testing/fuzz/fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define KEYS 40u

static void check_limits(const struct mkv__request *r)
{
    FUZZ_REQUIRE(r->n_keys <= KEYS);
    for (uint32_t i = 0; i < r->n_keys; i++) {
        FUZZ_REQUIRE(r->keys[i].key_len > 0 && r->keys[i].length <= (uint64_t)1 << 40);
        FUZZ_REQUIRE(i == 0 || r->keys[i].position > r->keys[i - 1].position);
    }
    for (uint32_t i = 0; i < r->n_segments; i++) {
        struct mkv__segment s;
        mkv__segment_get(r, i, &s);
        FUZZ_REQUIRE(s.length > 0 && s.count > 0 && s.offset <= (uint64_t)1 << 56);
        FUZZ_REQUIRE(s.count == 1 || s.stride >= s.length);
        FUZZ_REQUIRE((unsigned __int128)s.stride * (s.count - 1) <= (uint64_t)1 << 56);
    }
}

static bool same_key(const struct mkv__wire_key *a, const struct mkv__wire_key *b)
{
    return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0 &&
           a->position == b->position && a->length == b->length && a->checksum == b->checksum &&
           a->generation == b->generation && a->raw_length == b->raw_length;
}

static void check_same(const struct mkv__request *a, const struct mkv__request *b)
{
    FUZZ_REQUIRE(a->type == b->type && a->flags == b->flags);
    FUZZ_REQUIRE(a->namespace_len == b->namespace_len);
    FUZZ_REQUIRE(memcmp(a->namespace_, b->namespace_, a->namespace_len) == 0);
    FUZZ_REQUIRE(a->parent == b->parent && a->depth == b->depth);
    FUZZ_REQUIRE(a->encoding == b->encoding && a->ttl_ms == b->ttl_ms);
    FUZZ_REQUIRE(a->range_offset == b->range_offset && a->range_len == b->range_len);
    FUZZ_REQUIRE(a->n_segments == b->n_segments);
    FUZZ_REQUIRE(a->n_segments == 0 ||
                 memcmp(a->segments, b->segments, (size_t)a->n_segments * MKV_SEGMENT_BYTES) == 0);
    FUZZ_REQUIRE(a->n_keys == b->n_keys);
    for (uint32_t i = 0; i < a->n_keys; i++) {
        FUZZ_REQUIRE(same_key(&a->keys[i], &b->keys[i]));
    }
}

/* What was decoded is encoded within its bound, and decoded to the same; with an arena that is as
 * large as the keys, and not with one that lacks a byte. */
static void round_trip(const struct mkv__request *r)
{
    struct mkv__wire_key keys[KEYS];
    struct mkv__request again;
    size_t cap = mkv__request_bound(r), need = 0;
    uint8_t *out = malloc(cap);
    FUZZ_REQUIRE(out);
    int64_t len = mkv__request_encode(r, out, cap);
    FUZZ_REQUIRE(len > 0 && (size_t)len <= cap);
    for (uint32_t i = 0; i < r->n_keys; i++) {
        need += r->keys[i].key_len;
    }
    uint8_t *arena = malloc(need + 1);
    FUZZ_REQUIRE(arena);
    FUZZ_REQUIRE(
        mkv__request_decode(r->type, out, (size_t)len, keys, r->n_keys, arena, need, &again) == 0);
    check_same(r, &again);
    if (r->n_keys > 0) {
        FUZZ_REQUIRE(mkv__request_decode(r->type, out, (size_t)len, keys, KEYS, arena, need - 1,
                                         &again) == -EPROTO);
        FUZZ_REQUIRE(mkv__request_decode(r->type, out, (size_t)len, keys, r->n_keys - 1, arena,
                                         need, &again) == -EMSGSIZE);
    }
    FUZZ_REQUIRE(mkv__request_encode(r, out, (size_t)len - 1) == -EMSGSIZE);
    free(arena);
    free(out);
}

/* The first byte is the type; the rest the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct mkv__wire_key keys[KEYS];
    struct mkv__request r = {.type = 99};
    if (len == 0) {
        return 0;
    }
    uint8_t type = (uint8_t)(MKV_TYPE_GET + data[0] % 5);
    uint8_t *arena = malloc(KEYS * 256);
    FUZZ_REQUIRE(arena);
    int rc = mkv__request_decode(type, data + 1, len - 1, keys, KEYS, arena, KEYS * 256, &r);
    if (rc < 0) {
        FUZZ_REQUIRE((rc == -EPROTO || rc == -EMSGSIZE) && r.type == 99);
    } else {
        FUZZ_REQUIRE(rc == 0 && r.type == type);
        check_limits(&r);
        round_trip(&r);
    }
    free(arena);
    return 0;
}
