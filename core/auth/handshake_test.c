#include "core/auth/test_pair.h"
#include "core/codec/test_page.h"

/* Nonces as a test wants them; the linker's --wrap puts this before the real one. */
int __real_mkv__random(void *out, size_t len);
int __wrap_mkv__random(void *out, size_t len);

static int nonces; /* how many have been asked for; -1: real ones */

int __wrap_mkv__random(void *out, size_t len)
{
    if (nonces < 0) {
        return __real_mkv__random(out, len);
    }
    memset(out, nonces == 0 ? 0xc0 : 0xd0, len);
    nonces++;
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    nonces = -1;
    return 0;
}

static const struct mkv__auth_key one = {.id = 1, .key = {1}}, also_one = {.id = 1, .key = {2}},
                                  two = {.id = 2, .key = {2}};

/* Golden bytes ---------------------------------------------------------------------------------- */

static void test_golden_hello(void **state)
{
    (void)state;
    struct pair p = pair_of(&one, NULL, 0);
    struct mkv__hello *hello = &p.hello[CLIENT];
    hello->lane = 2;
    hello->n_lanes = 4;
    hello->features = 3;
    hello->extra = (const uint8_t *)"cli";
    hello->extra_len = 4;
    nonces = 0;
    pair_create(&p);
    pair_start(&p);
    assert_int_equal(p.sent[0].type, MKV_TYPE_HELLO);
    assert_is_example("hello", p.sent[0].body, p.sent[0].len - 32);
    for (size_t i = p.sent[0].len - 32; i < p.sent[0].len; i++) {
        assert_int_equal(p.sent[0].body[i], 0xc0);
    }
    pair_fini(&p);
}

static void is_mac(const char *name, struct mkv__seal *seal, struct mkv__header header,
                   const void *body, size_t len)
{
    uint8_t bytes[MKV_HEADER_BYTES];
    header.version = 1;
    header.body_len = 4;
    mkv__header_encode(&header, bytes);
    assert_int_equal(mkv__seal_apply(seal, bytes, body, len), 0);
    assert_is_example(name, bytes + 48, MKV_MAC_BYTES);
}

static void test_golden_proofs_and_macs(void **state)
{
    (void)state;
    struct mkv__auth_key key = {.id = 5};
    struct mkv__seal *send[2], *receive[2];
    for (uint8_t i = 0; i < MKV_KEY_BYTES; i++) {
        key.key[i] = i;
    }
    struct pair p = pair_of(&key, &key, 1);
    nonces = 0;
    assert_true(pair_shake(&p));
    assert_int_equal(nonces, 2);
    assert_int_equal(p.sent[1].type, MKV_TYPE_WELCOME);
    assert_is_example("server proof", p.sent[1].body + p.sent[1].len - 32, 32);
    assert_int_equal(p.sent[2].type, MKV_TYPE_PROVE);
    assert_is_example("client proof", p.sent[2].body, p.sent[2].len);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mkv__handshake_seals(p.side[i], &send[i], &receive[i]), 0);
    }
    is_mac("mac of a message", send[CLIENT], (struct mkv__header){.type = MKV_TYPE_EXISTS}, "body",
           4);
    is_mac("mac of data", send[SERVER], (struct mkv__header){.type = MKV_TYPE_DATA}, NULL, 0);
    for (int i = 0; i < 2; i++) {
        mkv__seal_destroy(&send[i]);
        mkv__seal_destroy(&receive[i]);
    }
    pair_fini(&p);
}

/* Agreement ------------------------------------------------------------------------------------- */

static void test_both_learn_of_each_other(void **state)
{
    (void)state;
    for (int keyed = 0; keyed < 2; keyed++) {
        struct pair p = pair_of(keyed ? &one : NULL, keyed ? &one : NULL, (size_t)keyed);
        p.hello[CLIENT].features = 0x5;
        p.hello[SERVER].features = UINT64_MAX;
        p.hello[CLIENT].extra = (const uint8_t *)"qpn";
        p.hello[CLIENT].extra_len = 3;
        p.hello[SERVER].extra = (const uint8_t *)"gid!";
        p.hello[SERVER].extra_len = 4;
        assert_true(pair_shake(&p));
        const struct mkv__hello *client = mkv__handshake_peer(p.side[SERVER]);
        const struct mkv__hello *server = mkv__handshake_peer(p.side[CLIENT]);
        assert_int_equal(client->session, 0x1234);
        assert_int_equal(client->lane, 1);
        assert_int_equal(client->n_lanes, 2);
        assert_int_equal(client->features, 0x5);
        assert_int_equal(client->extra_len, 3);
        assert_memory_equal(client->extra, "qpn", 3);
        assert_int_equal(server->version_low, 1);
        assert_int_equal(server->version_high, 1);
        assert_int_equal(server->session, 0x1234);
        assert_int_equal(server->features, UINT64_MAX);
        assert_int_equal(server->max_requests, 256);
        assert_int_equal(server->max_message, 512 << 10);
        assert_int_equal(server->extra_len, 4);
        assert_memory_equal(server->extra, "gid!", 4);
        pair_fini(&p);
        assert_null(p.side[CLIENT]);
        mkv__handshake_destroy(&p.side[CLIENT]);
    }
}

