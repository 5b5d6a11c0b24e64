#include "core/codec/header.h"
#include "core/codec/message.h"

#include "core/codec/test_page.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS     8u
#define VALUE    ((uint64_t)1 << 40) /* the longest */
#define FARTHEST ((uint64_t)1 << 56)

/* A message, decoded. It points into the body. */
struct decoded {
    struct mkv__wire_key keys[KEYS];
    struct mkv__request request;
    uint8_t arena[KEYS * 255];
};

static int decode(struct decoded *d, uint8_t type, const uint8_t *body, size_t len)
{
    memset(&d->request, 0x55, sizeof(d->request));
    return mkv__request_decode(type, body, len, d->keys, KEYS, d->arena, sizeof(d->arena),
                               &d->request);
}

/* The body in a block of its own size, for the sanitizer. */
static int decodes(uint8_t type, const uint8_t *body, size_t len)
{
    struct decoded d;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, body, len);
    int r = decode(&d, type, copy, len);
    free(copy);
    assert_true(r == 0 || d.request.type == 0x55); /* set on success only */
    return r;
}

static struct mkv__request request(uint8_t type, struct mkv__wire_key *keys, uint32_t n)
{
    return (struct mkv__request){.type = type,
                                 .namespace_ = (const uint8_t *)"ns",
                                 .namespace_len = 2,
                                 .n_keys = n,
                                 .keys = keys};
}

static struct mkv__wire_key key(const char *text)
{
    return (struct mkv__wire_key){.key = (const uint8_t *)text, .key_len = (uint8_t)strlen(text)};
}

/* Encodes within the bound, and in no byte less. free() it. */
static uint8_t *encode(const struct mkv__request *r, size_t *len_out)
{
    size_t cap = mkv__request_bound(r);
    uint8_t *out = malloc(cap);
    int64_t len = mkv__request_encode(r, out, cap);
    assert_in_range(len, 1, cap);
    assert_int_equal(mkv__request_encode(r, out, (size_t)len), len);
    uint8_t *tight = malloc((size_t)len);
    memcpy(tight, out, (size_t)len);
    for (size_t room = 0; room < (size_t)len; room++) {
        assert_int_equal(mkv__request_encode(r, out, room), -EMSGSIZE);
    }
    free(out);
    *len_out = (size_t)len;
    return tight;
}

static void assert_same(const struct mkv__request *a, const struct mkv__request *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->namespace_len, b->namespace_len);
    assert_memory_equal(a->namespace_, b->namespace_, b->namespace_len);
    assert_int_equal(a->parent, b->parent);
    assert_int_equal(a->depth, b->depth);
    assert_int_equal(a->encoding, b->encoding);
    assert_int_equal(a->ttl_ms, b->ttl_ms);
    assert_int_equal(a->range_offset, b->range_offset);
    assert_int_equal(a->range_len, b->range_len);
    assert_int_equal(a->n_segments, b->n_segments);
    if (b->n_segments > 0) {
        assert_memory_equal(a->segments, b->segments, (size_t)b->n_segments * MKV_SEGMENT_BYTES);
    }
    assert_int_equal(a->n_keys, b->n_keys);
    for (uint32_t i = 0; i < b->n_keys; i++) {
        const struct mkv__wire_key *k = &a->keys[i], *want = &b->keys[i];
        assert_int_equal(k->key_len, want->key_len);
        assert_memory_equal(k->key, want->key, want->key_len);
        assert_int_equal(k->position, want->position);
        assert_int_equal(k->length, want->length);
        assert_int_equal(k->checksum, want->checksum);
        assert_int_equal(k->generation, want->generation);
        assert_int_equal(k->raw_length, want->raw_length);
    }
}

/* There and back; cut anywhere, or with a byte more, it is refused. Returns the length. */
static size_t round_trip(const struct mkv__request *r)
{
    struct decoded d;
    size_t len;
    uint8_t *body = encode(r, &len);
    assert_int_equal(decode(&d, r->type, body, len), 0);
    assert_same(&d.request, r);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(decodes(r->type, body, cut), -EPROTO);
    }
    body = realloc(body, len + 1);
    body[len] = 0;
    assert_int_equal(decodes(r->type, body, len + 1), -EPROTO);
    free(body);
    return len;
}

