#include "testing/conformance/schedule.h"
#include "transport/fake/fake.h"

static void reset(uint64_t ignored)
{
    uint64_t seed = mkv__schedule_seed();
    struct mkv__fake_options options = {
        .seed = seed,
        .delay_ns = 200000 + seed % 7 * 300000,
        .chunk = (uint32_t)(1 + seed % 11 * 40),
        .twice_in = 4,
        .death_in = seed % 3 == 0 ? 120 : 0,
        .linger_in = seed % 4 == 0 ? 2 : 0,
    };

    (void)ignored;
    mkv__fake_reset(&options);
}

int main(int argc, char **argv)
{
    static const struct mkv__subject subject = {
        .transport = &mkv__fake,
        .fake_clock = true,
        .any_address = "fake:0",
        .reset = reset,
    };

    return mkv__schedules(&subject, 10000, argc, argv);
}
