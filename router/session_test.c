/* Sessions: lazy, slots and their generations, queues that are full, sessions that are lost. */
#include "router/internal.h"
#include "testing/router/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY (MKV_REQUESTS_MAX + 44)
#define PAGE 1000u

static struct rig rig;

static void connects_when_it_must(void **state)
{
    (void)state;
    rig_init(&rig, 2, 2, "placement_grace", "0", NULL);
    rig_pass(&rig, RIG_S);
    assert_int_equal(rig.servers[0].accepted + rig.servers[1].accepted, 0);
    struct mkv_batch *b = rig_one(&rig, MKV_OP_EXISTS, rig_key(&rig, 2, 1), NULL, 0, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(rig.servers[0].accepted, 0);
    assert_int_equal(rig.servers[1].accepted, 1);
    mkv_batch_destroy(&b);
    for (int i = 0; i < 20; i++) {
        rig_run(&rig, MKV_OP_EXISTS, "k", 10, NULL, 0);
    }
    assert_int_equal(rig.servers[0].accepted, 1);
    assert_int_equal(rig.servers[1].accepted, 1);
    assert_int_equal(rig_stats(&rig).connects, 2);
    rig_fini(&rig);
}

static void submit_many(struct mkv_batch **b, unsigned from, unsigned to, uint64_t timeout_ns)
{
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = timeout_ns};
    for (unsigned i = from; i < to; i++) {
        b[i] = rig_one(&rig, MKV_OP_EXISTS, "k", NULL, 0, &o);
        assert_int_equal(mkv_batch_submit(b[i]), 0);
    }
    rig_turns(&rig, 100);
}

static void no_more_are_out_than_there_are_slots(void **state)
{
    (void)state;
    struct mkv_batch *b[MANY];
    rig_init(&rig, 1, 1, NULL);
    rig.servers[0].hold = true;
    submit_many(b, 0, MANY, 5 * RIG_S);
    assert_int_equal(rig.servers[0].n_held, MKV_REQUESTS_MAX);
    rig_release(&rig.servers[0]);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(rig_wait(&rig, b[i]), 0);
        assert_int_equal(mkv_batch_status(b[i], 0), MKV_MISS);
        mkv_batch_destroy(&b[i]);
    }
    assert_int_equal(rig.servers[0].requests, MANY);
    rig_fini(&rig);
}

/* A server that answers nothing: what has waited goes out as soon as slots are free. */
static void withdrawn_requests_make_room(void **state)
{
    (void)state;
    struct mkv_batch *b[MANY];
    rig_init(&rig, 1, 1, "breaker.failures", "1000", NULL);
    rig.servers[0].hold = true;
    submit_many(b, 0, MKV_REQUESTS_MAX, 50 * RIG_MS);
    submit_many(b, MKV_REQUESTS_MAX, MANY, 5 * RIG_S);
    assert_int_equal(rig.servers[0].requests, MKV_REQUESTS_MAX);
    rig_pass(&rig, 60 * RIG_MS);
    assert_int_equal(mkv_batch_wait(b[0]), -ETIMEDOUT);
    assert_int_equal(rig.servers[0].requests, MANY);
    rig_release(&rig.servers[0]); /* the late ones are answered too: nobody minds */
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(rig_wait(&rig, b[i]), i < MKV_REQUESTS_MAX ? -ETIMEDOUT : 0);
        mkv_batch_destroy(&b[i]);
    }
    assert_int_equal(rig_stats(&rig).timeouts, MKV_REQUESTS_MAX);
    rig_fini(&rig);
}

