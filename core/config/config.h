/*
 * The configuration of a client or a server, from one chain:
 *
 *     defaults <- YAML file <- MEMKV_* variables <- arguments
 *
 * A later source wins, option by option, and each value remembers where it came from. Load once,
 * then read from any thread; to reload, load another one.
 *
 *     struct mkv__config *config;
 *     struct mkv__config_error error;
 *     if (mkv__config_create(&config) < 0) ...
 *     if (mkv__config_load(config, MKV__CLIENT, NULL, environ, args, n, &error) < 0) {
 *         // error.text: memkv.yaml:3: get_timeout: "2 parsecs" is not a duration (expected ...)
 *     }
 *     uint64_t timeout_ns = mkv__config_duration(config, MKV_OPT_GET_TIMEOUT);
 */
#ifndef CORE_CONFIG_CONFIG_H
#define CORE_CONFIG_CONFIG_H

#include "core/auth/auth.h"
#include "core/config/key.h"
#include "core/config/options.h"
#include "core/config/servers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mkv__config;

/* An argument: of the command, of a constructor. Borrowed until return. */
struct mkv__config_arg {
    const char *name;
    const char *value;
    const char *source; /* for texts, "--get-timeout" or "extra config"; NULL: "argument NAME" */
};

struct mkv__config_error {
    int code; /* the negative errno returned */
    char text[500];
};

enum mkv__origin_kind {
    MKV__ORIGIN_DEFAULT,
    MKV__ORIGIN_FILE,
    MKV__ORIGIN_ENVIRONMENT,
    MKV__ORIGIN_ARGUMENT,
};

/* Errors: -ENOMEM. All options have their defaults then. */
int mkv__config_create(struct mkv__config **config_out);
/* Overwrites secrets. NULL leaves NULL. */
void mkv__config_destroy(struct mkv__config **config);

/*
 * Runs the chain, once per object. components: enum mkv__component. file: a YAML file, wins over
 * MEMKV_CONFIG; NULL: that one, if any. environ: "NAME=value" strings and a NULL; NULL: do not look
 * at the environment. Empty variables count as not set.
 * Errors: -EINVAL (error_out says where and what), -ENOMEM. error_out may be NULL. After an error
 * the object is good for destroy only.
 */
int mkv__config_load(struct mkv__config *config, unsigned components, const char *file,
                     char *const *environ, const struct mkv__config_arg *args, size_t n_args,
                     struct mkv__config_error *error_out);

/* Values, by the option's type. What they point to lives as long as the configuration. */
uint64_t mkv__config_size(const struct mkv__config *config, enum mkv__option_id id);     /* bytes */
uint64_t mkv__config_duration(const struct mkv__config *config, enum mkv__option_id id); /* ns */
uint64_t mkv__config_count(const struct mkv__config *config, enum mkv__option_id id);
bool mkv__config_bool(const struct mkv__config *config, enum mkv__option_id id);
int mkv__config_choice(const struct mkv__config *config, enum mkv__option_id id);
/* MKV__TYPE_STRING, and MKV__TYPE_CPUS in canonical form ("0-3,8"); NULL: not set. */
const char *mkv__config_string(const struct mkv__config *config, enum mkv__option_id id);
/* MKV__TYPE_LIST; *n_out 0: not set. */
const char *const *mkv__config_list(const struct mkv__config *config, enum mkv__option_id id,
                                    size_t *n_out);
/* MKV__TYPE_CPUS, ascending; *n_out 0: not set. */
const unsigned *mkv__config_cpus(const struct mkv__config *config, enum mkv__option_id id,
                                 size_t *n_out);
/* MKV__TYPE_ADDRESS; NULL: not set. */
const struct mkv__address *mkv__config_address(const struct mkv__config *config,
                                               enum mkv__option_id id);
/* MKV_OPT_SERVERS; NULL: not set. */
const struct mkv__server_list *mkv__config_servers(const struct mkv__config *config);

/* All keys: that of auth_key or auth_key_file first, then those of auth_keys_file. *n_out 0: no
 * authentication. Ready to hand to a transport. */
const struct mkv__auth_key *mkv__config_keys(const struct mkv__config *config, size_t *n_out);

/* For people: iterate id from 0 to MKV_OPT_COUNT - 1. */

bool mkv__config_is_set(const struct mkv__config *config, enum mkv__option_id id);
/* The value as it would be written; a secret as "fingerprint 1a2b3c4d"; "" when not set. Like
 * snprintf: returns the length that is needed. */
size_t mkv__config_print(const struct mkv__config *config, enum mkv__option_id id, char *out,
                         size_t cap);
/* "default", "memkv.yaml:3", "env MEMKV_GET_TIMEOUT", "argument" (or the argument's source). */
const char *mkv__config_origin(const struct mkv__config *config, enum mkv__option_id id);
enum mkv__origin_kind mkv__config_origin_kind(const struct mkv__config *config,
                                              enum mkv__option_id id);

/* What is not wrong enough to stop, in lines for the log. */
size_t mkv__config_n_warnings(const struct mkv__config *config);
const char *mkv__config_warning(const struct mkv__config *config, size_t i);

#endif
