#include "core/config/config_parts.h"
#include "core/config/text_file.h"
#include "core/config/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_LEN ((size_t)1 << 20)
#define PREFIX       "MEMKV_"
#define WHERE_TEXT   280u

/* A name and a value on their way in. */
struct item {
    enum mkv__origin_kind kind;
    const char *where;  /* for errors, before what is wrong: "memkv.yaml:3: get_timeout" */
    const char *origin; /* for doctor: "memkv.yaml:3" */
    const char *value;
    unsigned line, section;
};

/* One run of the chain. */
struct load {
    struct mkv__config *config;
    const char *file;
    char error[500];
};

static int refuse(struct load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct load *load, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(load->error, sizeof(load->error), format, args);
    va_end(args);
    return -EINVAL;
}

static int no_memory(struct load *load)
{
    snprintf(load->error, sizeof(load->error), "out of memory");
    return -ENOMEM;
}

static void warn(struct mkv__config *config, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void warn(struct mkv__config *config, const char *format, ...)
{
    char *text;
    va_list args;
    if (config->n_warnings == MKV_WARNINGS_MAX) {
        return;
    }
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n >= 0) { /* a warning lost for want of memory is no reason to stop */
        config->warnings[config->n_warnings++] = text;
    }
}

/* ---- a value comes in ----------------------------------------------------------------------- */

static int set(struct load *load, enum mkv__option_id id, const struct item *item)
{
    struct mkv__config_entry *entry = &load->config->entries[id];
    struct mkv__value value;
    char why[MKV_SPAN_ERROR];
    int rc = mkv__value_parse(id, item->value, &value, why);
    if (rc == -ENOMEM) {
        return no_memory(load);
    }
    if (rc < 0) {
        return refuse(load, "%s: %.300s", item->where, why);
    }
    char *origin = strdup(item->origin);
    if (!origin) {
        mkv__value_fini(&value);
        return no_memory(load);
    }
    mkv__value_fini(&entry->value);
    free(entry->origin);
    *entry = (struct mkv__config_entry){value, item->kind, origin, item->line, item->section};
    return 0;
}

static bool is_ours(const struct mkv__config *config, int id)
{
    return (mkv__option_get((enum mkv__option_id)id)->components & config->components) != 0;
}

/* ---- the file ------------------------------------------------------------------------------- */

static void warn_unknown(struct load *load, const char *where, const char *name)
{
    const char *suggestion = mkv__option_suggest(name, MKV__CLIENT | MKV__SERVER);
    if (suggestion) {
        warn(load->config, "%s: unknown option \"%.64s\", did you mean \"%s\"?", where, name,
             suggestion);
    } else {
        warn(load->config, "%s: unknown option \"%.64s\" is ignored", where, name);
    }
}

static int take_from_file(void *arg, const struct mkv__yaml_entry *entry)
{
    struct load *load = arg;
    char origin[WHERE_TEXT], where[WHERE_TEXT + 64];
    snprintf(origin, sizeof(origin), "%.200s:%u", load->file, entry->line);
    int id = mkv__option_find(entry->key);
    if (id < 0) {
        warn_unknown(load, origin, entry->key);
        return 0;
    }
    const struct mkv__option *o = mkv__option_get((enum mkv__option_id)id);
    if (entry->section & ~o->components) {
        warn(load->config, "%s: %s is an option of the %s and is ignored here", origin, o->name,
             mkv__component_text(o->components));
        return 0;
    }
    if (!is_ours(load->config, id) ||
        (entry->section && !(entry->section & load->config->components))) {
        return 0; /* one file may serve both sides */
    }
    const struct mkv__config_entry *before = &load->config->entries[id];
    if (before->kind == MKV__ORIGIN_FILE && before->section == entry->section) {
        return refuse(load, "%s: %s: given twice (first on line %u)", origin, o->name,
                      before->line);
    }
    snprintf(where, sizeof(where), "%s: %s", origin, o->name);
    struct item item = {MKV__ORIGIN_FILE, where, origin, entry->value, entry->line, entry->section};
    return set(load, (enum mkv__option_id)id, &item);
}

static int take_file(struct load *load)
{
    struct mkv__text_file file;
    char why[MKV_SPAN_ERROR] = "";
    int rc = mkv__text_file_read(load->file, FILE_MAX_LEN, &file, why);
    if (rc < 0) {
        return rc == -ENOMEM ? no_memory(load) : refuse(load, "configuration file %s", why);
    }
    bool exposed = file.exposed;
    rc = mkv__yaml_read(load->file, file.text, file.len, take_from_file, load, why);
    mkv__key_forget(file.text, file.len);
    mkv__text_file_free(&file);
    if (rc < 0 && why[0] != '\0') { /* else take_from_file has said why */
        snprintf(load->error, sizeof(load->error), "%s", why);
    }
    const struct mkv__config_entry *key = &load->config->entries[MKV_OPT_AUTH_KEY];
    if (rc == 0 && exposed && key->kind == MKV__ORIGIN_FILE) {
        warn(load->config, "%s: holds a key and may be read by every user of this host (chmod 600)",
             load->file);
    }
    return rc;
}

