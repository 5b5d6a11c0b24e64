/* The kernel has its share in these schedules: a seed names one, but does not fix all of it. */
#include "testing/conformance/schedule.h"

int main(int argc, char **argv)
{
    static const struct mkv__subject subject = {
        .transport = &mkv__tcp,
        .any_address = "127.0.0.1:0",
    };

    return mkv__schedules(&subject, 300, argc, argv);
}