/* Nobody has a key: no proof, and no secret. */
static void test_without_keys(void **state)
{
    (void)state;
    static const uint8_t zeros[32];
    struct pair p = pair_of(NULL, NULL, 0);
    assert_true(pair_shake(&p));
    assert_memory_equal(p.sent[1].body + p.sent[1].len - 32, zeros, 32);
    assert_int_equal(p.sent[2].len, 32);
    assert_memory_equal(p.sent[2].body, zeros, 32);
    assert_null(mkv__handshake_key(p.side[CLIENT]));
    assert_null(mkv__handshake_key(p.side[SERVER]));
    pair_fini(&p);
}

static void test_longest_extra(void **state)
{
    (void)state;
    uint8_t extra[257];
    memset(extra, 'e', sizeof(extra));
    struct pair p = pair_of(&one, &one, 1);
    for (int i = 0; i < 2; i++) {
        p.hello[i].extra = extra;
        p.hello[i].extra_len = 256;
    }
    assert_true(pair_shake(&p));
    assert_int_equal(mkv__handshake_peer(p.side[SERVER])->extra_len, 256);
    assert_memory_equal(mkv__handshake_peer(p.side[SERVER])->extra, extra, 256);
    pair_fini(&p);
    p.hello[SERVER].extra_len = 257;
    struct mkv__handshake *none = NULL;
    assert_int_equal(mkv__handshake_create(true, &p.hello[SERVER], NULL, 0, &none), -EINVAL);
    assert_null(none);
}

/* A list of keys: the id chooses, and brings its namespaces along. Both keys are good for a while. */
static void test_rotation_and_tenants(void **state)
{
    (void)state;
    const struct mkv__auth_key keys[] = {
        {.id = 7, .key = {7}, .namespaces = "team-a/"},
        {.id = 0, .key = {9}},
        {.id = UINT32_MAX, .key = {8}, .namespaces = "team-b/"},
    };
    for (size_t i = 0; i < 3; i++) {
        const struct mkv__auth_key client = {.id = keys[i].id, .key = {keys[i].key[0]}};
        struct pair p = pair_of(&client, keys, 3);
        assert_true(pair_shake(&p));
        for (int side = 0; side < 2; side++) {
            const struct mkv__auth_key *key = mkv__handshake_key(p.side[side]);
            const char *prefix = side == SERVER ? keys[i].namespaces : NULL;
            assert_int_equal(key->id, keys[i].id);
            assert_memory_equal(key->key, keys[i].key, MKV_KEY_BYTES);
            const char *copy = key->namespaces;
            assert_string_equal(copy != NULL ? copy : "all", prefix != NULL ? prefix : "all");
        }
        pair_fini(&p);
    }
    /* The id of one key with another key of the list proves nothing. */
    const struct mkv__auth_key mixed = {.id = 7, .key = {8}};
    struct pair p = pair_of(&mixed, keys, 3);
    assert_false(pair_shake(&p));
    assert_int_equal(p.error[CLIENT], -EACCES);
    pair_fini(&p);
}

/* Refusals: the error and the text at both ends --------------------------------------------------- */

static void refused(struct pair *p, int status, int error, const char *text)
{
    assert_false(pair_shake(p));
    assert_int_equal(p->sent[1].type, MKV_TYPE_REFUSE);
    assert_int_equal(p->sent[1].body[0], status);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(p->error[i], error);
        if (strstr(p->why[i], text) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", p->why[i], text);
        }
        assert_false(mkv__handshake_done(p->side[i]));
    }
    assert_memory_equal(p->why[CLIENT], "refused: ", 9);
    assert_string_equal(p->why[CLIENT] + 9, p->why[SERVER]); /* the same words */
    pair_fini(p);
}

static void test_a_key_on_one_side_only(void **state)
{
    (void)state;
    struct pair p = pair_of(NULL, &one, 1);
    refused(&p, 2, -EACCES, "set MEMKV_AUTH_KEY at the client");
    p = pair_of(&one, NULL, 0);
    refused(&p, 2, -EACCES, "set MEMKV_AUTH_KEY at the server");
}

