/* A whole server with two workers, over tcp on this host, asked by hand-made messages. */
#include "server/server.h"

#include "core/checksum.h"
#include "core/codec/header.h"
#include "core/codec/message.h"
#include "core/os/clock.h"
#include "transport/transport.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS_MAX MKV_KEYS_MAX
#define PATIENCE UINT64_C(10000000000) /* ns until a test gives up */

static void quiet(void *arg, int level, const char *line, size_t len)
{
    (void)arg;
    (void)level;
    (void)line;
    (void)len;
}

/* ---- server ------------------------------------------------------------------------------- */

struct fixture {
    struct mkv__config *config;
    struct mkv__log log;
    struct mkv__server *server;
    char why[500];
};

static const char *workers = "2";

static int load(struct fixture *f, const char *listen, const char *admin)
{
    const struct mkv__config_arg args[] = {
        {"listen", listen, NULL},
        {"memory", "32M", NULL},
        {"workers", workers, NULL},
        {"admin", admin, NULL},
    };
    memset(f, 0, sizeof(*f));
    mkv__log_init(&f->log, MKV__LOG_DEBUG, quiet, NULL);
    assert_int_equal(mkv__config_create(&f->config), 0);
    assert_int_equal(mkv__config_load(f->config, MKV__SERVER, NULL, NULL, args, 4, NULL), 0);
    return mkv__server_create(f->config, &f->log, &f->server, f->why, sizeof(f->why));
}

static void start(struct fixture *f, const char *admin)
{
    assert_int_equal(load(f, "127.0.0.1:0", admin), 0);
    assert_int_equal(mkv__server_start(f->server, f->why, sizeof(f->why)), 0);
}

static void stop(struct fixture *f)
{
    mkv__server_stop(f->server);
    mkv__server_destroy(&f->server);
    mkv__config_destroy(&f->config);
}

/* ---- client ------------------------------------------------------------------------------- */

struct client {
    struct mkv__worker *worker;
    struct mkv__endpoint *endpoint;
    struct mkv__conn *conn;
    bool opened, closed, replied, goaway;
    uint32_t generation;
    struct mkv__answer answers[KEYS_MAX];
    char *text; /* of STAT */
};

static void on_opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    struct client *c = arg;
    (void)conn;
    (void)peer;
    c->opened = true;
}

static void on_message(struct mkv__conn *conn, void *arg, const struct mkv__message *m)
{
    struct client *c = arg;
    struct mkv__reply reply;
    (void)conn;
    if (m->type == MKV_TYPE_GOAWAY) {
        c->goaway = true;
        return;
    }
    assert_int_equal(m->request_id >> 32, c->generation);
    if (m->type == MKV_TYPE_REPLY_TO(MKV_TYPE_STAT)) {
        c->text = strndup((const char *)m->body, m->body_len);
    } else {
        assert_int_equal(
            mkv__reply_decode(m->type, m->body, m->body_len, c->answers, KEYS_MAX, &reply), 0);
    }
    c->replied = true;
}

static void on_cancelled(struct mkv__conn *conn, void *arg, uint64_t request_id)
{
    (void)conn;
    (void)arg;
    (void)request_id;
}

static void on_writable(struct mkv__conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
}

static void on_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct client *c = arg;
    (void)conn;
    (void)error;
    (void)why;
    c->closed = true;
    c->conn = NULL;
}

static const struct mkv__conn_handlers handlers = {
    .opened = on_opened,
    .message = on_message,
    .cancelled = on_cancelled,
    .writable = on_writable,
    .closed = on_closed,
};

static void turn_until(struct client *c, const bool *flag)
{
    uint64_t until = mkv__clock_ns() + PATIENCE;
    while (!*flag && mkv__clock_ns() < until) {
        mkv__worker_turn(c->worker, 10000000);
    }
    assert_true(*flag);
}