/* The page's examples, both ways. */
static void is_golden(const char *name, const struct mkv__request *r)
{
    uint8_t golden[PAGE_EXAMPLE];
    struct decoded d;
    size_t len, n = page_example(name, golden);
    uint8_t *body = encode(r, &len);
    assert_is_example(name, body, len);
    assert_int_equal(decode(&d, r->type, golden, n), 0);
    assert_same(&d.request, r);
    free(body);
}

static void test_golden_get(void **state)
{
    (void)state;
    struct mkv__wire_key keys[] = {key("page-1.k"), key("page-22.k")};
    for (uint32_t i = 0; i < 2; i++) {
        keys[i].position = 7 + i;
        keys[i].length = keys[i].raw_length = 256;
    }
    struct mkv__request r = request(MKV_TYPE_GET, keys, 2);
    r.flags = MKV_REQ_PREFIX;
    r.parent = 0x0807060504030201;
    r.depth = 9;
    is_golden("get", &r);
}

static void test_golden_set(void **state)
{
    (void)state;
    struct mkv__wire_key keys[] = {key("a"), key("b")};
    static const struct mkv__segment segments[] = {
        {.region = 1, .offset = 65536, .length = 2048, .count = 4, .stride = 4096},
        {.region = 2, .length = 4096, .count = 1},
    };
    uint8_t table[2 * MKV_SEGMENT_BYTES];
    keys[0].position = 3;
    keys[0].length = 4096;
    keys[0].raw_length = 5000;
    keys[0].checksum = 0x1122334455667788;
    keys[1].position = 9;
    keys[1].length = 8192;
    keys[1].raw_length = 10000;
    keys[1].checksum = 0x99aabbccddeeff00;
    mkv__segment_encode(&segments[0], table);
    mkv__segment_encode(&segments[1], table + MKV_SEGMENT_BYTES);
    struct mkv__request r = request(MKV_TYPE_SET, keys, 2);
    r.namespace_len = 0;
    r.flags = MKV_REQ_SEGMENTS;
    r.encoding = 2;
    r.ttl_ms = 60000;
    r.segments = table;
    r.n_segments = 2;
    is_golden("set", &r);
    for (uint32_t i = 0; i < 2; i++) {
        struct mkv__segment s;
        mkv__segment_get(&r, i, &s);
        assert_int_equal(s.region, segments[i].region);
        assert_int_equal(s.offset, segments[i].offset);
        assert_int_equal(s.length, segments[i].length);
        assert_int_equal(s.count, segments[i].count);
        assert_int_equal(s.stride, segments[i].stride);
    }
    round_trip(&r);
}

static void test_golden_report(void **state)
{
    (void)state;
    struct mkv__wire_key k = key("k");
    k.checksum = 0xfedcba9876543210;
    k.generation = 7;
    struct mkv__request r = request(MKV_TYPE_REPORT, &k, 1);
    is_golden("report", &r);
}

/* The bits of the page's tables. */
static void test_flags_and_statuses(void **state)
{
    (void)state;
    static const uint32_t flags[] = {MKV_REQ_PREFIX,  MKV_REQ_LEASE,  MKV_REQ_WANT_LEN,
                                     MKV_REQ_REPLACE, MKV_REQ_ATOMIC, MKV_REQ_SEGMENTS,
                                     MKV_REQ_UNSUMMED};
    for (uint32_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        assert_int_equal(flags[i], 1u << i);
    }
    /* Flags that nobody knows come through and change nothing. */
    struct mkv__wire_key k = key("k");
    struct mkv__request r = request(MKV_TYPE_EXISTS, &k, 1);
    size_t plain = round_trip(&r);
    r.flags = ~(uint32_t)MKV_REQ_SEGMENTS;
    assert_int_equal(round_trip(&r), plain);
}

