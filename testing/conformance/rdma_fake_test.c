/* The suite over queue pairs of fake devices: of a plain one, of one that lacks what it can lack, and
 * over a wire that is late into memory of relaxed ordering. Nothing is left of anything, and no rule
 * of verbs is broken. */
#include "testing/conformance/suite.h"
#include "testing/rdma/fake_verbs.h"

static uint32_t late;
static bool poor, relaxed;
static uint64_t seed = 1;
static int broken;

static void look(void)
{
    broken += !fake_verbs_clean("a case");
}

static void reset(uint64_t unused)
{
    (void)unused;
    look();
    fake_verbs_begin(1);
    fake_verbs_late(late, seed++);
    fake_verbs_relaxed(relaxed);
    if (poor) {
        struct fake_device *d = fake_verbs_device(0);

        d->max_sge = 1;
        d->reads = 1;
        d->max_inline = 0;
        d->windows = false;
        d->srqs = false;
        d->mtu = IBV_MTU_1024;
    }
}

int main(void)
{
    static const struct mkv__subject subject = {
        .transport = &mkv__rdma,
        .any_address = "127.0.0.1:0",
        .must = true,
        .told_at_last = true,
        .reset = reset,
    };
    int failed = mkv__conformance(&subject);

    poor = true;
    failed += mkv__conformance(&subject);
    poor = false;
    /* Bytes lie in place when something behind them does, or their window is closed. Without windows
     * nobody may ask for memory of relaxed ordering: a reply that is not behind its bulk comes over another
     * queue pair. */
    late = 40;
    relaxed = true;
    failed += mkv__conformance(&subject);
    look();
    return failed + broken;
}
