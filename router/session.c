/*
 * One transport session per server and rail: connected lazily; made anew at once when it is lost,
 * and by probes with jittered back-off while the breaker is open. Slots for the requests that are
 * out, a queue for those that are not.
 */
#include "router/internal.h"

#include "core/base.h"
#include "core/error.h"

#include <stdio.h>
#include <string.h>

#define FAIR_NS 10000000u   /* an answer may take so long before it counts against a server */
#define LOOK_NS 1000000000u /* how often a session that is degraded is looked at */

static void probe(struct mkv__worker *worker, struct mkv__timer *timer);
static void look(struct mkv__worker *worker, struct mkv__timer *timer);
static void pump(struct session *s);
static void refill(struct mkv__worker *worker, struct mkv__deferred *deferred);
static void connect_session(struct session *s);
static void attempt(struct mkv__worker *worker, struct mkv__task *task);

void mkv__session_init(struct session *s, struct server *server, struct rail *rail)
{
    s->server = server;
    s->rail = rail;
    mkv__timer_init(&s->probe, probe);
    mkv__timer_init(&s->look, look);
    s->refill.run = refill;
    s->attempt.run = attempt;
    s->address = rail->number % server->n_addresses;
    s->max_out = MKV_REQUESTS_MAX;
    s->waiting_end = &s->waiting;
    for (uint32_t i = 0; i < MKV_REQUESTS_MAX; i++) {
        s->free_slots[s->n_free++] = MKV_REQUESTS_MAX - 1 - i;
    }
}

static struct rpc *unqueue(struct session *s)
{
    struct rpc *rpc = s->waiting;
    if (rpc != NULL) {
        s->waiting = rpc->next_waiting;
        if (s->waiting == NULL) {
            s->waiting_end = &s->waiting;
        }
    }
    return rpc;
}

static void requeue_first(struct session *s, struct rpc *rpc)
{
    rpc->state = RPC_WAITING;
    rpc->next_waiting = s->waiting;
    if (s->waiting == NULL) {
        s->waiting_end = &rpc->next_waiting;
    }
    s->waiting = rpc;
}

static void queue(struct session *s, struct rpc *rpc)
{
    rpc->state = RPC_WAITING;
    rpc->next_waiting = NULL;
    *s->waiting_end = rpc;
    s->waiting_end = &rpc->next_waiting;
}

/* What waits has not been sent: over another rail it may be. */
static void fail_waiting(struct session *s, int error)
{
    struct rpc *rpc;
    while ((rpc = unqueue(s)) != NULL) {
        rpc->again = AGAIN_UNSENT;
        mkv__rpc_finished(rpc, error);
    }
}

/* The session ---------------------------------------------------------------------------------- */

static void free_slot(struct rpc *rpc)
{
    struct session *s = rpc->session;
    s->slots[rpc->slot] = NULL;
    s->generations[rpc->slot]++;
    s->free_slots[s->n_free++] = rpc->slot;
}

/* Of a request that has ended. One that found the session full leaves its slot by free_slot: it
 * would only be tried again, in this turn, without end. */
static void leave_slot(struct rpc *rpc)
{
    struct session *s = rpc->session;
    free_slot(rpc);
    if (s->waiting != NULL) {
        mkv__worker_defer(s->rail->worker, &s->refill);
    }
}

/* Is it as good as it should be? Nobody tells when that changes. */
static void look_at(struct session *s)
{
    struct mkv_client *client = s->rail->client;
    bool degraded = client->transport->degraded(s->conn);
    if (degraded != s->degraded || s->good == degraded) {
        char path[200];
        client->transport->describe(s->conn, path, sizeof(path));
        s->degraded = degraded;
        mkv__breaker_rail(s, !degraded, path);
    }
    if (degraded && client->n_rails > 1) {
        mkv__timer_set(s->rail->worker, &s->look, mkv__worker_now(s->rail->worker) + LOOK_NS);
    }
}