static void connect_to(struct client *c, const struct fixture *f)
{
    const struct mkv__worker_options w = {.name = "client", .numa_node = -1};
    const struct mkv__endpoint_options e = {.lanes = 2, .connect_timeout_ns = PATIENCE};
    memset(c, 0, sizeof(*c));
    assert_int_equal(mkv__worker_create(&w, &c->worker), 0);
    assert_int_equal(mkv__tcp.endpoint_open(c->worker, &e, &c->endpoint), 0);
    assert_int_equal(
        mkv__tcp.connect(c->endpoint, mkv__server_address(f->server), &handlers, c, &c->conn), 0);
    turn_until(c, &c->opened);
}

static void disconnect(struct client *c)
{
    mkv__tcp.endpoint_close(&c->endpoint);
    mkv__worker_destroy(&c->worker);
}

static void send_raw(struct client *c, uint8_t type, const uint8_t *body, uint32_t len)
{
    c->replied = false;
    c->generation++;
    const struct mkv__message m = {
        .type = type,
        .request_id = (uint64_t)c->generation << 32,
        .deadline_ms = 5000,
        .body = body,
        .body_len = len,
    };
    assert_int_equal(mkv__tcp.send(c->conn, &m), 0);
}

static void send_request(struct client *c, struct mkv__request *r)
{
    static uint8_t body[MKV_MESSAGE_MAX];
    int64_t len = mkv__request_encode(r, body, sizeof(body));
    assert_true(len > 0);
    send_raw(c, r->type, body, (uint32_t)len);
}

static struct mkv__request make(uint8_t type, struct mkv__wire_key *keys, uint32_t n)
{
    return (struct mkv__request){
        .type = type,
        .namespace_ = (const uint8_t *)"ns",
        .namespace_len = 2,
        .n_keys = n,
        .keys = keys,
    };
}

static void concealed(struct mkv__exposure *e)
{
    (void)e;
}

static void request_exposed(struct client *c, struct mkv__request *r, uint8_t *memory, uint64_t len)
{
    const struct mkv__piece piece = {0, memory, len};
    struct mkv__exposure e = {
        .request_id = (uint64_t)(c->generation + 1) << 32,
        .writable = r->type == MKV_TYPE_GET,
        .pieces = &piece,
        .n_pieces = 1,
        .concealed = concealed,
        .len = len,
    };
    assert_int_equal(mkv__tcp.expose(c->conn, &e), 0);
    send_request(c, r);
    turn_until(c, &c->replied);
    mkv__tcp.conceal(c->conn, &e, true);
}

static void request(struct client *c, struct mkv__request *r)
{
    send_request(c, r);
    turn_until(c, &c->replied);
}

static uint64_t checksum(const struct mkv__wire_key *key, const uint8_t *value)
{
    return mkv__sum_seed("ns", 2, key->key, key->key_len, key->length) ^
           (key->length > 0 ? mkv__sum_slice(value, key->length, 0) : 0);
}

static json_t *statistics(struct client *c)
{
    send_raw(c, MKV_TYPE_STAT, NULL, 0);
    turn_until(c, &c->replied);
    json_t *o = json_loads(c->text, 0, NULL);
    free(c->text);
    c->text = NULL;
    assert_non_null(o);
    return o;
}

static json_int_t figure(struct client *c, const char *name)
{
    json_t *o = statistics(c);
    json_int_t value = json_integer_value(json_object_get(o, name));
    assert_non_null(json_object_get(o, name));
    json_decref(o);
    return value;
}

/* ---- tests -------------------------------------------------------------------------------- */

static const uint64_t lengths[] = {0, 1, 300, 4096, 5000, 70000, 1 << 20, 3 << 20};
enum { N = 8 };

static uint64_t make_keys(struct mkv__wire_key keys[N], char text[N][8], uint8_t *value)
{
    uint64_t offset = 0;
    for (unsigned i = 0; i < N; i++) {
        memset(value + offset, (int)i + 1, lengths[i]);
        keys[i] = (struct mkv__wire_key){
            .key = (uint8_t *)text[i], .key_len = 4, .position = i, .length = lengths[i]};
        memcpy(text[i], "keyA", 5);
        text[i][3] = (char)('A' + i);
        keys[i].checksum = checksum(&keys[i], value + offset);
        keys[i].raw_length = lengths[i];
        offset += lengths[i];
    }
    return offset;
}

