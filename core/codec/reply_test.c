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

#define MAX    520u
#define GET    MKV_TYPE_REPLY_TO(MKV_TYPE_GET)
#define EXISTS MKV_TYPE_REPLY_TO(MKV_TYPE_EXISTS)

static int decodes(uint8_t type, const uint8_t *body, size_t len, struct mkv__answer *answers,
                   uint32_t max)
{
    struct mkv__reply r = {.type = 99};
    uint8_t *copy = malloc(len > 0 ? len : 1); /* for the sanitizer */
    memcpy(copy, body, len);
    int result = mkv__reply_decode(type, copy, len, answers, max, &r);
    assert_int_equal(r.type, result == 0 ? type : 99); /* set on success only */
    free(copy);
    return result == 0 ? (int)r.n : result;
}

static bool same(const struct mkv__answer *a, const struct mkv__answer *b)
{
    return a->status == b->status && a->flags == b->flags && a->generation == b->generation &&
           a->lease_ms == b->lease_ms && a->length == b->length && a->checksum == b->checksum;
}

/* There and back; cut anywhere, or with a byte more, or for fewer keys, it is refused. Returns the
 * length. */
static size_t round_trip(uint8_t type, struct mkv__answer *answers, uint32_t n)
{
    static struct mkv__answer back[MAX];
    struct mkv__reply r = {.type = type, .n = n, .answers = answers};
    size_t cap = mkv__reply_bound(type, n);
    uint8_t *body = malloc(cap + 1);
    int64_t len = mkv__reply_encode(&r, body, cap);
    assert_in_range(len, 5, cap);
    for (size_t room = 0; room < (size_t)len; room++) {
        assert_int_equal(mkv__reply_encode(&r, body, room), -EMSGSIZE);
        if (len > 300 && room == 20) {
            room = (size_t)len - 20;
        }
    }
    assert_int_equal(mkv__reply_encode(&r, body, (size_t)len), len);
    uint8_t *tight = malloc(len > 0 ? (size_t)len
                                    : 1); /* not a byte over the end: for the sanitizer */
    assert_int_equal(mkv__reply_encode(&r, tight, (size_t)len), len);
    assert_memory_equal(tight, body, (size_t)len);
    free(tight);
    memset(back, 0x55, sizeof(back));
    assert_int_equal(decodes(type, body, (size_t)len, back, n), n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(same(&back[i], &answers[i]));
    }
    for (size_t cut = 0; cut < (size_t)len && len < 300; cut++) {
        assert_int_equal(decodes(type, body, cut, back, n), -EPROTO);
    }
    if (n > 0) {
        assert_int_equal(decodes(type, body, (size_t)len, back, n - 1), -EPROTO);
    }
    body[len] = 0;
    assert_int_equal(decodes(type, body, (size_t)len + 1, back, n), -EPROTO);
    free(body);
    return (size_t)len;
}

static void is_golden(const char *name, uint8_t type, struct mkv__answer *answers, uint32_t n)
{
    uint8_t golden[PAGE_EXAMPLE], body[PAGE_EXAMPLE];
    struct mkv__answer back[16];
    struct mkv__reply r = {.type = type, .n = n, .answers = answers};
    int64_t len = mkv__reply_encode(&r, body, sizeof(body));
    assert_is_example(name, body, (size_t)len);
    assert_int_equal(decodes(type, golden, page_example(name, golden), back, 16), n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(same(&back[i], &answers[i]));
    }
    round_trip(type, answers, n);
}

static void test_golden_records(void **state)
{
    (void)state;
    struct mkv__answer answers[] = {
        {.status = MKV_WIRE_HIT,
         .flags = MKV_ANSWER_HOT | MKV_ANSWER_TIER,
         .generation = 7,
         .length = 4096,
         .checksum = 0xfedcba9876543210},
        {.status = MKV_WIRE_MISS, .length = 123},
    };
    is_golden("records", GET, answers, 2);
}

static void test_golden_bitmap(void **state)
{
    (void)state;
    struct mkv__answer answers[9];
    for (int i = 0; i < 9; i++) {
        answers[i] = (struct mkv__answer){.status = MKV_WIRE_MISS};
    }
    for (int i = 0; i < 4; i += 3) {
        answers[i] = (struct mkv__answer){
            .status = MKV_WIRE_HIT, .flags = MKV_ANSWER_LEASED, .lease_ms = 10000, .length = 4096};
    }
    answers[8] = (struct mkv__answer){.status = MKV_WIRE_HIT, .length = 8192};
    is_golden("bitmap", EXISTS, answers, 9);
}

