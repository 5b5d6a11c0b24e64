#include "testing/router/rig.h"

#include "core/base.h"
#include "core/checksum.h"
#include "router/placement.h"
#include "transport/fake/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_NS  20000u
#define PATIENCE (20 * RIG_S)

struct rig_value {
    struct rig_value *next;
    char key[256];
    uint8_t *data;
    uint64_t len, checksum;
};

struct rig_held {
    struct rig_held *next;
    struct mkv__conn *conn;
    struct mkv__message message;
    uint8_t body[];
};

/* A request whose bytes are on their way. */
struct rig_job {
    struct rig_job *next;
    struct rig_server *server;
    struct mkv__conn *conn;
    struct mkv__request request;
    uint64_t id;
    struct mkv__bulk bulk;
    struct mkv__piece *pieces;
    struct rig_value **fresh; /* set: what is stored at the end */
    struct mkv__answer *answers;
    struct mkv__wire_key *keys;
    uint8_t *arena;
};

static uint64_t rig_clock(void *arg)
{
    return ((const struct rig *)arg)->now_ns;
}

/* Values ---------------------------------------------------------------------------------------- */

static struct rig_value *find(const struct rig_server *s, const uint8_t *key, size_t len)
{
    struct rig_value *v = s->values;
    while (v != NULL && (strlen(v->key) != len || memcmp(v->key, key, len) != 0)) {
        v = v->next;
    }
    return v;
}

bool rig_has(const struct rig_server *s, const char *key)
{
    return find(s, (const uint8_t *)key, strlen(key)) != NULL;
}

static void value_free(struct rig_value *v)
{
    if (v != NULL) {
        free(v->data);
        free(v);
    }
}

void rig_forget(struct rig_server *s)
{
    while (s->values != NULL) {
        struct rig_value *v = s->values;
        s->values = v->next;
        value_free(v);
    }
}

/* Requests -------------------------------------------------------------------------------------- */

static void job_free(struct rig_job *job)
{
    for (uint32_t i = 0; i < job->request.n_keys; i++) {
        value_free(job->fresh[i]);
    }
    for (struct rig_job **at = &job->server->jobs; *at != NULL; at = &(*at)->next) {
        if (*at == job) {
            *at = job->next;
            break;
        }
    }
    free(job->pieces);
    free(job->fresh);
    free(job->answers);
    free(job->keys);
    free(job->arena);
    free(job);
}

static void reply(struct rig_job *job)
{
    static uint8_t body[MKV_MESSAGE_MAX];
    struct rig_server *s = job->server;
    struct mkv__reply r = {.type = MKV_TYPE_REPLY_TO(job->request.type),
                           .n = job->request.n_keys - (s->short_ ? 1 : 0),
                           .answers = job->answers};
    int64_t len = mkv__reply_encode(&r, body, sizeof(body));
    assert_true(len >= 0);
    struct mkv__message m = {.type = (uint8_t)(r.type + (s->wrong ? 1 : 0)),
                             .after_bulk = job->bulk.n_pieces > 0,
                             .request_id = job->id,
                             .body = body,
                             .body_len = (uint32_t)len};
    (void)mkv__fake.send(job->conn, &m);
    job_free(job);
}

static uint64_t bulk_landed(struct mkv__bulk *bulk, uint32_t piece, uint64_t at, const void *data,
                            size_t len)
{
    (void)bulk;
    (void)piece;
    (void)at;
    return mkv__crc(0, data, len);
}

static void bulk_done(struct mkv__bulk *bulk, int status)
{
    struct rig_job *job = bulk->owner;
    if (status < 0) {
        job->server->damaged += status == -EBADMSG;
        job_free(job);
        return;
    }
    for (uint32_t i = 0; i < job->request.n_keys; i++) {
        struct rig_value *v = job->fresh[i];
        if (v != NULL && job->bulk.checked) {
            v->checksum ^= mkv__sum_slice(v->data, v->len, 0);
        }
        if (v != NULL) {
            v->next = job->server->values;
            job->server->values = v;
            job->fresh[i] = NULL;
        }
    }
    reply(job);
}

static void prepare_get(struct rig_job *job, uint32_t i, uint64_t offset, struct mkv__answer *a)
{
    const struct mkv__wire_key *k = &job->keys[i];
    struct rig_value *v = find(job->server, k->key, k->key_len);
    *a = (struct mkv__answer){.status = MKV_WIRE_MISS};
    if (v == NULL) {
        return;
    }
    a->length = v->len;
    a->checksum = v->checksum ^ job->server->spoil;
    if (v->len == k->length) {
        a->status = MKV_WIRE_HIT;
        if (v->len > 0) {
            job->pieces[job->bulk.n_pieces++] = (struct mkv__piece){offset, v->data, v->len};
        }
    }
}

