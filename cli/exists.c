#include "cli/cli.h"

#include <errno.h>
#include <string.h>

static const char *word_of(enum mkv_status status)
{
    return status == MKV_HIT ? "hit" : status == MKV_MISS ? "miss" : "unknown";
}

static int show(const struct mkv_batch *batch, uint32_t i, const char *key)
{
    enum mkv_status status = mkv_batch_status(batch, i);
    char text[KEY_TEXT];
    if (flags.json) {
        json_t *o = cli_json_key(key, strlen(key));
        json_object_set_new(o, "result", json_string(word_of(status)));
        cli_print(o);
    } else {
        printf("%s %s\n", cli_key(key, strlen(key), text), word_of(status));
    }
    if (status == MKV_HIT) {
        return EXIT_DONE;
    }
    int error = mkv_batch_error(batch, i);
    return status == MKV_MISS ? EXIT_MISS : cli_exit_of(error != 0 ? error : -ETIMEDOUT);
}

static int ask(struct mkv_batch *batch, const char **keys)
{
    struct mkv_batch_options options = {.size = sizeof(options), .flags = MKV_NO_LEASE};
    int r = mkv_batch_begin(batch, MKV_OP_EXISTS, &options);
    for (int i = 0; keys[i] != NULL && r >= 0; i++) {
        r = mkv_batch_add(batch, keys[i], strlen(keys[i]), NULL, 0);
    }
    r = r < 0 ? r : mkv_batch_run(batch);
    if (r < 0) {
        return cli_fail(cli_exit_of(r), "%s", mkv_error_text(r));
    }
    r = mkv_batch_wait(batch);
    int code = EXIT_DONE;
    for (uint32_t i = 0; i < mkv_batch_count(batch) && keys[i] != NULL; i++) {
        code = cli_worse(code, show(batch, i, keys[i]));
    }
    return r < 0 ? cli_fail(code, "%s", mkv_error_text(r)) : code;
}

static int exists(const char **keys)
{
    int code = EXIT_DONE;
    for (int i = 0; keys[i] != NULL; i++) {
        if (!cli_key_ok(keys[i])) {
            return EXIT_USAGE;
        }
    }
    struct mkv_client *client = cli_open(false, &code);
    if (client == NULL) {
        return code;
    }
    struct mkv_batch *batch;
    if (mkv_batch_create(client, &batch) < 0) {
        code = cli_fail(EXIT_USAGE, "out of memory");
    } else {
        code = ask(batch, keys);
        mkv_batch_destroy(&batch);
    }
    cli_close(&client);
    return code;
}

int cmd_exists(int argc, const char **argv)
{
    const struct poptOption own[] = {POPT_TABLEEND};
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    const char **keys = poptGetArgs(context);
    code = keys == NULL ? cli_usage("exists") : exists(keys);
    poptFreeContext(context);
    return code;
}
