#include "server/service.h"

#include "core/base.h"
#include "core/checksum.h"
#include "core/config/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAT_MAX  (64u << 10)
#define KEY_ARENA (MKV_KEYS_MAX * 255u)

/* What a request holds while its bytes travel. */
struct job {
    struct session *session;
    struct job *spare;
    uint8_t type;
    uint64_t request_id;
    uint32_t n, cap, at;
    struct mkv__object **objects;
    struct mkv__answer *answers;
    uint64_t *sums;        /* set: seed ^ what has landed */
    uint32_t *piece_first; /* set: first piece of each key, n + 1 */
    uint64_t *landed;      /* set: bytes of each key */
    struct mkv__piece *pieces;
    uint32_t n_pieces, pieces_cap;
    struct mkv__bulk bulk;
};

struct session {
    struct mkv__service *service;
    struct mkv__conn *conn;
    struct session *next, **link;
    const char *namespaces; /* prefix that the key allows; NULL: all */
    bool closing;
    struct job *jobs[MKV_REQUESTS_MAX];
};

struct mkv__service {
    struct mkv__service_options options;
    struct mkv__service_counters counters;
    struct session *sessions;
    struct job *spare_jobs;
    unsigned busy;
    struct mkv__log_limit limit;
    struct mkv__wire_key *keys;
    struct mkv__answer *answers;
    struct mkv__object **objects;
    uint8_t *arena, *body;
};

#define COUNT(service, name, n)                                                                   \
    __atomic_store_n(&(service)->counters.name, (service)->counters.name + (n), __ATOMIC_RELAXED)