/* The slot is used again, the late answer is for the generation before. */
static void late_answers_are_for_nobody(void **state)
{
    (void)state;
    unsigned char page[PAGE], other[PAGE], got[PAGE];
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 20 * RIG_MS};
    rig_init(&rig, 1, 1, "breaker.failures", "1000", NULL);
    rig_fill("a", 1, page, PAGE);
    rig_fill("b", 1, other, PAGE);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "a", 1, page, PAGE), 1);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "b", 1, other, PAGE), 1);
    rig.servers[0].hold = true;
    struct mkv_batch *late = rig_batch(&rig, MKV_OP_GET, "a", 1, got, PAGE, &o);
    memset(got, 0, PAGE);
    assert_int_equal(mkv_batch_submit(late), 0);
    assert_int_equal(rig_wait(&rig, late), -ETIMEDOUT);
    struct mkv_batch *next = rig_batch(&rig, MKV_OP_GET, "b", 1, got, PAGE, NULL);
    assert_int_equal(mkv_batch_submit(next), 0);
    rig_turns(&rig, 50);
    rig_release(&rig.servers[0]);
    assert_int_equal(rig_wait(&rig, next), 0);
    assert_int_equal(mkv_batch_status(next, 0), MKV_HIT);
    assert_memory_equal(got, other, PAGE);
    assert_int_equal(rig.servers[0].cancels, 1);
    mkv_batch_destroy(&late);
    mkv_batch_destroy(&next);
    rig_fini(&rig);
}

/* More than the transport takes: the rest goes when it has room, and is answered like any other. */
static void full_is_not_fatal(void **state)
{
    (void)state;
    enum { FLIGHTS = 100, KEYS = 1000 };
    struct mkv_batch *b[FLIGHTS];
    char tag[200];
    unsigned char byte[KEYS] = {0};
    memset(tag, 'x', sizeof(tag));
    tag[sizeof(tag) - 1] = '\0';
    rig_init(&rig, 1, 1, "set_timeout", "8s", NULL);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 1, NULL, 0);
    rig.servers[0].say = MKV_WIRE_STORED;
    rig.servers[0].stalled = true;
    for (unsigned i = 0; i < FLIGHTS; i++) {
        assert_int_equal(mkv_batch_create(rig.client, &b[i]), 0);
        assert_int_equal(mkv_batch_begin(b[i], MKV_OP_SET, NULL), 0);
        for (unsigned k = 0; k < KEYS; k++) {
            unsigned char key[220];
            struct mkv_segment s = {&byte[k], 1};
            rig_fill(tag, 1, key, sizeof(key)); /* nothing that compresses */
            memcpy(key + (k * 7) % 200, &k, sizeof(k));
            memcpy(key + 210, &k, sizeof(k));
            assert_int_equal(mkv_batch_add(b[i], key, sizeof(key), &s, 1), k);
        }
        assert_int_equal(mkv_batch_submit(b[i]), 0);
    }
    rig_turns(&rig, 20);
    uint64_t sent = rig_stats(&rig).requests;
    assert_true(sent < FLIGHTS); /* else nothing was full */
    rig.servers[0].stalled = false;
    for (unsigned i = 0; i < FLIGHTS; i++) {
        assert_int_equal(rig_wait(&rig, b[i]), 0);
        assert_int_equal(mkv_batch_status(b[i], KEYS - 1), MKV_STORED);
        mkv_batch_destroy(&b[i]);
    }
    rig_fini(&rig);
}

static const struct mkv__conn_handlers *spied;
static struct mkv__conn *spied_conn;
static void *spied_arg;
static int refusals;

static int spy_connect(struct mkv__endpoint *endpoint, const char *address,
                       const struct mkv__conn_handlers *handlers, void *arg, struct mkv__conn **out)
{
    int r = mkv__fake.connect(endpoint, address, handlers, arg, out);
    spied = handlers;
    spied_arg = arg;
    spied_conn = *out;
    return r;
}

static int spy_send(struct mkv__conn *conn, const struct mkv__message *message)
{
    return message->type == MKV_TYPE_SET && refusals++ == 0 ? -EAGAIN
                                                            : mkv__fake.send(conn, message);
}

/* There is room again before the memory of the request that found none is fenced. */
static void a_late_fence_delays_nobody_for_ever(void **state)
{
    (void)state;
    struct mkv__transport spy = mkv__fake;
    spy.connect = spy_connect;
    spy.send = spy_send;
    refusals = 0;
    struct rig_setting before = rig_setting;
    rig_setting = (struct rig_setting){.linger_in = 1, .transport = &spy};
    rig_init(&rig, 1, 1, "set_timeout", "8s", NULL);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 1, NULL, 0);
    unsigned char value[PAGE] = {1};
    struct mkv_batch *b = rig_one(&rig, MKV_OP_SET, "k", value, PAGE, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    mkv__worker_turn(mkv__client_worker(rig.client, 0), 0);
    assert_int_equal(refusals, 1);
    spied->writable(spied_conn, spied_arg);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_status(b, 0), MKV_STORED);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
    rig_setting = before;
}

