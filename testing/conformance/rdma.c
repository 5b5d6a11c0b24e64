/* The suite that every transport passes, over queue pairs of real devices: runs in the guest. */
#include "core/fault.h"
#include "testing/conformance/suite.h"

int main(int argc, char **argv)
{
    const struct mkv__subject subject = {
        .transport = &mkv__rdma,
        .any_address = argc > 1 ? argv[1] : "10.0.0.2:0",
        .must = true,
        .told_at_last = true,
    };

    /* In emulation, beside others, 4 MiB may take longer than a NIC would ever need. */
    mkv__fault_arm("rdma.grace", 1, UINT64_MAX);
    return mkv__conformance(&subject);
}
