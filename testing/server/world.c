#include "testing/server/world.h"

#include <stdio.h>
#include <string.h>

const struct mkv__auth_key all = {.id = 1, .key = {1}};
const struct mkv__auth_key team = {.id = 2, .key = {2}, .namespaces = "team-a/"};
static const struct mkv__auth_key both[] = {{.id = 1, .key = {1}},
                                            {.id = 2, .key = {2}, .namespaces = "team-a/"}};

struct world world;

/* ---- the server --------------------------------------------------------------------------- */

static void count_conflicts(void *arg, int level, const char *line, size_t len)
{
    (void)arg;
    (void)len;
    world.told += level == MKV__LOG_WARNING && strstr(line, "a value of 3 bytes is refused, since "
                                                            "one of 5 bytes lies under") != NULL;
}

static uint64_t clock_of(void *arg)
{
    (void)arg;
    return world.now_ns;
}

static int accepted(void *arg, struct mkv__worker *worker, struct mkv__conn *conn,
                    const struct mkv__hello *peer, const struct mkv__auth_key *key,
                    const struct mkv__conn_handlers **handlers_out, void **conn_arg_out)
{
    (void)arg;
    (void)worker;
    (void)peer;
    return mkv__service_accept(world.service, conn, key, handlers_out, conn_arg_out);
}

void open_world(struct setting s)
{
    const struct mkv__fake_options fake = {.seed = s.seed,
                                           .delay_ns = s.delay_ns ? s.delay_ns : MS / 10,
                                           .chunk = s.chunk ? s.chunk : 1 << 20};
    const struct mkv__store_options store = {
        .memory = s.memory ? s.memory : 64 * MIB, .max_value = 64 * MIB, .lease_ns = 10 * SECOND};
    struct mkv__worker_options w = {.name = "test", .numa_node = -1, .clock = clock_of};
    const struct mkv__endpoint_options e = {.lanes = 1,
                                            .connect_timeout_ns = 10 * SECOND,
                                            .keys = s.keys ? both : NULL,
                                            .n_keys = s.keys ? 2 : 0};
    const struct mkv__listen_handlers listen = {accepted, NULL};
    memset(&world, 0, sizeof(world));
    world.now_ns = SECOND;
    mkv__log_init(&world.log, MKV__LOG_WARNING, count_conflicts, NULL);
    mkv__fake_reset(&fake);
    assert_int_equal(mkv__store_create(&store, &world.store), 0);
    assert_int_equal(mkv__worker_create(&w, &world.clients), 0);
    w.quiescent = mkv__store_quiescent;
    w.hook_arg = world.store;
    assert_int_equal(mkv__worker_create(&w, &world.worker), 0);
    assert_int_equal(mkv__fake.endpoint_open(world.worker, &e, &world.endpoint), 0);
    const struct mkv__service_options o = {.store = world.store,
                                           .transport = s.transport ? s.transport : &mkv__fake,
                                           .worker = world.worker,
                                           .log = &world.log,
                                           .admin = s.admin,
                                           .verify = !s.unverified};
    assert_int_equal(mkv__service_create(&o, &world.service), 0);
    assert_int_equal(mkv__fake.listen(&world.endpoint, 1, "fake:0", &listen, &world.listener), 0);
}

void close_world(void)
{
    mkv__fake.listener_close(&world.listener);
    mkv__fake.endpoint_close(&world.endpoint);
    mkv__service_destroy(&world.service);
    mkv__worker_destroy(&world.worker);
    mkv__worker_destroy(&world.clients);
    mkv__store_destroy(&world.store);
}

void turn(uint64_t ns)
{
    world.now_ns += ns;
    mkv__worker_turn(world.clients, 0);
    mkv__worker_turn(world.worker, 0);
}

void turn_for(uint64_t ns, uint64_t step)
{
    for (uint64_t end = world.now_ns + ns; world.now_ns < end;) {
        turn(step);
    }
}

uint64_t in_flight(void)
{
    return mkv__counter_read(&mkv__service_figures(world.service)->in_flight);
}

struct mkv__store_stat stat_now(void)
{
    struct mkv__store_stat s;
    mkv__store_stat(world.store, &s);
    return s;
}

/* ---- a client ----------------------------------------------------------------------------- */

