/*
 * The options of the command. Those of client and server come from the one table in core/config:
 * each is a flag of every command; those that a command has no use for are told and ignored.
 */
#include "cli/cli.h"

#include "core/base.h"
#include "core/config/doc.h"

#include <stdlib.h>
#include <string.h>

extern char **environ;

struct flags flags;

static char *values[MKV_OPT_COUNT];
static char names[MKV_OPT_COUNT][MKV_VARIABLE_TEXT];
static struct poptOption table[MKV_OPT_COUNT + 1];

/* What --help shows of the table; --help-all shows all of it. */
static const struct front {
    enum mkv__option_id id;
    unsigned component;
    char letter;
} fronts[] = {
    {MKV_OPT_SERVERS, MKV__CLIENT, 's'},
    {MKV_OPT_NAMESPACE, MKV__CLIENT, 'n'},
    {MKV_OPT_LISTEN, MKV__SERVER, 'l'},
    {MKV_OPT_MEMORY, MKV__SERVER, 'm'},
    {MKV_OPT_WORKERS, MKV__SERVER, 'w'},
    {MKV_OPT_TRANSPORT, MKV__CLIENT | MKV__SERVER, 0},
    {MKV_OPT_AUTH_KEY_FILE, MKV__CLIENT | MKV__SERVER, 0},
};

static struct poptOption common[] = {
    {"config", 'c', POPT_ARG_STRING, &flags.config, 0,
     "YAML file of options (default: the one that MEMKV_CONFIG names).", "FILE"},
    {"timeout", 't', POPT_ARG_STRING, &flags.timeout, 0,
     "For each request, as 250ms or 2s: get, set and exists timeout in one.", "DURATION"},
    {"json", 'j', POPT_ARG_NONE, &flags.json, 0,
     "One JSON object a line on stdout; errors on stderr too.", NULL},
    {"verbose", 'v', POPT_ARG_NONE, &flags.verbose, 0, "Show all lines of log.", NULL},
    {"version", 'V', POPT_ARG_NONE, &flags.version, 0, "Print the version.", NULL},
    {"help", 'h', POPT_ARG_NONE, &flags.help, 0, "Print this.", NULL},
    {"help-all", 0, POPT_ARG_NONE, &flags.help_all, 0,
     "Print this and the flags of the whole configuration.", NULL},
    POPT_TABLEEND,
};

static char letter_of(int id)
{
    for (size_t i = 0; i < MKV_ARRAY_LEN(fronts); i++) {
        if ((int)fronts[i].id == id) {
            return fronts[i].letter;
        }
    }
    return 0;
}

static void make_table(void)
{
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        mkv__option_flag((enum mkv__option_id)id, names[id]);
        table[id] = (struct poptOption){.longName = names[id] + 2,
                                        .shortName = letter_of(id),
                                        .argInfo = POPT_ARG_STRING,
                                        .arg = &values[id]};
    }
    table[MKV_OPT_COUNT] = (struct poptOption)POPT_TABLEEND;
}

void cli_look_for_json(int argc, const char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        flags.json = flags.json || strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0;
    }
}

/* ---- help ------------------------------------------------------------------------------------ */

/* The first sentence of an option's help, and its default. */
static void brief_of(enum mkv__option_id id, char out[300])
{
    const struct mkv__option *o = mkv__option_get(id);
    const char *end = strstr(o->help, ". ");
    int len = end != NULL ? (int)(end - o->help) : (int)strlen(o->help) - 1;
    if (o->value != NULL) {
        snprintf(out, 300, "%.*s (default %s).", len, o->help, o->value);
    } else {
        snprintf(out, 300, "%.*s.", len, o->help);
    }
}

static void show_own(const struct poptOption *own)
{
    for (const struct poptOption *o = own; o->longName != NULL; o++) {
        help_option(&(struct help_line){o->shortName, o->longName, o->argDescrip, o->descrip});
    }
}

static void show_fronts(unsigned components)
{
    for (size_t i = 0; i < MKV_ARRAY_LEN(fronts); i++) {
        char text[300];
        if (fronts[i].component & components) {
            brief_of(fronts[i].id, text);
            help_option(&(struct help_line){fronts[i].letter, names[fronts[i].id] + 2,
                                            mkv__option_placeholder(fronts[i].id), text});
        }
    }
}

static void show_common(const struct command *command)
{
    for (const struct poptOption *o = common; o->longName != NULL; o++) {
        bool client_only = o->arg == &flags.timeout;
        bool configures = o->arg == &flags.config || o->arg == &flags.help_all;
        if (client_only ? (command->components & MKV__CLIENT) != 0
                        : !configures || command->components != 0) {
            help_option(&(struct help_line){o->shortName, o->longName, o->argDescrip, o->descrip});
        }
    }
}

static void help(const struct command *command, const struct poptOption *own)
{
    bool has_own = own->longName != NULL;
    help_begin(command);
    if (has_own) {
        help_heading("Options");
        show_own(own);
    }
    help_heading(has_own ? "Common options" : "Options");
    show_fronts(command->components);
    show_common(command);
    if (flags.help_all && command->components != 0) {
        help_heading("The whole configuration");
        mkv__config_write_help(stdout, command->components, true, 79);
    }
    help_end(command, flags.help_all);
}

