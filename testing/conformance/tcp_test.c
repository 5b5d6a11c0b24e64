#include "testing/conformance/suite.h"

int main(void)
{
    static const struct mkv__subject subject = {
        .transport = &mkv__tcp,
        .any_address = "127.0.0.1:0",
    };

    return mkv__conformance(&subject);
}
