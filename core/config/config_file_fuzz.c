#include "core/config/config.h"
#include "core/config/test_files.h"
#include "testing/fuzz/fuzz.h"

#include <errno.h>

static void load(unsigned components, const char *path)
{
    struct mkv__config *config;
    struct mkv__config_error error = {0};
    FUZZ_REQUIRE(mkv__config_create(&config) == 0);
    int rc = mkv__config_load(config, components, path, NULL, NULL, 0, &error);
    FUZZ_REQUIRE(rc == 0 || (rc == -EINVAL && error.code == rc && error.text[0] != '\0'));
    FUZZ_REQUIRE(mkv__config_n_warnings(config) <= 100);
    for (enum mkv__option_id id = 0; rc == 0 && id < MKV_OPT_COUNT; id++) {
        char out[64];
        mkv__config_print(config, id, out, sizeof(out));
    }
    mkv__config_destroy(&config);
}

/* A whole file, as a client and as a server reads it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char path[TEST_PATH];
    int fd = test_files_in_memory(data, len, path);
    FUZZ_REQUIRE(fd >= 0);
    load(MKV__CLIENT, path);
    load(MKV__SERVER, path);
    close(fd);
    return 0;
}
