#include "core/config/config_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void mkv__config_entry_unset(struct mkv__config_entry *entry)
{
    mkv__value_fini(&entry->value);
    free(entry->origin);
    *entry = (struct mkv__config_entry){0};
}

int mkv__config_create(struct mkv__config **config_out)
{
    struct mkv__config *config = calloc(1, sizeof(*config));
    if (!config) {
        return -ENOMEM;
    }
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        const char *value = mkv__option_get((enum mkv__option_id)id)->value;
        char why[MKV_SPAN_ERROR];
        int rc = value ? mkv__value_parse((enum mkv__option_id)id, value,
                                          &config->entries[id].value, why)
                       : 0;
        if (rc < 0) {
            assert(rc == -ENOMEM); /* the defaults are right: a test loads them */
            mkv__config_destroy(&config);
            return rc;
        }
    }
    *config_out = config;
    return 0;
}

void mkv__config_destroy(struct mkv__config **config)
{
    struct mkv__config *c = *config;
    if (!c) {
        return;
    }
    for (int id = 0; id < MKV_OPT_COUNT; id++) {
        mkv__config_entry_unset(&c->entries[id]);
    }
    for (size_t i = 0; i < c->n_warnings; i++) {
        free(c->warnings[i]);
    }
    mkv__key_list_fini(&c->keys);
    free(c);
    *config = NULL;
}

/* ---- values --------------------------------------------------------------------------------- */

static const struct mkv__value *value_of(const struct mkv__config *config, enum mkv__option_id id,
                                         enum mkv__option_type type)
{
    assert(mkv__option_get(id)->type == type);
    (void)type;
    return &config->entries[id].value;
}

uint64_t mkv__config_size(const struct mkv__config *config, enum mkv__option_id id)
{
    return value_of(config, id, MKV__TYPE_SIZE)->number;
}

uint64_t mkv__config_duration(const struct mkv__config *config, enum mkv__option_id id)
{
    return value_of(config, id, MKV__TYPE_DURATION)->number;
}

uint64_t mkv__config_count(const struct mkv__config *config, enum mkv__option_id id)
{
    return value_of(config, id, MKV__TYPE_COUNT)->number;
}

bool mkv__config_bool(const struct mkv__config *config, enum mkv__option_id id)
{
    return value_of(config, id, MKV__TYPE_BOOL)->number != 0;
}

int mkv__config_choice(const struct mkv__config *config, enum mkv__option_id id)
{
    return (int)value_of(config, id, MKV__TYPE_CHOICE)->number;
}

const char *mkv__config_string(const struct mkv__config *config, enum mkv__option_id id)
{
    if (mkv__option_get(id)->type == MKV__TYPE_CPUS) {
        return config->entries[id].value.text;
    }
    return value_of(config, id, MKV__TYPE_STRING)->text;
}

const char *const *mkv__config_list(const struct mkv__config *config, enum mkv__option_id id,
                                    size_t *n_out)
{
    const struct mkv__value *value = value_of(config, id, MKV__TYPE_LIST);
    *n_out = value->n;
    return (const char *const *)value->items;
}

const unsigned *mkv__config_cpus(const struct mkv__config *config, enum mkv__option_id id,
                                 size_t *n_out)
{
    const struct mkv__value *value = value_of(config, id, MKV__TYPE_CPUS);
    *n_out = value->n;
    return value->cpus;
}

const struct mkv__address *mkv__config_address(const struct mkv__config *config,
                                               enum mkv__option_id id)
{
    return value_of(config, id, MKV__TYPE_ADDRESS)->address;
}

const struct mkv__server_list *mkv__config_servers(const struct mkv__config *config)
{
    return config->entries[MKV_OPT_SERVERS].value.servers;
}

const struct mkv__auth_key *mkv__config_keys(const struct mkv__config *config, size_t *n_out)
{
    *n_out = config->keys.n;
    return config->keys.keys;
}

bool mkv__config_is_set(const struct mkv__config *config, enum mkv__option_id id)
{
    return config->entries[id].value.set;
}

size_t mkv__config_print(const struct mkv__config *config, enum mkv__option_id id, char *out,
                         size_t cap)
{
    return mkv__value_print(id, &config->entries[id].value, out, cap);
}

const char *mkv__config_origin(const struct mkv__config *config, enum mkv__option_id id)
{
    const char *origin = config->entries[id].origin;
    return origin ? origin : "default";
}

enum mkv__origin_kind mkv__config_origin_kind(const struct mkv__config *config,
                                              enum mkv__option_id id)
{
    return config->entries[id].kind;
}

size_t mkv__config_n_warnings(const struct mkv__config *config)
{
    return config->n_warnings;
}

const char *mkv__config_warning(const struct mkv__config *config, size_t i)
{
    assert(i < config->n_warnings);
    return config->warnings[i];
}
