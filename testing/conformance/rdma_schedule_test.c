/* Over queue pairs of fake devices, whose wire is late and whose completions come as the seed says. */
#include "testing/conformance/schedule.h"
#include "testing/rdma/fake_verbs.h"

#include <stdio.h>

static int broken;

static void look(void)
{
    char when[40];

    snprintf(when, sizeof(when), "before seed %llu", (unsigned long long)mkv__schedule_seed());
    broken += !fake_verbs_clean(when);
}

static void reset(uint64_t ignored)
{
    uint64_t seed = mkv__schedule_seed();
    struct fake_device *d;

    (void)ignored;
    look();
    fake_verbs_begin(1);
    d = fake_verbs_device(0);
    d->windows = seed % 3 > 0;
    d->srqs = seed % 2 > 0;
    d->max_sge = 1 + (int)(seed % 4);
    if (seed % 7 == 3) {
        fake_verbs_fail(-1, (uint32_t)(20 + seed % 150),
                        seed % 2 ? IBV_WC_RETRY_EXC_ERR : IBV_WC_REM_OP_ERR, 0x81);
    }
    fake_verbs_late(seed % 5 * 10, seed);
    fake_verbs_late_sends(seed % 2 || seed % 5 == 2);
    fake_verbs_relaxed(d->windows && seed % 4 == 1);
}

int main(int argc, char **argv)
{
    static const struct mkv__subject subject = {
        .transport = &mkv__rdma,
        .any_address = "127.0.0.1:0",
        .must = true,
        .told_at_last = true,
        .reset = reset,
    };
    int failed = mkv__schedules(&subject, 300, argc, argv);

    look();
    return failed + broken;
}