static void look(struct mkv__worker *worker, struct mkv__timer *timer)
{
    (void)worker;
    look_at(MKV_CONTAINER_OF(timer, struct session, look));
}

static void on_opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    struct session *s = arg;
    (void)conn;
    s->open = true;
    s->going_away = s->full = false;
    s->max_out = peer->max_requests > 0 ? MKV_MIN(peer->max_requests, MKV_REQUESTS_MAX)
                                        : MKV_REQUESTS_MAX;
    s->version_high = peer->version_high;
    s->n_connects++;
    COUNT(s->rail->client, connects, 1);
    MKV_DEBUG(&s->rail->client->log, "%s: connected", s->server->name);
    mkv__breaker_close(s);
    look_at(s);
    pump(s);
}

static struct rpc *rpc_of(struct session *s, uint64_t request_id)
{
    uint32_t slot = (uint32_t)request_id;
    struct rpc *rpc = slot < MKV_REQUESTS_MAX ? s->slots[slot] : NULL;
    return rpc != NULL && s->generations[slot] == (uint32_t)(request_id >> 32) ? rpc : NULL;
}

static void on_message(struct mkv__conn *conn, void *arg, const struct mkv__message *message)
{
    struct session *s = arg;
    if (message->type == MKV_TYPE_GOAWAY) {
        s->going_away = true;
        mkv__breaker_failed(s, -ECONNRESET, "the server is going away");
        mkv__breaker_open(s);
        mkv__breaker_change(s, 0, SERVER_AWAY);
        return;
    }
    if (s->rail->client->transport->degraded(conn) != s->degraded) {
        look_at(s);
    }
    struct rpc *rpc = rpc_of(s, message->request_id);
    if (rpc == NULL || rpc->state != RPC_SENT) {
        return; /* an answer that came too late */
    }
    mkv__rpc_answer(rpc, message);
    rpc->state = RPC_ANSWERED;
    if (rpc->error == -EPROTO) {
        mkv__breaker_failed(s, -EPROTO, "an answer that makes no sense");
    } else {
        s->failures = 0;
        s->judged_ns = mkv__worker_now(s->rail->worker);
    }
    if (rpc->exposed) {
        s->rail->client->transport->conceal(conn, &rpc->exposure, true);
    } else {
        leave_slot(rpc);
        mkv__rpc_finished(rpc, rpc->error);
    }
}

static void on_concealed(struct mkv__exposure *exposure)
{
    struct rpc *rpc = exposure->owner;
    rpc->exposed = false;
    if (rpc->state == RPC_SENT) {
        return; /* the session dies: `closed` ends it, when it is known what becomes of the rail */
    }
    if (rpc->state == RPC_RETREATING) {
        struct session *s = rpc->session;
        free_slot(rpc);
        requeue_first(s, rpc);
        if (!s->full) { /* the fence took longer than the room took to come */
            mkv__worker_defer(s->rail->worker, &s->refill);
        }
        return;
    }
    leave_slot(rpc);
    mkv__rpc_finished(rpc, rpc->error);
}

static void on_cancelled(struct mkv__conn *conn, void *arg, uint64_t request_id)
{
    (void)conn;
    (void)arg;
    (void)request_id; /* servers expose nothing */
}

static void on_writable(struct mkv__conn *conn, void *arg)
{
    struct session *s = arg;
    (void)conn;
    s->full = false;
    pump(s);
}

/* All that is out or waits; from now on nobody can withdraw it. */
static struct rpc *take_all(struct session *s, bool lost)
{
    struct rpc *all = NULL, **end = &all, *rpc;
    for (uint32_t i = 0; i < MKV_REQUESTS_MAX; i++) {
        if ((rpc = s->slots[i]) != NULL) {
            free_slot(rpc);
            rpc->state = RPC_ANSWERED;
            rpc->again = lost ? AGAIN_LOST : AGAIN_NO;
            *end = rpc;
            end = &rpc->next_waiting;
        }
    }
    while ((rpc = unqueue(s)) != NULL) {
        rpc->state = RPC_ANSWERED;
        rpc->again = AGAIN_UNSENT;
        *end = rpc;
        end = &rpc->next_waiting;
    }
    *end = NULL;
    return all;
}

