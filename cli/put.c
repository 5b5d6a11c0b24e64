#include "cli/cli.h"

#include "cli/names.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH_KEYS  64u
#define BATCH_BYTES ((size_t)16 << 20)

struct item {
    char key[MKV_KEY_MAX];
    size_t key_len;
    uint8_t *data;
    size_t len;
};

/* What is read and not sent yet. */
struct sender {
    struct mkv_batch *batch;
    uint32_t flags; /* of batches */
    struct item items[BATCH_KEYS];
    uint32_t n;
    size_t bytes;
    struct progress progress;
    int code;
};

/* ---- what came of it ------------------------------------------------------------------------- */

/* A value of another length that is there is kept like one of the same length. */
static bool is_conflict(const struct mkv_batch *batch, uint32_t i)
{
    return mkv_batch_status(batch, i) == MKV_REFUSED && mkv_batch_error(batch, i) == -EMSGSIZE;
}

static const char *word_of(const struct mkv_batch *batch, uint32_t i)
{
    switch (mkv_batch_status(batch, i)) {
    case MKV_STORED:
        return "stored";
    case MKV_KEPT:
        return "kept";
    case MKV_FULL:
        return "full";
    case MKV_REFUSED:
        return is_conflict(batch, i) ? "kept" : "refused";
    default:
        return "unknown";
    }
}

/* Says why, and returns the exit code. */
static int explain(const struct sender *s, const char *key, uint32_t i)
{
    enum mkv_status status = mkv_batch_status(s->batch, i);
    int error = mkv_batch_error(s->batch, i);
    if (is_conflict(s->batch, i)) {
        cli_warn("%s: what is there has another length; --replace writes anew", key);
        return EXIT_DONE;
    }
    if (mkv_batch_differs(s->batch, i)) {
        cli_warn("%s: what is there differs; --replace writes anew", key);
    }
    if (status == MKV_STORED || status == MKV_KEPT) {
        return EXIT_DONE;
    }
    if (status == MKV_FULL) {
        return cli_fail(EXIT_UNREACHABLE, "%s: the server has no room", key);
    }
    if (status == MKV_REFUSED) {
        return cli_fail(EXIT_REFUSED, "%s: the server refuses: this key has no right to %s", key,
                        s->flags & MKV_REPLACE
                            ? "replace (the server's option \"admin\") or to the namespace"
                            : "the namespace");
    }
    error = error != 0 ? error : -ETIMEDOUT;
    return cli_fail(cli_exit_of(error), "%s: %s", key, mkv_error_text(error));
}