static void test_numbers_of_the_page(void **state)
{
    (void)state;
    static const uint8_t statuses[] = {
        MKV_WIRE_HIT,     MKV_WIRE_MISS,   MKV_WIRE_STORED, MKV_WIRE_KEPT,    MKV_WIRE_CONFLICT,
        MKV_WIRE_BUSY,    MKV_WIRE_FULL,   MKV_WIRE_LATE,   MKV_WIRE_SKIPPED, MKV_WIRE_DAMAGED,
        MKV_WIRE_DELETED, MKV_WIRE_DENIED, MKV_WIRE_ERROR,
    };
    for (unsigned i = 0; i < sizeof(statuses); i++) {
        assert_int_equal(statuses[i], i + 1);
    }
    assert_int_equal(MKV_ANSWER_HOT, 1);
    assert_int_equal(MKV_ANSWER_TIER, 2);
    assert_int_equal(MKV_ANSWER_LEASED, 4);
}

/* Every status with every field, in every reply. */
static void test_records(void **state)
{
    (void)state;
    for (unsigned type = GET; type <= MKV_TYPE_REPLY_TO(MKV_TYPE_REPORT); type++) {
        struct mkv__answer answers[2 * MKV_WIRE_ERROR];
        for (unsigned i = 0; i < MKV_WIRE_ERROR; i++) {
            answers[2 * i] = (struct mkv__answer){.status = (uint8_t)(i + 1)};
            answers[2 * i + 1] = (struct mkv__answer){.status = (uint8_t)(i + 1),
                                                      .flags = UINT8_MAX,
                                                      .generation = UINT32_MAX,
                                                      .lease_ms = UINT32_MAX - 1,
                                                      .length = UINT64_MAX - 2,
                                                      .checksum = UINT64_MAX - 3};
        }
        assert_int_equal(round_trip((uint8_t)type, answers, 2 * MKV_WIRE_ERROR), 5 + 26 * 26);
        assert_int_equal(round_trip((uint8_t)type, answers, 0), 5);
    }
}

/* Hits and misses by a seed, with the parts that `parts` has bits for. */
static size_t bitmap(uint32_t n, unsigned parts, uint64_t seed, uint32_t *hits_out)
{
    static struct mkv__answer answers[MAX];
    *hits_out = 0;
    for (uint32_t i = 0; i < n; i++) {
        answers[i] = (struct mkv__answer){.status = MKV_WIRE_MISS};
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        if (seed >> 62 == 0) {
            continue;
        }
        bool leased = parts & 1 && seed >> 61 & 1;
        *hits_out += 1;
        answers[i].status = MKV_WIRE_HIT;
        answers[i].lease_ms = leased ? 9999 : 0;
        answers[i].flags = (uint8_t)((leased ? MKV_ANSWER_LEASED : 0) | (parts & 2 ? 0xf3 : 0));
        answers[i].generation = parts & 4 ? (uint32_t)seed | 1 : 0;
        answers[i].length = parts & 8 ? seed | 1 : 0;
        answers[i].checksum = parts & 16 ? ~seed | 1 : 0;
    }
    return round_trip(EXISTS, answers, n);
}

static void test_bitmaps(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 7, 8, 9, 16, 17, 64, 513};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (unsigned parts = 0; parts < 32; parts++) {
            uint32_t hits, map = (counts[i] + 7) / 8;
            size_t len = bitmap(counts[i], parts, 7 * parts + 3, &hits);
            size_t each = (parts & 2 ? 1u : 0) + (parts & 4 ? 4u : 0) + (parts & 8 ? 8u : 0) +
                          (parts & 16 ? 8u : 0);
            assert_in_range(len, 6 + map + hits * each, 6 + 2 * map + 4 + hits * each);
        }
    }
    struct mkv__answer hits[512];
    for (int i = 0; i < 512; i++) {
        hits[i] = (struct mkv__answer){.status = MKV_WIRE_HIT};
    }
    assert_int_equal(round_trip(EXISTS, hits, 512), 70);
}

