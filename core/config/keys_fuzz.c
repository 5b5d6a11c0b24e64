#include "core/config/key.h"
#include "core/config/test_files.h"
#include "testing/fuzz/fuzz.h"

#include <errno.h>

/* A file of keys. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct mkv__key_list list = {0};
    char path[TEST_PATH], error[MKV_SPAN_ERROR] = "";
    bool exposed;
    int fd = test_files_in_memory(data, len, path);
    FUZZ_REQUIRE(fd >= 0);
    int rc = mkv__key_list_read(&list, path, &exposed, error);
    FUZZ_REQUIRE(rc == 0 || (rc == -EINVAL && error[0] != '\0'));
    for (size_t i = 0; i < list.n; i++) {
        FUZZ_REQUIRE(!list.keys[i].namespaces || strlen(list.keys[i].namespaces) <= 255);
    }
    mkv__key_list_fini(&list);
    close(fd);
    return 0;
}
