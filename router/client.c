#include "router/internal.h"

#include "core/base.h"
#include "core/error.h"
#include "core/os/clock.h"
#include "core/os/event.h"
#include "router/probe.h"
#include "transport/pick.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

#define OPTIONS_MAX 64

/* Forks --------------------------------------------------------------------------------------- */

static unsigned forks;
static pthread_once_t forks_once = PTHREAD_ONCE_INIT;

/* liburcu's locks and its list of readers are as they were in the parent's other threads, so it
 * asks to be told. */
static void before_fork(void)
{
    urcu_bp_before_fork();
}

static void forked_parent(void)
{
    urcu_bp_after_fork_parent();
}

static void forked_child(void)
{
    urcu_bp_after_fork_child();
    forks++;
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, forked_parent, forked_child);
}

unsigned mkv__forks(void)
{
    return forks;
}

/* Small things --------------------------------------------------------------------------------- */

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

const char *mkv_version(void)
{
    return TEXT(MKV_VERSION_MAJOR) "." TEXT(MKV_VERSION_MINOR) "." TEXT(MKV_VERSION_PATCH);
}

const char *mkv_error_text(int error)
{
    return mkv__error_text(error);
}

static int fail(struct mkv_error *error, int code, const char *text)
{
    if (error != NULL) {
        error->code = code;
        snprintf(error->text, sizeof(error->text), "%s", text);
    }
    return code;
}

uint64_t mkv__client_now(const struct mkv_client *c)
{
    return c->clock != NULL ? c->clock(c->clock_arg) : mkv__clock_ns();
}

unsigned mkv__client_n_rails(const struct mkv_client *c)
{
    return c->n_rails;
}

struct mkv__worker *mkv__client_worker(struct mkv_client *c, unsigned rail)
{
    return c->rails[rail].worker;
}

/* Opening -------------------------------------------------------------------------------------- */

static int load_config(struct mkv_client *c, const struct mkv_client_options *o,
                       struct mkv_error *error)
{
    struct mkv__config_error why = {0};
    struct mkv__config_arg args[OPTIONS_MAX];
    if (o->n_options > OPTIONS_MAX) {
        return fail(error, -EINVAL, "too many options");
    }
    for (size_t i = 0; i < o->n_options; i++) {
        args[i] = (struct mkv__config_arg){o->options[i].name, o->options[i].value, NULL};
    }
    int r = mkv__config_create(&c->config);
    r = r < 0 ? r
              : mkv__config_load(c->config, MKV__CLIENT, o->config_file,
                                 o->ignore_environment ? NULL : environ, args, o->n_options, &why);
    if (r < 0) {
        return fail(error, r, why.text[0] != '\0' ? why.text : mkv__error_text(r));
    }
    mkv__log_set_level(&c->log, mkv__config_choice(c->config, MKV_OPT_LOG_LEVEL));
    for (size_t i = 0; i < mkv__config_n_warnings(c->config); i++) {
        MKV_WARNING(&c->log, "%s", mkv__config_warning(c->config, i));
    }
    return 0;
}

static int check_config(struct mkv_client *c, struct mkv_error *error)
{
    char why[500] = "";
    int r = c->transport != NULL
                ? 0
                : mkv__transport_pick(c->config, &c->transport, &c->endpoint_options, &c->found,
                                      why, sizeof(why));
    if (r < 0) {
        return fail(error, r, why);
    }
    mkv__transport_tell(c->config, why, &c->log);
    return 0;
}

static void log_to_caller(void *arg, int level, const char *line, size_t len)
{
    const struct mkv_client_options *o = arg;
    o->log(o->log_arg, (enum mkv_log_level)level, line, len);
}