int mkv__service_create(const struct mkv__service_options *options, struct mkv__service **out)
{
    struct mkv__service *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->options = *options;
    s->keys = malloc(MKV_KEYS_MAX * sizeof(*s->keys));
    s->answers = malloc(MKV_KEYS_MAX * sizeof(*s->answers));
    s->objects = calloc(MKV_KEYS_MAX, sizeof(struct mkv__object *));
    s->arena = malloc(KEY_ARENA);
    s->body = malloc(MKV_MESSAGE_MAX);
    if (s->keys == NULL || s->answers == NULL || s->objects == NULL || s->arena == NULL ||
        s->body == NULL) {
        mkv__service_destroy(&s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

static void job_free(struct job *job)
{
    free(job->objects);
    free(job->answers);
    free(job->sums);
    free(job->piece_first);
    free(job->landed);
    free(job->pieces);
    free(job);
}

void mkv__service_destroy(struct mkv__service **service)
{
    struct mkv__service *s = *service;
    if (s == NULL) {
        return;
    }
    while (s->spare_jobs != NULL) {
        struct job *job = s->spare_jobs;
        s->spare_jobs = job->spare;
        job_free(job);
    }
    free(s->keys);
    free(s->answers);
    free(s->objects);
    free(s->arena);
    free(s->body);
    free(s);
    *service = NULL;
}

const struct mkv__service_counters *mkv__service_counters(const struct mkv__service *service)
{
    return &service->counters;
}

/* Replies --------------------------------------------------------------------------------------- */

static void send_body(struct session *session, uint8_t type, uint64_t request_id, uint32_t len,
                      bool after_bulk)
{
    struct mkv__service *s = session->service;
    struct mkv__message message = {.type = MKV_TYPE_REPLY_TO(type),
                                   .request_id = request_id,
                                   .after_bulk = after_bulk,
                                   .body = s->body,
                                   .body_len = len};
    int r = s->options.transport->send(session->conn, &message);
    if (r < 0 && !session->closing) {
        /* A client that does not read its answers loses its session, and nothing else. */
        session->closing = true;
        MKV_LIMITED(s->options.log, &s->limit, MKV__LOG_WARNING, "%s: answers are not taken",
                    s->options.transport->peer_name(session->conn));
    }
}

static void reply(struct session *session, uint8_t type, uint64_t request_id,
                  struct mkv__answer *answers, uint32_t n, bool after_bulk)
{
    struct mkv__reply r = {.type = MKV_TYPE_REPLY_TO(type), .n = n, .answers = answers};
    int64_t len = mkv__reply_encode(&r, session->service->body, MKV_MESSAGE_MAX);
    if (len >= 0) {
        send_body(session, type, request_id, (uint32_t)len, after_bulk);
    }
}

/* Jobs ------------------------------------------------------------------------------------------ */

static bool grow_job(struct job *job, uint32_t n)
{
    if (n <= job->cap) {
        return true;
    }
    void *objects = realloc(job->objects, n * sizeof(struct mkv__object *));
    job->objects = objects != NULL ? objects : job->objects;
    void *answers = realloc(job->answers, n * sizeof(*job->answers));
    job->answers = answers != NULL ? answers : job->answers;
    void *sums = realloc(job->sums, n * sizeof(*job->sums));
    job->sums = sums != NULL ? sums : job->sums;
    void *first = realloc(job->piece_first, (n + 1) * sizeof(*job->piece_first));
    job->piece_first = first != NULL ? first : job->piece_first;
    void *landed = realloc(job->landed, n * sizeof(*job->landed));
    job->landed = landed != NULL ? landed : job->landed;
    if (objects == NULL || answers == NULL || sums == NULL || first == NULL || landed == NULL) {
        return false;
    }
    job->cap = n;
    return true;
}

static struct job *job_new(struct session *session, uint8_t type, uint64_t request_id, uint32_t n)
{
    struct mkv__service *s = session->service;
    struct job *job = s->spare_jobs;
    if (job != NULL) {
        s->spare_jobs = job->spare;
    } else {
        job = calloc(1, sizeof(*job));
    }
    if (job != NULL && !grow_job(job, n)) {
        job->spare = s->spare_jobs;
        s->spare_jobs = job;
        return NULL;
    }
    if (job != NULL) {
        job->session = session;
        job->type = type;
        job->request_id = request_id;
        job->n = n;
        job->at = 0;
        job->n_pieces = 0;
        session->jobs[(uint32_t)request_id] = job;
        s->busy++;
    }
    return job;
}

static void job_done(struct job *job)
{
    struct mkv__service *s = job->session->service;
    job->session->jobs[(uint32_t)job->request_id] = NULL;
    s->busy--;
    job->spare = s->spare_jobs;
    s->spare_jobs = job;
}

static bool add_pieces(struct mkv__service *s, struct job *job, uint64_t offset,
                       const struct mkv__object *object)
{
    uint32_t most = job->n_pieces + object->n_extents;
    if (most > job->pieces_cap) {
        uint32_t cap = MKV_MAX(most, 2 * job->pieces_cap);
        void *pieces = realloc(job->pieces, cap * sizeof(*job->pieces));
        if (pieces == NULL) {
            return false;
        }
        job->pieces = pieces;
        job->pieces_cap = cap;
    }
    uint64_t left = object->length;
    for (uint32_t i = 0; i < object->n_extents && left > 0; i++) {
        uint64_t n = MKV_MIN(left, object->extents[i].len);
        job->pieces[job->n_pieces++] = (struct mkv__piece){
            offset, mkv__store_at(s->options.store, object->extents[i].offset), n};
        offset += n;
        left -= n;
    }
    return true;
}

/* GET ------------------------------------------------------------------------------------------- */

static void get_done(struct mkv__bulk *bulk, int status)
{
    struct job *job = bulk->owner;
    struct session *session = job->session;
    struct mkv__service *s = session->service;
    mkv__store_put(s->options.store, job->objects, job->n);
    if (status == 0) {
        reply(session, job->type, job->request_id, job->answers, job->n, true);
    }
    job_done(job);
}

static int handle_get(struct session *session, uint64_t request_id, struct mkv__request *request,
                      uint64_t now)
{
    struct mkv__service *s = session->service;
    uint32_t n = request->n_keys;
    if (request->range_len != 0 || request->range_offset != 0) {
        return -ENOTSUP;
    }
    mkv__store_get(s->options.store, request, now, s->objects, s->answers);
    struct job *job = job_new(session, request->type, request_id, n);
    bool ok = job != NULL;
    uint64_t offset = 0, bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct mkv__object *object = s->objects[i];
        if (ok && object != NULL) {
            ok = add_pieces(s, job, offset, object);
            bytes += object->length;
        }
        offset += request->keys[i].length;
    }
    if (!ok) {
        mkv__store_put(s->options.store, s->objects, n);
        if (job != NULL) {
            job_done(job);
        }
        return -ENOMEM;
    }
    memcpy(job->objects, s->objects, n * sizeof(struct mkv__object *));
    memcpy(job->answers, s->answers, n * sizeof(*job->answers));
    memset(s->objects, 0, n * sizeof(struct mkv__object *));
    COUNT(s, bytes_out, bytes);
    if (job->n_pieces == 0) {
        mkv__store_put(s->options.store, job->objects, n);
        reply(session, job->type, request_id, job->answers, n, false);
        job_done(job);
        return 0;
    }
    job->bulk = (struct mkv__bulk){.request_id = request_id,
                                   .pieces = job->pieces,
                                   .n_pieces = job->n_pieces,
                                   .done = get_done,
                                   .owner = job};
    int r = s->options.transport->write(session->conn, &job->bulk);
    if (r < 0) {
        get_done(&job->bulk, r);
    }
    return r;
}

/* SET ------------------------------------------------------------------------------------------- */

static void set_landed(struct mkv__bulk *bulk, uint32_t piece, uint64_t offset_in_piece,
                       const void *data, size_t len)
{
    struct job *job = bulk->owner;
    while (piece < job->piece_first[job->at]) {
        job->at--;
    }
    while (piece >= job->piece_first[job->at + 1]) {
        job->at++;
    }
    const struct mkv__piece *p = &job->pieces[piece];
    const struct mkv__piece *first = &job->pieces[job->piece_first[job->at]];
    uint64_t begin = p->offset - first->offset + offset_in_piece;
    uint64_t after = job->objects[job->at]->length - begin - len;
    job->sums[job->at] ^= mkv__sum_slice(data, len, after);
    job->landed[job->at] += len;
}

static void set_done(struct mkv__bulk *bulk, int status)
{
    struct job *job = bulk->owner;
    struct session *session = job->session;
    struct mkv__service *s = session->service;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < job->n; i++) {
        const struct mkv__object *object = job->objects[i];
        if (object == NULL) {
            continue;
        }
        bool whole = status == 0 && job->landed[i] == object->length &&
                     job->sums[i] == object->checksum;
        job->answers[i].status = whole ? MKV_WIRE_STORED : MKV_WIRE_DAMAGED;
        bytes += whole ? object->length : 0;
    }
    mkv__store_set_end(s->options.store, job->objects, job->n, job->answers);
    COUNT(s, bytes_in, bytes);
    if (status == 0) {
        reply(session, job->type, job->request_id, job->answers, job->n, false);
    }
    job_done(job);
}

static int handle_set(struct session *session, uint64_t request_id, struct mkv__request *request,
                      uint64_t now)
{
    struct mkv__service *s = session->service;
    uint32_t n = request->n_keys;
    if (request->encoding != 0 || (request->flags & MKV_REQ_ATOMIC)) {
        return -ENOTSUP;
    }
    struct job *job = job_new(session, request->type, request_id, n);
    if (job == NULL) {
        return -ENOMEM;
    }
    mkv__store_set_begin(s->options.store, request, now, job->objects, job->answers);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct mkv__wire_key *k = &request->keys[i];
        job->piece_first[i] = job->n_pieces;
        job->landed[i] = 0;
        if (job->objects[i] != NULL) {
            job->sums[i] = mkv__sum_seed(request->namespace_, request->namespace_len, k->key,
                                         k->key_len, k->length);
            if (!add_pieces(s, job, offset, job->objects[i])) {
                job->n_pieces = job->piece_first[i]; /* it will count as not whole */
            }
        }
        offset += k->length;
    }
    job->piece_first[n] = job->n_pieces;
    job->bulk = (struct mkv__bulk){.request_id = request_id,
                                   .pieces = job->pieces,
                                   .n_pieces = job->n_pieces,
                                   .landed = set_landed,
                                   .done = set_done,
                                   .owner = job};
    if (job->n_pieces == 0) {
        set_done(&job->bulk, 0);
        return 0;
    }
    int r = s->options.transport->read(session->conn, &job->bulk);
    if (r < 0) {
        set_done(&job->bulk, r);
    }
    return r;
}

