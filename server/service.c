#include "server/transfer.h"

#include "core/base.h"
#include "core/codec/header.h"
#include "core/config/options.h"
#include "core/error.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES     256u
#define DRAIN_LOOK_NS UINT64_C(1000000)

static void look_again(struct mkv__worker *worker, struct mkv__timer *timer);

/* ---- requests ----------------------------------------------------------------------------- */

static bool namespace_allowed(const struct mkv__session *session, const struct mkv__request *r)
{
    const char *prefix = session->key != NULL ? session->key->namespaces : NULL;
    size_t len = prefix != NULL ? strlen(prefix) : 0;
    return len <= r->namespace_len && (len == 0 || memcmp(r->namespace_, prefix, len) == 0);
}

static bool needs_admin(const struct mkv__request *r)
{
    return r->type == MKV_TYPE_DELETE ||
           (r->type == MKV_TYPE_SET && (r->flags & MKV_REQ_REPLACE) != 0);
}

static bool supported(const struct mkv__request *r)
{
    return (r->flags & (MKV_REQ_ATOMIC | MKV_REQ_SEGMENTS)) == 0 && r->encoding == 0 &&
           r->range_offset == 0 && r->range_len == 0;
}

/* The linear space must not wrap round. */
static int check_lengths(const struct mkv__service *service, const struct mkv__request *r)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->n_keys; i++) {
        if (r->keys[i].key_len == 0 || __builtin_add_overflow(sum, r->keys[i].length, &sum)) {
            return -EPROTO;
        }
    }
    return sum <= service->o.transport->limits.max_exposure ? 0 : -EPROTO;
}

static void answer_all(struct mkv__transfer *t, uint8_t status)
{
    for (uint32_t i = 0; i < t->n; i++) {
        t->answers[i] = (struct mkv__answer){.status = status};
    }
    mkv__transfer_answer(t);
}

static void get(struct mkv__transfer *t, const struct mkv__request *r, uint32_t deadline_ms)
{
    struct mkv__service *service = t->session->service;
    uint64_t bytes = 0;
    mkv__store_get(service->o.store, r, mkv__worker_now(service->o.worker), t->objects, t->answers);
    for (uint32_t i = 0; i < t->n; i++) {
        bytes += t->objects[i] != NULL ? t->objects[i]->length : 0;
    }
    if (!mkv__session_in_time(t->session, bytes, deadline_ms)) {
        mkv__counter_inc(&service->figures.late);
        answer_all(t, MKV_WIRE_LATE);
        return;
    }
    mkv__transfer_start(t, deadline_ms);
}

/* Two configurations in one namespace, most likely: told once, or it would be a line for each page. */
static void tell_conflict(const struct mkv__transfer *t, const struct mkv__request *r)
{
    struct mkv__service *service = t->session->service;
    uint32_t i = 0;
    while (i < t->n && t->answers[i].status != MKV_WIRE_CONFLICT) {
        i++;
    }
    if (i < t->n && mkv__store_first_conflict(service->o.store, r)) {
        MKV_WARNING(service->o.log,
                    "%s: namespace \"%.*s\": a value of %llu bytes is refused, since one of %llu "
                    "bytes lies under its key; do clients of two configurations share the "
                    "namespace? (told once)",
                    service->o.transport->peer_name(t->session->conn), (int)r->namespace_len,
                    (const char *)r->namespace_, (unsigned long long)r->keys[i].length,
                    (unsigned long long)t->answers[i].length);
    }
}

static void set(struct mkv__transfer *t, const struct mkv__request *r, uint32_t deadline_ms)
{
    struct mkv__service *service = t->session->service;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        bytes += r->keys[i].length;
    }
    if (service->draining || !mkv__session_in_time(t->session, bytes, deadline_ms)) {
        mkv__counter_inc(&service->figures.late);
        answer_all(t, MKV_WIRE_LATE);
        return;
    }
    mkv__store_set_begin(service->o.store, r, mkv__worker_now(service->o.worker), t->objects,
                         t->answers);
    tell_conflict(t, r);
    t->checked = (r->flags & MKV_REQ_UNSUMMED) != 0;
    mkv__transfer_start(t, deadline_ms);
}