static void prepare_set(struct rig_job *job, uint32_t i, uint64_t offset, struct mkv__answer *a)
{
    const struct mkv__wire_key *k = &job->keys[i];
    const struct rig_value *there = find(job->server, k->key, k->key_len);
    if (there != NULL) {
        *a = (struct mkv__answer){.status = MKV_WIRE_KEPT, .checksum = there->checksum};
        return;
    }
    struct rig_value *v = calloc(1, sizeof(*v));
    assert_non_null(v);
    v->data = malloc(k->length + 1);
    v->len = k->length;
    v->checksum = k->checksum;
    if (job->request.flags & MKV_REQ_UNSUMMED) { /* its seed, until the bytes are there */
        v->checksum = mkv__sum_seed(job->request.namespace_, job->request.namespace_len, k->key,
                                    k->key_len, k->length);
    }
    memcpy(v->key, k->key, k->key_len);
    job->fresh[i] = v;
    if (v->len > 0) {
        job->pieces[job->bulk.n_pieces++] = (struct mkv__piece){offset, v->data, v->len};
    }
    *a = (struct mkv__answer){.status = MKV_WIRE_STORED};
}

static void prepare_other(struct rig_job *job, uint32_t i, struct mkv__answer *a)
{
    const struct mkv__wire_key *k = &job->keys[i];
    bool there = find(job->server, k->key, k->key_len) != NULL;
    uint8_t hit = job->request.type == MKV_TYPE_DELETE ? MKV_WIRE_DELETED : MKV_WIRE_HIT;
    *a = (struct mkv__answer){.status = there ? hit : MKV_WIRE_MISS};
}

static void prepare_all(struct rig_job *job)
{
    uint64_t offset = 0;
    for (uint32_t i = 0; i < job->request.n_keys; i++) {
        struct mkv__answer *a = &job->answers[i];
        if (job->server->say != 0) {
            *a = (struct mkv__answer){.status = job->server->say, .length = job->server->other};
        } else if (job->request.type == MKV_TYPE_GET) {
            prepare_get(job, i, offset, a);
        } else if (job->request.type == MKV_TYPE_SET) {
            prepare_set(job, i, offset, a);
        } else {
            prepare_other(job, i, a);
        }
        offset += job->keys[i].length;
    }
}

static void serve_stat(struct mkv__conn *conn, const struct mkv__message *m)
{
    struct mkv__message answer = {.type = MKV_TYPE_REPLY_TO(MKV_TYPE_STAT),
                                  .request_id = m->request_id,
                                  .body = (const uint8_t *)"{}",
                                  .body_len = 2};
    assert_int_equal(mkv__fake.send(conn, &answer), 0);
}

static void serve(struct rig_server *s, struct mkv__conn *conn, const struct mkv__message *m)
{
    if (m->type == MKV_TYPE_STAT) {
        serve_stat(conn, m);
        return;
    }
    struct rig_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        abort();
    }
    job->server = s;
    job->conn = conn;
    job->id = m->request_id;
    job->keys = calloc(MKV_KEYS_MAX, sizeof(*job->keys));
    job->arena = malloc(MKV_KEYS_MAX * 256u);
    assert_true(job->keys != NULL && job->arena != NULL);
    assert_int_equal(mkv__request_decode(m->type, m->body, m->body_len, job->keys, MKV_KEYS_MAX,
                                         job->arena, MKV_KEYS_MAX * 256u, &job->request),
                     0);
    uint32_t n = job->request.n_keys;
    job->pieces = calloc(n + 1u, sizeof(*job->pieces));
    job->fresh = calloc(n + 1u, sizeof(struct rig_value *));
    job->answers = calloc(n + 1u, sizeof(*job->answers));
    if (job->pieces == NULL || job->fresh == NULL || job->answers == NULL) {
        abort();
    }
    job->next = s->jobs;
    s->jobs = job;
    if (m->type == MKV_TYPE_REPORT) {
        s->reports++;
        job_free(job);
        return;
    }
    prepare_all(job);
    job->bulk.request_id = job->id;
    job->bulk.pieces = job->pieces;
    job->bulk.landed = bulk_landed;
    job->bulk.checked = (job->request.flags & MKV_REQ_UNSUMMED) != 0;
    job->bulk.done = bulk_done;
    job->bulk.owner = job;
    if (job->bulk.n_pieces == 0) {
        bulk_done(&job->bulk, 0);
        return;
    }
    int r = (m->type == MKV_TYPE_GET ? mkv__fake.write : mkv__fake.read)(conn, &job->bulk);
    if (r < 0) {
        job_free(job);
    }
}

