#include "core/auth/auth.h"

#include "testing/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

static const struct mkv__auth_key key = {.id = 1, .key = {9, 9, 9}};

/* Nobody without the key gets a message past a seal. */
static void check_seals(struct mkv__handshake *h, const uint8_t *data, size_t len)
{
    struct mkv__seal *send = NULL, *receive = NULL;
    int r = mkv__handshake_seals(h, &send, &receive);
    if (!mkv__handshake_done(h)) {
        FUZZ_REQUIRE(r == -EINVAL && send == NULL && receive == NULL);
        return;
    }
    FUZZ_REQUIRE(r == 0);
    if (len >= MKV_HEADER_BYTES) {
        r = mkv__seal_check(receive, data, data + MKV_HEADER_BYTES, len - MKV_HEADER_BYTES);
        FUZZ_REQUIRE(r == 0 || r == -EACCES);
    }
    mkv__seal_destroy(&send);
    mkv__seal_destroy(&receive);
}

/* One message of a peer without the key. Returns what take returned. */
static int take(struct mkv__handshake *h, uint8_t type, const uint8_t *body, size_t len,
                bool client)
{
    uint8_t out_type = 99, *out = malloc(MKV_HANDSHAKE_MAX);
    char why[200];
    size_t out_len = 99;
    FUZZ_REQUIRE(out);
    memset(why, 0x7f, sizeof(why));
    int r = mkv__handshake_take(h, type, body, len, &out_type, out, MKV_HANDSHAKE_MAX, &out_len,
                                why);
    FUZZ_REQUIRE(memchr(why, '\0', sizeof(why)) != NULL && out_len <= MKV_HANDSHAKE_MAX);
    for (const char *p = why; *p != '\0'; p++) {
        FUZZ_REQUIRE(*p >= 32 && *p < 127);
    }
    if (r < 0) {
        FUZZ_REQUIRE((r == -EPROTO || r == -EACCES) && why[0] != '\0');
        FUZZ_REQUIRE(client ? out_type == 0 && out_len == 0
                            : out_type == MKV_TYPE_REFUSE && out_len > 1);
    } else {
        FUZZ_REQUIRE((size_t)r == out_len && (out_type == 0) == (out_len == 0));
    }
    free(out);
    return r;
}

/*
 * The first byte: 1: to a client, 2: that side has a key. Then messages: type u8, length u16, body.
 * Who has a key is never content, since the other side has none; after an error there is only error.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct mkv__hello hello = {
        .version_low = 1, .version_high = 2, .session = 0x1234, .n_lanes = 2};
    struct mkv__handshake *h = NULL;
    if (len == 0) {
        return 0;
    }
    bool client = data[0] & 1, keyed = data[0] & 2;
    FUZZ_REQUIRE(mkv__handshake_create(!client, &hello, &key, keyed ? 1 : 0, &h) == 0);
    if (client) {
        uint8_t type, out[MKV_HANDSHAKE_MAX];
        FUZZ_REQUIRE(mkv__handshake_start(h, &type, out, sizeof(out)) > 0);
        FUZZ_REQUIRE(type == MKV_TYPE_HELLO);
    }
    bool failed = false;
    for (size_t at = 1; at + 3 <= len;) {
        size_t body = data[at + 1] | (size_t)data[at + 2] << 8, left = len - at - 3;
        body = body < left ? body : left;
        int r = take(h, data[at], data + at + 3, body, client);
        FUZZ_REQUIRE(!failed || r < 0);
        failed = r < 0;
        FUZZ_REQUIRE(!mkv__handshake_done(h) || (!keyed && !failed));
        at += 3 + body;
    }
    check_seals(h, data, len);
    mkv__handshake_destroy(&h);
    return 0;
}
