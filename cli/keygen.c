#include "cli/cli.h"

#include "core/auth/auth.h"

#include <jansson.h>

int cmd_keygen(int argc, const char **argv)
{
    struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "> memkv.key", &code);
    if (context == NULL) {
        return code;
    }
    poptFreeContext(context);
    uint8_t key[MKV_KEY_BYTES];
    if (mkv__random(key, sizeof(key)) < 0) {
        return cli_fail(EXIT_USAGE, "no randomness could be had from the system");
    }
    char hex[2 * MKV_KEY_BYTES + 1];
    for (size_t i = 0; i < sizeof(key); i++) {
        snprintf(hex + 2 * i, 3, "%02x", key[i]);
    }
    printf(common.json ? "{\"auth_key\": \"%s\"}\n" : "%s\n", hex);
    return EXIT_DONE;
}
