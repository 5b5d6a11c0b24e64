#include "testing/fuzz/fuzz.h"

#include <string.h>

/* Wrong on purpose: replay_test.sh wants to see that replay.c notices. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    FUZZ_REQUIRE(len < 4 || memcmp(data, "boom", 4) != 0);
    return 0;
}