/* What a bitmap cannot say comes back all the same. */
static void test_exists_that_needs_records(void **state)
{
    (void)state;
    static const struct mkv__answer odd[] = {
        {.status = MKV_WIRE_LATE},
        {.status = MKV_WIRE_ERROR},
        {.status = MKV_WIRE_MISS, .length = 1},
        {.status = MKV_WIRE_MISS, .checksum = 1},
        {.status = MKV_WIRE_MISS, .generation = 1},
        {.status = MKV_WIRE_MISS, .flags = MKV_ANSWER_HOT},
        {.status = MKV_WIRE_MISS, .lease_ms = 1},
        {.status = MKV_WIRE_HIT, .flags = MKV_ANSWER_LEASED},
        {.status = MKV_WIRE_HIT, .lease_ms = 10000},
        {.status = MKV_WIRE_HIT, .flags = MKV_ANSWER_LEASED, .lease_ms = 9999},
    };
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct mkv__answer answers[] = {
            {.status = MKV_WIRE_HIT, .flags = MKV_ANSWER_LEASED, .lease_ms = 10000},
            odd[i],
            {.status = MKV_WIRE_MISS},
        };
        assert_int_equal(round_trip(EXISTS, answers, 3), 5 + 3 * 26);
    }
}

static void test_impossible_replies(void **state)
{
    (void)state;
    struct mkv__answer answers[16];
    static const struct {
        uint8_t bytes[40];
        size_t len;
        int result;
    } cases[] = {
        {{3, 0, 0, 0, 1, 0, 5}, 7, 3},
        {{3, 0, 0, 0, 1, 0, 8}, 7, -EPROTO},                 /* a bit for a fourth key */
        {{8, 0, 0, 0, 1, 0, 255}, 7, 8},                     /* there are no bits behind */
        {{3, 0, 0, 0, 2, 0, 5}, 7, -EPROTO},                 /* form 2 */
        {{3, 0, 0, 0, 1, 32, 5}, 7, -EPROTO},                /* an unknown part */
        {{3, 0, 0, 0, 1, 1, 5, 9, 0, 0, 0, 4}, 12, 3},       /* leases */
        {{3, 0, 0, 0, 1, 1, 5, 0, 0, 0, 0, 4}, 12, -EPROTO}, /* of 0 ms */
        {{3, 0, 0, 0, 1, 1, 5, 9, 0, 0, 0, 2}, 12, -EPROTO}, /* of a miss */
        {{3, 0, 0, 0, 1, 1, 5, 9, 0, 0, 0, 8}, 12, -EPROTO}, /* of a fourth key */
        {{3, 0, 0, 0, 1, 2, 5, 1, 2}, 9, 3},                 /* flags */
        {{3, 0, 0, 0, 1, 2, 5, 1, 4}, 9, -EPROTO},           /* LEASED among them */
        {{3, 0, 0, 0, 1, 2, 5, 1}, 8, -EPROTO},              /* one too few */
        {{17, 0, 0, 0, 1, 0, 0, 0, 0}, 9, -EPROTO},          /* more keys than asked for */
        {{255, 255, 255, 255, 1, 0}, 6, -EPROTO},
        {{255, 255, 255, 255, 0}, 5, -EPROTO},
        {{1, 0, 0, 0, 0, 0}, 5 + 26, -EPROTO}, /* status 0 */
        {{1, 0, 0, 0, 0, 1}, 5 + 26, 1},
        {{1, 0, 0, 0, 0, 13}, 5 + 26, 1},
        {{1, 0, 0, 0, 0, 14}, 5 + 26, -EPROTO},
        {{1, 0, 0, 0, 0, 255}, 5 + 26, -EPROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = decodes(EXISTS, cases[i].bytes, cases[i].len, answers, 16);
        if (r != cases[i].result) {
            fail_msg("case %zu: %d", i, r);
        }
        if (cases[i].bytes[4] == 1) { /* a bitmap answers nothing but EXISTS */
            assert_int_equal(decodes(GET, cases[i].bytes, cases[i].len, answers, 16), -EPROTO);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_records),
        cmocka_unit_test(test_golden_bitmap),
        cmocka_unit_test(test_numbers_of_the_page),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_bitmaps),
        cmocka_unit_test(test_exists_that_needs_records),
        cmocka_unit_test(test_impossible_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
