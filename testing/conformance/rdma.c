/* The suite that every transport passes, over queue pairs of real devices: runs in the guest. */
#include "testing/conformance/suite.h"

int main(int argc, char **argv)
{
    const struct mkv__subject subject = {
        .transport = &mkv__rdma,
        .any_address = argc > 1 ? argv[1] : "10.0.0.2:0",
        .must = true,
        .told_at_last = true,
    };

    return mkv__conformance(&subject);
}
