/* Somebody in between, or without the key, who knows everything else. */
#include "core/auth/test_pair.h"

static const struct mkv__auth_key key = {.id = 1, .key = {1}};

/* Replays --------------------------------------------------------------------------------------- */

static void test_an_old_hello_and_proof(void **state)
{
    (void)state;
    struct pair old = pair_of(&key, &key, 1), now = pair_of(&key, &key, 1);
    struct note answer, nothing;
    assert_true(pair_shake(&old));
    pair_create(&now);
    assert_int_equal(pair_take(&now, SERVER, &old.sent[0], &answer), 0);
    assert_true(memcmp(answer.body, old.sent[1].body, answer.len) != 0); /* another nonce */
    assert_int_equal(pair_take(&now, SERVER, &old.sent[2], &nothing), -EACCES);
    assert_int_equal(nothing.type, MKV_TYPE_REFUSE);
    assert_int_equal(nothing.body[0], 4);
    assert_memory_equal(now.why[SERVER], "wrong key (key id 1)", 20);
    assert_false(mkv__handshake_done(now.side[SERVER]));
    pair_fini(&old);
    pair_fini(&now);
}

static void test_an_old_welcome(void **state)
{
    (void)state;
    struct pair old = pair_of(&key, &key, 1), now = pair_of(&key, &key, 1);
    struct note answer;
    assert_true(pair_shake(&old));
    pair_create(&now);
    pair_start(&now);
    assert_int_equal(pair_take(&now, CLIENT, &old.sent[1], &answer), -EACCES);
    assert_int_equal(answer.len, 0); /* no proof for who has none */
    pair_fini(&old);
    pair_fini(&now);
}

/* The server's own proof sent back to it, and the client's to the client. */
static void test_reflection(void **state)
{
    (void)state;
    struct pair p = pair_of(&key, &key, 1);
    struct note prove = {.type = MKV_TYPE_PROVE, .len = 32}, answer;
    pair_create(&p);
    pair_start(&p);
    assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &p.sent[1]), 0);
    memcpy(prove.body, p.sent[1].body + p.sent[1].len - 32, 32);
    assert_int_equal(pair_take(&p, SERVER, &prove, &answer), -EACCES);
    pair_fini(&p);
}

/* Changes --------------------------------------------------------------------------------------- */

/* With a key no bit of the three messages may change: never are both content. */
static void test_every_bit_of_the_handshake(void **state)
{
    (void)state;
    static const size_t lens[] = {67 + 2, 67 + 3 + 32, 32};
    for (int which = 0; which < 3; which++) {
        for (size_t bit = 0; bit < 8 * lens[which]; bit++) {
            struct pair p = pair_of(&key, &key, 1);
            struct note nothing;
            p.hello[CLIENT].version_high = p.hello[SERVER].version_high = 200;
            p.hello[CLIENT].extra = (const uint8_t *)"ab";
            p.hello[CLIENT].extra_len = 2;
            p.hello[SERVER].extra = (const uint8_t *)"abc";
            p.hello[SERVER].extra_len = 3;
            pair_create(&p);
            pair_start(&p);
            for (int i = 0; i < 3; i++) {
                if (i == which) {
                    assert_int_equal(p.sent[i].len, lens[which]);
                    p.sent[i].body[bit / 8] ^= (uint8_t)(1u << (bit % 8));
                }
                if (pair_take(&p, i == 1 ? CLIENT : SERVER, &p.sent[i],
                              i < 2 ? &p.sent[i + 1] : &nothing) < 0) {
                    break;
                }
            }
            assert_true(p.error[CLIENT] < 0 || p.error[SERVER] < 0);
            assert_false(mkv__handshake_done(p.side[SERVER]));
            assert_int_equal(mkv__handshake_done(p.side[CLIENT]), which == 2);
            pair_fini(&p);
        }
    }
}

