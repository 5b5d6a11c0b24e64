/*
 * A YAML file of options, flattened:
 *
 *     servers: [10.0.0.10, 10.0.0.11]     ->  servers           "10.0.0.10,10.0.0.11"
 *     breaker: {failures: 5}              ->  breaker.failures  "5"
 *     client: {get_timeout: 1s}           ->  get_timeout       "1s"   of section MKV__CLIENT
 *     auth_key: ~                         ->  nothing: null leaves an option as it was
 */
#ifndef CORE_CONFIG_YAML_H
#define CORE_CONFIG_YAML_H

#include "core/config/span.h"

#include <stddef.h>

struct mkv__yaml_entry {
    unsigned section; /* 0: top level; MKV__CLIENT, MKV__SERVER */
    unsigned line;    /* of the key, from 1 */
    const char *key;  /* borrowed until return, as is the value */
    const char *value;
};

/* Returns 0 or a negative error, which ends the reading; then it has written error_out itself. */
typedef int (*mkv__yaml_fn)(void *arg, const struct mkv__yaml_entry *entry);

/*
 * Calls `take` for each option: first those of the top level, then those of the sections. `name` is
 * the file's, for texts. Errors: what `take` returns; -EINVAL, -ENOMEM, then error_out has a text
 * that begins with "NAME:LINE: ".
 */
int mkv__yaml_read(const char *name, const char *text, size_t len, mkv__yaml_fn take, void *arg,
                   char error_out[MKV_SPAN_ERROR]);

#endif
