#include "testing/conformance/suite.h"
#include "transport/fake/fake.h"

static uint32_t linger_in;

static void reset(uint64_t seed)
{
    struct mkv__fake_options options = {
        .seed = seed, .delay_ns = 300000, .chunk = 200000, .twice_in = 7, .linger_in = linger_in};

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

    int failed = mkv__conformance(&subject);
#if !defined(__SANITIZE_THREAD__) /* one thread, and slow */
    linger_in = 1;                /* the fence takes its time: rdma's does */
    failed += mkv__conformance(&subject);
#endif
    return failed;
}
