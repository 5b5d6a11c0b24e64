/*
 * The value of one option: parsed from its text by the option's type, and printed again.
 */
#ifndef CORE_CONFIG_VALUE_H
#define CORE_CONFIG_VALUE_H

#include "core/auth/auth.h"
#include "core/config/options.h"
#include "core/config/servers.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed: not set. Which members count depends on the type. */
struct mkv__value {
    uint64_t number; /* size, duration, count, bool, choice */
    char *text;      /* string; list, CPUs and address in canonical form */
    char **items;    /* list */
    unsigned *cpus;  /* CPUs, ascending */
    size_t n;        /* of items or cpus */
    struct mkv__address *address;
    struct mkv__server_list *servers;
    uint8_t *secret; /* MKV_KEY_BYTES; overwritten by fini */
    bool set;
};

/*
 * Parses; *value_out is set only on success and wants fini then. Errors: -EINVAL, -ENOMEM; then
 * error_out has a text, `"2 parsecs" is not a duration (expected e.g. 250ms, 2s)`. A secret is
 * never in the text.
 */
int mkv__value_parse(enum mkv__option_id id, const char *text, struct mkv__value *value_out,
                     char error_out[MKV_SPAN_ERROR]);
void mkv__value_fini(struct mkv__value *value);

/* As a user would write it; a secret as "fingerprint 1a2b3c4d"; "" when not set. Like snprintf:
 * returns the length that is needed. */
size_t mkv__value_print(enum mkv__option_id id, const struct mkv__value *value, char *out,
                        size_t cap);

#endif
