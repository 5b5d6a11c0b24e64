/*
 * One breaker per session. Closed: the rail is used for the server. Open: others are, and a probe (a
 * new session) is made in the background after a pause that doubles, with jitter. A session that
 * opens closes it: that is the half-open state, which no caller's request ever pays for. A server
 * is up while it can be asked over any rail; keys of one that is not go to the next in rank.
 */
#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdio.h>

void mkv__breaker_probe_later(struct session *s, bool longer)
{
    struct mkv__config *config = s->rail->client->config;
    uint64_t most = mkv__config_duration(config, MKV_OPT_BREAKER_PROBE_MAX);
    uint64_t least = mkv__config_duration(config, MKV_OPT_BREAKER_PROBE);
    uint64_t wait = MKV_MAX(s->backoff_ns, least), random = 0;
    mkv__random(&random, sizeof(random));
    if (longer) {
        s->backoff_ns = MKV_MIN(2 * wait, most);
    }
    wait = wait / 2 + random % (wait / 2 + 1); /* half to whole: clients do not come in step */
    mkv__timer_set(s->rail->worker, &s->probe, mkv__worker_now(s->rail->worker) + wait);
}

static bool any_up(struct mkv_client *client)
{
    urcu_bp_read_lock();
    const struct table *t = MKV_RCU_DEREFERENCE(client->table);
    bool any = t == NULL; /* closing: nothing to say */
    for (uint32_t i = 0; t != NULL && i < t->n; i++) {
        any = any || mkv__server_up(t->servers[i]);
    }
    MKV_RCU_BP_READ_UNLOCK(&client->table);
    return any;
}

static void say_up(const struct session *s)
{
    MKV_INFO(&s->rail->client->log, "%s: answers again", s->server->name);
}

static void say_down(const struct session *s)
{
    struct mkv__log *log = &s->rail->client->log;
    MKV_LOG(log, mkv__server_error(s->server) == -EACCES ? MKV__LOG_ERROR : MKV__LOG_WARNING,
            "%s: not used until it answers again: %s", s->server->name, s->why);
    if (!any_up(s->rail->client)) {
        MKV_ERROR(log, "no server answers: every key is a miss until one does");
    }
}

void mkv__breaker_change(struct session *s, uint32_t clear, uint32_t set)
{
    struct mkv_client *client = s->rail->client;
    uint32_t *state = &s->server->state;
    uint32_t old = __atomic_load_n(state, __ATOMIC_RELAXED), new;
    do {
        new = (old & ~clear) | set;
    } while (
        !__atomic_compare_exchange_n(state, &old, new, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    bool was_up = mkv__state_usable(old) != 0, up = mkv__state_usable(new) != 0;
    if (up != was_up) {
        __atomic_store_n(&client->changed_ns, mkv__worker_now(s->rail->worker), __ATOMIC_RELAXED);
        (up ? say_up : say_down)(s);
    }
}

bool mkv__breaker_is_closed(const struct session *s)
{
    uint32_t state = __atomic_load_n(&s->server->state, __ATOMIC_RELAXED);
    return (state & RAIL_CLOSED(s->rail->number)) != 0;
}

void mkv__breaker_open(struct session *s)
{
    if (mkv__breaker_is_closed(s)) {
        s->backoff_ns = 0;
        mkv__breaker_change(s, RAIL_CLOSED(s->rail->number), 0);
    }
    if (!mkv__timer_armed(&s->probe)) {
        mkv__breaker_probe_later(s, true);
    }
}

void mkv__breaker_close(struct session *s)
{
    s->failures = 0;
    s->backoff_ns = 0;
    mkv__timer_stop(s->rail->worker, &s->probe);
    __atomic_and_fetch(&s->server->hangs, ~RAIL_CLOSED(s->rail->number), __ATOMIC_RELAXED);
    mkv__breaker_change(s, SERVER_AWAY, RAIL_CLOSED(s->rail->number) | RAIL_OPEN(s->rail->number));
}

/* What hangs on one rail hangs on all, most likely: the others have one try each. */
static uint64_t patience(const struct session *s)
{
    uint32_t hangs = __atomic_load_n(&s->server->hangs, __ATOMIC_RELAXED);
    return hangs != 0 ? 1 : mkv__config_count(s->rail->client->config, MKV_OPT_BREAKER_FAILURES);
}

void mkv__breaker_failed(struct session *s, int error, const char *why)
{
    s->failures++;
    __atomic_store_n(&s->server->last_error, error, __ATOMIC_RELAXED);
    snprintf(s->why, sizeof(s->why), "%s", why);
    if (s->open && s->failures < patience(s)) {
        return;
    }
    if (s->open) {
        __atomic_or_fetch(&s->server->hangs, RAIL_CLOSED(s->rail->number), __ATOMIC_RELAXED);
    }
    /* Without a session the next request would wait for one, and most likely in vain. */
    mkv__breaker_rail(s, false, why);
    mkv__breaker_open(s);
}

void mkv__breaker_rail(struct session *s, bool good, const char *why)
{
    struct rail *r = s->rail;
    bool named = r->device[0] != '\0', was_good = s->good;
    s->good = good;
    mkv__breaker_change(s, good ? RAIL_POOR(r->number) : 0, good ? 0 : RAIL_POOR(r->number));
    if (r->client->n_rails < 2 || good == was_good || good != s->told_lost) {
        return;
    }
    s->told_lost = !good;
    if (good) {
        MKV_INFO(&r->client->log, "%s: rail %u%s%s%s is back", s->server->name, r->number,
                 named ? " (" : "", r->device, named ? ")" : "");
    } else {
        MKV_WARNING(&r->client->log, "%s: rail %u%s%s%s lost: %s", s->server->name, r->number,
                    named ? " (" : "", r->device, named ? ")" : "", why);
    }
}
