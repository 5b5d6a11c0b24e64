#include "core/config/servers.h"

#include "testing/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

/* Prints a list in memory of the size that printing asks for; free() it. */
static char *print(const struct mkv__server_list *list)
{
    size_t len = mkv__server_list_print(list, NULL, 0);
    char *out = malloc(len + 1);
    FUZZ_REQUIRE(out && mkv__server_list_print(list, out, len + 1) == len);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct mkv__server_list *list = NULL, *again = NULL;
    char error[MKV_SPAN_ERROR] = "";
    char *text = strndup((const char *)data, len);
    FUZZ_REQUIRE(text);
    int rc = mkv__server_list_parse(text, &list, error);
    FUZZ_REQUIRE(rc == 0 ? list && list->n > 0 : rc == -EINVAL && !list && error[0] != '\0');
    if (rc == 0) { /* what is printed is the same list */
        char *first = print(list);
        FUZZ_REQUIRE(mkv__server_list_parse(first, &again, error) == 0);
        char *second = print(again);
        FUZZ_REQUIRE(strcmp(first, second) == 0);
        free(first);
        free(second);
    }
    mkv__server_list_destroy(&list);
    mkv__server_list_destroy(&again);
    free(text);
    return 0;
}