/* A server that should refuse and does not: the client finds out by itself. */
static void test_the_client_looks_too(void **state)
{
    (void)state;
    struct pair with = pair_of(&one, &one, 1), without = pair_of(NULL, NULL, 0);
    assert_true(pair_shake(&with));
    assert_true(pair_shake(&without));
    const struct note welcome[2] = {without.sent[1], with.sent[1]};
    static const char *const texts[] = {"set MEMKV_AUTH_KEY at the server",
                                        "this client has none: set MEMKV_AUTH_KEY"};
    for (int i = 0; i < 2; i++) { /* 0: the client has a key and the server says that it has none */
        struct pair p = pair_of(i == 0 ? &one : NULL, NULL, 0);
        struct note answer;
        pair_create(&p);
        pair_start(&p);
        assert_int_equal(pair_take(&p, CLIENT, &welcome[i], &answer), -EACCES);
        assert_int_equal(answer.type, 0);
        assert_non_null(strstr(p.why[CLIENT], texts[i]));
        pair_fini(&p);
    }
    pair_fini(&with);
    pair_fini(&without);
}

static void test_an_unknown_key_id(void **state)
{
    (void)state;
    const struct mkv__auth_key keys[] = {one, two}, client = {.id = 77, .key = {1}};
    struct pair p = pair_of(&client, keys, 2);
    refused(&p, 3, -EACCES, "the server has no key with id 77");
}

/* The client finds out first, and does not show what it would have proved. */
static void test_another_key_of_one_id(void **state)
{
    (void)state;
    struct pair p = pair_of(&one, &also_one, 1);
    assert_false(pair_shake(&p));
    assert_int_equal(p.sent[1].type, MKV_TYPE_WELCOME);
    assert_int_equal(p.error[CLIENT], -EACCES);
    assert_memory_equal(p.why[CLIENT], "wrong key (key id 1)", 20);
    assert_int_equal(p.sent[2].type, 0);
    assert_int_equal(p.sent[2].len, 0);
    pair_fini(&p);
}

static void test_another_mac_algorithm(void **state)
{
    (void)state;
    struct pair p = pair_of(&one, &one, 1);
    struct note answer;
    pair_create(&p);
    pair_start(&p);
    p.sent[0].body[2] = 7;
    assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &answer), -EPROTO);
    assert_int_equal(answer.type, MKV_TYPE_REFUSE);
    assert_int_equal(answer.body[0], 6);
    assert_string_equal(p.why[SERVER], "the client asks for MAC algorithm 7, the server knows 1: "
                                       "upgrade the server");
    assert_int_equal(pair_take(&p, CLIENT, &answer, &answer), -EPROTO);
    assert_non_null(strstr(p.why[CLIENT], "upgrade the server"));
    pair_fini(&p);
    assert_true(pair_shake(&p));
    struct note welcome = p.sent[1];
    pair_fini(&p);
    welcome.body[2] = 2;
    pair_create(&p);
    pair_start(&p);
    assert_int_equal(pair_take(&p, CLIENT, &welcome, &answer), -EPROTO);
    assert_non_null(strstr(p.why[CLIENT], "MAC algorithm"));
    pair_fini(&p);
}

/* Versions -------------------------------------------------------------------------------------- */

static void test_the_highest_common_version(void **state)
{
    (void)state;
    for (uint8_t low = 1; low <= 4; low++) {
        for (uint8_t high = low; high <= 5; high++) {
            struct pair p = pair_of(&one, &one, 1);
            p.hello[CLIENT].version_low = 2;
            p.hello[CLIENT].version_high = 3;
            p.hello[SERVER].version_low = low;
            p.hello[SERVER].version_high = high;
            if (high < 2) {
                refused(&p, 1, -EPROTO, "server speaks 1..1, client 2..3; upgrade the server");
            } else if (low > 3) {
                refused(&p, 1, -EPROTO, "client 2..3; upgrade the client");
            } else {
                uint8_t chosen = high < 3 ? high : 3;
                assert_true(pair_shake(&p));
                assert_int_equal(mkv__handshake_peer(p.side[CLIENT])->version_low, chosen);
                assert_int_equal(mkv__handshake_peer(p.side[CLIENT])->version_high, chosen);
                pair_fini(&p);
            }
        }
    }
}

/* Versions come before keys: who has to upgrade is told so first. */
static void test_a_stranger_without_a_key(void **state)
{
    (void)state;
    struct pair p = pair_of(NULL, &one, 1);
    p.hello[CLIENT].version_low = p.hello[CLIENT].version_high = 9;
    refused(&p, 1, -EPROTO, "upgrade the server");
}

static void test_a_range_that_is_none(void **state)
{
    (void)state;
    struct pair p = pair_of(&one, &one, 1);
    p.hello[CLIENT].version_low = 2;
    p.hello[CLIENT].version_high = 1;
    refused(&p, 5, -EPROTO, "malformed");
}