static void test_every_type_and_field(void **state)
{
    (void)state;
    for (unsigned type = MKV_TYPE_GET; type <= MKV_TYPE_REPORT; type++) {
        for (unsigned variant = 0; variant < 16; variant++) {
            struct mkv__wire_key keys[] = {key("abc1"), key("abc2"), key("abcd3")};
            bool values = type == MKV_TYPE_GET || type == MKV_TYPE_SET;
            struct mkv__request r = request(type, keys, 3);
            r.parent = variant & 1 ? UINT64_MAX : 0;
            r.depth = variant & 2 ? UINT32_MAX : 0;
            r.encoding = variant & 4 && type == MKV_TYPE_SET ? UINT16_MAX : 0;
            r.ttl_ms = variant & 1 && type == MKV_TYPE_SET ? UINT32_MAX : 0;
            r.range_offset = variant & 1 && type == MKV_TYPE_GET ? VALUE : 0;
            r.range_len = variant & 2 && type == MKV_TYPE_GET ? VALUE : 0;
            for (uint32_t i = 0; i < 3; i++) {
                keys[i].position = (variant & 4 ? UINT32_MAX - 10 : 5) + i * (variant & 8 ? 2 : 1);
                keys[i].length = !values ? 0 : variant & 8 ? VALUE - i : VALUE;
                keys[i].raw_length = keys[i].length - (r.encoding != 0 ? i + 1 : 0);
                bool sums = type == MKV_TYPE_SET || type == MKV_TYPE_REPORT;
                keys[i].checksum = sums ? UINT64_MAX - i : 0;
                keys[i].generation = type == MKV_TYPE_REPORT ? UINT32_MAX - i : 0;
            }
            round_trip(&r);
        }
    }
}

static void test_what_is_equal_is_sent_once(void **state)
{
    (void)state;
    struct mkv__wire_key keys[] = {key("1"), key("2"), key("3")};
    struct mkv__request r = request(MKV_TYPE_GET, keys, 3);
    for (uint32_t i = 0; i < 3; i++) {
        keys[i].position = 100 + i;
        keys[i].length = keys[i].raw_length = 4096;
    }
    size_t least = 4 + 3 + 4 + 8 + 4 + 3 + 3 * 2 + 5 + 9 + 16;
    assert_int_equal(round_trip(&r), least);
    keys[2].position++;
    assert_int_equal(round_trip(&r), least + 8);
    keys[1].length = keys[1].raw_length = 0;
    assert_int_equal(round_trip(&r), least + 8 + 16);
}

static void test_no_keys(void **state)
{
    (void)state;
    for (unsigned type = MKV_TYPE_GET; type <= MKV_TYPE_REPORT; type++) {
        struct mkv__request r = request(type, NULL, 0);
        r.namespace_len = 0;
        round_trip(&r);
    }
}

static void test_longest_namespace_and_keys(void **state)
{
    (void)state;
    uint8_t text[KEYS][255], namespace_[255];
    struct mkv__wire_key keys[KEYS];
    memset(namespace_, 'n', sizeof(namespace_));
    for (uint32_t i = 0; i < KEYS; i++) {
        memset(text[i], (int)('a' + i), sizeof(text[i]));
        keys[i] = (struct mkv__wire_key){.key = text[i], .key_len = 255, .position = i};
    }
    struct mkv__request r = request(MKV_TYPE_EXISTS, keys, KEYS);
    r.namespace_ = namespace_;
    r.namespace_len = 255;
    round_trip(&r);
}

/* A GET of one key "k", and where its fields are. */
enum {
    AT_NAMESPACE = 4,
    AT_N = 7,
    AT_KEYS = 23,
    AT_POSITIONS = 28,
    AT_LENGTHS = 33,
    AT_RANGE = 42
};

static uint8_t *get_of_one(size_t *len_out)
{
    struct mkv__wire_key k = key("k");
    k.position = 1;
    k.length = k.raw_length = 100;
    struct mkv__request r = request(MKV_TYPE_GET, &k, 1);
    uint8_t *body = encode(&r, len_out);
    assert_int_equal(*len_out, AT_RANGE + 16);
    assert_int_equal(decodes(MKV_TYPE_GET, body, *len_out), 0);
    return body;
}

static void put64(uint8_t *at, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (uint8_t)(v >> (8 * i));
    }
}

