/* A server's keys change while clients shake hands with its workers. */
#include "server/server.h"

#include "core/os/clock.h"
#include "transport/transport.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define A        "0101010101010101010101010101010101010101010101010101010101010101"
#define B        "0202020202020202020202020202020202020202020202020202020202020202"
#define PATIENCE UINT64_C(10000000000)

static void quiet(void *arg, int level, const char *line, size_t len)
{
    (void)arg;
    (void)level;
    (void)line;
    (void)len;
}

static struct mkv__config *config_of(const char *key, const char *id)
{
    const struct mkv__config_arg args[] = {
        {"listen", "127.0.0.1:0", NULL}, {"memory", "1M", NULL},  {"workers", "2", NULL},
        {"prefault", "no", NULL},        {"auth_key", key, NULL}, {"auth_key_id", id, NULL},
    };
    struct mkv__config *config;
    assert_int_equal(mkv__config_create(&config), 0);
    assert_int_equal(
        mkv__config_load(config, MKV__SERVER, NULL, NULL, args, key != NULL ? 6 : 4, NULL), 0);
    return config;
}

struct server {
    struct mkv__config *config;
    struct mkv__log log;
    struct mkv__server *server;
    char why[500];
};

static void start(struct server *s)
{
    memset(s, 0, sizeof(*s));
    s->config = config_of(A, "1");
    mkv__log_init(&s->log, MKV__LOG_DEBUG, quiet, NULL);
    assert_int_equal(mkv__server_create(s->config, &s->log, &s->server, s->why, sizeof(s->why)), 0);
    assert_int_equal(mkv__server_start(s->server, s->why, sizeof(s->why)), 0);
}

static void stop(struct server *s)
{
    mkv__server_stop(s->server);
    mkv__server_destroy(&s->server);
    mkv__config_destroy(&s->config);
}

static int change(struct server *s, const char *key, const char *id)
{
    struct mkv__config *config = config_of(key, id);
    int r = mkv__server_use_keys(s->server, config, s->why, sizeof(s->why));
    mkv__config_destroy(r < 0 ? &config : &s->config);
    s->config = r < 0 ? s->config : config;
    return r;
}

struct client {
    struct mkv__worker *worker;
    struct mkv__endpoint *endpoint;
    struct mkv__conn *conn;
    struct mkv__auth_key key;
    bool opened, closed, answered;
    int error;
};

static void on_opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    (void)conn;
    (void)peer;
    ((struct client *)arg)->opened = true;
}

static void on_message(struct mkv__conn *conn, void *arg, const struct mkv__message *m)
{
    (void)conn;
    (void)m;
    ((struct client *)arg)->answered = true;
}

static void on_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    struct client *c = arg;
    (void)conn;
    (void)why;
    c->closed = true;
    c->error = error;
}

static const struct mkv__conn_handlers handlers = {
    .opened = on_opened, .message = on_message, .closed = on_closed};

static void dial(struct client *c, const struct server *s, uint8_t key)
{
    const struct mkv__worker_options w = {.name = "client", .numa_node = -1};
    memset(c, 0, sizeof(*c));
    c->key.id = key;
    memset(c->key.key, key, sizeof(c->key.key));
    const struct mkv__endpoint_options e = {
        .lanes = 2, .connect_timeout_ns = PATIENCE, .keys = &c->key, .n_keys = 1};
    assert_int_equal(mkv__worker_create(&w, &c->worker), 0);
    assert_int_equal(mkv__tcp.endpoint_open(c->worker, &e, &c->endpoint), 0);
    assert_int_equal(
        mkv__tcp.connect(c->endpoint, mkv__server_address(s->server), &handlers, c, &c->conn), 0);
}

static bool opens(struct client *c)
{
    uint64_t until = mkv__clock_ns() + PATIENCE;
    while (!c->opened && !c->closed && mkv__clock_ns() < until) {
        mkv__worker_turn(c->worker, 1000000);
    }
    assert_true(c->opened || c->closed);
    return c->opened;
}

static void still_works(struct client *c)
{
    const struct mkv__message m = {.type = MKV_TYPE_STAT};
    uint64_t until = mkv__clock_ns() + PATIENCE;
    assert_int_equal(mkv__tcp.send(c->conn, &m), 0);
    while (!c->answered && mkv__clock_ns() < until) {
        mkv__worker_turn(c->worker, 1000000);
    }
    assert_true(c->answered);
}

static void end(struct client *c)
{
    mkv__tcp.endpoint_close(&c->endpoint);
    mkv__worker_destroy(&c->worker);
}

static void what_is_open_goes_on(void **state)
{
    (void)state;
    struct server s;
    struct client old, late, new;
    start(&s);
    dial(&old, &s, 1);
    assert_true(opens(&old));
    assert_int_equal(change(&s, B, "2"), 0);
    dial(&late, &s, 1);
    assert_false(opens(&late));
    assert_int_equal(late.error, -EACCES);
    dial(&new, &s, 2);
    assert_true(opens(&new));
    still_works(&new);
    still_works(&old);
    assert_int_equal(change(&s, NULL, NULL), -EINVAL);
    assert_non_null(strstr(s.why, "no key is left"));
    end(&new);
    dial(&new, &s, 2);
    assert_true(opens(&new));
    end(&old);
    end(&late);
    end(&new);
    stop(&s);
}

/* Each change frees what was there before: a sanitizer sees who still looks at it. */
static void changes_between_two_messages(void **state)
{
    (void)state;
    struct server s;
    start(&s);
    for (int i = 0; i < 100; i++) {
        struct client c;
        dial(&c, &s, 1);
        for (int turns = i % 10; turns > 0; turns--) {
            mkv__worker_turn(c.worker, 100000);
        }
        assert_int_equal(change(&s, B, "2"), 0);
        if (opens(&c)) {
            still_works(&c);
        }
        assert_int_equal(change(&s, A, "1"), 0);
        end(&c);
    }
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_open_goes_on),
        cmocka_unit_test(changes_between_two_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