static void values_of_all_sizes_come_back(void **state)
{
    (void)state;
    struct fixture f;
    struct client a, b;
    struct mkv__wire_key keys[N];
    char text[N][8];
    uint8_t *value = malloc(8 << 20), *back = calloc(1, 8 << 20);
    uint64_t len = make_keys(keys, text, value);
    start(&f, "all");
    connect_to(&a, &f);
    connect_to(&b, &f);
    struct mkv__request set = make(MKV_TYPE_SET, keys, N), get = make(MKV_TYPE_GET, keys, N);
    struct mkv__request exists = make(MKV_TYPE_EXISTS, keys, N);
    exists.flags = MKV_REQ_LEASE | MKV_REQ_WANT_LEN;
    request_exposed(&b, &get, back, len);
    for (int i = 0; i < N; i++) {
        assert_int_equal(b.answers[i].status, MKV_WIRE_MISS);
    }
    request_exposed(&a, &set, value, len);
    for (int i = 0; i < N; i++) {
        assert_int_equal(a.answers[i].status, MKV_WIRE_STORED);
    }
    request(&b, &exists);
    assert_int_equal(b.answers[N - 1].status, MKV_WIRE_HIT);
    assert_int_equal(b.answers[N - 1].length, lengths[N - 1]);
    assert_true(b.answers[N - 1].lease_ms > 0);
    keys[3].length = 4095; /* another length than stored: a miss that tells the length */
    request_exposed(&b, &get, back, len - 1);
    assert_int_equal(b.answers[3].status, MKV_WIRE_MISS);
    assert_int_equal(b.answers[3].length, 4096);
    keys[3].length = 4096;
    request_exposed(&b, &get, back, len);
    for (int i = 0; i < N; i++) {
        assert_int_equal(b.answers[i].status, MKV_WIRE_HIT);
        assert_int_equal(b.answers[i].checksum, keys[i].checksum);
    }
    assert_memory_equal(value, back, len);
    json_int_t moved = figure(&a, "bytes_in");
    request_exposed(&b, &set, value, len); /* there already: no bytes move */
    for (int i = 0; i < N; i++) {
        assert_int_equal(b.answers[i].status, MKV_WIRE_KEPT);
    }
    assert_int_equal(figure(&a, "bytes_in"), moved);
    assert_int_equal(figure(&a, "connections"), 2);
    assert_int_equal(figure(&a, "objects"), N);
    struct mkv__request delete_ = make(MKV_TYPE_DELETE, keys, N);
    request(&a, &delete_);
    assert_int_equal(a.answers[0].status, MKV_WIRE_DELETED);
    assert_int_equal(figure(&a, "objects"), 0);
    disconnect(&a);
    disconnect(&b);
    stop(&f);
    free(value);
    free(back);
}

static void damaged_bytes_are_not_stored(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct mkv__wire_key keys[N];
    char text[N][8];
    uint8_t *value = malloc(8 << 20);
    uint64_t len = make_keys(keys, text, value);
    start(&f, "none");
    connect_to(&c, &f);
    keys[0].checksum ^= 1; /* no bytes, and still the wrong value */
    keys[6].checksum ^= 1;
    struct mkv__request set = make(MKV_TYPE_SET, keys, N);
    request_exposed(&c, &set, value, len);
    for (int i = 0; i < N; i++) {
        assert_int_equal(c.answers[i].status,
                         i == 0 || i == 6 ? MKV_WIRE_DAMAGED : MKV_WIRE_STORED);
    }
    struct mkv__request exists = make(MKV_TYPE_EXISTS, keys, N);
    request(&c, &exists);
    assert_int_equal(c.answers[6].status, MKV_WIRE_MISS);
    assert_int_equal(c.answers[5].status, MKV_WIRE_HIT);
    /* Nobody may delete or replace here. */
    struct mkv__request delete_ = make(MKV_TYPE_DELETE, keys, N);
    request(&c, &delete_);
    assert_int_equal(c.answers[5].status, MKV_WIRE_DENIED);
    set.flags = MKV_REQ_REPLACE;
    request_exposed(&c, &set, value, len);
    assert_int_equal(c.answers[5].status, MKV_WIRE_DENIED);
    set.flags = MKV_REQ_ATOMIC;
    request_exposed(&c, &set, value, len);
    assert_int_equal(c.answers[5].status, MKV_WIRE_ERROR);
    disconnect(&c);
    stop(&f);
    free(value);
}

