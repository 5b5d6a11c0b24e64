/* More sessions at a worker than its share of bytes in flight is for: they take turns, and some of them die
 * while they wait. */
#include "testing/conformance/cases.h"
#include "testing/conformance/rig.h"
#include "testing/rdma/fake_verbs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define SESSIONS 14u
#define LEN      (6u << 20)

struct one {
    struct mkv__conn *client, *server;
    uint8_t *to;
    struct mkv__piece pieces[2]; /* the client's, the server's */
    struct mkv__exposure exposure;
    struct mkv__bulk bulk;
    int opened, done, status, concealed, killed;
    bool answered;
};

static struct one ones[SESSIONS];
static struct rig rig;
static uint8_t *from;
static unsigned n_served;

static void done(struct mkv__bulk *b, int status)
{
    struct one *o = b->owner;

    o->done++;
    o->status = status;
}

static void concealed(struct mkv__exposure *e)
{
    struct one *o = e->owner;

    o->concealed++;
}

static void opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    (void)conn;
    (void)peer;
    ((struct one *)arg)->opened = 1;
}

static void ask(struct one *o)
{
    struct mkv__message m = {
        .type = 32, .request_id = ID(1, 1), .body = (const uint8_t *)"go", .body_len = 2};

    o->exposure = (struct mkv__exposure){.request_id = ID(1, 1),
                                         .writable = true,
                                         .pieces = &o->pieces[0],
                                         .n_pieces = 1,
                                         .len = LEN,
                                         .concealed = concealed,
                                         .owner = o};
    assert_int_equal(rig.t->expose(o->client, &o->exposure), 0);
    assert_int_equal(rig.t->send(o->client, &m), 0);
}

static void answered(struct mkv__conn *conn, void *arg, const struct mkv__message *m)
{
    struct one *o = arg;

    (void)m;
    o->answered = true;
    assert_memory_equal(o->to, from, LEN);
    rig.t->conceal(conn, &o->exposure, true);
}

static void client_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    (void)conn;
    (void)error;
    (void)why;
    ((struct one *)arg)->client = NULL;
}

static const struct mkv__conn_handlers of_client = {opened, answered, NULL, NULL, client_closed};

static void serve(struct mkv__conn *conn, void *arg, const struct mkv__message *m)
{
    struct one *o = arg;
    struct mkv__message reply = {.type = 64,
                                 .request_id = m->request_id,
                                 .after_bulk = true,
                                 .body = m->body,
                                 .body_len = 2};

    o->bulk = (struct mkv__bulk){.request_id = m->request_id,
                                 .pieces = &o->pieces[1],
                                 .n_pieces = 1,
                                 .done = done,
                                 .owner = o};
    assert_int_equal(rig.t->write(conn, &o->bulk), 0);
    assert_int_equal(rig.t->send(conn, &reply), 0);
}

static void server_opened(struct mkv__conn *conn, void *arg, const struct mkv__hello *peer)
{
    (void)conn;
    (void)arg;
    (void)peer;
}

static void server_closed(struct mkv__conn *conn, void *arg, int error, const char *why)
{
    (void)conn;
    (void)error;
    (void)why;
    ((struct one *)arg)->server = NULL;
}

static const struct mkv__conn_handlers of_server = {server_opened, serve, NULL, NULL,
                                                    server_closed};

static uint32_t state_of_random;

/* xorshift: the same each time. */
static uint32_t random_number(void)
{
    state_of_random ^= state_of_random << 13;
    state_of_random ^= state_of_random >> 17;
    state_of_random ^= state_of_random << 5;
    return state_of_random;
}

static int accepted(void *arg, struct mkv__worker *worker, struct mkv__conn *conn,
                    const struct mkv__hello *peer, const struct mkv__auth_key *key,
                    const struct mkv__conn_handlers **handlers_out, void **conn_arg_out)
{
    (void)arg;
    (void)worker;
    (void)peer;
    (void)key;
    ones[n_served].server = conn;
    *handlers_out = &of_server;
    *conn_arg_out = &ones[n_served++];
    return 0;
}

/* One after the other, so that the ith of both sides is the same session. */
static void begin(struct mkv__listener *listener)
{
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct one *o = &ones[i];

        o->to = calloc(1, LEN);
        o->pieces[0] = (struct mkv__piece){0, o->to, LEN};
        o->pieces[1] = (struct mkv__piece){0, from, LEN};
        assert_int_equal(rig.t->connect(rig.client_endpoint, rig.t->listener_address(listener),
                                        &of_client, o, &o->client),
                         0);
        assert_true(rig_until(&rig, &o->opened, 1));
    }
    for (unsigned i = 0; i < SESSIONS; i++) {
        ask(&ones[i]);
    }
}

static bool all_over(void)
{
    bool all = true;

    for (unsigned i = 0; i < SESSIONS; i++) {
        const struct one *o = &ones[i];

        all &= o->concealed == 1 && o->done == 1 && (o->answered || o->killed);
    }
    return all;
}

static void schedule(unsigned seed)
{
    struct mkv__listen_handlers listen = {accepted, NULL};
    struct mkv__listener *listener = NULL;

    memset(ones, 0, sizeof(ones));
    n_served = 0;
    state_of_random = seed + 1;
    fake_verbs_begin(1);
    fake_verbs_late(seed % 2 ? 3000 : 30, seed);
    rig_init(&rig, case_subject, &case_key, &case_key);
    assert_int_equal(rig.t->listen(rig.server_endpoint, 1, "127.0.0.1:0", &listen, &listener), 0);
    begin(listener);
    for (int i = 0; i < 20000 && !all_over(); i++) {
        struct one *o = &ones[random_number() % SESSIONS];

        rig_turns(&rig, 1);
        if (seed > 0 && random_number() % 40 == 0 && o->client && o->server && !o->answered) {
            o->killed = 1;
            rig.t->close(random_number() % 2 ? o->client : o->server);
        }
    }
    assert_true(all_over());
    rig.t->listener_close(&listener);
    rig_fini(&rig);
    for (unsigned i = 0; i < SESSIONS; i++) {
        free(ones[i].to);
    }
}

static void sessions_take_turns(void **state)
{
    (void)state;
    from = malloc(LEN);
    memset(from, 0x5a, LEN);
    for (unsigned seed = 0; seed < 8; seed++) {
        struct fake_counts c;

        schedule(seed);
        fake_verbs_counts(&c);
        assert_int_equal(fake_verbs_left(), 0);
        assert_int_equal(c.misuses, 0);
        fake_verbs_end();
    }
    free(from);
}

int main(void)
{
    static const struct mkv__subject subject = {
        .transport = &mkv__rdma, .any_address = "127.0.0.1:0", .must = true, .told_at_last = true};
    const struct CMUnitTest tests[] = {cmocka_unit_test(sessions_take_turns)};

    case_subject = &subject;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