static void a_lost_session_is_asked_elsewhere(void **state)
{
    (void)state;
    unsigned char memory[40 * PAGE], got[40 * PAGE];
    rig_init(&rig, 2, 2, NULL);
    rig_fill("lost", 40, memory, PAGE);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 40, NULL, 0);
    rig.servers[0].hold = true;
    struct mkv_batch *b = rig_batch(&rig, MKV_OP_SET, "lost", 40, memory, PAGE, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    rig_turns(&rig, 50);
    assert_int_equal(rig.servers[0].n_held, 1);
    rig_die(&rig.servers[0]);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_prefix(b), 40);
    assert_int_equal(mkv_batch_status(b, 0), MKV_STORED);
    mkv_batch_destroy(&b);
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "lost", 40, got, PAGE), 40);
    assert_memory_equal(got, memory, sizeof(got));
    assert_int_equal(rig_stats(&rig).connection_errors > 0, 1);
    rig_fini(&rig);
}

static void goaway_ends_what_is_out_and_takes_no_more(void **state)
{
    (void)state;
    rig_init(&rig, 2, 2, NULL);
    const char *key = rig_key(&rig, 2, 0);
    assert_int_equal(rig_run(&rig, MKV_OP_EXISTS, "warm", 40, NULL, 0), 0);
    rig.servers[0].hold = true;
    struct mkv_batch *b = rig_one(&rig, MKV_OP_EXISTS, key, NULL, 0, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    rig_turns(&rig, 50);
    rig_goaway(&rig.servers[0]);
    rig_turns(&rig, 50);
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    int before = rig.servers[0].requests;
    struct mkv_batch *next = rig_one(&rig, MKV_OP_SET, key, (char[]){"v"}, 1, NULL);
    assert_int_equal(mkv_batch_submit(next), 0);
    assert_int_equal(rig_wait(&rig, next), 0);
    assert_int_equal(rig.servers[0].requests, before);
    assert_true(rig_has(&rig.servers[1], key));
    rig_release(&rig.servers[0]); /* what was out is answered by the one that goes */
    assert_int_equal(rig_wait(&rig, b), 0);
    mkv_batch_destroy(&b);
    mkv_batch_destroy(&next);
    /* It only seemed to go: a new session shows that it is there. */
    rig_pass(&rig, 2 * RIG_S);
    assert_int_equal(rig_stats(&rig).servers_up, 2);
    assert_int_equal(rig.servers[0].accepted, 2);
    assert_int_equal(rig_logged(&rig, "s0: not used until it answers again"), 1);
    assert_int_equal(rig_logged(&rig, "s0: answers again"), 1);
    rig_fini(&rig);
}

/* A session breaks while the client closes: the worker must not look at what is gone. */
static void closing_beside_a_session_that_breaks(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        rig_init(&rig, 2, 2, NULL);
        rig_run(&rig, MKV_OP_EXISTS, "warm", 40, NULL, 0);
        rig_die(&rig.servers[0]);
        rig_turns(&rig, turns);
        rig.now_ns += RIG_MS;
        rig_fini(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connects_when_it_must),
        cmocka_unit_test(no_more_are_out_than_there_are_slots),
        cmocka_unit_test(withdrawn_requests_make_room),
        cmocka_unit_test(late_answers_are_for_nobody),
        cmocka_unit_test(full_is_not_fatal),
        cmocka_unit_test(a_late_fence_delays_nobody_for_ever),
        cmocka_unit_test(a_lost_session_is_asked_elsewhere),
        cmocka_unit_test(goaway_ends_what_is_out_and_takes_no_more),
        cmocka_unit_test(closing_beside_a_session_that_breaks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rig_setting.linger_in = 2; /* once more, with fences that take their time */
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
