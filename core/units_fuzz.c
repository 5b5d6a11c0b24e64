#include "core/units.h"

#include "testing/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

typedef int parser(const char *text, uint64_t *value_out, const char **why_out);

/* A value is set or untouched, a reason given or not; never half of it. */
static int parse(parser *parse_, const char *text, uint64_t *value_out)
{
    const char *why = NULL;
    *value_out = 77;
    int rc = parse_(text, value_out, &why);
    FUZZ_REQUIRE(rc == 0 ? why == NULL : rc == -EINVAL && why && *value_out == 77);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = strndup((const char *)data, len);
    char printed[MKV_UNIT_TEXT];
    uint64_t value, again;
    FUZZ_REQUIRE(text);
    if (parse(mkv__parse_size, text, &value) == 0) {
        FUZZ_REQUIRE(parse(mkv__parse_size, mkv__print_size(printed, value), &again) == 0);
        FUZZ_REQUIRE(again == value && strlen(mkv__people_size(printed, value)) > 0);
    }
    if (parse(mkv__parse_duration, text, &value) == 0) {
        FUZZ_REQUIRE(parse(mkv__parse_duration, mkv__print_duration(printed, value), &again) == 0);
        FUZZ_REQUIRE(again == value && strlen(mkv__people_duration(printed, value)) > 0);
    }
    parse(mkv__parse_count, text, &value);
    free(text);
    return 0;
}