static void malformed_messages_cost_their_own_session(void **state)
{
    (void)state;
    struct fixture f;
    struct client good, bad;
    struct mkv__wire_key key = {.key = (const uint8_t *)"k", .key_len = 1};
    struct mkv__request exists = make(MKV_TYPE_EXISTS, &key, 1);
    start(&f, "all");
    connect_to(&good, &f);
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 40; round++) {
        uint8_t body[200];
        for (size_t i = 0; i < sizeof(body); i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            body[i] = (uint8_t)(seed >> 32);
        }
        connect_to(&bad, &f);
        uint8_t type = round % 8 == 7 ? 60 : (uint8_t)(MKV_TYPE_GET + round % 6);
        send_raw(&bad, type, body, 1 + (uint32_t)(seed % (sizeof(body) - 1)));
        turn_until(&bad, &bad.closed);
        disconnect(&bad);
    }
    /* Lengths that wrap round. */
    struct mkv__wire_key huge[2] = {
        {.key = (const uint8_t *)"a", .key_len = 1, .length = UINT64_C(1) << 63},
        {.key = (const uint8_t *)"b", .key_len = 1, .position = 1, .length = UINT64_C(1) << 63},
    };
    struct mkv__request get = make(MKV_TYPE_GET, huge, 2);
    connect_to(&bad, &f);
    send_request(&bad, &get);
    turn_until(&bad, &bad.closed);
    disconnect(&bad);
    request(&good, &exists);
    assert_int_equal(good.answers[0].status, MKV_WIRE_MISS);
    assert_int_equal(figure(&good, "malformed"), 41);
    disconnect(&good);
    stop(&f);
}

static struct mkv__wire_key *many_keys(char text[][8], uint32_t n)
{
    struct mkv__wire_key *keys = calloc(n, sizeof(*keys));
    assert_non_null(keys);
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = (struct mkv__wire_key){.key = (uint8_t *)text[i],
                                         .key_len = (uint8_t)snprintf(text[i], 8, "%u", i),
                                         .position = i};
    }
    return keys;
}

