#include "core/codec/header.h"

#include "core/codec/test_page.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* As the page's example has it. */
static struct mkv__header example(void)
{
    struct mkv__header h = {
        .version = 1,
        .type = MKV_TYPE_GET,
        .cls = MKV_CLASS_BACKGROUND,
        .request_id = (uint64_t)3 << 32 | 7,
        .deadline_ms = 1500,
        .body_len = 77,
        .sequence = 5,
    };
    for (int i = 0; i < 16; i++) {
        h.mac[i] = (uint8_t)(0xf0 + i);
    }
    return h;
}

static void assert_same(const struct mkv__header *a, const struct mkv__header *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->cls, b->cls);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->request_id, b->request_id);
    assert_int_equal(a->deadline_ms, b->deadline_ms);
    assert_int_equal(a->body_len, b->body_len);
    assert_int_equal(a->aux, b->aux);
    assert_int_equal(a->sum, b->sum);
    assert_int_equal(a->sequence, b->sequence);
    assert_memory_equal(a->mac, b->mac, MKV_MAC_BYTES);
}

static void test_golden(void **state)
{
    (void)state;
    uint8_t bytes[MKV_HEADER_BYTES], golden[PAGE_EXAMPLE];
    struct mkv__header h = example(), back;
    mkv__header_encode(&h, bytes);
    assert_is_example("header", bytes, sizeof(bytes));
    page_example("header", golden);
    assert_int_equal(mkv__header_decode(golden, &back), 0);
    assert_same(&h, &back);
}

static void test_the_largest_values_come_back(void **state)
{
    (void)state;
    struct mkv__header h = {.version = 1,
                            .type = MKV_TYPE_DATA,
                            .cls = MKV_CLASS_URGENT,
                            .flags = 0x7fff,
                            .request_id = UINT64_MAX,
                            .sum = UINT64_MAX - 3,
                            .body_len = MKV_DATA_MAX,
                            .aux = UINT64_MAX - 1,
                            .sequence = UINT64_MAX - 2},
                       back;
    uint8_t bytes[MKV_HEADER_BYTES];
    memset(h.mac, 0xff, sizeof(h.mac));
    mkv__header_encode(&h, bytes);
    assert_int_equal(mkv__header_decode(bytes, &back), 0);
    assert_same(&h, &back);
    h.type = MKV_TYPE_SET; /* has a deadline where DATA has half of its sum, and no sum */
    h.flags = 0;
    h.deadline_ms = UINT32_MAX;
    mkv__header_encode(&h, bytes);
    assert_int_equal(mkv__header_decode(bytes, &back), 0);
    h.sum = 0;
    assert_same(&h, &back);
    bytes[28] = 1;
    assert_int_equal(mkv__header_decode(bytes, &back), -EPROTO);
}

/* A reply's aux is for credits: it comes back although nobody looks at it yet. */
static void test_credits_travel(void **state)
{
    (void)state;
    struct mkv__header h = {.version = 1, .type = MKV_TYPE_REPLY_TO(MKV_TYPE_SET)}, back;
    uint8_t bytes[MKV_HEADER_BYTES];
    h.aux = (uint64_t)2048 << 32 | 100; /* messages, KiB */
    mkv__header_encode(&h, bytes);
    assert_int_equal(mkv__header_decode(bytes, &back), 0);
    assert_int_equal(back.aux, h.aux);
}

/* Each byte of the example set to something else: taken only where the page lets it be. */
static void test_every_byte(void **state)
{
    (void)state;
    struct mkv__header h = example(), back;
    for (size_t at = 0; at < MKV_HEADER_BYTES; at++) {
        uint8_t bytes[MKV_HEADER_BYTES];
        mkv__header_encode(&h, bytes);
        bytes[at] ^= 0x80; /* type: a reply; flags: critical, for a GET */
        bool fixed = at < 5 || (at >= 20 && at < 24) || (at >= 26 && at < 32);
        memset(&back, 0x55, sizeof(back));
        int r = mkv__header_decode(bytes, &back);
        if (r != (fixed ? -EPROTO : 0)) {
            fail_msg("byte %zu: %d", at, r);
        }
        if (fixed) {
            assert_int_equal(back.version, 0x55); /* set on success only */
        }
    }
}

