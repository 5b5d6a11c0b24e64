#include "core/codec/header.h"

#include "testing/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

/* Every bit of a header that is taken means something: the encoder gives the same bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct mkv__header header = {.version = 77};
    uint8_t again[MKV_HEADER_BYTES];
    if (len < MKV_HEADER_BYTES) {
        return 0;
    }
    int r = mkv__header_decode(data, &header);
    if (r < 0) {
        FUZZ_REQUIRE(r == -EPROTO && header.version == 77);
        return 0;
    }
    FUZZ_REQUIRE(r == 0 && header.version == MKV_WIRE_VERSION);
    FUZZ_REQUIRE(header.body_len <= MKV_MESSAGE_MAX);
    mkv__header_encode(&header, again);
    FUZZ_REQUIRE(memcmp(data, again, sizeof(again)) == 0);
    return 0;
}
