#include "core/codec/header.h"
#include "core/codec/message.h"

#include "testing/fuzz/fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define KEYS 600u

static bool same(const struct mkv__answer *a, const struct mkv__answer *b)
{
    return a->status == b->status && a->flags == b->flags && a->generation == b->generation &&
           a->lease_ms == b->lease_ms && a->length == b->length && a->checksum == b->checksum;
}

/* Encoded within its bound and in no more bytes than it came in, and decoded to the same. */
static void round_trip(const struct mkv__reply *r, size_t came_in)
{
    static struct mkv__answer answers[KEYS];
    struct mkv__reply again;
    size_t cap = mkv__reply_bound(r->type, r->n);
    uint8_t *out = malloc(cap);
    FUZZ_REQUIRE(out);
    int64_t len = mkv__reply_encode(r, out, cap);
    FUZZ_REQUIRE(len > 0 && (size_t)len <= cap && (size_t)len <= came_in);
    FUZZ_REQUIRE(mkv__reply_encode(r, out, (size_t)len - 1) == -EMSGSIZE);
    FUZZ_REQUIRE(mkv__reply_encode(r, out, (size_t)len) == len);
    FUZZ_REQUIRE(mkv__reply_decode(r->type, out, (size_t)len, answers, r->n, &again) == 0);
    FUZZ_REQUIRE(again.type == r->type && again.n == r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        FUZZ_REQUIRE(same(&r->answers[i], &again.answers[i]));
    }
    FUZZ_REQUIRE(r->n == 0 || mkv__reply_decode(r->type, out, (size_t)len, answers, r->n - 1,
                                                &again) == -EPROTO);
    free(out);
}

/* The first byte is the type; the rest the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct mkv__answer answers[KEYS];
    struct mkv__reply r = {.type = 99};
    if (len == 0) {
        return 0;
    }
    uint8_t type = (uint8_t)(MKV_TYPE_REPLY + data[0] % 5);
    int rc = mkv__reply_decode(type, data + 1, len - 1, answers, KEYS, &r);
    if (rc < 0) {
        FUZZ_REQUIRE(rc == -EPROTO && r.type == 99);
        return 0;
    }
    FUZZ_REQUIRE(rc == 0 && r.type == type && r.n <= KEYS);
    for (uint32_t i = 0; i < r.n; i++) {
        FUZZ_REQUIRE(answers[i].status >= MKV_WIRE_HIT && answers[i].status <= MKV_WIRE_ERROR);
    }
    round_trip(&r, len - 1);
    return 0;
}
