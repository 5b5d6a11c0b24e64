#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int get_into(struct mkv_batch *batch, const char *key, void *data, size_t len)
{
    struct mkv_segment segment = {data, len};
    int r = mkv_batch_begin(batch, MKV_OP_GET, NULL);
    r = r < 0 ? r : mkv_batch_add(batch, key, strlen(key), &segment, 1);
    r = r < 0 ? r : mkv_batch_submit(batch);
    if (r < 0) {
        return r;
    }
    r = mkv_batch_wait(batch);
    enum mkv_status status = mkv_batch_status(batch, 0);
    if (status == MKV_HIT) {
        return 1;
    }
    return status == MKV_MISS ? 0 : r < 0 ? r : -ETIMEDOUT;
}

/*
 * Fetches a value of unknown length: the first look tells the length, the second has room for it;
 * a value that is replaced between two looks costs another. 0 or an exit code, after saying why.
 */
static int fetch(struct mkv_batch *batch, const char *key, uint8_t **data_out, size_t *len_out)
{
    uint8_t *data = NULL;
    size_t len = 0;
    for (int look = 0; look < 4; look++) {
        int r = get_into(batch, key, data, len);
        if (r == 1) {
            *data_out = data;
            *len_out = len;
            return EXIT_DONE;
        }
        free(data);
        data = NULL;
        if (r < 0) {
            return cli_fail(cli_exit_of(r), "%s: %s", key, mkv_error_text(r));
        }
        len = (size_t)mkv_batch_length(batch, 0);
        if (len == 0) {
            break;
        }
        data = malloc(len);
        if (data == NULL) {
            return cli_fail(EXIT_USAGE, "%s: out of memory for %zu bytes", key, len);
        }
    }
    free(data);
    return cli_fail(EXIT_MISS, "%s: not there", key);
}

static int to_stdout(const char *key, const uint8_t *data, size_t len)
{
    if (isatty(STDOUT_FILENO) && looks_binary(data, len)) {
        return cli_fail(EXIT_USAGE,
                        "%s: %zu bytes that are no text; name a FILE or redirect standard output",
                        key, len);
    }
    return stdout_write(data, len) < 0 ? EXIT_USAGE : EXIT_DONE;
}

static int get_one(struct mkv_batch *batch, const char *key, const char *path)
{
    uint8_t *data = NULL;
    size_t len = 0;
    int code = fetch(batch, key, &data, &len);
    if (code != EXIT_DONE) {
        return code;
    }
    if (strcmp(path, "-") == 0) {
        code = to_stdout(key, data, len);
    } else {
        code = file_write(path, data, len) < 0 ? EXIT_USAGE : EXIT_DONE;
        if (code == EXIT_DONE && common.json) {
            json_t *o = json_pack("{sssssI}", "key", key, "file", path, "bytes", (json_int_t)len);
            if (o != NULL) {
                json_dumpf(o, stdout, JSON_COMPACT);
                putchar('\n');
                json_decref(o);
            }
        }
    }
    free(data);
    return code;
}

static int get_many(struct mkv_batch *batch, const char **keys, int n, const char *dir)
{
    if (mkdir(dir, 0777) < 0 && errno != EEXIST) {
        return cli_fail(EXIT_USAGE, "%s: %s", dir, strerror(errno));
    }
    struct progress progress;
    progress_begin(&progress, "get", (uint64_t)n);
    int code = EXIT_DONE;
    for (int i = 0; i < n; i++) {
        char name[3 * MKV_KEY_MAX + 1], path[4096];
        if (strlen(keys[i]) < 1 || strlen(keys[i]) > MKV_KEY_MAX) {
            code = cli_worse(code, cli_fail(EXIT_USAGE, "a key has 1 to 255 bytes"));
            continue;
        }
        key_to_name(keys[i], strlen(keys[i]), name);
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        code = cli_worse(code, get_one(batch, keys[i], path));
        progress_add(&progress, 1);
    }
    progress_end(&progress);
    return code;
}

static int count_args(const char **args)
{
    int n = 0;
    while (args != NULL && args[n] != NULL) {
        n++;
    }
    return n;
}

int cmd_get(int argc, const char **argv)
{
    char *to = NULL;
    struct poptOption table[] = {
        {"to", 0, POPT_ARG_STRING, &to, 0, "write each value to a file of DIR named by its key",
         "DIR"},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "KEY [FILE|-] | --to DIR KEY...", &code);
    if (context == NULL) {
        return code;
    }
    const char **args = poptGetArgs(context);
    int n = count_args(args);
    if (n < 1 || (to == NULL && n > 2)) {
        code = cli_fail(EXIT_USAGE, "usage: memkv get KEY [FILE|-], or memkv get --to DIR KEY...");
        goto free_context;
    }
    if (to == NULL && (strlen(args[0]) < 1 || strlen(args[0]) > MKV_KEY_MAX)) {
        code = cli_fail(EXIT_USAGE, "a key has 1 to 255 bytes");
        goto free_context;
    }
    struct mkv_client *client = cli_open(&code);
    if (client == NULL) {
        goto free_context;
    }
    struct mkv_batch *batch;
    if (mkv_batch_create(client, &batch) < 0) {
        code = cli_fail(EXIT_USAGE, "out of memory");
        goto close_client;
    }
    if (to != NULL) {
        reload_begin(client);
        code = get_many(batch, args, n, to);
        reload_end();
    } else {
        code = get_one(batch, args[0], n > 1 ? args[1] : "-");
    }
    mkv_batch_destroy(&batch);
close_client:
    mkv_client_close(&client);
free_context:
    poptFreeContext(context);
    return code;
}
