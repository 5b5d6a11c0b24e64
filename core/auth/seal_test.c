#include "core/auth/crypto.h"
#include "core/auth/test_pair.h"

static const uint8_t key[MKV_KEY_BYTES] = {1, 2, 3}, other_key[MKV_KEY_BYTES] = {1, 2, 4};
static const char body[] = "thirteen bytes";

struct frame {
    uint8_t header[MKV_HEADER_BYTES];
    uint8_t body[sizeof(body)];
};

static struct mkv__seal *seal(const uint8_t *with, unsigned direction)
{
    struct mkv__seal *s = NULL;
    assert_int_equal(mkv__seal_create(with, direction, &s), 0);
    return s;
}

static struct frame apply(struct mkv__seal *s)
{
    struct frame f;
    struct mkv__header h = {.version = 1, .type = MKV_TYPE_EXISTS, .body_len = sizeof(body)};
    memset(h.mac, 0xee, sizeof(h.mac)); /* whatever was there before */
    h.sequence = 12345;
    mkv__header_encode(&h, f.header);
    memcpy(f.body, body, sizeof(body));
    assert_int_equal(mkv__seal_apply(s, f.header, f.body, sizeof(f.body)), 0);
    return f;
}

static int check(struct mkv__seal *s, const struct frame *f)
{
    return mkv__seal_check(s, f->header, f->body, sizeof(f->body));
}

static const uint8_t *const with[] = {key, NULL}; /* with a key, and without */

static void test_sequence_begins_at_one(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct mkv__seal *send = seal(with[k], 0), *receive = seal(with[k], 0);
        uint8_t last[MKV_MAC_BYTES] = {0};
        for (uint64_t i = 1; i <= 300; i++) {
            struct mkv__header h;
            struct frame f = apply(send);
            assert_int_equal(mkv__header_decode(f.header, &h), 0);
            assert_int_equal(h.sequence, i);
            /* With a key no two MACs are the same, without one all are zero. */
            assert_int_equal(memcmp(h.mac, last, sizeof(last)) == 0, with[k] == NULL);
            memcpy(last, h.mac, sizeof(last));
            assert_int_equal(check(receive, &f), 0);
        }
        mkv__seal_destroy(&send);
        mkv__seal_destroy(&receive);
        assert_null(send);
        mkv__seal_destroy(&send);
    }
}

/* A message a second time, a later one first, one left out; and the right one is still taken. */
static void test_replay_and_reorder(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct mkv__seal *send = seal(with[k], 0), *receive = seal(with[k], 0);
        struct frame f[3];
        for (int i = 0; i < 3; i++) {
            f[i] = apply(send);
        }
        assert_int_equal(check(receive, &f[1]), -EACCES);
        assert_int_equal(check(receive, &f[0]), 0);
        assert_int_equal(check(receive, &f[0]), -EACCES);
        assert_int_equal(check(receive, &f[2]), -EACCES);
        assert_int_equal(check(receive, &f[1]), 0);
        assert_int_equal(check(receive, &f[2]), 0);
        mkv__seal_destroy(&send);
        mkv__seal_destroy(&receive);
    }
}

/* The number alone does not make an old message a new one. */
static void test_a_replay_with_another_number(void **state)
{
    (void)state;
    struct mkv__seal *send = seal(key, 0), *receive = seal(key, 0);
    struct frame f = apply(send);
    assert_int_equal(check(receive, &f), 0);
    f.header[40] = 2;
    assert_int_equal(check(receive, &f), -EACCES);
    mkv__seal_destroy(&send);
    mkv__seal_destroy(&receive);
}

/* Between connections, between directions, and of parts of two messages. */
static void test_splice(void **state)
{
    (void)state;
    struct mkv__seal *send = seal(key, 0), *other = seal(other_key, 0), *back = seal(key, 1);
    struct mkv__seal *receive = seal(key, 0);
    struct frame f = apply(send), g = apply(other), h = apply(back), spliced;
    assert_int_equal(check(receive, &g), -EACCES);
    assert_int_equal(check(receive, &h), -EACCES);
    spliced = f;
    memcpy(spliced.header + 48, h.header + 48, MKV_MAC_BYTES);
    assert_int_equal(check(receive, &spliced), -EACCES);
    assert_int_equal(check(receive, &f), 0);
    f = apply(send);
    g = apply(send);
    memcpy(g.header + 40, f.header + 40, 8); /* the second one's MAC, the first one's number */
    assert_int_equal(check(receive, &g), -EACCES);
    mkv__seal_destroy(&send);
    mkv__seal_destroy(&other);
    mkv__seal_destroy(&back);
    mkv__seal_destroy(&receive);
}