static void note_keys(struct rig_seen *seen, const struct mkv__request *r)
{
    seen->requests++;
    seen->keys += r->n_keys;
    seen->first = r->keys[0].position;
    seen->last = r->keys[r->n_keys - 1].position;
    for (uint32_t i = 0; i < r->n_keys; i++) {
        seen->bytes += r->keys[i].length;
    }
}

static void note(struct rig_server *s, const struct mkv__conn *conn, const struct mkv__message *m)
{
    static struct mkv__wire_key keys[MKV_KEYS_MAX];
    static uint8_t arena[MKV_KEYS_MAX * 256u];
    struct mkv__request r;
    s->requests++;
    s->cls = m->cls;
    if (mkv__request_decode(m->type, m->body, m->body_len, keys, MKV_KEYS_MAX, arena, sizeof(arena),
                            &r) == 0 &&
        r.n_keys > 0) {
        s->keys += r.n_keys;
        s->flags = r.flags;
        s->position = keys[0].position;
        s->checksum = keys[0].checksum;
        r.keys = keys;
        for (unsigned i = 0; i < RIG_CONNS; i++) {
            if (s->conns[i] == conn) {
                note_keys(&s->seen[i], &r);
            }
        }
    }
}

static void on_message(struct mkv__conn *conn, void *arg, const struct mkv__message *m)
{
    struct rig_server *s = arg;
    note(s, conn, m);
    if (!s->hold) {
        serve(s, conn, m);
        return;
    }
    struct rig_held *held = malloc(sizeof(*held) + m->body_len), **at = &s->held;
    assert_non_null(held);
    held->next = NULL;
    held->conn = conn;
    held->message = *m;
    memcpy(held->body, m->body, m->body_len);
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = held;
    s->n_held++;
}

static void drop_held(struct rig_server *s, const struct mkv__conn *conn)
{
    for (struct rig_held **at = &s->held; *at != NULL;) {
        struct rig_held *held = *at;
        if (conn == NULL || held->conn == conn) {
            *at = held->next;
            free(held);
            s->n_held--;
        } else {
            at = &held->next;
        }
    }
}

void rig_release(struct rig_server *s)
{
    s->hold = false;
    while (s->held != NULL) {
        struct rig_held *held = s->held;
        s->held = held->next;
        s->n_held--;
        held->message.body = held->body;
        serve(s, held->conn, &held->message);
        free(held);
    }
}

/* Servers --------------------------------------------------------------------------------------- */

static void on_opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    (void)conn;
    (void)arg;
    (void)peer;
}

static void on_cancelled(struct mkv__conn *conn, void *arg, uint64_t request_id)
{
    (void)conn;
    (void)request_id; /* a late answer is part of the game */
    ((struct rig_server *)arg)->cancels++;
}

static void on_writable(struct mkv__conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
}

static void on_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct rig_server *s = arg;
    (void)error;
    (void)why;
    for (unsigned i = 0; i < RIG_CONNS; i++) {
        s->conns[i] = s->conns[i] == conn ? NULL : s->conns[i];
    }
    drop_held(s, conn);
}

static const struct mkv__conn_handlers handlers = {
    .opened = on_opened,
    .message = on_message,
    .cancelled = on_cancelled,
    .writable = on_writable,
    .closed = on_closed,
};

static int on_accepted(void *arg, struct mkv__worker *worker, struct mkv__conn *conn,
                       const struct mkv__hello *peer, const struct mkv__auth_key *key,
                       const struct mkv__conn_handlers **handlers_out, void **conn_arg_out)
{
    struct rig_server *s = arg;
    (void)worker;
    (void)peer;
    (void)key;
    unsigned i = 0;
    while (s->conns[i] != NULL) {
        i++;
        assert_true(i < RIG_CONNS);
    }
    s->conns[i] = conn;
    s->seen[i] = (struct rig_seen){0};
    s->accepted++;
    *handlers_out = &handlers;
    *conn_arg_out = s;
    return 0;
}

void rig_live(struct rig_server *s)
{
    struct mkv__listen_handlers listen = {on_accepted, s};
    assert_int_equal(mkv__fake.listen(&s->endpoint, 1, s->address, &listen, &s->listener), 0);
}

void rig_die(struct rig_server *s)
{
    mkv__fake.listener_close(&s->listener);
    for (unsigned i = 0; i < RIG_CONNS; i++) {
        if (s->conns[i] != NULL) {
            mkv__fake.close(s->conns[i]);
        }
    }
}