/* At the limits it is served, above them it costs the session, and nobody else's. */
static void limits_of_messages(void **state)
{
    (void)state;
    static char text[KEYS_MAX + 1][8];
    struct fixture f;
    struct client *good = calloc(1, sizeof(*good)), *bad = calloc(1, sizeof(*bad));
    struct mkv__wire_key *keys = many_keys(text, KEYS_MAX + 1);
    uint8_t long_key[256], body[400];
    struct mkv__wire_key one = {.key = long_key, .key_len = 255};
    memset(long_key, 'k', sizeof(long_key));
    start(&f, "all");
    connect_to(good, &f);
    struct mkv__request most = make(MKV_TYPE_EXISTS, keys, KEYS_MAX);
    request(good, &most);
    assert_int_equal(good->answers[KEYS_MAX - 1].status, MKV_WIRE_MISS);
    struct mkv__request more = make(MKV_TYPE_EXISTS, keys, KEYS_MAX + 1);
    connect_to(bad, &f);
    send_request(bad, &more);
    turn_until(bad, &bad->closed);
    disconnect(bad);
    /* Keys of 255 bytes are keys. One byte more, or none at all, cannot be one. */
    struct mkv__request whole = make(MKV_TYPE_EXISTS, &one, 1);
    request(good, &whole);
    assert_int_equal(good->answers[0].status, MKV_WIRE_MISS);
    for (int round = 0; round < 2; round++) {
        one.key_len = round == 0 ? 255 : 1;
        int64_t len = mkv__request_encode(&whole, body, sizeof(body));
        /* flags, namespace, count, parent, depth; then the common prefix, which is all of the key,
         * an empty suffix, the form, and the middle's length */
        size_t prefix = 4 + 1 + 2 + 4 + 8 + 4, middle = prefix + 1 + one.key_len + 1 + 1;
        assert_int_equal(body[prefix], one.key_len);
        assert_int_equal(body[middle], 0);
        if (round == 0) {
            memmove(body + middle + 2, body + middle + 1, (size_t)len - middle - 1);
            body[middle] = 1;
            body[middle + 1] = 'k';
            len++;
        } else {
            memmove(body + prefix + 1, body + prefix + 2, (size_t)len - prefix - 2);
            body[prefix] = 0;
            len--;
        }
        connect_to(bad, &f);
        send_raw(bad, MKV_TYPE_EXISTS, body, (uint32_t)len);
        turn_until(bad, &bad->closed);
        disconnect(bad);
    }
    assert_int_equal(figure(good, "malformed"), 3);
    disconnect(good);
    stop(&f);
    free(keys);
    free(good);
    free(bad);
}

/* Sessions are spread over the workers, and all lanes of one meet on one. */
static void several_workers(void **state)
{
    (void)state;
    enum { CLIENTS = 24 };
    struct fixture f;
    struct client *clients = calloc(CLIENTS, sizeof(*clients));
    uint8_t value[70000], back[70000];
    workers = "4";
    start(&f, "all");
    workers = "2";
    for (unsigned i = 0; i < CLIENTS; i++) {
        connect_to(&clients[i], &f);
    }
    assert_int_equal(figure(&clients[0], "workers"), 4);
    /* A client knows of its session before the server's worker does. */
    for (uint64_t until = mkv__clock_ns() + PATIENCE;
         figure(&clients[0], "connections") < CLIENTS;) {
        assert_true(mkv__clock_ns() < until);
    }
    for (unsigned i = 0; i < CLIENTS; i++) { /* what one stores, the next one reads */
        uint8_t name = (uint8_t)i;
        struct mkv__wire_key key = {
            .key = &name, .key_len = 1, .length = sizeof(value), .raw_length = sizeof(value)};
        struct mkv__request set = make(MKV_TYPE_SET, &key, 1), get = make(MKV_TYPE_GET, &key, 1);
        struct client *a = &clients[i], *b = &clients[(i + 1) % CLIENTS];
        memset(value, (int)i + 1, sizeof(value));
        key.checksum = checksum(&key, value);
        request_exposed(a, &set, value, sizeof(value));
        assert_int_equal(a->answers[0].status, MKV_WIRE_STORED);
        request_exposed(b, &get, back, sizeof(back));
        assert_int_equal(b->answers[0].status, MKV_WIRE_HIT);
        assert_memory_equal(value, back, sizeof(value));
    }
    assert_int_equal(figure(&clients[0], "objects"), CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        disconnect(&clients[i]);
    }
    stop(&f);
    free(clients);
}

