/*
 * The one table of all options: the parser of values, the chain of sources, `--help`, `doctor` and
 * docs/configuration.md read it. To add an option, add an id here and its entry in options.c.
 *
 * Everything is static and const. Thread: any thread.
 */
#ifndef CORE_CONFIG_OPTIONS_H
#define CORE_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mkv__option_id {
    /* client */
    MKV_OPT_SERVERS,
    MKV_OPT_NAMESPACE,
    MKV_OPT_FAIL_OPEN,
    MKV_OPT_PLACEMENT_GRACE,
    MKV_OPT_CONNECT_TIMEOUT,
    MKV_OPT_EXISTS_TIMEOUT,
    MKV_OPT_GET_TIMEOUT,
    MKV_OPT_SET_TIMEOUT,
    MKV_OPT_BREAKER_FAILURES,
    MKV_OPT_BREAKER_PROBE,
    MKV_OPT_BREAKER_PROBE_MAX,
    /* client and server */
    MKV_OPT_TRANSPORT,
    MKV_OPT_RDMA_DEVICES,
    MKV_OPT_RDMA_GID,
    MKV_OPT_LANES,
    MKV_OPT_CONGESTION_CONTROL,
    MKV_OPT_CHECKSUM,
    MKV_OPT_AUTH_KEY,
    MKV_OPT_AUTH_KEY_FILE,
    MKV_OPT_AUTH_KEY_ID,
    MKV_OPT_WORKERS,
    MKV_OPT_WORKERS_CPUS,
    MKV_OPT_SPIN,
    MKV_OPT_LOG_LEVEL,
    /* server */
    MKV_OPT_LISTEN,
    MKV_OPT_MEMORY,
    MKV_OPT_PREFAULT,
    MKV_OPT_MAX_VALUE,
    MKV_OPT_LEASE,
    MKV_OPT_ADMIN,
    MKV_OPT_AUTH_KEYS_FILE,
    MKV_OPT_COUNT,
};

enum mkv__option_type {
    MKV__TYPE_SIZE,     /* bytes; core/units.h */
    MKV__TYPE_DURATION, /* nanoseconds; core/units.h */
    MKV__TYPE_COUNT,
    MKV__TYPE_BOOL,
    MKV__TYPE_CHOICE,
    MKV__TYPE_STRING,
    MKV__TYPE_LIST, /* strings, separated by commas */
    MKV__TYPE_CPUS, /* 0-3,8 */
    MKV__TYPE_SECRET,
    MKV__TYPE_ADDRESS, /* HOST:PORT to listen on; port 0 allowed */
    MKV__TYPE_SERVERS, /* core/config/servers.h */
};

/* Whose option it is, and for whom a configuration is loaded: a mask. */
enum mkv__component {
    MKV__CLIENT = 1 << 0,
    MKV__SERVER = 1 << 1,
    /* load only: options that must be given may be missing (doctor, bench) */
    MKV__PARTIAL = 1 << 2,
};

struct mkv__option {
    const char *name;          /* "get_timeout"; dots group: "workers.cpus" */
    const char *group;         /* heading in the documentation */
    const char *value;         /* default, as a user would write it; NULL: not set */
    const char *help;          /* sentences */
    const char *example;       /* a value for the documentation; NULL: the default */
    const char *const *choice; /* MKV__TYPE_CHOICE: allowed words, NULL at the end */
    uint64_t min, max;         /* numbers: inclusive; texts: bytes; max 0: no limits */
    enum mkv__option_type type;
    unsigned components; /* enum mkv__component */
};

/* The words of the options of MKV__TYPE_CHOICE, as mkv__config_choice returns them. */
enum { MKV__TRANSPORT_AUTO, MKV__TRANSPORT_RDMA, MKV__TRANSPORT_SHM, MKV__TRANSPORT_TCP };
enum { MKV__PREFAULT_NO, MKV__PREFAULT_BACKGROUND, MKV__PREFAULT_WAIT };
enum { MKV__ADMIN_NONE, MKV__ADMIN_LOOPBACK, MKV__ADMIN_ALL };
/* log_level: enum mkv__log_level of core/log.h */

/* id < MKV_OPT_COUNT. */
const struct mkv__option *mkv__option_get(enum mkv__option_id id);

/* The id of a name, or -1. '-', '_' and '.' are the same, and so are upper and lower case. */
int mkv__option_find(const char *name);

/* The name that `name` is most likely a slip of, among options of `components`; or NULL. */
const char *mkv__option_suggest(const char *name, unsigned components);

/* "size", "duration", ... */
const char *mkv__option_type_name(enum mkv__option_type type);

/* "client", "server" or "client, server". */
const char *mkv__component_text(unsigned components);

/* Writes the environment variable of an option, "MEMKV_WORKERS_CPUS". Returns `out`. */
#define MKV_VARIABLE_TEXT 64u
const char *mkv__option_variable(enum mkv__option_id id, char out[MKV_VARIABLE_TEXT]);

/* Writes what values an option takes, "1ms to 8s" or "auto|rdma|shm|tcp"; "" when any. */
#define MKV_RANGE_TEXT 96u
const char *mkv__option_range(enum mkv__option_id id, char out[MKV_RANGE_TEXT]);

#endif
