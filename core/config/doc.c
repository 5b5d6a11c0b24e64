#include "core/config/doc.h"

#include <ctype.h>
#include <string.h>

#define HELP_INDENT 30u

static const char intro[] =
    "# Configuration\n"
    "\n"
    "<!-- Generated from core/config/options.c by //core/config:make_doc; do not edit. -->\n"
    "\n"
    "The library, the Python package and the command read their options from the same chain. A\n"
    "later source wins, option by option:\n"
    "\n"
    "1. the defaults below;\n"
    "2. a YAML file, if the variable `MEMKV_CONFIG` or `--config` names one (no other is read);\n"
    "3. environment variables `MEMKV_*`; an empty one counts as not set;\n"
    "4. arguments: flags of the command, options of the C and Python constructors, keys of "
    "sglang's\n"
    "   extra config.\n"
    "\n"
    "`memkv doctor` shows each option's value and where it came from; keys are shown as\n"
    "fingerprints, the first 8 hex digits of their SHA-256.\n"
    "\n"
    "A name that is not known is a warning that says what may have been meant. A value that is "
    "not\n"
    "valid is an error, and nothing starts:\n"
    "\n"
    "    memkv.yaml:3: get_timeout: \"2 parsecs\" is not a duration (expected e.g. 250ms, 2s)\n"
    "\n"
    "In names, `-`, `_` and `.` are the same, so that `workers.cpus`, `workers_cpus`,\n"
    "`--workers-cpus` and `MEMKV_WORKERS_CPUS` are one option.\n"
    "\n"
    "## Values\n"
    "\n"
    "| type | written as |\n"
    "|---|---|\n"
    "| size | `64K`, `1MiB`, `1.5G`, `4096`; K, M, G and T are powers of 1024 |\n"
    "| duration | `10us`, `250ms`, `2s`, `5min`, `1h`; a bare number other than 0 is refused |\n"
    "| true or false | `true`, `yes`, `on`, `1`, `false`, `no`, `off`, `0` |\n"
    "| list | items separated by commas; in a YAML file also a sequence |\n"
    "| CPU list | `0-3,8` |\n"
    "| address | `HOST:PORT`; IPv6 in brackets, `[::1]:9900` |\n"
    "| servers | see [`servers`](#servers) |\n"
    "| secret | 64 hex digits, as `memkv keygen` prints them |\n"
    "\n"
    "## The file\n"
    "\n"
    "A mapping of options. Options under `client:` or `server:` are for that side only and win "
    "over\n"
    "the same ones at the top level, so that one file can serve both. Dots may be written as\n"
    "mappings. `null` leaves an option as it was. Paths in options are relative to the directory "
    "in\n"
    "which the process was started.\n"
    "\n"
    "    servers:\n"
    "      - a=10.0.0.10\n"
    "      - b=10.0.0.11|10.0.1.11\n"
    "    auth_key_file: /etc/memkv/key\n"
    "    client:\n"
    "      get_timeout: 1s\n"
    "      breaker: {failures: 5}\n"
    "    server:\n"
    "      memory: 64G\n"
    "\n"
    "## Options\n";

static void write_row(FILE *out, const char *what, const char *text, bool code)
{
    fprintf(out, code ? "- %s: `%s`\n" : "- %s: %s\n", what, text);
}

static void write_option(FILE *out, enum mkv__option_id id)
{
    const struct mkv__option *o = mkv__option_get(id);
    char variable[MKV_VARIABLE_TEXT], flag[MKV_VARIABLE_TEXT], range[MKV_RANGE_TEXT];
    fprintf(out, "\n#### %s\n\n%s\n\n", o->name, o->help);
    write_row(out, "type", mkv__option_type_name(o->type), false);
    if (o->value) {
        write_row(out, "default", o->value, true);
    } else {
        write_row(out, "default", "not set", false);
    }
    if (mkv__option_range(id, range)[0] != '\0') {
        write_row(out, o->type == MKV__TYPE_CHOICE ? "one of" : "range", range, true);
    }
    if (o->example) {
        write_row(out, "example", o->example, true);
    }
    write_row(out, "for", mkv__component_text(o->components), false);
    fprintf(out, "- variable: `%s`, flag: `%s`\n", mkv__option_variable(id, variable),
            mkv__option_flag(id, flag));
}