void rig_cut(struct rig_server *s, unsigned conn)
{
    assert_non_null(s->conns[conn]);
    mkv__fake.close(s->conns[conn]);
}

void rig_goaway(struct rig_server *s)
{
    for (unsigned i = 0; i < RIG_CONNS; i++) {
        struct mkv__message m = {.type = MKV_TYPE_GOAWAY};
        if (s->conns[i] != NULL) {
            assert_int_equal(mkv__fake.send(s->conns[i], &m), 0);
        }
    }
}

static void server_init(struct rig *rig, unsigned i)
{
    struct rig_server *s = &rig->servers[i];
    struct mkv__worker_options w = {
        .name = "server", .numa_node = -1, .clock = rig_clock, .clock_arg = rig};
    struct mkv__endpoint_options e = {.lanes = 1, .connect_timeout_ns = RIG_S};
    s->rig = rig;
    s->number = i;
    snprintf(s->address, sizeof(s->address), "10.0.0.%u:9900", i + 1);
    assert_int_equal(mkv__worker_create(&w, &s->worker), 0);
    assert_int_equal(mkv__fake.endpoint_open(s->worker, &e, &s->endpoint), 0);
    rig_live(s);
}

static void server_fini(struct rig_server *s)
{
    if (s->listener != NULL) {
        mkv__fake.listener_close(&s->listener);
    }
    drop_held(s, NULL);
    mkv__fake.endpoint_close(&s->endpoint);
    mkv__worker_stop(s->worker);
    mkv__worker_destroy(&s->worker);
    assert_null(s->jobs);
    rig_forget(s);
}

/* The whole ------------------------------------------------------------------------------------- */

static void keep_log(void *arg, enum mkv_log_level level, const char *line, size_t len)
{
    struct rig *rig = arg;
    char *more = realloc(rig->log, rig->log_len + len + 16);
    assert_non_null(more);
    rig->log = more;
    rig->log_len += (size_t)snprintf(more + rig->log_len, len + 16, "%d %s\n", (int)level, line);
}

unsigned rig_logged(const struct rig *rig, const char *text)
{
    unsigned n = 0;
    for (const char *at = rig->log; at != NULL && (at = strstr(at, text)) != NULL; n++) {
        at = strchr(at, '\n');
    }
    return n;
}

const char *rig_list(const struct rig *rig, unsigned n)
{
    static char list[512];
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%ss%u=%s", i > 0 ? "," : "", i,
                                rig->servers[i].address);
    }
    return list;
}

struct rig_setting rig_setting;

void rig_init(struct rig *rig, unsigned n, unsigned known, ...)
{
    struct mkv__fake_options fake = {.seed = 7 + rig_setting.seed,
                                     .delay_ns = 100000,
                                     .chunk = 20000,
                                     .twice_in = 8,
                                     .linger_in = rig_setting.linger_in,
                                     .death_in = rig_setting.death_in};
    mkv__fake_reset(&fake);
    *rig = (struct rig){.now_ns = 1000 * RIG_S, .n = n};
    for (unsigned i = 0; i < n; i++) {
        server_init(rig, i);
    }
    struct mkv_option options[16] = {{"servers", rig_list(rig, known)}};
    size_t n_options = 1;
    va_list ap;
    va_start(ap, known);
    for (const char *name; (name = va_arg(ap, const char *)) != NULL;) {
        options[n_options++] = (struct mkv_option){name, va_arg(ap, const char *)};
    }
    va_end(ap);
    struct mkv_client_options o = {.size = sizeof(o),
                                   .options = options,
                                   .n_options = n_options,
                                   .ignore_environment = true,
                                   .log = keep_log,
                                   .log_arg = rig};
    struct mkv__client_seam seam = {
        .transport = rig_setting.transport != NULL ? rig_setting.transport : &mkv__fake,
        .clock = rig_clock,
        .clock_arg = rig,
        .rails = rig_setting.rails,
        .manual = true};
    struct mkv_error error = {0};
    if (mkv__client_open_on(&o, &seam, &rig->client, &error) < 0) {
        fail_msg("%s", error.text);
    }
}

void rig_fini(struct rig *rig)
{
    assert_int_equal(mkv_client_close(&rig->client), 0);
    for (unsigned i = 0; i < rig->n; i++) {
        server_fini(&rig->servers[i]);
    }
    free(rig->log);
}

