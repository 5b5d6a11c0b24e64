/*
 * What config.c (values) and load.c (the chain) share; nobody else includes it.
 */
#ifndef CORE_CONFIG_CONFIG_PARTS_H
#define CORE_CONFIG_CONFIG_PARTS_H

#include "core/config/config.h"
#include "core/config/value.h"

#define MKV_WARNINGS_MAX 100u /* a file of nothing but unknown names is not worth more */

struct mkv__config_entry {
    struct mkv__value value;
    enum mkv__origin_kind kind;
    char *origin;     /* NULL: default */
    unsigned line;    /* kind file */
    unsigned section; /* kind file: 0, MKV__CLIENT, MKV__SERVER */
};

struct mkv__config {
    struct mkv__config_entry entries[MKV_OPT_COUNT];
    unsigned components;
    bool loaded;
    struct mkv__key_list keys;
    char *warnings[MKV_WARNINGS_MAX];
    size_t n_warnings;
};

/* Not set, origin default. */
void mkv__config_entry_unset(struct mkv__config_entry *entry);

#endif