static void dispatch(struct mkv__transfer *t, const struct mkv__request *r, uint32_t deadline_ms)
{
    struct mkv__service *service = t->session->service;
    struct mkv__service_figures *f = &service->figures;
    uint64_t now = mkv__worker_now(service->o.worker);
    switch (r->type) {
    case MKV_TYPE_GET:
        mkv__counter_inc(&f->get);
        get(t, r, deadline_ms);
        return;
    case MKV_TYPE_SET:
        mkv__counter_inc(&f->set);
        set(t, r, deadline_ms);
        return;
    case MKV_TYPE_EXISTS:
        mkv__counter_inc(&f->exists);
        mkv__store_exists(service->o.store, r, now, t->answers);
        break;
    case MKV_TYPE_DELETE:
        mkv__counter_inc(&f->del);
        mkv__store_delete(service->o.store, r, t->answers);
        break;
    default:
        mkv__counter_inc(&f->report);
        mkv__store_report(service->o.store, r, now, t->answers);
        break;
    }
    mkv__transfer_answer(t);
}

static int keys_request(struct mkv__session *session, const struct mkv__message *message)
{
    struct mkv__service *service = session->service;
    uint32_t max_keys = service->o.transport->limits.max_keys;
    struct mkv__request r;
    int error = mkv__request_decode(message->type, message->body, message->body_len, service->keys,
                                    max_keys, service->key_bytes, (size_t)max_keys * KEY_BYTES, &r);
    if (error < 0) {
        return -EPROTO;
    }
    bool values = r.type == MKV_TYPE_GET || r.type == MKV_TYPE_SET;
    if (values && check_lengths(service, &r) < 0) {
        return -EPROTO;
    }
    struct mkv__transfer *t = mkv__transfer_create(session, message->request_id, r.type, r.n_keys);
    if (t == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < r.n_keys; i++) {
        t->lengths[i] = values ? r.keys[i].length : 0;
    }
    if (!namespace_allowed(session, &r) || (needs_admin(&r) && !session->admin)) {
        mkv__counter_inc(&service->figures.denied);
        answer_all(t, MKV_WIRE_DENIED);
    } else if (!supported(&r) || (message->flags & MKV_FLAG_CRITICAL) != 0) {
        answer_all(t, MKV_WIRE_ERROR);
    } else {
        dispatch(t, &r, message->deadline_ms);
    }
    return 0;
}

/* Lost where the connection is full: who asks for figures asks again. */
static int stat_request(struct mkv__session *session, const struct mkv__message *message)
{
    struct mkv__service *service = session->service;
    char *text = service->o.stat_text != NULL ? service->o.stat_text(service->o.arg) : NULL;
    mkv__counter_inc(&service->figures.stat);
    if (text == NULL) {
        return -ENOMEM;
    }
    struct mkv__message reply = {
        .type = MKV_TYPE_REPLY_TO(MKV_TYPE_STAT),
        .request_id = message->request_id,
        .body = (const uint8_t *)text,
        .body_len = (uint32_t)strlen(text),
    };
    (void)service->o.transport->send(session->conn, &reply);
    free(text);
    return 0;
}

static int take(struct mkv__session *session, const struct mkv__message *message)
{
    const struct mkv__transport_limits *limits = &session->service->o.transport->limits;
    if (message->type == MKV_TYPE_STAT) {
        return message->body_len == 0 ? stat_request(session, message) : -EPROTO;
    }
    if (message->type < MKV_TYPE_GET || message->type > MKV_TYPE_REPORT ||
        (uint32_t)message->request_id >= limits->max_requests ||
        session->n_transfers >= 2 * limits->max_requests ||
        mkv__transfer_find(session, message->request_id) != NULL) {
        return -EPROTO;
    }
    return keys_request(session, message);
}

/* ---- sessions ----------------------------------------------------------------------------- */

static void say_goaway(struct mkv__session *session)
{
    struct mkv__message message = {.type = MKV_TYPE_GOAWAY};
    (void)session->service->o.transport->send(session->conn, &message);
}

static void opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    struct mkv__session *session = arg;
    (void)conn;
    (void)peer;
    if (session->service->draining) {
        say_goaway(session); /* was shaking hands when the others were told */
    }
}

static void on_message(struct mkv__conn *conn, void *arg, const struct mkv__message *message)
{
    struct mkv__session *session = arg;
    struct mkv__service *service = session->service;
    const struct mkv__transport *transport = service->o.transport;
    int error = take(session, message);
    if (error < 0) {
        mkv__counter_inc(&service->figures.malformed);
        MKV_LIMITED(service->o.log, service->o.bad_frames, MKV__LOG_WARNING,
                    "%s: message of type %u refused, connection closed: %s",
                    transport->peer_name(conn), message->type, mkv__error_text(error));
        transport->close(conn);
    }
}

static void cancelled(struct mkv__conn *conn, void *arg, uint64_t request_id)
{
    struct mkv__transfer *t = mkv__transfer_find(arg, request_id);
    (void)conn;
    if (t != NULL) {
        mkv__transfer_forget(t);
    }
}

