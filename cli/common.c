#include "cli/cli.h"

#include "core/units.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct common common;

struct poptOption common_options[] = {
    {"servers", 's', POPT_ARG_STRING, &common.servers, 0,
     "servers, as in MEMKV_SERVERS: host[:port],...", "LIST"},
    {"config", 'c', POPT_ARG_STRING, &common.config, 0, "YAML file (default: $MEMKV_CONFIG)",
     "FILE"},
    {"transport", 0, POPT_ARG_STRING, &common.transport, 0, "auto, tcp", "NAME"},
    {"auth-key-file", 0, POPT_ARG_STRING, &common.auth_key_file, 0,
     "file with the key that 'memkv keygen' made", "FILE"},
    {"namespace", 'n', POPT_ARG_STRING, &common.namespace_, 0, "namespace of the keys", "NAME"},
    {"timeout", 't', POPT_ARG_STRING, &common.timeout, 0, "for each request: 250ms, 2s", "TIME"},
    {"json", 'j', POPT_ARG_NONE, &common.json, 0, "JSON on stdout, errors too on stderr", NULL},
    {"verbose", 'v', POPT_ARG_NONE, &common.verbose, 0, "log at level debug", NULL},
    {"version", 'V', POPT_ARG_NONE, &common.version, 0, "print the version", NULL},
    POPT_TABLEEND,
};

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void say(const char *what, int code, const char *text)
{
    if (!common.json) {
        fprintf(stderr, "memkv: %s%s\n", strcmp(what, "warning") == 0 ? "warning: " : "", text);
        return;
    }
    json_t *o = json_pack("{ss%}", what, text, strlen(text));
    if (o == NULL) {
        o = json_pack("{ss}", what, "an error whose text is not UTF-8");
    }
    if (code >= 0) {
        json_object_set_new(o, "exit", json_integer(code));
    }
    json_dumpf(o, stderr, JSON_COMPACT);
    fputc('\n', stderr);
    json_decref(o);
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

void cli_note(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    say("note", -1, text);
}

poptContext cli_parse(int argc, const char **argv, const struct poptOption *table,
                      const char *arguments, int *exit_out)
{
    char name[64];
    snprintf(name, sizeof(name), "memkv %s", argv[0]);
    poptContext context = poptGetContext(NULL, argc, argv, table, 0);
    poptSetOtherOptionHelp(context, arguments);
    argv[0] = strdup(name); /* popt shows argv[0] in its help */
    int r = poptGetNextOpt(context);
    if (r < -1) {
        *exit_out = cli_fail(EXIT_USAGE, "%s: %s; '%s --help' tells the options",
                             poptBadOption(context, POPT_BADOPTION_NOALIAS), poptStrerror(r), name);
        poptFreeContext(context);
        return NULL;
    }
    if (common.version) {
        printf("memkv %s\n", mkv_version());
        *exit_out = EXIT_DONE;
        poptFreeContext(context);
        return NULL;
    }
    return context;
}

size_t cli_options(struct mkv_option out[CLI_OPTIONS_MAX])
{
    size_t n = 0;
    const struct mkv_option all[] = {
        {"servers", common.servers},
        {"transport", common.transport},
        {"auth_key_file", common.auth_key_file},
        {"namespace", common.namespace_},
        {"get_timeout", common.timeout},
        {"set_timeout", common.timeout},
        {"exists_timeout", common.timeout},
        {"log_level", common.verbose ? "debug" : NULL},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].value != NULL) {
            out[n++] = all[i];
        }
    }
    return n;
}

struct mkv_client *cli_open(int *exit_out)
{
    struct mkv_option list[CLI_OPTIONS_MAX];
    struct mkv_client_options options = {
        .size = sizeof(options),
        .options = list,
        .n_options = cli_options(list),
        .config_file = common.config,
    };
    struct mkv_client *client = NULL;
    struct mkv_error error = {0};
    int r = mkv_client_open(&options, &client, &error);
    if (r < 0) {
        *exit_out = cli_fail(r == -EINVAL ? EXIT_USAGE : cli_exit_of(r), "%s", error.text);
        return NULL;
    }
    return client;
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
        cli_fail(EXIT_USAGE, "%s: \"%s\": %s", option, text, why);
        return false;
    }
    return true;
}
