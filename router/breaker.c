/*
 * One breaker per server. Closed: keys go there. Open: they go to the next in rank, and a probe (a
 * new session) is made in the background after a pause that doubles, with jitter. A session that
 * opens closes it: that is the half-open state, which no caller's request ever pays for.
 */
#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdio.h>

void mkv__breaker_init(struct server *s, void (*probe)(struct mkv__worker *, struct mkv__timer *))
{
    mkv__timer_init(&s->probe, probe);
}

void mkv__breaker_probe_later(struct server *s, bool longer)
{
    struct mkv_client *client = s->client;
    uint64_t most = mkv__config_duration(client->config, MKV_OPT_BREAKER_PROBE_MAX);
    uint64_t least = mkv__config_duration(client->config, MKV_OPT_BREAKER_PROBE);
    uint64_t wait = MKV_MAX(s->backoff_ns, least), random = 0;
    mkv__random(&random, sizeof(random));
    if (longer) {
        s->backoff_ns = MKV_MIN(2 * wait, most);
    }
    wait = wait / 2 + random % (wait / 2 + 1); /* half to whole: clients do not come in step */
    mkv__timer_set(client->worker, &s->probe, mkv__worker_now(client->worker) + wait);
}

static void changed(struct server *s)
{
    __atomic_store_n(&s->client->changed_ns, mkv__worker_now(s->client->worker), __ATOMIC_RELAXED);
}

static bool any_closed(struct mkv_client *client)
{
    struct table *t = mkv__table_get(client);
    bool any = t == NULL; /* closing: nothing to say */
    for (uint32_t i = 0; t != NULL && i < t->n; i++) {
        any = any || mkv__breaker_closed(t->servers[i]);
    }
    mkv__table_put(t);
    return any;
}

void mkv__breaker_open(struct server *s)
{
    if (mkv__breaker_closed(s)) {
        __atomic_store_n(&s->breaker, BREAKER_OPEN, __ATOMIC_RELAXED);
        s->backoff_ns = 0;
        changed(s);
        MKV_LOG(&s->client->log,
                mkv__server_error(s) == -EACCES ? MKV__LOG_ERROR : MKV__LOG_WARNING,
                "%s: not used until it answers again: %s", s->name, s->why);
        if (!any_closed(s->client)) {
            MKV_ERROR(&s->client->log, "no server answers: every key is a miss until one does");
        }
    }
    if (!mkv__timer_armed(&s->probe)) {
        mkv__breaker_probe_later(s, true);
    }
}

void mkv__breaker_close(struct server *s)
{
    s->failures = 0;
    s->backoff_ns = 0;
    mkv__timer_stop(s->client->worker, &s->probe);
    if (!mkv__breaker_closed(s)) {
        __atomic_store_n(&s->breaker, BREAKER_CLOSED, __ATOMIC_RELAXED);
        changed(s);
        MKV_INFO(&s->client->log, "%s: answers again", s->name);
    }
}

void mkv__breaker_failed(struct server *s, int error, const char *why)
{
    s->failures++;
    __atomic_store_n(&s->last_error, error, __ATOMIC_RELAXED);
    snprintf(s->why, sizeof(s->why), "%s", why);
    /* Without a session the next request would wait for one, and most likely in vain. */
    if (!s->open || s->failures >= mkv__config_count(s->client->config, MKV_OPT_BREAKER_FAILURES)) {
        mkv__breaker_open(s);
    }
}