static void test_impossible_numbers(void **state)
{
    (void)state;
    size_t len;
    static const struct {
        size_t at;
        uint64_t good, bad;
    } numbers[] = {
        {AT_LENGTHS + 1, VALUE, VALUE + 1}, {AT_LENGTHS + 1, 0, (uint64_t)1 << 63},
        {AT_LENGTHS + 1, 0, UINT64_MAX},    {AT_RANGE, VALUE, VALUE + 1},
        {AT_RANGE, 0, UINT64_MAX},          {AT_RANGE + 8, VALUE, VALUE + 1},
        {AT_RANGE + 8, 0, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint8_t *body = get_of_one(&len);
        put64(body + numbers[i].at, numbers[i].good);
        assert_int_equal(decodes(MKV_TYPE_GET, body, len), 0);
        put64(body + numbers[i].at, numbers[i].bad);
        assert_int_equal(decodes(MKV_TYPE_GET, body, len), -EPROTO);
        free(body);
    }
    static const size_t forms[] = {AT_POSITIONS, AT_LENGTHS};
    for (size_t i = 0; i < 2; i++) { /* of one key both forms look alike */
        uint8_t *body = get_of_one(&len);
        body[forms[i]] = 1;
        assert_int_equal(decodes(MKV_TYPE_GET, body, len), 0);
        body[forms[i]] = 2;
        assert_int_equal(decodes(MKV_TYPE_GET, body, len), -EPROTO);
        free(body);
    }
}

static void test_impossible_counts(void **state)
{
    (void)state;
    size_t len;
    static const uint32_t counts[] = {0, 2, KEYS, KEYS + 1, UINT32_MAX, 1u << 31};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint8_t *body = get_of_one(&len);
        for (int j = 0; j < 4; j++) {
            body[AT_N + j] = (uint8_t)(counts[i] >> (8 * j));
        }
        assert_int_equal(decodes(MKV_TYPE_GET, body, len), counts[i] > KEYS ? -EMSGSIZE : -EPROTO);
        free(body);
    }
    uint8_t *body = get_of_one(&len);
    body[AT_NAMESPACE] = 255;
    assert_int_equal(decodes(MKV_TYPE_GET, body, len), -EPROTO);
    free(body);
}

static void test_positions_increase(void **state)
{
    (void)state;
    static const uint32_t positions[][3] = {
        {5, 5, 6}, {5, 4, 6},          {5, 6, 6},
        {0, 0, 1}, {UINT32_MAX, 0, 1}, {UINT32_MAX - 1, UINT32_MAX, 0},
    };
    for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        struct mkv__wire_key keys[] = {key("1"), key("2"), key("3")};
        for (int j = 0; j < 3; j++) {
            keys[j].position = positions[i][j];
        }
        struct mkv__request r = request(MKV_TYPE_EXISTS, keys, 3);
        size_t len;
        uint8_t *body = encode(&r, &len);
        assert_int_equal(decodes(MKV_TYPE_EXISTS, body, len), -EPROTO);
        free(body);
    }
}

static void test_impossible_raw_length(void **state)
{
    (void)state;
    struct mkv__wire_key k = key("k");
    struct mkv__request r = request(MKV_TYPE_SET, &k, 1);
    r.encoding = 1;
    for (int i = 0; i < 2; i++) {
        size_t len;
        k.raw_length = VALUE + (uint64_t)i;
        uint8_t *body = encode(&r, &len);
        assert_int_equal(decodes(MKV_TYPE_SET, body, len), i == 0 ? 0 : -EPROTO);
        free(body);
    }
}

/* Segments -------------------------------------------------------------------------------------- */

/* Two values of `length` bytes, and one segment. */
static int with_segment(uint8_t type, uint64_t length, uint64_t range, struct mkv__segment segment)
{
    struct mkv__wire_key keys[] = {key("1"), key("2")};
    uint8_t table[MKV_SEGMENT_BYTES];
    struct mkv__request r = request(type, keys, 2);
    size_t len;
    for (uint32_t i = 0; i < 2; i++) {
        keys[i].position = i;
        keys[i].length = keys[i].raw_length = length;
    }
    mkv__segment_encode(&segment, table);
    r.flags = MKV_REQ_SEGMENTS;
    r.range_len = range;
    r.segments = table;
    r.n_segments = 1;
    uint8_t *body = encode(&r, &len);
    int result = decodes(type, body, len);
    free(body);
    return result;
}

