#include "cli/cli.h"

#include "cli/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_KEYS  64u
#define BATCH_BYTES ((uint64_t)16 << 20)
#define LOOKS       4

/* A key on its way: what is known of it. */
struct want {
    const char *key;
    uint8_t *data;
    uint64_t len; /* of data; stored, once it was looked at */
    int looks;
    int code; /* EXIT_*, or -1: not known yet */
};

static int ask(struct mkv_batch *batch, struct want **wants, uint32_t n)
{
    int r = mkv_batch_begin(batch, MKV_OP_GET, NULL);
    for (uint32_t i = 0; i < n && r >= 0; i++) {
        struct mkv_segment segment = {wants[i]->data, wants[i]->data != NULL ? wants[i]->len : 0};
        r = mkv_batch_add(batch, wants[i]->key, strlen(wants[i]->key), &segment, 1);
    }
    r = r < 0 ? r : mkv_batch_run(batch);
    if (r >= 0) {
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        wants[i]->code = cli_fail(cli_exit_of(r), "%s: %s", wants[i]->key, mkv_error_text(r));
    }
    return r;
}

/* Without room for its value a key is answered with its length, as a miss. */
static void note(struct want *want, const struct mkv_batch *batch, uint32_t i)
{
    enum mkv_status status = mkv_batch_status(batch, i);
    int error = mkv_batch_error(batch, i);
    if (status == MKV_HIT) {
        want->len = want->data != NULL ? want->len : 0;
        want->code = EXIT_DONE;
        return;
    }
    free(want->data);
    want->data = NULL;
    want->len = status == MKV_MISS ? mkv_batch_length(batch, i) : 0;
    if (status != MKV_MISS) {
        error = error != 0 ? error : -ETIMEDOUT;
        want->code = cli_fail(cli_exit_of(error), "%s: %s", want->key, mkv_error_text(error));
    } else if (want->len == 0 || ++want->looks == LOOKS) {
        want->code = cli_fail(EXIT_MISS, "%s: not there", want->key);
    }
}

static int put_into(const struct want *want, const char *path)
{
    if (strcmp(path, "-") == 0 && isatty(STDOUT_FILENO) && looks_binary(want->data, want->len)) {
        return cli_fail(EXIT_USAGE,
                        "%s: %llu bytes that are no text; name a FILE or redirect standard output",
                        want->key, (unsigned long long)want->len);
    }
    if (file_write(path, want->data, want->len) < 0) {
        return EXIT_USAGE;
    }
    if (flags.json && strcmp(path, "-") != 0) {
        json_t *o = cli_json_key(want->key, strlen(want->key));
        json_object_set_new(o, "file", cli_json_text(path));
        json_object_set_new(o, "bytes", json_integer((json_int_t)want->len));
        cli_print(o);
    }
    return EXIT_DONE;
}

/* The directories of a long key's name. */
static int make_directories(char *path, size_t from)
{
    for (char *at = strchr(path + from, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        int r = mkdir(path, 0777) < 0 && errno != EEXIST ? -errno : 0;
        *at = '/';
        if (r < 0) {
            return cli_fail(EXIT_USAGE, "%s: %s", path, strerror(-r));
        }
    }
    return EXIT_DONE;
}

static int put_into_directory(const struct want *want, const char *dir)
{
    char name[NAME_ROOM], path[PATH_ROOM];
    key_to_name(want->key, strlen(want->key), name);
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path)) {
        return cli_fail(EXIT_USAGE, "%s: %s", dir, strerror(ENAMETOOLONG));
    }
    int code = make_directories(path, strlen(dir) + 1);
    return code == EXIT_DONE ? put_into(want, path) : code;
}

/* Picks those that fit into a batch beside each other, and gives them room. */
static uint32_t pick(struct want *wants, uint32_t n, struct want *out[BATCH_KEYS])
{
    uint64_t bytes = 0;
    uint32_t picked = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct want *w = &wants[i];
        if (w->code != -1 || (picked > 0 && bytes + w->len > BATCH_BYTES)) {
            continue;
        }
        w->data = w->len > 0 ? malloc(w->len) : NULL;
        if (w->len > 0 && w->data == NULL) {
            w->code = cli_fail(EXIT_USAGE, "%s: out of memory for %llu bytes", w->key,
                               (unsigned long long)w->len);
            continue;
        }
        bytes += w->len;
        out[picked++] = w;
    }
    return picked;
}

/*
 * Fetches up to BATCH_KEYS values of unknown length: the first look tells their lengths, the next
 * ones have room for them; a value that is replaced between two looks costs another. Each is written
 * as soon as it is there.
 */
static int fetch(struct mkv_batch *batch, struct want *wants, uint32_t n, const char *dir,
                 const char *path, struct progress *progress)
{
    struct want *picked[BATCH_KEYS];
    int code = EXIT_DONE;
    for (uint32_t m = pick(wants, n, picked); m > 0; m = pick(wants, n, picked)) {
        int r = ask(batch, picked, m);
        for (uint32_t i = 0; i < m; i++) {
            struct want *w = picked[i];
            if (r == 0) {
                progress_clear(progress);
                note(w, batch, i);
            }
            if (w->code == EXIT_DONE) {
                w->code = dir != NULL ? put_into_directory(w, dir) : put_into(w, path);
            }
            if (w->code != -1) {
                code = cli_worse(code, w->code);
                progress_add(progress, 1);
                free(w->data);
                w->data = NULL;
            }
        }
    }
    return code;
}

static int get_all(struct mkv_batch *batch, const char **keys, uint32_t n, const char *dir,
                   const char *path)
{
    struct want wants[BATCH_KEYS];
    struct progress progress;
    int code = EXIT_DONE;
    if (dir != NULL && mkdir(dir, 0777) < 0 && errno != EEXIST) {
        return cli_fail(EXIT_USAGE, "%s: %s", dir, strerror(errno));
    }
    progress_begin(&progress, "get", n);
    for (uint32_t at = 0; at < n; at += BATCH_KEYS) {
        uint32_t m = n - at < BATCH_KEYS ? n - at : BATCH_KEYS;
        for (uint32_t i = 0; i < m; i++) {
            wants[i] = (struct want){.key = keys[at + i], .code = -1};
        }
        code = cli_worse(code, fetch(batch, wants, m, dir, path, &progress));
    }
    progress_end(&progress);
    return code;
}

static int get(const char **args, uint32_t n, const char *dir)
{
    uint32_t n_keys = dir != NULL ? n : 1;
    int code = EXIT_DONE;
    for (uint32_t i = 0; i < n_keys; i++) {
        if (!cli_key_ok(args[i])) {
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
        code = get_all(batch, args, n_keys, dir, n > 1 ? args[1] : "-");
        mkv_batch_destroy(&batch);
    }
    cli_close(&client);
    return code;
}

int cmd_get(int argc, const char **argv)
{
    char *dir = NULL;
    const struct poptOption own[] = {
        {"to", 0, POPT_ARG_STRING, &dir, 0,
         "Write each value to a file of DIR named by its key; bytes other than letters, digits, _, "
         "- and inner dots as %XX.",
         "DIR"},
        POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    poptContext context = cli_parse(argc, argv, own, &code);
    if (context == NULL) {
        return code;
    }
    const char **args = poptGetArgs(context);
    uint32_t n = 0;
    while (args != NULL && args[n] != NULL) {
        n++;
    }
    code = n < 1 || (dir == NULL && n > 2) ? cli_usage("get") : get(args, n, dir);
    free(dir);
    poptFreeContext(context);
    return code;
}