static int decode_of(uint8_t type, uint16_t flags, uint32_t body_len)
{
    struct mkv__header h = {.version = 1, .type = type, .flags = flags, .body_len = body_len}, back;
    uint8_t bytes[MKV_HEADER_BYTES];
    mkv__header_encode(&h, bytes);
    return mkv__header_decode(bytes, &back);
}

static void test_longest_bodies(void **state)
{
    (void)state;
    static const struct {
        uint8_t first, last;
        uint32_t longest;
    } types[] = {
        {MKV_TYPE_HELLO, MKV_TYPE_REFUSE, 1024},
        {MKV_TYPE_DATA, MKV_TYPE_DATA, 256 << 10},
        {MKV_TYPE_PULL, MKV_TYPE_PULL, 512 << 10},
        {MKV_TYPE_CANCEL, MKV_TYPE_PONG, 0},
        {MKV_TYPE_GET, MKV_TYPE_STAT, 512 << 10},
        {MKV_TYPE_REPLY, MKV_TYPE_REPLY_TO(MKV_TYPE_STAT), 512 << 10},
        {MKV_TYPE_GOAWAY, MKV_TYPE_GOAWAY, 0},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        for (unsigned type = types[i].first; type <= types[i].last; type++) {
            assert_int_equal(decode_of((uint8_t)type, 0, types[i].longest), 0);
            assert_int_equal(decode_of((uint8_t)type, 0, types[i].longest + 1), -EPROTO);
            assert_int_equal(decode_of((uint8_t)type, 0, UINT32_MAX), -EPROTO);
        }
    }
}

/* Unknown flags pass; the critical bit only on what can be answered with "error". */
static void test_flags(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        bool for_keys = type >= MKV_TYPE_GET && type <= MKV_TYPE_REPORT;
        assert_int_equal(decode_of((uint8_t)type, 0x7fff, 0), 0);
        assert_int_equal(decode_of((uint8_t)type, 0x8000, 0), for_keys ? 0 : -EPROTO);
        assert_int_equal(decode_of((uint8_t)type, 0x8100, 0), for_keys ? 0 : -EPROTO);
    }
}

static void test_other_versions_and_classes(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        struct mkv__header h = example(), back;
        uint8_t bytes[MKV_HEADER_BYTES];
        h.version = (uint8_t)value;
        mkv__header_encode(&h, bytes);
        assert_int_equal(mkv__header_decode(bytes, &back), value == 1 ? 0 : -EPROTO);
        h = example();
        h.cls = (uint8_t)value;
        mkv__header_encode(&h, bytes);
        assert_int_equal(mkv__header_decode(bytes, &back), value <= 1 ? 0 : -EPROTO);
    }
}

/* The numbers of the page's table of types. */
static void test_types(void **state)
{
    (void)state;
    static const uint8_t types[] = {
        MKV_TYPE_HELLO, MKV_TYPE_WELCOME, MKV_TYPE_PROVE, MKV_TYPE_REFUSE, MKV_TYPE_DATA,
        MKV_TYPE_PULL,  MKV_TYPE_CANCEL,  MKV_TYPE_PING,  MKV_TYPE_PONG,
    };
    static const uint8_t requests[] = {MKV_TYPE_GET,    MKV_TYPE_SET,    MKV_TYPE_EXISTS,
                                       MKV_TYPE_DELETE, MKV_TYPE_REPORT, MKV_TYPE_STAT};
    for (size_t i = 0; i < sizeof(types); i++) {
        assert_int_equal(types[i], i + 1);
    }
    for (size_t i = 0; i < sizeof(requests); i++) {
        assert_int_equal(requests[i], 32 + i);
        assert_int_equal(MKV_TYPE_REPLY_TO(requests[i]), 64 + i);
    }
    assert_int_equal(MKV_TYPE_REPLY, 64);
    assert_int_equal(MKV_TYPE_GOAWAY, 127);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_the_largest_values_come_back),
        cmocka_unit_test(test_credits_travel),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_longest_bodies),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_other_versions_and_classes),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