/* The rest -------------------------------------------------------------------------------------- */

static bool may_delete(const struct session *session)
{
    const struct mkv__service *s = session->service;
    const char *peer = s->options.transport->peer_name(session->conn);
    bool local = strncmp(peer, "127.", 4) == 0 || strncmp(peer, "[::1]", 5) == 0;
    return s->options.admin == MKV__ADMIN_ALL || (s->options.admin == MKV__ADMIN_LOOPBACK && local);
}

static bool namespace_allowed(const struct session *session, const struct mkv__request *request)
{
    size_t len = session->namespaces != NULL ? strlen(session->namespaces) : 0;
    return len == 0 || (request->namespace_len >= len &&
                        memcmp(request->namespace_, session->namespaces, len) == 0);
}

static void answer_all(struct session *session, uint8_t type, uint64_t request_id, uint32_t n,
                       uint8_t status)
{
    for (uint32_t i = 0; i < n; i++) {
        session->service->answers[i] = (struct mkv__answer){.status = status};
    }
    reply(session, type, request_id, session->service->answers, n, false);
}

static void send_stat(struct session *session, uint64_t request_id)
{
    struct mkv__service *s = session->service;
    size_t len = s->options.stat(s->options.stat_arg, (char *)s->body, STAT_MAX);
    COUNT(s, others, 1);
    send_body(session, MKV_TYPE_STAT, request_id, (uint32_t)len, false);
}