/* A client that announces a value and dies, or withdraws it, leaves nothing behind. */
static void what_dies_half_way_is_dropped(void **state)
{
    (void)state;
    struct fixture f;
    struct client c, other;
    struct mkv__wire_key key = {
        .key = (const uint8_t *)"k", .key_len = 1, .length = 1 << 20, .raw_length = 1 << 20};
    struct mkv__request set = make(MKV_TYPE_SET, &key, 1);
    uint8_t *value = calloc(1, 1 << 20);
    key.checksum = checksum(&key, value);
    start(&f, "all");
    connect_to(&other, &f);
    for (int round = 0; round < 2; round++) {
        connect_to(&c, &f);
        const struct mkv__piece piece = {0, value, 1 << 20};
        struct mkv__exposure e = {.request_id = (uint64_t)(c.generation + 1) << 32,
                                  .pieces = &piece,
                                  .n_pieces = 1,
                                  .concealed = concealed,
                                  .len = 1 << 20};
        assert_int_equal(mkv__tcp.expose(c.conn, &e), 0);
        send_request(&c, &set);
        for (uint64_t until = mkv__clock_ns() + PATIENCE; figure(&other, "objects") == 0;) {
            assert_true(mkv__clock_ns() < until);
            mkv__worker_turn(c.worker, 0); /* until the request is out; the rest may follow */
            if (c.replied) {
                break;
            }
        }
        if (round == 0) {
            mkv__tcp.conceal(c.conn, &e, c.replied);
        }
        disconnect(&c);
        /* It may have been stored whole, the answer still on its way: such a one can be deleted. One
         * that is half written cannot, and has to go by itself. */
        struct mkv__request delete_ = make(MKV_TYPE_DELETE, &key, 1);
        for (uint64_t until = mkv__clock_ns() + PATIENCE; figure(&other, "objects") != 0;) {
            assert_true(mkv__clock_ns() < until);
            request(&other, &delete_);
        }
    }
    /* The records go a grace period later. */
    for (uint64_t until = mkv__clock_ns() + PATIENCE; figure(&other, "bytes_used") != 0;) {
        assert_true(mkv__clock_ns() < until);
    }
    disconnect(&other);
    stop(&f);
    free(value);
}

static void more_than_the_memory_evicts(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint8_t *value = calloc(1, 1 << 20);
    start(&f, "all");
    connect_to(&c, &f);
    for (unsigned i = 0; i < 100; i++) {
        char text[8] = {'k', (char)('a' + i / 26), (char)('a' + i % 26)};
        struct mkv__wire_key key = {.key = (uint8_t *)text,
                                    .key_len = 3,
                                    .length = (1 << 20) - i * 5000,
                                    .raw_length = (1 << 20) - i * 5000};
        key.checksum = checksum(&key, value);
        struct mkv__request set = make(MKV_TYPE_SET, &key, 1);
        request_exposed(&c, &set, value, key.length);
        assert_int_equal(c.answers[0].status, MKV_WIRE_STORED);
        struct mkv__request exists = make(MKV_TYPE_EXISTS, &key, 1);
        request(&c, &exists);
        assert_int_equal(c.answers[0].status, MKV_WIRE_HIT);
    }
    assert_true(figure(&c, "evictions") > 0);
    assert_true(figure(&c, "bytes_used") <= figure(&c, "bytes_total"));
    assert_true(figure(&c, "bytes_used") > figure(&c, "bytes_total") / 10 * 9);
    disconnect(&c);
    stop(&f);
    free(value);
}

static void stopping_says_goaway_and_closes(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    start(&f, "all");
    connect_to(&c, &f);
    (void)figure(&c, "objects");
    mkv__server_stop(f.server);
    turn_until(&c, &c.closed);
    assert_true(c.goaway);
    disconnect(&c);
    stop(&f);
}

static void no_key_no_strangers(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(load(&f, "0.0.0.0:0", "all"), -EINVAL);
    assert_non_null(strstr(f.why, "memkv keygen"));
    assert_null(f.server);
    mkv__server_destroy(&f.server);
    mkv__config_destroy(&f.config);
}

static void many_lives_leave_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) { /* leaks show under asan */
        struct fixture f;
        start(&f, "all");
        stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_all_sizes_come_back),
        cmocka_unit_test(damaged_bytes_are_not_stored),
        cmocka_unit_test(malformed_messages_cost_their_own_session),
        cmocka_unit_test(limits_of_messages),
        cmocka_unit_test(several_workers),
        cmocka_unit_test(what_dies_half_way_is_dropped),
        cmocka_unit_test(more_than_the_memory_evicts),
        cmocka_unit_test(stopping_says_goaway_and_closes),
        cmocka_unit_test(no_key_no_strangers),
        cmocka_unit_test(many_lives_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
