#include "cli/names.h"
#include "testing/fuzz/fuzz.h"

#include <string.h>

static void check_component(const char *name, size_t len)
{
    FUZZ_REQUIRE(len > 0 && len <= NAME_CHUNK && name[0] != '.');
    for (size_t i = 0; i < len; i++) {
        FUZZ_REQUIRE((unsigned char)name[i] > 32 && (unsigned char)name[i] < 127);
    }
}

/* Each key is a path that stays inside its directory, and comes back. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char name[NAME_ROOM], back[MKV_KEY_MAX], text[1024];
    if (len >= 1 && len <= MKV_KEY_MAX) {
        key_to_name((const char *)data, len, name);
        FUZZ_REQUIRE(strlen(name) < NAME_ROOM);
        FUZZ_REQUIRE(name_to_key(name, back) == (int)len && memcmp(back, data, len) == 0);
        for (const char *at = name; *at != '\0'; at += *at == '/') {
            check_component(at, strcspn(at, "/"));
            at += strcspn(at, "/");
        }
    }
    size_t n = len < sizeof(text) - 1 ? len : sizeof(text) - 1;
    memcpy(text, data, n);
    text[n] = '\0';
    int key_len = name_to_key(text, back);
    FUZZ_REQUIRE(key_len == -1 || (key_len > 0 && key_len <= (int)MKV_KEY_MAX));
    return 0;
}