static void turn_all(struct rig *rig)
{
    for (unsigned i = 0; i < mkv__client_n_rails(rig->client); i++) {
        mkv__worker_turn(mkv__client_worker(rig->client, i), 0);
    }
    for (unsigned i = 0; i < rig->n; i++) {
        if (!rig->servers[i].stalled) {
            mkv__worker_turn(rig->servers[i].worker, 0);
        }
    }
}

void rig_turn(struct rig *rig)
{
    rig->now_ns += STEP_NS;
    turn_all(rig);
}

void rig_turns(struct rig *rig, int n)
{
    while (n-- > 0) {
        rig_turn(rig);
    }
}

void rig_pass(struct rig *rig, uint64_t ns)
{
    uint64_t step = MKV_MAX(ns / 400, 1);
    for (uint64_t end = rig->now_ns + ns; rig->now_ns < end;) {
        rig->now_ns += MKV_MIN(step, end - rig->now_ns);
        turn_all(rig);
    }
}

int rig_wait(struct rig *rig, struct mkv_batch *batch)
{
    for (uint64_t end = rig->now_ns + PATIENCE; !mkv_batch_test(batch);) {
        rig_turn(rig);
        assert_true(rig->now_ns < end);
    }
    return mkv_batch_wait(batch);
}

/* Batches --------------------------------------------------------------------------------------- */

static void fill(const char *tag, unsigned i, unsigned char *page, size_t len)
{
    uint64_t x = 1469598103934665603u + i;
    for (const char *c = tag; *c != '\0'; c++) {
        x = (x ^ (unsigned char)*c) * 1099511628211u;
    }
    for (size_t at = 0; at < len; at++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        page[at] = (unsigned char)(x >> 56);
    }
}

void rig_fill(const char *tag, unsigned n, unsigned char *memory, size_t page)
{
    for (unsigned i = 0; i < n; i++) {
        fill(tag, i, memory + i * page, page);
    }
}

struct mkv_batch *rig_batch(struct rig *rig, enum mkv_op op, const char *tag, unsigned n,
                            unsigned char *memory, size_t page,
                            const struct mkv_batch_options *options)
{
    struct mkv_batch *b = NULL;
    assert_int_equal(mkv_batch_create(rig->client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, op, options), 0);
    for (unsigned i = 0; i < n; i++) {
        char key[256];
        size_t len = (size_t)snprintf(key, sizeof(key), "%s-%u", tag, i);
        struct mkv_segment s[2] = {{0}, {0}};
        if (memory != NULL) {
            s[0] = (struct mkv_segment){memory + i * page, page / 3};
            s[1] = (struct mkv_segment){memory + i * page + page / 3, page - page / 3};
        }
        assert_int_equal(mkv_batch_add(b, key, len, s, memory != NULL ? 2 : 0), i);
    }
    return b;
}

struct mkv_batch *rig_one(struct rig *rig, enum mkv_op op, const char *key, void *value, size_t len,
                          const struct mkv_batch_options *options)
{
    struct mkv_batch *b = NULL;
    struct mkv_segment s = {value, len};
    assert_int_equal(mkv_batch_create(rig->client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, op, options), 0);
    assert_int_equal(mkv_batch_add(b, key, strlen(key), &s, value != NULL ? 1 : 0), 0);
    return b;
}

unsigned rig_run(struct rig *rig, enum mkv_op op, const char *tag, unsigned n,
                 unsigned char *memory, size_t page)
{
    struct mkv_batch *b = rig_batch(rig, op, tag, n, memory, page, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    rig_wait(rig, b);
    unsigned run = mkv_batch_prefix(b);
    mkv_batch_destroy(&b);
    return run;
}

const char *rig_key(const struct rig *rig, unsigned known, unsigned server)
{
    static char key[32];
    static unsigned next;
    size_t ns_len = 0;
    const char *ns = mkv_client_namespace(rig->client, &ns_len);
    for (;;) {
        uint64_t draw[RIG_SERVERS];
        unsigned best = 0;
        int len = snprintf(key, sizeof(key), "key-%u", next++);
        uint64_t hash = mkv__place_key(ns, (uint32_t)ns_len, key, (uint32_t)len);
        for (unsigned i = 0; i < known; i++) {
            char name[16];
            snprintf(name, sizeof(name), "s%u", i);
            draw[i] = mkv__place_draw(hash, mkv__place_server(name));
            best = mkv__place_before(draw[i], 1, draw[best], 1) ? i : best;
        }
        if (best == server) {
            return key;
        }
    }
}

struct mkv_client_stats rig_stats(struct rig *rig)
{
    struct mkv_client_stats s = {.size = sizeof(s)};
    assert_int_equal(mkv_client_stats(rig->client, &s), 0);
    return s;
}