static void on_opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    (void)conn;
    (void)peer;
    ((struct client *)arg)->opened = true;
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
    if (m->request_id != ID(c->generation)) {
        return; /* withdrawn before */
    }
    assert_int_equal(m->type, MKV_TYPE_REPLY_TO(c->type));
    assert_int_equal(mkv__reply_decode(m->type, m->body, m->body_len, c->answers, KEYS_MAX, &reply),
                     0);
    c->body_len = m->body_len;
    c->replied = true;
}

static void on_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    (void)conn;
    (void)error;
    (void)why;
    ((struct client *)arg)->conn = NULL;
}

static const struct mkv__conn_handlers handlers = {
    .opened = on_opened, .message = on_message, .closed = on_closed};

void dial(struct client *c, const struct mkv__auth_key *key)
{
    const struct mkv__endpoint_options e = {
        .lanes = 1, .connect_timeout_ns = 10 * SECOND, .keys = key, .n_keys = key != NULL};
    memset(c, 0, sizeof(*c));
    assert_int_equal(mkv__fake.endpoint_open(world.clients, &e, &c->endpoint), 0);
    assert_int_equal(mkv__fake.connect(c->endpoint, mkv__fake.listener_address(world.listener),
                                       &handlers, c, &c->conn),
                     0);
}

void until(const bool *flag)
{
    for (int i = 0; i < 100000 && !*flag; i++) {
        turn(MS / 10);
    }
    assert_true(*flag);
}

void connect_to(struct client *c, const struct mkv__auth_key *key)
{
    dial(c, key);
    until(&c->opened);
}

void disconnect(struct client *c)
{
    mkv__fake.endpoint_close(&c->endpoint);
}

void add(struct batch *b, const char *name, uint64_t length, const void *value)
{
    uint32_t i = b->request.n_keys++;
    const char *ns = b->request.namespace_ ? (const char *)b->request.namespace_ : "ns";
    b->request.namespace_ = (const uint8_t *)ns;
    b->request.namespace_len = (uint8_t)strlen(ns);
    b->request.keys = b->keys;
    b->keys[i] = (struct mkv__wire_key){
        .key = (const uint8_t *)b->text[i],
        .key_len = (uint8_t)snprintf(b->text[i], sizeof(b->text[i]), "%s", name),
        .position = i,
        .length = length,
        .raw_length = length,
    };
    if (value != NULL) {
        b->keys[i].checksum = mkv__sum_seed(ns, strlen(ns), name, strlen(name), length) ^
                              mkv__sum_slice(value, length, 0);
    }
}

static void concealed(struct mkv__exposure *e)
{
    (void)e;
}

void send_batch(struct client *c, struct batch *b, uint8_t type, void *const *memory,
                uint32_t deadline_ms)
{
    static uint8_t body[4096];
    uint64_t len = 0;
    c->replied = false;
    c->type = b->request.type = type;
    c->generation++;
    for (uint32_t i = 0; i < b->request.n_keys && memory != NULL; i++) {
        c->pieces[i] = (struct mkv__piece){len, memory[i], b->keys[i].length};
        len += b->keys[i].length;
    }
    c->exposure = (struct mkv__exposure){.request_id = ID(c->generation),
                                         .writable = type == MKV_TYPE_GET,
                                         .pieces = c->pieces,
                                         .n_pieces = b->request.n_keys,
                                         .len = len,
                                         .summed = !c->silent,
                                         .concealed = concealed};
    if (memory != NULL) {
        assert_int_equal(mkv__fake.expose(c->conn, &c->exposure), 0);
    }
    int64_t n = mkv__request_encode(&b->request, body, sizeof(body));
    assert_true(n > 0);
    const struct mkv__message m = {.type = type,
                                   .request_id = ID(c->generation),
                                   .deadline_ms = deadline_ms,
                                   .body = body,
                                   .body_len = (uint32_t)n};
    assert_int_equal(mkv__fake.send(c->conn, &m), 0);
}

uint8_t ask(struct client *c, struct batch *b, uint8_t type, void *const *memory)
{
    send_batch(c, b, type, memory, 8000);
    until(&c->replied);
    mkv__fake.conceal(c->conn, &c->exposure, true);
    return c->answers[0].status;
}

uint8_t ask_one(struct client *c, uint8_t type, const char *ns, const char *key, uint32_t flags)
{
    struct batch b = {.request = {.namespace_ = (const uint8_t *)ns, .flags = flags}};
    uint8_t value[5] = "value";
    void *memory[] = {value};
    add(&b, key, type == MKV_TYPE_GET || type == MKV_TYPE_SET ? 5 : 0, value);
    return ask(c, &b, type, memory);
}
