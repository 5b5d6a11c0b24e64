#include "testing/conformance/suite.h"
#include "transport/fake/fake.h"

static void reset(uint64_t seed)
{
    struct mkv__fake_options options = {
        .seed = seed, .delay_ns = 300000, .chunk = 200000, .twice_in = 7};

    mkv__fake_reset(&options);
}

int main(void)
{
    static const struct mkv__subject subject = {
        .transport = &mkv__fake,
        .fake_clock = true,
        .any_address = "fake:0",
        .reset = reset,
    };

    return mkv__conformance(&subject);
}