/* A session that was in use is made anew at once, since that alone tells whether the server is
 * there; but not again and again. */
static bool worth_another(struct session *s, bool was_open, int error)
{
    uint64_t pause = mkv__config_duration(s->rail->client->config, MKV_OPT_BREAKER_PROBE);
    uint64_t now = mkv__worker_now(s->rail->worker), before = s->lost_ns;
    if (!was_open || error != -ECONNRESET || s->going_away || mkv__timer_armed(&s->probe)) {
        return false;
    }
    s->lost_ns = now;
    return before == 0 || now - before >= pause;
}

/* Who refuses one rail refuses all, unless one has a session. So nobody waits for the others; but each
 * that does not know looks for itself, since it may be this rail that is broken. */
static void refused(struct session *s, int error)
{
    struct server *server = s->server;
    if (!(__atomic_load_n(&server->state, __ATOMIC_RELAXED) >> 8 & RAILS_ALL)) {
        mkv__breaker_change(s, 0, SERVER_AWAY);
    }
    for (unsigned i = 0; error != -EACCES && i < s->rail->client->n_rails; i++) {
        struct session *other = &server->sessions[i];
        if (other != s && !__atomic_exchange_n(&other->asked, 1, __ATOMIC_ACQ_REL)) {
            __atomic_add_fetch(&server->retiring, 1,
                               __ATOMIC_RELAXED); /* our own holds it so far */
            mkv__worker_post(other->rail->worker, &other->attempt);
        }
    }
}

static void attempt(struct mkv__worker *worker, struct mkv__task *task)
{
    struct session *s = MKV_CONTAINER_OF(task, struct session, attempt);
    (void)worker;
    __atomic_store_n(&s->asked, 0, __ATOMIC_RELEASE);
    if (!s->retired && s->conn == NULL && mkv__breaker_is_closed(s)) {
        connect_session(s);
    }
    mkv__server_left(s->server);
}

/* Returns whether to connect at once. */
static bool broke(struct session *s, bool was_open, int error, const char *why)
{
    const struct server *server = s->server;
    COUNT(s->rail->client, connection_errors, 1);
    s->address = (s->address + 1) % server->n_addresses;
    snprintf(s->why, sizeof(s->why), "%s", why);
    mkv__breaker_rail(s, false, why);
    mkv__breaker_change(s, RAIL_OPEN(s->rail->number), 0);
    if (was_open) {
        MKV_DEBUG(&s->rail->client->log, "%s: session lost: %s", server->name, why);
    }
    if (worth_another(s, was_open, error)) {
        return true;
    }
    mkv__breaker_failed(s, error, why);
    if (!was_open && (server->n_addresses == 1 || error == -EACCES)) {
        refused(s, error);
    }
    return false;
}

static void on_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct session *s = arg;
    (void)conn;
    bool was_open = s->open, at_once = false;
    /* A session that we renew is as lost to its requests as one that broke. */
    int told = error == -EACCES || (error == -ECANCELED && !s->renewing) ? error : -ECONNRESET;
    struct rpc *all = take_all(s, was_open && error != -EPROTO && told == -ECONNRESET);
    s->conn = NULL;
    s->open = false;
    mkv__timer_stop(s->rail->worker, &s->look);
    if (error != -ECANCELED) {
        at_once = broke(s, was_open, error, why);
    } else if (s->renewing) {
        mkv__breaker_change(s, RAIL_OPEN(s->rail->number), 0);
    }
    while (all != NULL) {
        struct rpc *rpc = all;
        all = rpc->next_waiting;
        mkv__rpc_finished(rpc, told);
    }
    if (at_once && s->conn == NULL) {
        connect_session(s);
    }
}

