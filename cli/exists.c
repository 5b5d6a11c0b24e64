#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static const char *word_of(enum mkv_status status)
{
    return status == MKV_HIT ? "hit" : status == MKV_MISS ? "miss" : "unknown";
}

static int print_answer(const struct mkv_batch *batch, uint32_t i, const char *key)
{
    enum mkv_status status = mkv_batch_status(batch, i);
    if (common.json) {
        json_t *o = json_pack("{ssss}", "key", key, "result", word_of(status));
        if (o != NULL) {
            json_dumpf(o, stdout, JSON_COMPACT);
            putchar('\n');
            json_decref(o);
        }
    } else {
        printf("%s %s\n", key, word_of(status));
    }
    if (status == MKV_HIT) {
        return EXIT_DONE;
    }
    int error = mkv_batch_error(batch, i);
    return status == MKV_MISS ? EXIT_MISS : cli_exit_of(error != 0 ? error : -ETIMEDOUT);
}

static int ask(struct mkv_client *client, const char **keys)
{
    struct mkv_batch *batch;
    struct mkv_batch_options options = {.size = sizeof(options), .flags = MKV_NO_LEASE};
    int code = EXIT_DONE;
    int r = mkv_batch_create(client, &batch);
    if (r < 0) {
        return cli_fail(EXIT_USAGE, "out of memory");
    }
    r = mkv_batch_begin(batch, MKV_OP_EXISTS, &options);
    for (int i = 0; keys[i] != NULL && r >= 0; i++) {
        r = mkv_batch_add(batch, keys[i], strlen(keys[i]), NULL, 0);
        if (r == -EINVAL) {
            code = cli_fail(EXIT_USAGE, "\"%s\": a key has 1 to 255 bytes", keys[i]);
            goto destroy_batch;
        }
    }
    r = r < 0 ? r : mkv_batch_submit(batch);
    if (r < 0) {
        code = cli_fail(cli_exit_of(r), "%s", mkv_error_text(r));
        goto destroy_batch;
    }
    r = mkv_batch_wait(batch);
    for (uint32_t i = 0; i < mkv_batch_count(batch); i++) {
        code = cli_worse(code, print_answer(batch, i, keys[i]));
    }
    if (r < 0) {
        cli_warn("%s", mkv_error_text(r));
    }
destroy_batch:
    mkv_batch_destroy(&batch);
    return code;
}

int cmd_exists(int argc, const char **argv)
{
    struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "KEY...", &code);
    if (context == NULL) {
        return code;
    }
    const char **keys = poptGetArgs(context);
    if (keys == NULL || keys[0] == NULL) {
        code = cli_fail(EXIT_USAGE, "usage: memkv exists KEY...");
    } else {
        struct mkv_client *client = cli_open(&code);
        if (client != NULL) {
            code = ask(client, keys);
            mkv_client_close(&client);
        }
    }
    poptFreeContext(context);
    return code;
}