static void test_every_bit_counts(void **state)
{
    (void)state;
    struct mkv__seal *send = seal(key, 1), *receive = seal(key, 1);
    struct frame f = apply(send);
    for (size_t bit = 0; bit < 8 * MKV_HEADER_BYTES; bit++) {
        f.header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(check(receive, &f), -EACCES);
        f.header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t bit = 0; bit < 8 * sizeof(f.body); bit++) {
        f.body[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(check(receive, &f), -EACCES);
        f.body[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(mkv__seal_check(receive, f.header, f.body, sizeof(f.body) - 1), -EACCES);
    assert_int_equal(mkv__seal_check(receive, f.header, NULL, 0), -EACCES);
    assert_int_equal(check(receive, &f), 0);
    mkv__seal_destroy(&send);
    mkv__seal_destroy(&receive);
}

/* Without a key: the number counts, and a MAC that is not zero is one too many. */
static void test_without_a_key(void **state)
{
    (void)state;
    struct mkv__seal *send = seal(NULL, 0), *receive = seal(NULL, 0), *keyed = seal(key, 0);
    struct frame f = apply(send), g = apply(keyed);
    for (size_t bit = 8 * 48; bit < 8 * MKV_HEADER_BYTES; bit++) {
        f.header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(check(receive, &f), -EACCES);
        f.header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(check(receive, &g), -EACCES);
    assert_int_equal(check(receive, &f), 0);
    mkv__seal_destroy(&keyed);
    keyed = seal(key, 0);
    f = apply(send);
    f.header[40] = 1;
    assert_int_equal(check(keyed, &f), -EACCES); /* a MAC of zeros where one is wanted */
    mkv__seal_destroy(&send);
    mkv__seal_destroy(&receive);
    mkv__seal_destroy(&keyed);
}

/* Of DATA the header is covered, and the body is the checksum's matter. */
static void test_data(void **state)
{
    (void)state;
    struct mkv__seal *send = seal(key, 1), *receive = seal(key, 1);
    struct mkv__header h = {.version = 1, .type = MKV_TYPE_DATA, .body_len = 4, .aux = 77};
    uint8_t header[MKV_HEADER_BYTES];
    mkv__header_encode(&h, header);
    assert_int_equal(mkv__seal_apply(send, header, NULL, 0), 0);
    header[32] ^= 1; /* elsewhere in the value */
    assert_int_equal(mkv__seal_check(receive, header, NULL, 0), -EACCES);
    header[32] ^= 1;
    assert_int_equal(mkv__seal_check(receive, header, NULL, 0), 0);
    mkv__seal_destroy(&send);
    mkv__seal_destroy(&receive);
}

/* Every connection and direction has a key of its own, although the shared key is one. */
static void test_connections_do_not_share_keys(void **state)
{
    (void)state;
    const struct mkv__auth_key shared = {.id = 1, .key = {5}};
    struct mkv__seal *send[2][2], *receive[2][2]; /* connection, side */
    for (int i = 0; i < 2; i++) {
        struct pair p = pair_of(&shared, &shared, 1);
        assert_true(pair_shake(&p));
        for (int side = 0; side < 2; side++) {
            assert_int_equal(mkv__handshake_seals(p.side[side], &send[i][side], &receive[i][side]),
                             0);
        }
        pair_fini(&p);
    }
    for (int side = 0; side < 2; side++) {
        struct frame f = apply(send[0][side]);
        assert_int_equal(check(receive[0][side], &f), -EACCES); /* sent back to its sender */
        assert_int_equal(check(receive[1][!side], &f), -EACCES);
        assert_int_equal(check(receive[0][!side], &f), 0);
        f = apply(send[1][side]);
        assert_int_equal(check(receive[1][!side], &f), 0);
    }
    for (int i = 0; i < 4; i++) {
        mkv__seal_destroy(&send[i / 2][i % 2]);
        mkv__seal_destroy(&receive[i / 2][i % 2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence_begins_at_one),
        cmocka_unit_test(test_replay_and_reorder),
        cmocka_unit_test(test_a_replay_with_another_number),
        cmocka_unit_test(test_splice),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_without_a_key),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_connections_do_not_share_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
