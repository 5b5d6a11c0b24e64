#include "core/codec/keys.h"

#include "core/codec/test_page.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 64u

/* Keys of a test, as texts. */
static uint32_t keys_of(struct mkv__wire_key keys[MAX], const char *const *texts)
{
    uint32_t n = 0;
    for (; texts[n] != NULL; n++) {
        keys[n] = (struct mkv__wire_key){.key = (const uint8_t *)texts[n],
                                         .key_len = (uint8_t)strlen(texts[n])};
    }
    return n;
}

static size_t encode(const struct mkv__wire_key *keys, uint32_t n, uint8_t *out, size_t cap)
{
    struct mkv__cursor c = mkv__cursor_over(out, cap);
    mkv__keys_encode(&c, keys, n);
    assert_false(c.bad);
    assert_in_range(c.at - out, 1, mkv__keys_bound(keys, n));
    return (size_t)(c.at - out);
}

/* Decodes n keys. False: refused, or bytes are left over. */
static bool decode(const uint8_t *bytes, size_t len, struct mkv__wire_key *keys, uint32_t n,
                   uint8_t *arena, size_t arena_len)
{
    struct mkv__cursor c = mkv__cursor_over(bytes, len);
    mkv__keys_decode(&c, keys, n, arena, arena_len);
    return !c.bad && mkv__left(&c) == 0;
}

/* Returns the encoded length. The bytes lie in blocks of their own size, for the sanitizer. */
static size_t round_trip(const struct mkv__wire_key *keys, uint32_t n)
{
    size_t cap = mkv__keys_bound(keys, n), joined = 0;
    uint8_t *out = malloc(cap);
    size_t len = encode(keys, n, out, cap);
    struct mkv__wire_key back[MAX];
    for (uint32_t i = 0; i < n; i++) {
        joined += keys[i].key_len;
    }
    uint8_t *arena = malloc(joined + 1);
    assert_true(decode(out, len, back, n, arena, joined));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(back[i].key_len, keys[i].key_len);
        assert_memory_equal(back[i].key, keys[i].key, keys[i].key_len);
    }
    if (n > 0) {
        assert_false(decode(out, len, back, n, arena, joined - 1));
    }
    for (size_t cut = 0; cut < len; cut++) {
        assert_false(decode(out, cut, back, n, arena, joined));
    }
    free(arena);
    free(out);
    return len;
}

static void test_golden(void **state)
{
    (void)state;
    uint8_t out[600];
    struct mkv__wire_key keys[MAX];
    static const char *const texts[] = {
        "L0/0000000000000000000000000000000000000000000000000123456789abcdef_k",
        "L0/ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff_k", NULL};
    uint32_t n = keys_of(keys, texts);
    assert_is_example("hexadecimal keys", out, encode(keys, n, out, sizeof(out)));
    round_trip(keys, n);
}

