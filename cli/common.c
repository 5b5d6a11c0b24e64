#include "cli/cli.h"

#include "core/units.h"
#include "router/seam.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- errors and results ---------------------------------------------------------------------- */

/* json_pack fails where a text is no UTF-8: then the bytes over 0x7f are replaced. */
static json_t *json_text(const char *text)
{
    json_t *o = json_string(text);
    if (o == NULL) {
        char *copy = strdup(text);
        for (char *c = copy; c != NULL && *c != '\0'; c++) {
            *c = (unsigned char)*c > 0x7f ? '?' : *c;
        }
        o = json_string(copy != NULL ? copy : "");
        free(copy);
    }
    return o;
}

static void dump(FILE *to, json_t *object)
{
    json_dumpf(object, to, JSON_COMPACT | JSON_REAL_PRECISION(6));
    fputc('\n', to);
    json_decref(object);
}

/* What a key or a file name brings along must not play with the terminal. */
static void make_harmless(char *text)
{
    for (; *text != '\0'; text++) {
        *text = ((unsigned char)*text < 32 || *text == 127) ? '?' : *text;
    }
}

static void say(const char *what, int code, char *text)
{
    make_harmless(text);
    if (!flags.json) {
        fprintf(stderr, "memkv: %s%s\n", strcmp(what, "warning") == 0 ? "warning: " : "", text);
        return;
    }
    json_t *o = json_object();
    json_object_set_new(o, what, json_text(text));
    if (code >= 0) {
        json_object_set_new(o, "exit", json_integer(code));
    }
    dump(stderr, o);
}

int cli_fail(int code, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    say("error", code, text);
    return code;
}

void cli_warn(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    say("warning", -1, text);
}

int cli_usage(const char *command)
{
    return cli_fail(EXIT_USAGE, "wrong arguments; 'memkv %s --help' tells how it is used", command);
}

void cli_log(void *arg, enum mkv_log_level level, const char *line, size_t len)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    const bool *quiet = arg;
    (void)len;
    if (quiet != NULL && *quiet && !flags.verbose) {
        return;
    }
    if (!flags.json) {
        fprintf(stderr, "memkv: %s: %s\n", words[level], line);
        return;
    }
    json_t *o = json_object();
    json_object_set_new(o, "log", json_text(line));
    json_object_set_new(o, "level", json_string(words[level]));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (text != NULL) {
        fprintf(stderr, "%s\n", text); /* one call: lines of several threads do not mix */
        free(text);
    }
}

const char *cli_key(const char *key, size_t len, char out[KEY_TEXT])
{
    char *to = out;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)key[i];
        if (c < 32 || c == 127) {
            to += snprintf(to, 5, "\\x%02x", c);
        } else {
            *to++ = (char)c;
        }
    }
    *to = '\0';
    return out;
}

bool cli_key_ok(const char *key)
{
    size_t len = strlen(key);
    if (len < 1 || len > MKV_KEY_MAX) {
        cli_fail(EXIT_USAGE, "a key has 1 to %u bytes, this one has %zu", MKV_KEY_MAX, len);
        return false;
    }
    return true;
}

json_t *cli_json_key(const char *key, size_t len)
{
    json_t *o = json_object(), *text = json_stringn(key, len);
    if (text != NULL) {
        json_object_set_new(o, "key", text);
        return o;
    }
    char hex[2 * MKV_KEY_MAX + 1] = "";
    for (size_t i = 0; i < len && i < MKV_KEY_MAX; i++) {
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)key[i]);
    }
    json_object_set_new(o, "key_hex", json_string(hex));
    return o;
}

json_t *cli_json_text(const char *text)
{
    return json_text(text);
}

void cli_print(json_t *object)
{
    dump(stdout, object);
}

/* ---- clients --------------------------------------------------------------------------------- */

static bool is_quiet;

struct mkv_client *cli_open_with(struct mkv__config *config, bool quiet, int *exit_out)
{
    struct mkv_client_options options = {
        .size = sizeof(options), .log = cli_log, .log_arg = &is_quiet};
    struct mkv__client_seam seam = {.config = config};
    struct mkv_client *client = NULL;
    struct mkv_error error = {0};
    is_quiet = quiet;
    int r = mkv__client_open_on(&options, &seam, &client, &error);
    if (r < 0) {
        *exit_out = cli_fail(cli_exit_of(r), "%s", error.text);
        return NULL;
    }
    reload_start(client);
    return client;
}

struct mkv_client *cli_open(bool quiet, int *exit_out)
{
    struct mkv__config *config = cli_config(MKV__CLIENT, exit_out);
    return config != NULL ? cli_open_with(config, quiet, exit_out) : NULL;
}

void cli_close(struct mkv_client **client)
{
    reload_stop();
    mkv_client_close(client);
}

int cli_exit_of(int error)
{
    switch (error) {
    case 0:
        return EXIT_DONE;
    case -ENOENT:
        return EXIT_MISS;
    case -EACCES:
        return EXIT_REFUSED;
    case -EINVAL:
    case -EMSGSIZE:
    case -ENOMEM:
    case -ENOTSUP:
        return EXIT_USAGE;
    default:
        return EXIT_UNREACHABLE;
    }
}

int cli_worse(int a, int b)
{
    return a > b ? a : b;
}

bool cli_size(const char *option, const char *text, uint64_t *out)
{
    const char *why;
    if (mkv__parse_size(text, out, &why) < 0) {
        cli_fail(EXIT_USAGE, "%s: \"%s\" %s", option, text, why);
        return false;
    }
    return true;
}
