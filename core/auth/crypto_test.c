/* Published vectors: what is asked of OpenSSL is what the standards mean. */
#include "core/auth/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static size_t hex(const char *text, uint8_t *out)
{
    size_t n = 0;
    unsigned byte;
    for (; sscanf(text + 2 * n, "%2x", &byte) == 1; n++) {
        out[n] = (uint8_t)byte;
    }
    return n;
}

static void is(const uint8_t *got, const char *wanted)
{
    uint8_t bytes[64];
    size_t n = hex(wanted, bytes);
    assert_in_range(n, 16, 32);
    assert_memory_equal(got, bytes, n);
}

/* FIPS 180-4's examples; looked at on the way. */
static void test_sha256(void **state)
{
    (void)state;
    struct mkv__digest *d = NULL;
    uint8_t out[32];
    assert_int_equal(mkv__digest_create(&d), 0);
    assert_int_equal(mkv__digest_now(d, out), 0);
    is(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    mkv__digest_add(d, "a", 1);
    mkv__digest_add(d, "", 0);
    mkv__digest_add(d, "bc", 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mkv__digest_now(d, out), 0);
        is(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
    mkv__digest_add(d, "dbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 53);
    assert_int_equal(mkv__digest_now(d, out), 0);
    is(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    mkv__digest_destroy(&d);
    assert_null(d);
    mkv__digest_destroy(&d);
}

/* RFC 4231, cases 3 and 4: their keys are shorter than 32 bytes, and HMAC fills keys up with zeros. */
static void test_hmac_sha256(void **state)
{
    (void)state;
    uint8_t key[MKV_KEY_BYTES] = {0}, data[32], out[32];
    char label[19] = {0};
    memset(key, 0xaa, 20);
    memset(label, 0xdd, 18);
    memset(data, 0xdd, 32);
    assert_int_equal(mkv__hmac(key, label, data, out), 0);
    is(out, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    for (int i = 0; i < 25; i++) {
        key[i] = (uint8_t)(i + 1);
    }
    memset(label, 0xcd, 18);
    memset(data, 0xcd, 32);
    assert_int_equal(mkv__hmac(key, label, data, out), 0);
    is(out, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
}

/* RFC 5869, cases 1 to 3: the first 32 bytes. */
static void test_hkdf_sha256(void **state)
{
    (void)state;
    uint8_t key[80], salt[80], out[32];
    char label[81] = {0};
    memset(key, 0x0b, 22);
    for (int i = 0; i < 13; i++) {
        salt[i] = (uint8_t)i;
    }
    for (int i = 0; i < 10; i++) {
        label[i] = (char)(0xf0 + i);
    }
    assert_int_equal(mkv__hkdf(key, 22, salt, 13, label, out), 0);
    is(out, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    assert_int_equal(mkv__hkdf(key, 22, salt, 0, "", out), 0);
    is(out, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
    for (int i = 0; i < 80; i++) {
        key[i] = (uint8_t)i;
        salt[i] = (uint8_t)(0x60 + i);
        label[i] = (char)(0xb0 + i);
    }
    assert_int_equal(mkv__hkdf(key, 80, salt, 80, label, out), 0);
    is(out, "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c");
}

/* NIST's gcmEncryptExtIV256 (AAD of 128 bits, no text), and case 13 of the GCM specification. */
static void test_aes256_gmac(void **state)
{
    (void)state;
    uint8_t key[MKV_KEY_BYTES], nonce[12], aad[16], out[MKV_MAC_BYTES];
    struct mkv__gmac *g = NULL;
    hex("78dc4e0aaf52d935c3c01eea57428f00ca1fd475f5da86a49c8dd73d68c8e223", key);
    hex("d79cf22d504cc793c3fb6c8a", nonce);
    hex("b96baa8c1c75a671bfb2d08d06be5f36", aad);
    assert_int_equal(mkv__gmac_create(key, &g), 0);
    for (size_t cut = 0; cut <= sizeof(aad); cut++) { /* head and body are one piece */
        memset(out, 0, sizeof(out));
        assert_int_equal(mkv__gmac_begin(g, nonce), 0);
        assert_int_equal(mkv__gmac_end(g, aad, cut, aad + cut, sizeof(aad) - cut, out), 0);
        is(out, "3e5d486aa2e30b22e040b85723a06e76");
    }
    mkv__gmac_destroy(&g);
    assert_null(g);
    memset(key, 0, sizeof(key));
    memset(nonce, 0, sizeof(nonce));
    assert_int_equal(mkv__gmac_create(key, &g), 0);
    assert_int_equal(mkv__gmac_begin(g, nonce), 0);
    assert_int_equal(mkv__gmac_end(g, NULL, 0, NULL, 0, out), 0);
    is(out, "530f8afbc74536b9a963b4f1c4cb738b");
    mkv__gmac_destroy(&g);
}

static void test_same_looks_at_every_byte(void **state)
{
    (void)state;
    uint8_t a[40] = {0}, b[40] = {0};
    assert_true(mkv__same(a, b, sizeof(a)));
    for (size_t i = 0; i < 8 * sizeof(a); i++) {
        b[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_false(mkv__same(a, b, sizeof(a)));
        b[i / 8] = 0;
    }
    b[39] = 1;
    assert_true(mkv__same(a, b, 39));
}

/* Not that it is random, but that it fills everything and is not the same twice. */
static void test_random(void **state)
{
    (void)state;
    uint8_t any[33] = {0}, first[33];
    for (int round = 0; round < 64; round++) {
        uint8_t now[33] = {0};
        assert_int_equal(mkv__random(now, 32), 0);
        assert_int_equal(now[32], 0);
        assert_true(round == 0 || memcmp(first, now, 32) != 0);
        memcpy(first, now, 32);
        for (int i = 0; i < 32; i++) {
            any[i] |= now[i];
        }
    }
    for (int i = 0; i < 32; i++) {
        assert_int_not_equal(any[i], 0);
    }
}

static void test_wipe(void **state)
{
    (void)state;
    uint8_t secret[32];
    static const uint8_t zeros[32];
    memset(secret, 7, sizeof(secret));
    mkv__wipe(secret, 31);
    assert_memory_equal(secret, zeros, 31);
    assert_int_equal(secret[31], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_hmac_sha256),
        cmocka_unit_test(test_hkdf_sha256),
        cmocka_unit_test(test_aes256_gmac),
        cmocka_unit_test(test_same_looks_at_every_byte),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_wipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