static void test_common_ends_are_sent_once(void **state)
{
    (void)state;
    static const struct {
        const char *texts[4];
        size_t len; /* 3 + prefix + suffix + (1 + middle) for each */
    } cases[] = {
        {{NULL}, 3},
        {{"k", NULL}, 3 + 1 + 1},
        {{"abc", "abc", NULL}, 3 + 3 + 2},
        {{"page-1.k", "page-22.k", NULL}, 3 + 5 + 2 + 2 + 3},
        {{"aa", "aaa", NULL}, 3 + 2 + 1 + 2},
        {{"aaa", "aa", "aaaa", NULL}, 3 + 2 + 2 + 1 + 3},
        {{"abab", "ab", NULL}, 3 + 2 + 3 + 1},
        {{"xay", "xby", "xy", NULL}, 3 + 1 + 1 + 2 + 2 + 1},
        {{"a", "b", NULL}, 3 + 2 + 2},
        {{"ab", "cb", "ab", NULL}, 3 + 1 + 2 + 2 + 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mkv__wire_key keys[MAX];
        uint32_t n = keys_of(keys, cases[i].texts);
        assert_int_equal(round_trip(keys, n), cases[i].len);
    }
}

/* Keys of 64 digits with something before and after: 32 bytes each, wherever the digits agree. */
static void test_hexadecimal_digits_are_packed(void **state)
{
    (void)state;
    static const char digits[] = "0123456789abcdef";
    for (unsigned before = 0; before <= 191; before += 1 + before / 5) {
        for (unsigned after = 0; before + 64 + after <= 255; after += 1 + after / 3) {
            struct mkv__wire_key keys[3];
            uint8_t text[3][255];
            for (unsigned i = 0; i < 3; i++) {
                memset(text[i], '/', sizeof(text[i]));
                for (unsigned d = 0; d < 64; d++) { /* the first and the last ones agree */
                    text[i][before + d] = (uint8_t)
                        digits[d < 3 || d > 60 ? d % 16 : (d * 7 + i) % 16];
                }
                keys[i].key = text[i];
                keys[i].key_len = (uint8_t)(before + 64 + after);
            }
            assert_int_equal(round_trip(keys, 3), 3 + before + after + 3 * 32);
            assert_int_equal(round_trip(keys, 1), 3 + before + after + 32);
        }
    }
}

static void test_what_is_not_quite_hexadecimal_is_not_packed(void **state)
{
    (void)state;
    /* Capital digits would come back as small ones; 63 digits are none too few for a byte each. */
    static const char *const not [] = {"F", "g", "/", ":", "`", "@", "\xff"};
    for (size_t i = 0; i < sizeof(not ) / sizeof(not [0]); i++) {
        char text[65];
        struct mkv__wire_key key = {.key = (uint8_t *)text, .key_len = 64};
        memset(text, '7', 64);
        text[(i * 13) % 64] = not [i][0];
        assert_int_equal(round_trip(&key, 1), 3 + 64 + 1);
    }
    char text[63];
    struct mkv__wire_key key = {.key = (uint8_t *)text, .key_len = 63};
    memset(text, 'a', 63);
    assert_int_equal(round_trip(&key, 1), 3 + 63 + 1);
    /* Of different lengths, or with other text around the digits. */
    char a[66], b[66];
    struct mkv__wire_key two[] = {{.key = (uint8_t *)a, .key_len = 64},
                                  {.key = (uint8_t *)b, .key_len = 65}};
    memset(a, 'a', 66);
    memset(b, 'b', 66);
    assert_int_equal(round_trip(two, 2), 3 + 65 + 66);
    a[0] = 'x';
    b[0] = 'y';
    two[0].key_len = two[1].key_len = 65;
    assert_int_equal(round_trip(two, 2), 3 + 66 + 66);
}

/* Any keys, with much in common and little. */
static void test_any_keys(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 3000; round++) {
        static uint8_t text[MAX][255];
        struct mkv__wire_key keys[MAX];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t n = (uint32_t)(seed >> 60) + 1, letters = 1 + (uint32_t)(seed >> 40) % 4;
        unsigned longest = seed >> 33 & 1 ? 255 : 5;
        for (uint32_t i = 0; i < n; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            keys[i].key = text[i];
            keys[i].key_len = (uint8_t)(1 + (seed >> 33) % longest);
            for (unsigned j = 0; j < keys[i].key_len; j++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                text[i][j] = (uint8_t)("a\xff"
                                       "b\0"[(seed >> 33) % letters]);
            }
        }
        round_trip(keys, n);
    }
}

static void test_impossible_lists_are_refused(void **state)
{
    (void)state;
    struct mkv__wire_key keys[2];
    uint8_t arena[1024], body[600] = {0};
    static const uint8_t empty_key[] = {0, 0, 0, 0};
    static const uint8_t form_2[] = {0, 0, 2, 1, 'k'};
    static const uint8_t good[] = {0, 0, 0, 1, 'k'};
    assert_true(decode(good, sizeof(good), keys, 1, arena, sizeof(arena)));
    assert_false(decode(empty_key, sizeof(empty_key), keys, 1, arena, sizeof(arena)));
    assert_false(decode(form_2, sizeof(form_2), keys, 1, arena, sizeof(arena)));
    assert_false(decode(form_2, 3, keys, 0, arena, sizeof(arena))); /* also without keys */
    assert_false(decode(good, sizeof(good), keys, 2, arena, sizeof(arena)));
    /* 255 bytes are a key, 256 are none: prefix, middle and suffix together. */
    for (unsigned suffix = 54; suffix <= 55; suffix++) {
        size_t len = 1 + 100 + 1 + suffix + 1 + 1 + 101;
        memset(body, 'x', sizeof(body));
        body[0] = 100;
        body[101] = (uint8_t)suffix;
        body[102 + suffix] = 0;
        body[103 + suffix] = 101;
        assert_int_equal(decode(body, len, keys, 1, arena, sizeof(arena)), suffix == 54);
    }
    for (unsigned suffix = 91; suffix <= 92; suffix++) {
        size_t len = 1 + 100 + 1 + suffix + 1 + 32;
        memset(body, 'x', sizeof(body));
        body[0] = 100;
        body[101] = (uint8_t)suffix;
        body[102 + suffix] = 1;
        assert_int_equal(decode(body, len, keys, 1, arena, sizeof(arena)), suffix == 91);
    }
    assert_int_equal(keys[0].key_len, 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_common_ends_are_sent_once),
        cmocka_unit_test(test_hexadecimal_digits_are_packed),
        cmocka_unit_test(test_what_is_not_quite_hexadecimal_is_not_packed),
        cmocka_unit_test(test_any_keys),
        cmocka_unit_test(test_impossible_lists_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
