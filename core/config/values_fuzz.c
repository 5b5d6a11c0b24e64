#include "core/config/value.h"
#include "testing/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

static char *print(enum mkv__option_id id, const struct mkv__value *value)
{
    size_t len = mkv__value_print(id, value, NULL, 0);
    char *out = malloc(len + 1);
    FUZZ_REQUIRE(out && mkv__value_print(id, value, out, len + 1) == len);
    return out;
}

/* The first byte chooses the option, the rest is its value. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct mkv__value value = {0}, again = {0};
    char error[MKV_SPAN_ERROR] = "";
    enum mkv__option_id id = len > 0 ? data[0] % MKV_OPT_COUNT : 0;
    char *text = strndup((const char *)data + (len > 0), len - (len > 0));
    FUZZ_REQUIRE(text);
    int rc = mkv__value_parse(id, text, &value, error);
    FUZZ_REQUIRE(rc == 0 ? value.set : rc == -EINVAL && !value.set && error[0] != '\0');
    FUZZ_REQUIRE(memchr(error, '\0', sizeof(error)));
    if (rc == 0 && mkv__option_get(id)->type != MKV__TYPE_SECRET) { /* it is read back */
        char *first = print(id, &value);
        FUZZ_REQUIRE(mkv__value_parse(id, first, &again, error) == 0);
        char *second = print(id, &again);
        FUZZ_REQUIRE(strcmp(first, second) == 0);
        free(first);
        free(second);
    }
    mkv__value_fini(&value);
    mkv__value_fini(&again);
    free(text);
    return 0;
}