static void dispose(struct mkv_client *c)
{
    if (c->event >= 0) {
        close(c->event);
    }
    mkv__rails_close(c);
    if (c->config != NULL) {
        mkv__config_destroy(&c->config);
    }
    free(c->log.arg);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

static int start(struct mkv_client *c, struct mkv_error *error)
{
    c->event = mkv__event_open();
    int r = c->event < 0 ? -ENOMEM : mkv__rails_open(c);
    if (r < 0) {
        return fail(error, r, r == -ENOMEM ? "out of memory" : "a worker could not be made");
    }
    r = mkv__table_make(c, mkv__config_servers(c->config), NULL, &c->table);
    r = r < 0 ? r : mkv__rails_start(c);
    if (r < 0) {
        mkv__table_put(c->table); /* nothing is connected: its servers retire as the workers stop */
        mkv__rails_stop(c);
        return fail(error, r, "a worker could not be started");
    }
    return 0;
}

/* The option fail_open false: servers that are away are an error of open. */
static int demand_servers(struct mkv_client *c, struct mkv_error *error)
{
    uint64_t timeout = mkv__config_duration(c->config, MKV_OPT_CONNECT_TIMEOUT);
    for (unsigned i = 0; i < mkv__client_n_servers(c); i++) {
        struct mkv__probe probe;
        int r = mkv__client_probe(c, i, timeout, &probe);
        free(probe.stat);
        if (r < 0) {
            char text[480];
            snprintf(text, sizeof(text), "%.240s: %.200s (fail_open is false)", probe.name,
                     probe.why);
            return fail(error, r == -EACCES ? -EACCES : -ECONNRESET, text);
        }
    }
    return 0;
}

static void read_config(struct mkv_client *c)
{
    mkv__log_set_level(&c->log, mkv__config_choice(c->config, MKV_OPT_LOG_LEVEL));
    const char *ns = mkv__config_string(c->config, MKV_OPT_NAMESPACE);
    c->namespace_len = (uint8_t)(ns != NULL ? MKV_MIN(strlen(ns), MKV_NAMESPACE_MAX) : 0);
    if (ns != NULL) {
        memcpy(c->namespace_, ns, c->namespace_len);
    }
    c->verify = mkv__config_bool(c->config, MKV_OPT_CHECKSUM);
    c->spin = mkv__config_choice(c->config, MKV_OPT_SPIN) != MKV_SPIN_NEVER;
    c->grace_ns = mkv__config_duration(c->config, MKV_OPT_PLACEMENT_GRACE);
    /* A list that is new to this client is a change: it cannot know what happened before. */
    c->changed_ns = mkv__client_now(c);
}

int mkv_client_open(const struct mkv_client_options *options, struct mkv_client **out,
                    struct mkv_error *error)
{
    return mkv__client_open_on(options, NULL, out, error);
}

int mkv__client_open_on(const struct mkv_client_options *options,
                        const struct mkv__client_seam *seam, struct mkv_client **out,
                        struct mkv_error *error)
{
    struct mkv_client_options o = {.size = sizeof(o)};
    if (options != NULL) {
        memcpy(&o, options, MKV_MIN(options->size, sizeof(o)));
    }
    pthread_once(&forks_once, watch_forks);
    struct mkv_client *c = calloc(1, sizeof(*c));
    struct mkv_client_options *kept = malloc(sizeof(*kept));
    if (c == NULL || kept == NULL) {
        struct mkv__config *config = seam != NULL ? seam->config : NULL;
        mkv__config_destroy(&config);
        free(c);
        free(kept);
        return fail(error, -ENOMEM, "out of memory");
    }
    *kept = o;
    c->event = -1;
    c->forks = mkv__forks();
    c->transport = seam != NULL && seam->transport != NULL ? seam->transport : NULL;
    if (seam != NULL) {
        c->config = seam->config;
        c->manual = seam->manual;
        c->clock = seam->clock;
        c->clock_arg = seam->clock_arg;
    }
    c->done_end = &c->done;
    pthread_mutex_init(&c->mutex, NULL);
    mkv__log_init(&c->log, MKV__LOG_WARNING, o.log != NULL ? log_to_caller : NULL, kept);
    int r = c->config != NULL ? 0 : load_config(c, &o, error);
    r = r < 0 ? r : check_config(c, error);
    if (r < 0) {
        dispose(c);
        return r;
    }
    read_config(c);
    mkv__rails_count(c, seam != NULL ? seam->rails : 0);
    r = start(c, error);
    if (r < 0) {
        dispose(c);
        return r;
    }
    r = mkv__config_bool(c->config, MKV_OPT_FAIL_OPEN) ? 0 : demand_servers(c, error);
    if (r < 0) {
        mkv_client_close(&c);
        return r;
    }
    *out = c;
    return 0;
}

/* Closing -------------------------------------------------------------------------------------- */

/* Workers look at the table when a breaker opens: when none does any more, its servers retire, and
 * then the endpoints. */
static void shut_all(struct mkv_client *c)
{
    struct table *t = c->table;
    rcu_assign_pointer(c->table, NULL);
    MKV_RCU_BP_SYNCHRONIZE(&c->table);
    mkv__table_put(t);
    mkv__rails_shut(c);
}

int mkv_client_close(struct mkv_client **client)
{
    if (client == NULL || *client == NULL) {
        return 0;
    }
    struct mkv_client *c = *client;
    if (c->forks != mkv__forks()) {
        *client = NULL; /* the parent's; its memory is a copy whose locks may be held for ever */
        return 0;
    }
    if (__atomic_load_n(&c->objects, __ATOMIC_ACQUIRE) > 0 || mkv__client_rail(c) != NULL) {
        return -EBUSY;
    }
    shut_all(c);
    dispose(c);
    *client = NULL;
    return 0;
}

/* The list of servers -------------------------------------------------------------------------- */

int mkv_client_set_servers(struct mkv_client *c, const char *servers, struct mkv_error *error)
{
    char why[MKV_SPAN_ERROR];
    struct mkv__server_list *list;
    struct table *t;
    if (c->forks != mkv__forks()) {
        return fail(error, -ECANCELED, "the client was opened before a fork");
    }
    int r = mkv__server_list_parse(servers, &list, why);
    if (r < 0) {
        return fail(error, r, r == -EINVAL ? why : mkv__error_text(r));
    }
    if (list->n == 0) {
        mkv__server_list_destroy(&list);
        return fail(error, -EINVAL, "servers: the list is empty");
    }
    pthread_mutex_lock(&c->mutex);
    struct table *old = c->table;
    bool same = mkv__table_is(old, list);
    r = same ? 0 : mkv__table_make(c, list, old, &t);
    if (r == 0 && !same) {
        MKV_RCU_PUBLISH(&c->table, t);
        __atomic_store_n(&c->changed_ns, mkv__client_now(c), __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&c->mutex);
    mkv__server_list_destroy(&list);
    if (r < 0) {
        return fail(error, r, mkv__error_text(r));
    }
    if (!same) {
        MKV_RCU_BP_SYNCHRONIZE(&c->table);
        mkv__table_put(old);
    }
    return 0;
}

const char *mkv_client_transport(const struct mkv_client *c)
{
    return c->transport->name;
}

const char *mkv_client_namespace(const struct mkv_client *c, size_t *len_out)
{
    *len_out = c->namespace_len;
    return (const char *)c->namespace_;
}

int mkv_client_stats(struct mkv_client *c, struct mkv_client_stats *out)
{
    if (c->forks != mkv__forks()) {
        return -ECANCELED;
    }
#define READ(name) .name = __atomic_load_n(&c->stats.name, __ATOMIC_RELAXED)
    struct mkv_client_stats all = {
        .size = out->size,
        READ(batches),
        READ(keys),
        READ(hits),
        READ(misses),
        READ(unknown),
        READ(bytes_read),
        READ(bytes_written),
        READ(requests),
        READ(second_rounds),
        READ(timeouts),
        READ(connection_errors),
        READ(checksum_errors),
        READ(connects),
        READ(reissued),
        .rails = c->n_rails,
    };
#undef READ
    struct table *t = mkv__table_get(c);
    uint32_t missing = 0;
    all.servers = t->n;
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t state = __atomic_load_n(&t->servers[i]->state, __ATOMIC_RELAXED);
        uint32_t usable = mkv__state_usable(state);
        all.servers_up += usable != 0;
        missing |= usable != 0 ? (~usable | state >> 16) & RAILS_ALL : 0;
    }
    mkv__table_put(t);
    for (unsigned i = 0; i < c->n_rails; i++) {
        all.rails_up += !(missing & RAIL_CLOSED(i));
    }
    memcpy(out, &all, MKV_MIN(out->size, sizeof(all)));
    return 0;
}