/* ---- parsing --------------------------------------------------------------------------------- */

static const struct command *command_of(const char *name)
{
    const struct command *c = commands;
    while (strcmp(c->name, name) != 0) {
        c++;
    }
    return c;
}

/* The context keeps the table by reference. */
static struct poptOption whole[4];

static int unknown_flag(poptContext context, int error, const char *command)
{
    const char *bad = poptBadOption(context, 0);
    const char *suggestion = NULL;
    if (error == POPT_ERROR_BADOPT && strncmp(bad, "--", 2) == 0) {
        suggestion = mkv__option_suggest(bad + 2, MKV__CLIENT | MKV__SERVER);
    }
    if (suggestion != NULL) {
        int id = mkv__option_find(suggestion);
        return cli_fail(EXIT_USAGE, "%s: %s, did you mean %s?", bad, poptStrerror(error),
                        names[id]);
    }
    return cli_fail(EXIT_USAGE, "%s: %s; 'memkv %s --help' tells the options", bad,
                    poptStrerror(error), command);
}

poptContext cli_parse(int argc, const char **argv, const struct poptOption *own, int *exit_out)
{
    make_table();
    void *parts[] = {(void *)(uintptr_t)own, table, common};
    for (size_t i = 0; i < MKV_ARRAY_LEN(parts); i++) {
        whole[i] = (struct poptOption){.argInfo = POPT_ARG_INCLUDE_TABLE, .arg = parts[i]};
    }
    whole[MKV_ARRAY_LEN(parts)] = (struct poptOption)POPT_TABLEEND;
    poptContext context = poptGetContext(NULL, argc, argv, whole, 0);
    int r = poptGetNextOpt(context);
    if (r < -1) {
        *exit_out = unknown_flag(context, r, argv[0]);
    } else if (flags.version) {
        printf("memkv %s\n", mkv_version());
        *exit_out = EXIT_DONE;
    } else if (flags.help || flags.help_all) {
        help(command_of(argv[0]), own);
        *exit_out = EXIT_DONE;
    } else {
        return context;
    }
    poptFreeContext(context);
    return NULL;
}

/* ---- the configuration ----------------------------------------------------------------------- */

const char *cli_flag(enum mkv__option_id id)
{
    return values[id];
}

void cli_flag_set(enum mkv__option_id id, const char *value)
{
    free(values[id]);
    values[id] = strdup(value);
}

static size_t arguments(struct mkv__config_arg out[MKV_OPT_COUNT + 4])
{
    static const char *const timeouts[] = {"get_timeout", "set_timeout", "exists_timeout"};
    size_t n = 0;
    for (size_t i = 0; flags.timeout != NULL && i < MKV_ARRAY_LEN(timeouts); i++) {
        out[n++] = (struct mkv__config_arg){timeouts[i], flags.timeout, "--timeout"};
    }
    if (flags.verbose) {
        out[n++] = (struct mkv__config_arg){"log_level", "debug", "--verbose"};
    }
    for (int id = 0; id < MKV_OPT_COUNT; id++) { /* what is told apart wins: it comes later */
        if (values[id] != NULL) {
            out[n++] = (struct mkv__config_arg){mkv__option_get((enum mkv__option_id)id)->name,
                                                values[id], names[id]};
        }
    }
    return n;
}

struct mkv__config *cli_config_quietly(unsigned components, struct mkv__config_error *error_out)
{
    struct mkv__config_arg args[MKV_OPT_COUNT + 4];
    struct mkv__config *config = NULL;
    char *timeout = flags.timeout;
    flags.timeout = components & MKV__CLIENT ? timeout : NULL;
    size_t n = arguments(args);
    flags.timeout = timeout;
    if (mkv__config_create(&config) < 0) {
        snprintf(error_out->text, sizeof(error_out->text), "out of memory");
        return NULL;
    }
    if (mkv__config_load(config, components, flags.config, environ, args, n, error_out) < 0) {
        mkv__config_destroy(&config);
    }
    return config;
}

struct mkv__config *cli_config_again(unsigned components, struct mkv__config_error *error_out)
{
    /* --timeout is of no use to a server, and is not told three times. */
    if (flags.timeout != NULL && !(components & MKV__CLIENT)) {
        cli_warn("--timeout: is an option of the client and is ignored here");
    }
    struct mkv__config *config = cli_config_quietly(components, error_out);
    for (size_t i = 0; config != NULL && i < mkv__config_n_warnings(config); i++) {
        cli_warn("%s", mkv__config_warning(config, i));
    }
    return config;
}

struct mkv__config *cli_config(unsigned components, int *exit_out)
{
    struct mkv__config_error error;
    struct mkv__config *config = cli_config_again(components, &error);
    if (config == NULL) {
        *exit_out = cli_fail(EXIT_USAGE, "%s", error.text);
    }
    return config;
}