static const struct mkv__conn_handlers handlers = {
    .opened = on_opened,
    .message = on_message,
    .cancelled = on_cancelled,
    .writable = on_writable,
    .closed = on_closed,
};

static void connect_session(struct session *s)
{
    const char *address = s->server->addresses[s->address];
    int r = s->rail->client->transport->connect(s->rail->endpoint, address, &handlers, s, &s->conn);
    if (r < 0) {
        s->conn = NULL;
        mkv__breaker_failed(s, -ECONNRESET, mkv__error_text(r));
        fail_waiting(s, -ECONNRESET);
    }
}

static void probe(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct session *s = MKV_CONTAINER_OF(timer, struct session, probe);
    (void)worker;
    if (s->open && s->n_free < MKV_REQUESTS_MAX) {
        mkv__breaker_probe_later(s, false); /* what is in flight may end; it has deadlines */
        return;
    }
    if (s->open) {
        /* It was too slow, or went away: a new session shows whether it is back. */
        s->renewing = true;
        s->rail->client->transport->close(s->conn);
        s->renewing = false;
    }
    if (s->conn == NULL) {
        connect_session(s);
    }
}

void mkv__session_shut(struct session *s)
{
    s->retired = true;
    mkv__timer_stop(s->rail->worker, &s->probe);
    if (s->conn != NULL) {
        s->rail->client->transport->close(s->conn);
    }
    mkv__timer_stop(s->rail->worker, &s->probe);
    fail_waiting(s, -ECANCELED);
    mkv__worker_undefer(s->rail->worker, &s->refill);
}

/* Requests ------------------------------------------------------------------------------------- */

static int issue(struct session *s, struct rpc *rpc)
{
    struct mkv_client *client = s->rail->client;
    uint8_t type = 0;
    int64_t len = mkv__rpc_encode(rpc, &type);
    if (len < 0) {
        return (int)len;
    }
    rpc->slot = s->free_slots[--s->n_free];
    uint64_t id = (uint64_t)s->generations[rpc->slot] << 32 | rpc->slot;
    uint64_t now = mkv__worker_now(s->rail->worker);
    uint64_t left = rpc->part->batch->deadline_ns > now ? rpc->part->batch->deadline_ns - now : 0;
    rpc->sent_ns = now;
    rpc->error = 0; /* an earlier try's may be there */
    s->slots[rpc->slot] = rpc;
    struct mkv__message message = {
        .type = type,
        .cls = rpc->part->batch->flags & MKV_BACKGROUND ? MKV_CLASS_BACKGROUND : MKV_CLASS_URGENT,
        .request_id = id,
        .deadline_ms = (uint32_t)(left / 1000000u) + 1,
        .body = s->rail->body,
        .body_len = (uint32_t)len,
    };
    int r = 0;
    if (rpc->n_pieces > 0) {
        mkv__rpc_expose(rpc, id);
        rpc->exposure.concealed = on_concealed;
        r = client->transport->expose(s->conn, &rpc->exposure);
        rpc->exposed = r >= 0;
    }
    if (r >= 0) {
        rpc->state = RPC_SENT;
        r = client->transport->send(s->conn, &message);
    }
    if (r >= 0) {
        COUNT(client, requests, 1);
        return 0;
    }
    rpc->error = r;
    s->full = s->full || r == -EAGAIN;
    if (rpc->exposed) {
        /* on_concealed goes on; full is not fatal, but the memory must not stay exposed. */
        rpc->state = r == -EAGAIN ? RPC_RETREATING : RPC_ANSWERED;
        client->transport->conceal(s->conn, &rpc->exposure, true);
        return r == -EAGAIN ? -EALREADY : 0;
    }
    free_slot(rpc);
    return r;
}