static void test_a_version_that_was_not_offered(void **state)
{
    (void)state;
    static const uint8_t chosen[][2] = {{1, 1}, {4, 4}, {2, 3}, {3, 2}, {0, 0}, {255, 255}};
    for (size_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++) {
        struct pair p = pair_of(NULL, NULL, 0);
        struct note answer;
        p.hello[CLIENT].version_low = 2;
        p.hello[CLIENT].version_high = p.hello[SERVER].version_high = 3;
        pair_create(&p);
        pair_start(&p);
        assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &p.sent[1]), 0);
        memcpy(p.sent[1].body, chosen[i], 2);
        assert_int_equal(pair_take(&p, CLIENT, &p.sent[1], &answer), -EPROTO);
        assert_non_null(strstr(p.why[CLIENT], "not offered"));
        pair_fini(&p);
    }
}

/* Who is in between makes both believe that the other speaks old versions only. */
static void test_a_downgrade_is_noticed(void **state)
{
    (void)state;
    for (int both = 0; both < 2; both++) {
        struct pair p = pair_of(&one, &one, 1);
        p.hello[CLIENT].version_high = p.hello[SERVER].version_high = 3;
        pair_create(&p);
        pair_start(&p);
        p.sent[0].body[1] = 1; /* HELLO: 1 to 1 */
        if (both) {
            p.sent[0].body[0] = p.sent[0].body[1] = 2;
        }
        assert_false(pair_go_on(&p));
        assert_int_equal(p.error[SERVER], 0); /* it cannot know */
        assert_int_equal(p.error[CLIENT], -EACCES);
        assert_non_null(strstr(p.why[CLIENT], "changed the greeting"));
        assert_int_equal(p.sent[2].len, 0);
        pair_fini(&p);
    }
}

static void test_other_keys_until_the_greeting(void **state)
{
    (void)state;
    struct mkv__auth_key *held = malloc(sizeof(*held));
    char *prefix = strdup("team-a/");
    *held = (struct mkv__auth_key){.id = 2, .key = {2}, .namespaces = prefix};
    struct pair p = pair_of(&two, &one, 1);
    pair_create(&p);
    mkv__handshake_use(p.side[SERVER], held, 1);
    pair_start(&p);
    assert_int_equal(pair_take(&p, SERVER, &p.sent[0], &p.sent[1]), 0);
    free(prefix);
    free(held); /* it has a copy of its own */
    mkv__handshake_use(p.side[SERVER], &one, 1);
    assert_int_equal(pair_take(&p, CLIENT, &p.sent[1], &p.sent[2]), 0);
    assert_int_equal(pair_take(&p, SERVER, &p.sent[2], &p.sent[0]), 0);
    assert_true(mkv__handshake_done(p.side[SERVER]));
    assert_int_equal(mkv__handshake_key(p.side[SERVER])->id, 2);
    assert_string_equal(mkv__handshake_key(p.side[SERVER])->namespaces, "team-a/");
    pair_fini(&p);
}

static void test_a_prefix_that_is_too_long(void **state)
{
    (void)state;
    char prefix[MKV_KEY_PREFIX_MAX + 2];
    memset(prefix, 'x', sizeof(prefix));
    prefix[sizeof(prefix) - 1] = '\0';
    struct mkv__auth_key key = one;
    key.namespaces = prefix;
    struct pair p = pair_of(&one, &key, 1);
    assert_false(pair_shake(&p));
    assert_int_equal(p.error[SERVER], -EINVAL);
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_golden_hello, set_up),
        cmocka_unit_test_setup(test_golden_proofs_and_macs, set_up),
        cmocka_unit_test_setup(test_both_learn_of_each_other, set_up),
        cmocka_unit_test_setup(test_without_keys, set_up),
        cmocka_unit_test_setup(test_longest_extra, set_up),
        cmocka_unit_test_setup(test_rotation_and_tenants, set_up),
        cmocka_unit_test_setup(test_a_key_on_one_side_only, set_up),
        cmocka_unit_test_setup(test_the_client_looks_too, set_up),
        cmocka_unit_test_setup(test_an_unknown_key_id, set_up),
        cmocka_unit_test_setup(test_another_key_of_one_id, set_up),
        cmocka_unit_test_setup(test_another_mac_algorithm, set_up),
        cmocka_unit_test_setup(test_the_highest_common_version, set_up),
        cmocka_unit_test_setup(test_a_stranger_without_a_key, set_up),
        cmocka_unit_test_setup(test_a_range_that_is_none, set_up),
        cmocka_unit_test_setup(test_a_version_that_was_not_offered, set_up),
        cmocka_unit_test_setup(test_a_downgrade_is_noticed, set_up),
        cmocka_unit_test_setup(test_other_keys_until_the_greeting, set_up),
        cmocka_unit_test_setup(test_a_prefix_that_is_too_long, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
