#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH_KEYS  64u
#define BATCH_BYTES ((size_t)64 << 20)

static int replace;

struct item {
    char key[MKV_KEY_MAX];
    size_t key_len;
    uint8_t *data;
    size_t len;
};

static const char *word_of(enum mkv_status status)
{
    switch (status) {
    case MKV_STORED:
        return "stored";
    case MKV_KEPT:
        return "kept (already there)";
    case MKV_FULL:
        return "full";
    case MKV_REFUSED:
        return "refused (a value of another length is there; --replace writes anew)";
    default:
        return "unknown";
    }
}

static int exit_of(enum mkv_status status, int error)
{
    switch (status) {
    case MKV_STORED:
    case MKV_KEPT:
        return EXIT_DONE;
    case MKV_REFUSED:
        return EXIT_REFUSED;
    case MKV_FULL:
        return EXIT_UNREACHABLE;
    default:
        return cli_exit_of(error != 0 ? error : -ETIMEDOUT);
    }
}

static void report(const struct item *item, const struct mkv_batch *batch, uint32_t i)
{
    enum mkv_status status = mkv_batch_status(batch, i);
    bool differs = mkv_batch_differs(batch, i);
    if (common.json) {
        char word[32] = "";
        sscanf(word_of(status), "%31s", word);
        json_t *o = json_pack("{ss%sssI}", "key", item->key, item->key_len, "result", word, "bytes",
                              (json_int_t)item->len);
        if (o != NULL) {
            json_object_set_new(o, "differs", json_boolean(differs));
            json_dumpf(o, stdout, JSON_COMPACT);
            putchar('\n');
            json_decref(o);
        }
    } else {
        printf("%.*s %s\n", (int)item->key_len, item->key, word_of(status));
    }
    if (differs) {
        cli_warn("%.*s: the value that is there differs from yours; --replace writes anew",
                 (int)item->key_len, item->key);
    }
    if (status == MKV_UNKNOWN) {
        cli_warn("%.*s: %s", (int)item->key_len, item->key,
                 mkv_error_text(mkv_batch_error(batch, i)));
    }
}

static int send_items(struct mkv_batch *batch, struct item *items, uint32_t n)
{
    struct mkv_batch_options options = {.size = sizeof(options),
                                        .flags = replace ? MKV_REPLACE : 0};
    int code = EXIT_DONE;
    int r = mkv_batch_begin(batch, MKV_OP_SET, &options);
    for (uint32_t i = 0; i < n && r >= 0; i++) {
        struct mkv_segment segment = {items[i].data, items[i].len};
        r = mkv_batch_add(batch, items[i].key, items[i].key_len, &segment, 1);
    }
    if (r >= 0) {
        r = mkv_batch_submit(batch);
    }
    if (r < 0) {
        code = cli_fail(cli_exit_of(r), "%s", mkv_error_text(r));
    } else {
        mkv_batch_wait(batch);
        for (uint32_t i = 0; i < n; i++) {
            report(&items[i], batch, i);
            code = cli_worse(code, exit_of(mkv_batch_status(batch, i), mkv_batch_error(batch, i)));
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        free(items[i].data);
    }
    return code;
}

static int put_one(struct mkv_batch *batch, const char *key, const char *path)
{
    struct item item = {.key_len = strlen(key)};
    if (item.key_len < 1 || item.key_len > MKV_KEY_MAX) {
        return cli_fail(EXIT_USAGE, "a key has 1 to 255 bytes, this one has %zu", item.key_len);
    }
    memcpy(item.key, key, item.key_len);
    if (file_read(path, &item.data, &item.len) < 0) {
        return EXIT_USAGE;
    }
    return send_items(batch, &item, 1);
}

static int regular(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int put_directory(struct mkv_batch *batch, const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, regular, alphasort);
    if (n < 0) {
        return cli_fail(EXIT_USAGE, "%s: %s", dir, strerror(errno));
    }
    struct item items[BATCH_KEYS];
    struct progress progress;
    progress_begin(&progress, "put", (uint64_t)n);
    uint32_t have = 0;
    size_t bytes = 0;
    int code = EXIT_DONE;
    for (int i = 0; i < n; i++) {
        char path[4096];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        int len = name_to_key(names[i]->d_name, items[have].key);
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
            /* a directory or a device is no value */
        } else if (len < 0) {
            code = cli_worse(
                code, cli_fail(EXIT_USAGE, "%s: the name is no key of 1 to 255 bytes", path));
        } else if (file_read(path, &items[have].data, &items[have].len) < 0) {
            code = cli_worse(code, EXIT_USAGE);
        } else {
            items[have].key_len = (size_t)len;
            bytes += items[have++].len;
        }
        if (have == BATCH_KEYS || bytes >= BATCH_BYTES || (i == n - 1 && have > 0)) {
            code = cli_worse(code, send_items(batch, items, have));
            have = 0;
            bytes = 0;
        }
        progress_add(&progress, 1);
        free(names[i]);
    }
    progress_end(&progress);
    free(names);
    return code;
}

int cmd_put(int argc, const char **argv)
{
    char *from = NULL;
    struct poptOption table[] = {
        {"from", 0, POPT_ARG_STRING, &from, 0, "store each file of DIR under its name", "DIR"},
        {"replace", 0, POPT_ARG_NONE, &replace, 0, "write anew what is there already", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common_options, 0, "Common options:", NULL},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, table, "KEY [FILE|-] | --from DIR", &code);
    if (context == NULL) {
        return code;
    }
    const char *key = poptGetArg(context), *path = poptGetArg(context);
    if ((key == NULL) == (from == NULL) || poptPeekArg(context) != NULL) {
        code = cli_fail(EXIT_USAGE, "usage: memkv put KEY [FILE|-], or memkv put --from DIR");
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
    if (from != NULL) {
        reload_begin(client);
        code = put_directory(batch, from);
        reload_end();
    } else {
        code = put_one(batch, key, path ? path : "-");
    }
    mkv_batch_destroy(&batch);
close_client:
    mkv_client_close(&client);
free_context:
    poptFreeContext(context);
    return code;
}