static void pump(struct session *s)
{
    while (s->open && s->conn != NULL && s->waiting != NULL &&
           MKV_REQUESTS_MAX - s->n_free < s->max_out) {
        struct rpc *rpc = unqueue(s);
        int r = issue(s, rpc);
        if (r == -EALREADY) {
            return; /* full, and it queues again by itself; `writable` goes on */
        }
        if (r == -EAGAIN) {
            requeue_first(s, rpc);
            return;
        }
        if (r < 0) {
            mkv__rpc_finished(rpc, r);
        }
    }
}

/* At the end of a turn, not in the middle of withdrawing a batch whose other requests wait. */
static void refill(struct mkv__worker *worker, struct mkv__deferred *deferred)
{
    (void)worker;
    pump(MKV_CONTAINER_OF(deferred, struct session, refill));
}

void mkv__session_submit(struct rpc *rpc)
{
    struct session *s = rpc->session;
    bool used = (mkv__server_usable(s->server) & RAIL_CLOSED(s->rail->number)) != 0;
    if (!used && !s->open && rpc->part->batch->stat_out == NULL) {
        rpc->again = AGAIN_UNSENT;
        mkv__rpc_finished(rpc, mkv__server_error(s->server) == -EACCES ? -EACCES : -ECONNRESET);
        return;
    }
    queue(s, rpc);
    if (s->open) {
        pump(s);
    } else if (s->conn == NULL) {
        connect_session(s);
    }
}

static void remove_waiting(struct session *s, struct rpc *rpc)
{
    for (struct rpc **p = &s->waiting; *p != NULL; p = &(*p)->next_waiting) {
        if (*p == rpc) {
            *p = rpc->next_waiting;
            if (s->waiting_end == &rpc->next_waiting) {
                s->waiting_end = p;
            }
            return;
        }
    }
}

/* A caller's very short deadline says nothing about the server. Neither do the other requests of a
 * batch, that were out in the same time: a large one would open the breaker by itself, and of a
 * server that has only been slow. */
static bool counts_as_late(const struct session *s, const struct rpc *rpc)
{
    return rpc->error == -ETIMEDOUT && rpc->sent_ns >= s->judged_ns &&
           mkv__worker_now(s->rail->worker) - rpc->sent_ns >= FAIR_NS;
}

static void withdraw_sent(struct session *s, struct rpc *rpc)
{
    if (counts_as_late(s, rpc)) {
        s->judged_ns = mkv__worker_now(s->rail->worker);
        mkv__breaker_failed(s, -ETIMEDOUT, "no answer in time");
    }
    rpc->state = RPC_ANSWERED;
    if (rpc->exposed) {
        s->rail->client->transport->conceal(s->conn, &rpc->exposure, false);
    } else {
        leave_slot(rpc);
        mkv__rpc_finished(rpc, rpc->error);
    }
}

void mkv__session_withdraw(struct rpc *rpc, int error)
{
    struct session *s = rpc->session;
    if (rpc->state == RPC_IDLE || rpc->state == RPC_ANSWERED) {
        return;
    }
    rpc->error = error;
    if (error == -ETIMEDOUT) {
        COUNT(s->rail->client, timeouts, 1);
    }
    if (rpc->state == RPC_WAITING) {
        remove_waiting(s, rpc);
        mkv__rpc_finished(rpc, error);
    } else if (rpc->state == RPC_RETREATING) {
        rpc->state = RPC_ANSWERED;
    } else {
        withdraw_sent(s, rpc);
    }
}

void mkv__session_tell(struct session *s, uint8_t type, const uint8_t *body, uint32_t len)
{
    if (!s->open || s->n_free == 0) {
        return;
    }
    /* Takes a slot and leaves it at once: the reply finds another generation. */
    uint32_t slot = s->free_slots[s->n_free - 1];
    struct mkv__message message = {.type = type,
                                   .cls = MKV_CLASS_BACKGROUND,
                                   .request_id = (uint64_t)s->generations[slot]++ << 32 | slot,
                                   .body = body,
                                   .body_len = len};
    (void)s->rail->client->transport->send(s->conn, &message);
}