/* ---- the environment ------------------------------------------------------------------------ */

static const char *variable_value(char *const *environ_, const char *name)
{
    size_t len = strlen(name);
    for (; environ_ && *environ_; environ_++) {
        if (strncmp(*environ_, name, len) == 0 && (*environ_)[len] == '=') {
            return *environ_ + len + 1;
        }
    }
    return NULL;
}

/* MEMKV_CONFIG names the file. Kubernetes puts MEMKV_PORT_9900_TCP and the like into every
 * container when a service is called "memkv". */
static bool is_foreign_variable(const char *name)
{
    static const char *const prefixes[] = {"PORT", "SERVICE_"};
    const char *rest = name + strlen(PREFIX);
    if (strcmp(rest, "CONFIG") == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(rest, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void warn_unknown_variable(struct load *load, const char *name)
{
    const char *suggestion = mkv__option_suggest(name + strlen(PREFIX), MKV__CLIENT | MKV__SERVER);
    char variable[MKV_VARIABLE_TEXT];
    if (is_foreign_variable(name)) {
        return;
    }
    if (suggestion) {
        int id = mkv__option_find(suggestion);
        warn(load->config, "%s: unknown option, did you mean %s?", name,
             mkv__option_variable((enum mkv__option_id)id, variable));
    } else {
        warn(load->config, "%s: unknown option is ignored", name);
    }
}

static int take_variable(struct load *load, const char *name, const char *value)
{
    char origin[WHERE_TEXT];
    int id = mkv__option_find(name + strlen(PREFIX));
    if (id < 0) {
        warn_unknown_variable(load, name);
        return 0;
    }
    if (!is_ours(load->config, id) || value[0] == '\0') {
        return 0;
    }
    snprintf(origin, sizeof(origin), "env %s", name);
    struct item item = {MKV__ORIGIN_ENVIRONMENT, name, origin, value, 0, 0};
    return set(load, (enum mkv__option_id)id, &item);
}

static int take_environment(struct load *load, char *const *environ_)
{
    for (; environ_ && *environ_; environ_++) {
        const char *equals = strchr(*environ_, '=');
        char name[MKV_VARIABLE_TEXT];
        size_t len = equals ? (size_t)(equals - *environ_) : 0;
        if (len == 0 || len >= sizeof(name) || strncmp(*environ_, PREFIX, strlen(PREFIX)) != 0) {
            continue;
        }
        memcpy(name, *environ_, len);
        name[len] = '\0';
        int rc = take_variable(load, name, equals + 1);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- arguments ------------------------------------------------------------------------------ */

static void describe(const struct mkv__config_arg *arg, const char *name, char where[WHERE_TEXT])
{
    if (!arg->source) {
        snprintf(where, WHERE_TEXT, "argument %.64s", name);
    } else if (arg->source[0] == '-') { /* "--get-timeout" names the option already */
        snprintf(where, WHERE_TEXT, "%.200s", arg->source);
    } else {
        snprintf(where, WHERE_TEXT, "%.200s: %.64s", arg->source, name);
    }
}

static int take_argument(struct load *load, const struct mkv__config_arg *arg)
{
    char where[WHERE_TEXT];
    const char *source = arg->source ? arg->source : "argument";
    int id = mkv__option_find(arg->name);
    if (id < 0) {
        warn_unknown(load, source, arg->name);
        return 0;
    }
    const struct mkv__option *o = mkv__option_get((enum mkv__option_id)id);
    if (!is_ours(load->config, id)) {
        warn(load->config, "%s: %s is an option of the %s and is ignored here", source, o->name,
             mkv__component_text(o->components));
        return 0;
    }
    if (o->type == MKV__TYPE_SECRET && source[0] == '-') {
        warn(load->config,
             "%s: a key among the arguments of a command can be seen by every user of this host; "
             "better MEMKV_AUTH_KEY or auth_key_file",
             source);
    }
    describe(arg, o->name, where);
    struct item item = {MKV__ORIGIN_ARGUMENT, where, source, arg->value, 0, 0};
    return set(load, (enum mkv__option_id)id, &item);
}

/* ---- when all sources have been read -------------------------------------------------------- */

static int add_key(struct load *load)
{
    struct mkv__config *config = load->config;
    const struct mkv__config_entry *key = &config->entries[MKV_OPT_AUTH_KEY];
    uint64_t id = config->entries[MKV_OPT_AUTH_KEY_ID].value.number;
    char why[MKV_SPAN_ERROR];
    if (!key->value.set) {
        return 0;
    }
    int rc = mkv__key_list_add(&config->keys, (uint32_t)id, key->value.secret, NULL, why);
    return rc < 0 ? no_memory(load) : 0;
}

static void warn_exposed(struct mkv__config *config, const char *path, bool exposed)
{
    if (exposed) {
        warn(config, "%s: a key that every user of this host may read (chmod 600)", path);
    }
}

/* Makes the content of auth_key_file the value of auth_key. */
static int take_key_file(struct load *load)
{
    struct mkv__config_entry *key = &load->config->entries[MKV_OPT_AUTH_KEY];
    struct mkv__config_entry *file = &load->config->entries[MKV_OPT_AUTH_KEY_FILE];
    char why[MKV_SPAN_ERROR];
    bool exposed = false;
    if (key->value.set && file->value.set) {
        if (key->kind == file->kind) {
            return refuse(load, "auth_key (%.150s) and auth_key_file (%.150s): give one of the two",
                          key->origin, file->origin);
        }
        mkv__config_entry_unset(key->kind > file->kind ? file : key);
    }
    if (!file->value.set) {
        return 0;
    }
    key->value.secret = malloc(MKV_KEY_BYTES);
    if (!key->value.secret || asprintf(&key->origin, "file %s", file->value.text) < 0) {
        key->origin = NULL;
        return no_memory(load);
    }
    int rc = mkv__key_read(file->value.text, key->value.secret, &exposed, why);
    if (rc < 0) {
        return rc == -ENOMEM ? no_memory(load)
                             : refuse(load, "auth_key_file (%.80s): %.350s", file->origin, why);
    }
    key->value.set = true;
    key->kind = file->kind;
    warn_exposed(load->config, file->value.text, exposed);
    return 0;
}

static int take_keys_file(struct load *load)
{
    struct mkv__config *config = load->config;
    const struct mkv__config_entry *file = &config->entries[MKV_OPT_AUTH_KEYS_FILE];
    char why[MKV_SPAN_ERROR];
    bool exposed = false;
    if (!file->value.set) {
        return 0;
    }
    int rc = mkv__key_list_read(&config->keys, file->value.text, &exposed, why);
    if (rc < 0) {
        return rc == -ENOMEM ? no_memory(load)
                             : refuse(load, "auth_keys_file (%.80s): %.350s", file->origin, why);
    }
    if (config->keys.n == 0) { /* a file that somebody is writing: not a server without keys */
        return refuse(load,
                      "auth_keys_file (%.80s): %.350s: no key in it (expected lines ID KEY "
                      "[PREFIX])",
                      file->origin, file->value.text);
    }
    warn_exposed(config, file->value.text, exposed);
    return 0;
}

/* What is wrong only together. */
static int check_together(struct load *load)
{
    struct mkv__config *config = load->config;
    const struct mkv__config_entry *entries = config->entries;
    if (entries[MKV_OPT_BREAKER_PROBE].value.number >
        entries[MKV_OPT_BREAKER_PROBE_MAX].value.number) {
        return refuse(load, "breaker.probe (%s) is longer than breaker.probe_max (%s)",
                      mkv__config_origin(config, MKV_OPT_BREAKER_PROBE),
                      mkv__config_origin(config, MKV_OPT_BREAKER_PROBE_MAX));
    }
    if ((config->components & MKV__CLIENT) && !(config->components & MKV__PARTIAL) &&
        !entries[MKV_OPT_SERVERS].value.set) {
        return refuse(load, "no servers: set MEMKV_SERVERS, \"servers\" in the configuration file, "
                            "or the argument (e.g. MEMKV_SERVERS=10.0.0.10:9900)");
    }
    if (entries[MKV_OPT_WORKERS_CPUS].value.set &&
        entries[MKV_OPT_WORKERS_CPUS].value.n < entries[MKV_OPT_WORKERS].value.number) {
        warn(config, "workers.cpus (%s): fewer CPUs than workers",
             mkv__config_origin(config, MKV_OPT_WORKERS_CPUS));
    }
    if (!entries[MKV_OPT_CHECKSUM].value.number) {
        warn(config, "checksum (%s): off, a damaged value would not be noticed",
             mkv__config_origin(config, MKV_OPT_CHECKSUM));
    }
    return 0;
}

static int finish(struct load *load)
{
    int rc = take_key_file(load);
    if (rc == 0) {
        rc = add_key(load);
    }
    if (rc == 0) {
        rc = take_keys_file(load);
    }
    return rc < 0 ? rc : check_together(load);
}

static int run_chain(struct load *load, char *const *environ_, const struct mkv__config_arg *args,
                     size_t n_args)
{
    int rc = 0;
    if (!load->file) {
        load->file = variable_value(environ_, PREFIX "CONFIG");
    }
    if (load->file && load->file[0] != '\0') {
        rc = take_file(load);
    }
    if (rc == 0) {
        rc = take_environment(load, environ_);
    }
    for (size_t i = 0; rc == 0 && i < n_args; i++) {
        rc = take_argument(load, &args[i]);
    }
    return rc < 0 ? rc : finish(load);
}

int mkv__config_load(struct mkv__config *config, unsigned components, const char *file,
                     char *const *environ_, const struct mkv__config_arg *args, size_t n_args,
                     struct mkv__config_error *error_out)
{
    struct load load = {.config = config, .file = file};
    int rc;
    if (config->loaded) {
        rc = refuse(&load, "this configuration has been loaded already");
    } else {
        config->loaded = true;
        config->components = components;
        rc = run_chain(&load, environ_, args, n_args);
    }
    if (rc < 0 && error_out) {
        error_out->code = rc;
        memcpy(error_out->text, load.error, sizeof(error_out->text));
    }
    return rc;
}