static void writable(struct mkv__conn *conn, void *arg)
{
    (void)conn;
    mkv__session_writable(arg);
}

static void closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct mkv__session *session = arg;
    struct mkv__service *service = session->service;
    MKV_DEBUG(service->o.log, "%s: closed: %s", service->o.transport->peer_name(conn),
              why != NULL ? why : mkv__error_text(error));
    while (session->transfers != NULL) {
        mkv__transfer_destroy(session->transfers);
    }
    if (session->prev != NULL) {
        session->prev->next = session->next;
    } else {
        service->sessions = session->next;
    }
    if (session->next != NULL) {
        session->next->prev = session->prev;
    }
    mkv__counter_sub(&service->figures.connections, 1);
    free(session);
}

static const struct mkv__conn_handlers handlers = {
    .opened = opened,
    .message = on_message,
    .cancelled = cancelled,
    .writable = writable,
    .closed = closed,
};

static bool is_loopback(const char *peer)
{
    return strncmp(peer, "127.", 4) == 0 || strncmp(peer, "[::1]", 5) == 0;
}

int mkv__service_accept(struct mkv__service *service, struct mkv__conn *conn,
                        const struct mkv__auth_key *key,
                        const struct mkv__conn_handlers **handlers_out, void **arg_out)
{
    struct mkv__session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        return -ENOMEM;
    }
    session->service = service;
    session->conn = conn;
    session->key = key;
    session->waiting_end = &session->waiting;
    session->admin = service->o.admin == MKV__ADMIN_ALL ||
                     (service->o.admin == MKV__ADMIN_LOOPBACK &&
                      is_loopback(service->o.transport->peer_name(conn)));
    session->next = service->sessions;
    if (session->next != NULL) {
        session->next->prev = session;
    }
    service->sessions = session;
    mkv__counter_inc(&service->figures.connections);
    *handlers_out = &handlers;
    *arg_out = session;
    return 0;
}

/* ---- life --------------------------------------------------------------------------------- */

int mkv__service_create(const struct mkv__service_options *options,
                        struct mkv__service **service_out)
{
    const struct mkv__transport_limits *limits = &options->transport->limits;
    struct mkv__service *service = calloc(1, sizeof(*service));
    if (service == NULL) {
        return -ENOMEM;
    }
    service->o = *options;
    mkv__timer_init(&service->drain, look_again);
    service->keys = calloc(limits->max_keys, sizeof(*service->keys));
    service->key_bytes = malloc((size_t)limits->max_keys * KEY_BYTES);
    service->body = malloc(limits->max_message);
    if (service->keys == NULL || service->key_bytes == NULL || service->body == NULL) {
        mkv__service_destroy(&service);
        return -ENOMEM;
    }
    *service_out = service;
    return 0;
}

void mkv__service_destroy(struct mkv__service **service)
{
    struct mkv__service *s = *service;
    if (s == NULL) {
        return;
    }
    if (mkv__timer_armed(&s->drain)) {
        mkv__timer_stop(s->o.worker, &s->drain);
    }
    while (s->free != NULL) {
        struct mkv__transfer *t = s->free;
        s->free = t->next;
        mkv__transfer_free(t);
    }
    free(s->keys);
    free(s->key_bytes);
    free(s->body);
    free(s);
    *service = NULL;
}

/* An answer that has not left yet would be lost with its session. */
static bool finished(const struct mkv__service *service)
{
    bool all = mkv__counter_read(&service->figures.in_flight) == 0;
    for (struct mkv__session *s = service->sessions; s != NULL && all; s = s->next) {
        all = service->o.transport->unsent(s->conn) == 0;
    }
    return all;
}

static void look_again(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct mkv__service *service = MKV_CONTAINER_OF(timer, struct mkv__service, drain);
    if (finished(service)) {
        service->idle(service->idle_arg);
    } else {
        mkv__timer_set(worker, timer, mkv__worker_now(worker) + DRAIN_LOOK_NS);
    }
}

void mkv__service_drain(struct mkv__service *service, void (*idle)(void *arg), void *arg)
{
    struct mkv__worker *worker = service->o.worker;
    service->draining = true;
    service->idle = idle;
    service->idle_arg = arg;
    for (struct mkv__session *s = service->sessions; s != NULL; s = s->next) {
        say_goaway(s);
    }
    mkv__timer_set(worker, &service->drain, mkv__worker_now(worker) + DRAIN_LOOK_NS);
}

const struct mkv__service_figures *mkv__service_figures(const struct mkv__service *service)
{
    return &service->figures;
}