/* Cut anywhere, or with a byte more, a message is malformed at once; with a key and without. */
static void test_wrong_lengths(void **state)
{
    (void)state;
    for (int keyed = 0; keyed < 2; keyed++) {
        for (int which = 0; which < 3; which++) {
            for (size_t len = 0; len <= 67 + 32 + 1; len++) {
                struct pair p = pair_of(keyed ? &key : NULL, keyed ? &key : NULL, (size_t)keyed);
                struct note answer;
                int to = which == 1 ? CLIENT : SERVER;
                pair_create(&p);
                pair_start(&p);
                for (int i = 0; i < which; i++) {
                    assert_int_equal(
                        pair_take(&p, i == 1 ? CLIENT : SERVER, &p.sent[i], &p.sent[i + 1]), 0);
                }
                if (p.sent[which].len != len) {
                    p.sent[which].len = len;
                    assert_int_equal(pair_take(&p, to, &p.sent[which], &answer), -EPROTO);
                    assert_false(mkv__handshake_done(p.side[to]));
                }
                pair_fini(&p);
            }
        }
    }
}

/* Without keys nothing is secret, and still a proof or another session is not what was asked. */
static void test_a_proof_that_nobody_asked_for(void **state)
{
    (void)state;
    struct pair p = pair_of(NULL, NULL, 0);
    struct note answer;
    pair_create(&p);
    pair_start(&p);
    assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &p.sent[1]), 0);
    assert_int_equal(pair_take(&p, CLIENT, &p.sent[1], &p.sent[2]), 0);
    p.sent[2].body[31] = 1;
    assert_int_equal(pair_take(&p, SERVER, &p.sent[2], &answer), -EPROTO);
    assert_int_equal(answer.body[0], 5);
    pair_fini(&p);
    static const size_t places[] = {3, 17}; /* lane, session */
    for (size_t i = 0; i < 2; i++) {
        pair_create(&p);
        pair_start(&p);
        assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &p.sent[1]), 0);
        p.sent[1].body[places[i]] ^= 1;
        assert_int_equal(pair_take(&p, CLIENT, &p.sent[1], &answer), -EPROTO);
        pair_fini(&p);
    }
}

/* Out of order ---------------------------------------------------------------------------------- */

/* At each step each side takes one type of message, or two; all others end it for good. */
static void test_order(void **state)
{
    (void)state;
    for (int steps = 0; steps <= 3; steps++) {
        for (unsigned type = 0; type < 256; type++) {
            for (int to = 0; to < 2; to++) {
                struct pair p = pair_of(&key, &key, 1);
                struct note odd = {.type = (uint8_t)type, .len = 32}, answer;
                pair_create(&p);
                if (steps > 0) {
                    pair_start(&p);
                }
                if (steps > 1) {
                    assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &p.sent[1]), 0);
                }
                if (steps > 2) {
                    assert_int_equal(pair_take(&p, CLIENT, &p.sent[1], &p.sent[2]), 0);
                }
                assert_true(pair_take(&p, to, &odd, &answer) < 0);
                assert_int_equal(answer.type, to == SERVER ? MKV_TYPE_REFUSE : 0);
                bool welcome = to == CLIENT && steps > 0 && steps < 3 && type == MKV_TYPE_WELCOME;
                bool refusal = to == CLIENT && steps > 0 && steps < 3 && type == MKV_TYPE_REFUSE;
                bool hello = to == SERVER && steps < 2 && type == MKV_TYPE_HELLO;
                bool prove = to == SERVER && steps > 1 && type == MKV_TYPE_PROVE;
                const char *text = "does not belong here";
                assert_int_equal(strstr(p.why[to], text) == NULL,
                                 welcome || refusal || hello || prove);
                /* It has failed, and nothing mends it. */
                if (to == SERVER) {
                    assert_true(pair_take(&p, SERVER, &p.sent[steps > 1 ? 2 : 0], &answer) < 0);
                } else {
                    assert_true(pair_take(&p, CLIENT, &p.sent[1], &answer) < 0);
                }
                assert_false(mkv__handshake_done(p.side[to]));
                pair_fini(&p);
            }
        }
    }
}