/* Groups in the order in which they first appear in the table. */
static bool is_first_of_group(int id)
{
    const char *group = mkv__option_get((enum mkv__option_id)id)->group;
    for (int i = 0; i < id; i++) {
        if (strcmp(mkv__option_get((enum mkv__option_id)i)->group, group) == 0) {
            return false;
        }
    }
    return true;
}

void mkv__config_write_doc(FILE *out)
{
    fputs(intro, out);
    for (int first = 0; first < MKV_OPT_COUNT; first++) {
        if (!is_first_of_group(first)) {
            continue;
        }
        const char *group = mkv__option_get((enum mkv__option_id)first)->group;
        fprintf(out, "\n### %s\n", group);
        for (int id = first; id < MKV_OPT_COUNT; id++) {
            if (strcmp(mkv__option_get((enum mkv__option_id)id)->group, group) == 0) {
                write_option(out, (enum mkv__option_id)id);
            }
        }
    }
}

const char *mkv__option_flag(enum mkv__option_id id, char out[MKV_VARIABLE_TEXT])
{
    snprintf(out, MKV_VARIABLE_TEXT, "--%s", mkv__option_get(id)->name);
    for (char *p = out; *p != '\0'; p++) {
        *p = *p == '_' || *p == '.' ? '-' : *p;
    }
    return out;
}

/* Writes words, broken before `columns`, each line after the first indented. */
static void write_wrapped(FILE *out, const char *text, unsigned columns)
{
    size_t column = HELP_INDENT;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > HELP_INDENT && column + 1 + len > columns) {
            fprintf(out, "\n%*s", (int)HELP_INDENT, "");
            column = HELP_INDENT;
        } else if (column > HELP_INDENT) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, len, out);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

const char *mkv__option_placeholder(enum mkv__option_id id)
{
    static const char *const names[] = {
        [MKV__TYPE_SIZE] = "SIZE",       [MKV__TYPE_DURATION] = "DURATION",
        [MKV__TYPE_COUNT] = "N",         [MKV__TYPE_BOOL] = "BOOL",
        [MKV__TYPE_CHOICE] = "WORD",     [MKV__TYPE_STRING] = "TEXT",
        [MKV__TYPE_LIST] = "LIST",       [MKV__TYPE_CPUS] = "CPUS",
        [MKV__TYPE_SECRET] = "HEX",      [MKV__TYPE_ADDRESS] = "HOST:PORT",
        [MKV__TYPE_SERVERS] = "SERVERS",
    };
    return names[mkv__option_get(id)->type];
}

static void write_head(FILE *out, enum mkv__option_id id, bool flags)
{
    const struct mkv__option *o = mkv__option_get(id);
    char flag[MKV_VARIABLE_TEXT];
    int n = fprintf(out, "  %s %s", flags ? mkv__option_flag(id, flag) : o->name,
                    mkv__option_placeholder(id));
    if (n > (int)HELP_INDENT - 2) { /* no room beside it: the text begins below */
        fputc('\n', out);
        n = 0;
    }
    fprintf(out, "%*s", (int)HELP_INDENT - n, "");
}

static void write_limits(FILE *out, enum mkv__option_id id)
{
    const struct mkv__option *o = mkv__option_get(id);
    char range[MKV_RANGE_TEXT];
    const char *separator = o->value && mkv__option_range(id, range)[0] != '\0' ? "; " : "";
    mkv__option_range(id, range);
    if (!o->value && range[0] == '\0') {
        return;
    }
    fprintf(out, "%*s%s%s%s%s\n", (int)HELP_INDENT, "", o->value ? "default " : "",
            o->value ? o->value : "", separator, range);
}

void mkv__config_write_help(FILE *out, unsigned components, bool flags, unsigned columns)
{
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        const struct mkv__option *o = mkv__option_get((enum mkv__option_id)id);
        if (!(o->components & components)) {
            continue;
        }
        write_head(out, (enum mkv__option_id)id, flags);
        write_wrapped(out, o->help, columns);
        write_limits(out, (enum mkv__option_id)id);
    }
}