static void test_segments_that_are_sound(void **state)
{
    (void)state;
    static const struct {
        struct mkv__segment segment;
        uint64_t length;
        int result;
    } cases[] = {
        {{.length = 200, .count = 1}, 100, 0},
        {{.length = 200, .count = 1, .region = UINT16_MAX, .offset = FARTHEST}, 100, 0},
        {{.length = 200, .count = 1, .offset = FARTHEST + 1}, 100, -EPROTO},
        {{.length = 200, .count = 1, .stride = 1}, 100, -EPROTO},
        {{.length = 201, .count = 1}, 100, -EPROTO},
        {{.length = 199, .count = 1}, 100, -EPROTO},
        {{.length = 0, .count = 1}, 0, -EPROTO},
        {{.length = 2, .count = 0}, 0, -EPROTO},
        {{.length = 2, .count = 100, .stride = 2}, 100, 0},
        {{.length = 2, .count = 100, .stride = 1}, 100, -EPROTO}, /* they overlap */
        {{.length = 2, .count = 100, .stride = 0}, 100, -EPROTO},
        {{.length = 100, .count = 2, .stride = FARTHEST}, 100, 0},
        {{.length = 100, .count = 2, .stride = FARTHEST + 1}, 100, -EPROTO},
        {{.length = 40, .count = 5, .stride = FARTHEST / 4}, 100, 0},
        {{.length = 40, .count = 5, .stride = FARTHEST / 4 + 1}, 100, -EPROTO},
        {{.length = 40, .count = 5, .stride = UINT64_MAX}, 100, -EPROTO},
        {{.length = 1u << 31, .count = 1024, .stride = 1u << 31}, VALUE, 0},
        {{.length = UINT32_MAX, .count = UINT32_MAX, .stride = UINT32_MAX}, VALUE, -EPROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned type = MKV_TYPE_GET; type <= MKV_TYPE_SET; type++) {
            int r = with_segment(type, cases[i].length, 0, cases[i].segment);
            if (r != cases[i].result) {
                fail_msg("case %zu, type %u: %d", i, type, r);
            }
        }
    }
}

static void test_segments_of_ranges_and_of_nothing(void **state)
{
    (void)state;
    struct mkv__segment segment = {.length = 20, .count = 1};
    assert_int_equal(with_segment(MKV_TYPE_GET, 100, 10, segment), 0); /* twice the range */
    assert_int_equal(with_segment(MKV_TYPE_GET, 10, 100, segment), -EPROTO);
    for (unsigned type = MKV_TYPE_EXISTS; type <= MKV_TYPE_REPORT; type++) {
        assert_int_equal(with_segment(type, 10, 0, segment), -EPROTO);
    }
    /* A table of no segments is one of values without bytes. */
    struct mkv__wire_key k = key("k");
    struct mkv__request r = request(MKV_TYPE_SET, &k, 1);
    r.flags = MKV_REQ_SEGMENTS;
    round_trip(&r);
}

static void test_more_segments_than_there_are(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 165191050, UINT32_MAX}; /* the third wraps in 32 bits */
    struct mkv__wire_key k = key("k");
    struct mkv__request r = request(MKV_TYPE_SET, &k, 1);
    r.flags = MKV_REQ_SEGMENTS;
    size_t len;
    uint8_t *body = encode(&r, &len);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (int j = 0; j < 4; j++) {
            body[len - 4 + (size_t)j] = (uint8_t)(counts[i] >> (8 * j));
        }
        assert_int_equal(decodes(MKV_TYPE_SET, body, len), -EPROTO);
    }
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_get),
        cmocka_unit_test(test_golden_set),
        cmocka_unit_test(test_golden_report),
        cmocka_unit_test(test_flags_and_statuses),
        cmocka_unit_test(test_every_type_and_field),
        cmocka_unit_test(test_what_is_equal_is_sent_once),
        cmocka_unit_test(test_no_keys),
        cmocka_unit_test(test_longest_namespace_and_keys),
        cmocka_unit_test(test_impossible_numbers),
        cmocka_unit_test(test_impossible_counts),
        cmocka_unit_test(test_positions_increase),
        cmocka_unit_test(test_impossible_raw_length),
        cmocka_unit_test(test_segments_that_are_sound),
        cmocka_unit_test(test_segments_of_ranges_and_of_nothing),
        cmocka_unit_test(test_more_segments_than_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