static void test_no_seals_before_the_end(void **state)
{
    (void)state;
    struct pair p = pair_of(&key, &key, 1);
    struct mkv__seal *send = NULL, *receive = NULL;
    struct note nothing;
    pair_create(&p);
    pair_start(&p);
    assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &p.sent[1]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mkv__handshake_seals(p.side[i], &send, &receive), -EINVAL);
    }
    assert_int_equal(pair_take(&p, CLIENT, &p.sent[1], &p.sent[2]), 0);
    assert_int_equal(mkv__handshake_seals(p.side[SERVER], &send, &receive), -EINVAL);
    assert_null(send);
    assert_null(receive);
    assert_int_equal(pair_take(&p, SERVER, &p.sent[2], &nothing), 0);
    assert_int_equal(nothing.type, 0);
    pair_fini(&p);
}

/* Texts and room -------------------------------------------------------------------------------- */

static void refusal(const char *body, size_t len, int error, const char *text)
{
    struct pair p = pair_of(&key, &key, 1);
    struct note refuse = {.type = MKV_TYPE_REFUSE, .len = len}, answer;
    memcpy(refuse.body, body, len);
    pair_create(&p);
    pair_start(&p);
    assert_int_equal(pair_take(&p, CLIENT, &refuse, &answer), error);
    assert_string_equal(p.why[CLIENT], text);
    assert_int_equal(answer.type, 0);
    pair_fini(&p);
}

static void test_what_a_refusal_may_say(void **state)
{
    (void)state;
    char longest[1000], text[200];
    refusal("", 0, -EPROTO, "refused: without a reason");
    refusal("\1", 1, -EPROTO, "refused: without a reason");
    refusal("\2\x1b[2Jno\n\x7f\xc3\xa4\0.", 13, -EACCES,
            "refused: ?[2Jno????"
            "?.");
    refusal("\1~ ", 3, -EPROTO, "refused: ~ ");
    refusal("\2a", 2, -EACCES, "refused: a");
    refusal("\4a", 2, -EACCES, "refused: a");
    refusal("\5a", 2, -EPROTO, "refused: a");
    refusal("\377a", 2, -EPROTO, "refused: a");
    memset(longest, 'x', sizeof(longest));
    memset(text, 'x', sizeof(text));
    memcpy(text, "refused: ", 9);
    text[9 + 179] = '\0';
    refusal(longest, sizeof(longest), -EPROTO, text);
}

/* Too little room for the answer: an error, and never a byte over the end. */
static void test_too_little_room(void **state)
{
    (void)state;
    for (size_t room = 0; room < 100; room++) {
        struct pair p = pair_of(&key, &key, 1);
        uint8_t *out = malloc(room > 0 ? room : 1), type;
        size_t len;
        char why[200];
        pair_create(&p);
        int r = mkv__handshake_start(p.side[CLIENT], &type, out, room);
        assert_int_equal(r, room < 67 ? -EMSGSIZE : 67);
        if (r > 0) {
            struct note hello = {.type = type, .len = (size_t)r}, welcome;
            memcpy(hello.body, out, hello.len);
            r = mkv__handshake_take(p.side[SERVER], type, hello.body, hello.len, &type, out, room,
                                    &len, why);
            assert_int_equal(r, room < 99 ? -EMSGSIZE : 99);
            assert_int_equal(len, room < 99 ? 0 : 99);
            mkv__handshake_destroy(&p.side[SERVER]);
            assert_int_equal(
                mkv__handshake_create(true, &p.hello[SERVER], &key, 1, &p.side[SERVER]), 0);
            assert_int_equal(pair_take(&p, SERVER, &hello, &welcome), 0);
            /* A proof has 32 bytes. */
            r = mkv__handshake_take(p.side[CLIENT], welcome.type, welcome.body, welcome.len, &type,
                                    out, room % 40, &len, why);
            assert_int_equal(r, room % 40 < 32 ? -EMSGSIZE : 32);
        }
        free(out);
        pair_fini(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_old_hello_and_proof),
        cmocka_unit_test(test_an_old_welcome),
        cmocka_unit_test(test_reflection),
        cmocka_unit_test(test_every_bit_of_the_handshake),
        cmocka_unit_test(test_wrong_lengths),
        cmocka_unit_test(test_a_proof_that_nobody_asked_for),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_no_seals_before_the_end),
        cmocka_unit_test(test_what_a_refusal_may_say),
        cmocka_unit_test(test_too_little_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