static int dispatch(struct session *session, uint64_t request_id, struct mkv__request *request)
{
    struct mkv__service *s = session->service;
    uint64_t now = mkv__worker_now(s->options.worker);
    if (!namespace_allowed(session, request)) {
        answer_all(session, request->type, request_id, request->n_keys, MKV_WIRE_DENIED);
        return 0;
    }
    switch (request->type) {
    case MKV_TYPE_GET:
        COUNT(s, gets, 1);
        return handle_get(session, request_id, request, now);
    case MKV_TYPE_SET:
        COUNT(s, sets, 1);
        return handle_set(session, request_id, request, now);
    case MKV_TYPE_EXISTS:
        COUNT(s, exists, 1);
        mkv__store_exists(s->options.store, request, now, s->answers);
        break;
    case MKV_TYPE_DELETE:
        COUNT(s, others, 1);
        if (!may_delete(session)) {
            answer_all(session, request->type, request_id, request->n_keys, MKV_WIRE_DENIED);
            return 0;
        }
        mkv__store_delete(s->options.store, request, s->answers);
        break;
    default:
        COUNT(s, others, 1);
        mkv__store_report(s->options.store, request, now, s->answers);
        break;
    }
    reply(session, request->type, request_id, s->answers, request->n_keys, false);
    return 0;
}

static void on_message(struct mkv__conn *conn, void *arg, const struct mkv__message *message)
{
    struct session *session = arg;
    struct mkv__service *s = session->service;
    struct mkv__request request;
    uint32_t slot = (uint32_t)message->request_id;
    int r = -EPROTO;
    if (slot >= MKV_REQUESTS_MAX || session->jobs[slot] != NULL) {
        r = -EPROTO;
    } else if (message->type == MKV_TYPE_STAT) {
        send_stat(session, message->request_id);
        r = 0;
    } else if (message->type >= MKV_TYPE_GET && message->type <= MKV_TYPE_REPORT) {
        r = mkv__request_decode(message->type, message->body, message->body_len, s->keys,
                                MKV_KEYS_MAX, s->arena, KEY_ARENA, &request);
        if (r == 0) {
            r = dispatch(session, message->request_id, &request);
        }
        if (r == -ENOTSUP || r == -ENOMEM) {
            answer_all(session, message->type, message->request_id, request.n_keys, MKV_WIRE_ERROR);
            r = 0;
        }
    }
    if (r == -EPROTO || r == -EMSGSIZE) {
        MKV_LIMITED(s->options.log, &s->limit, MKV__LOG_WARNING, "%s: malformed request of type %u",
                    s->options.transport->peer_name(conn), message->type);
        session->closing = true;
    }
    if (session->closing) {
        s->options.transport->close(conn);
    }
}

static void on_cancelled(struct mkv__conn *conn, void *arg, uint64_t request_id)
{
    struct session *session = arg;
    struct mkv__service *s = session->service;
    uint32_t slot = (uint32_t)request_id;
    struct job *job = slot < MKV_REQUESTS_MAX ? session->jobs[slot] : NULL;
    if (job != NULL && job->request_id == request_id) {
        COUNT(s, cancelled, 1);
        s->options.transport->abort(conn, &job->bulk);
    }
}

static void on_opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    (void)conn;
    (void)arg;
    (void)peer;
}

static void on_writable(struct mkv__conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
}

static void on_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct session *session = arg;
    (void)conn;
    MKV_DEBUG(session->service->options.log, "session ended (%d): %s", error, why);
    *session->link = session->next;
    if (session->next != NULL) {
        session->next->link = session->link;
    }
    COUNT(session->service, connections, -1);
    free(session);
}

static const struct mkv__conn_handlers handlers = {
    .opened = on_opened,
    .message = on_message,
    .cancelled = on_cancelled,
    .writable = on_writable,
    .closed = on_closed,
};

int mkv__service_accept(struct mkv__service *service, struct mkv__conn *conn,
                        const struct mkv__auth_key *key, const struct mkv__conn_handlers **out,
                        void **arg_out)
{
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        return -ENOMEM;
    }
    session->service = service;
    session->conn = conn;
    session->namespaces = key != NULL ? key->namespaces : NULL;
    session->next = service->sessions;
    session->link = &service->sessions;
    if (session->next != NULL) {
        session->next->link = &session->next;
    }
    service->sessions = session;
    COUNT(service, connections, 1);
    *out = &handlers;
    *arg_out = session;
    return 0;
}

unsigned mkv__service_drain(struct mkv__service *service)
{
    struct mkv__message message = {.type = MKV_TYPE_GOAWAY};
    for (struct session *s = service->sessions; s != NULL; s = s->next) {
        service->options.transport->send(s->conn, &message);
    }
    return service->busy;
}