static int report(struct sender *s, uint32_t i)
{
    const struct item *item = &s->items[i];
    const char *word = word_of(s->batch, i);
    char key[KEY_TEXT];
    cli_key(item->key, item->key_len, key);
    progress_clear(&s->progress);
    if (flags.json) {
        json_t *o = cli_json_key(item->key, item->key_len);
        json_object_set_new(o, "result", json_string(word));
        json_object_set_new(o, "bytes", json_integer((json_int_t)item->len));
        json_object_set_new(
            o, "differs", json_boolean(mkv_batch_differs(s->batch, i) || is_conflict(s->batch, i)));
        cli_print(o);
    } else {
        printf("%s %s%s\n", key, word, strcmp(word, "kept") == 0 ? " (already there)" : "");
    }
    return explain(s, key, i);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void send_items(struct sender *s)
{
    struct mkv_batch_options options = {.size = sizeof(options), .flags = s->flags | MKV_DIFFERS};
    int r = mkv_batch_begin(s->batch, MKV_OP_SET, &options);
    for (uint32_t i = 0; i < s->n && r >= 0; i++) {
        struct mkv_segment segment = {s->items[i].data, s->items[i].len};
        r = mkv_batch_add(s->batch, s->items[i].key, s->items[i].key_len, &segment, 1);
    }
    if (r >= 0) {
        r = mkv_batch_run(s->batch);
    }
    if (r < 0) {
        s->code = cli_worse(s->code, cli_fail(cli_exit_of(r), "%s", mkv_error_text(r)));
    }
    for (uint32_t i = 0; i < s->n; i++) {
        s->code = r < 0 ? s->code : cli_worse(s->code, report(s, i));
        free(s->items[i].data);
    }
    progress_add(&s->progress, s->n);
    s->n = 0;
    s->bytes = 0;
}

static void take(struct sender *s, const char *path)
{
    struct item *item = &s->items[s->n];
    if (file_read(path, &item->data, &item->len) < 0) {
        s->code = cli_worse(s->code, EXIT_USAGE);
        return;
    }
    s->bytes += item->len;
    if (++s->n == BATCH_KEYS || s->bytes >= BATCH_BYTES) {
        send_items(s);
    }
}

/* ---- a directory ----------------------------------------------------------------------------- */

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void walk(struct sender *s, const char *root, const char *below);

/* name: the path from the root on. */
static void take_entry(struct sender *s, const char *root, const char *name)
{
    char path[PATH_ROOM];
    struct stat st;
    if (snprintf(path, sizeof(path), "%s/%s", root, name) >= (int)sizeof(path)) {
        s->code = cli_worse(s->code, cli_fail(EXIT_USAGE, "%s: the path is too long", name));
        return;
    }
    int len = name_to_key(name, s->items[s->n].key);
    if (stat(path, &st) < 0) {
        s->code = cli_worse(s->code, cli_fail(EXIT_USAGE, "%s: %s", path, strerror(errno)));
    } else if (S_ISDIR(st.st_mode) && name[strlen(name) - 1] == '%') {
        walk(s, root, name);
    } else if (!S_ISREG(st.st_mode)) {
        cli_warn("%s: left out, since it is no file", path);
    } else if (len < 0) {
        s->code = cli_worse(s->code,
                            cli_fail(EXIT_USAGE, "%s: the name is no key of 1 to 255 bytes", path));
    } else {
        s->items[s->n].key_len = (size_t)len;
        take(s, path);
    }
}

static void walk(struct sender *s, const char *root, const char *below)
{
    char dir[PATH_ROOM], name[PATH_ROOM];
    struct dirent **names;
    const char *slash = below[0] != '\0' ? "/" : "";
    snprintf(dir, sizeof(dir), "%s%s%s", root, slash, below);
    int n = scandir(dir, &names, not_hidden, alphasort);
    if (n < 0) {
        s->code = cli_worse(s->code, cli_fail(EXIT_USAGE, "%s: %s", dir, strerror(errno)));
        return;
    }
    if (below[0] == '\0') {
        progress_begin(&s->progress, "put", (uint64_t)n);
    }
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s%s%s", below, slash, names[i]->d_name);
        take_entry(s, root, name);
        free(names[i]);
    }
    free(names);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int put(struct mkv_client *client, const char *key, const char *path, const char *from,
               int replace)
{
    struct sender *s = calloc(1, sizeof(*s));
    if (s == NULL || mkv_batch_create(client, &s->batch) < 0) {
        free(s);
        return cli_fail(EXIT_USAGE, "out of memory");
    }
    s->flags = replace ? MKV_REPLACE : 0;
    if (from != NULL) {
        walk(s, from, "");
    } else {
        s->items[0].key_len = strlen(key);
        memcpy(s->items[0].key, key, s->items[0].key_len);
        take(s, path);
    }
    if (s->n > 0) {
        send_items(s);
    }
    progress_end(&s->progress);
    int code = s->code;
    mkv_batch_destroy(&s->batch);
    free(s);
    return code;
}

int cmd_put(int argc, const char **argv)
{
    char *from = NULL;
    int replace = 0;
    const struct poptOption own[] = {
        {"from", 0, POPT_ARG_STRING, &from, 0,
         "Store each file of DIR under its name, in which %XX stands for a byte. Hidden files are "
         "left out.",
         "DIR"},
        {"replace", 0, POPT_ARG_NONE, &replace, 0, "Write anew what is there already.", NULL},
        POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    const char *key = poptGetArg(context), *path = poptGetArg(context);
    if ((key == NULL) == (from == NULL) || poptPeekArg(context) != NULL) {
        code = cli_usage("put");
    } else if (key == NULL || cli_key_ok(key)) {
        struct mkv_client *client = cli_open(false, &code);
        if (client != NULL) {
            code = put(client, key, path != NULL ? path : "-", from, replace);
            cli_close(&client);
        }
    }
    free(from);
    poptFreeContext(context);
    return code;
}
