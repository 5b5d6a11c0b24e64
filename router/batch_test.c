/* The batch API, sentence by sentence of the header. */
#include "router/internal.h"
#include "testing/router/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 600u

static struct rig rig;
static unsigned char byte;

static void what_add_refuses(void **state)
{
    (void)state;
    static unsigned char key[300];
    static struct mkv_segment many[MKV_SEGMENTS_MAX + 1];
    struct mkv_segment one = {&byte, 1}, none = {NULL, 1}, empty = {NULL, 0};
    struct mkv_segment large = {&byte, MKV_VALUE_MAX}, larger = {&byte, MKV_VALUE_MAX + 1};
    struct mkv_segment both[2] = {large, one}, wraps[2] = {one, {&byte, SIZE_MAX}};
    struct mkv_batch *b;
    rig_init(&rig, 1, 1, NULL);
    assert_int_equal(mkv_batch_create(rig.client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_SET, NULL), 0);
    assert_int_equal(mkv_batch_add(b, key, 0, &one, 1), -EINVAL);
    assert_int_equal(mkv_batch_add(b, key, 256, &one, 1), -EINVAL);
    assert_int_equal(mkv_batch_add(b, key, SIZE_MAX, &one, 1), -EINVAL);
    assert_int_equal(mkv_batch_add(b, NULL, 1, &one, 1), -EINVAL);
    assert_int_equal(mkv_batch_add(b, key, 1, NULL, 1), -EINVAL);
    assert_int_equal(mkv_batch_add(b, key, 1, &none, 1), -EINVAL);
    assert_int_equal(mkv_batch_add(b, key, 1, &larger, 1), -EMSGSIZE);
    assert_int_equal(mkv_batch_add(b, key, 1, both, 2), -EMSGSIZE);
    assert_int_equal(mkv_batch_add(b, key, 1, wraps, 2), -EMSGSIZE);
    assert_int_equal(mkv_batch_add(b, key, 1, many, MKV_SEGMENTS_MAX + 1), -EMSGSIZE);
    assert_int_equal(mkv_batch_count(b), 0);
    assert_int_equal(mkv_batch_add(b, key, 255, &large, 1), 0);
    assert_int_equal(mkv_batch_add(b, key, 1, both + 1, 1), 1);
    assert_int_equal(mkv_batch_add(b, key, 2, &empty, 1), 2);
    assert_int_equal(mkv_batch_add(b, key, 3, NULL, 0), 3);
    assert_int_equal(mkv_batch_add(b, key, 4, many, MKV_SEGMENTS_MAX), 4);
    assert_int_equal(mkv_batch_count(b), 5);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, NULL), 0);
    assert_int_equal(mkv_batch_count(b), 0);
    assert_int_equal(mkv_batch_add(b, key, 1, &one, 1), -EINVAL);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_DELETE, NULL), 0);
    assert_int_equal(mkv_batch_add(b, key, 1, &one, 1), -EINVAL);
    mkv_batch_destroy(&b);
    assert_null(b);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

static void what_begin_refuses(void **state)
{
    (void)state;
    static char ns[256];
    struct mkv_batch_options o = {.size = sizeof(o), .namespace_ = ns, .namespace_len = 256};
    struct mkv_batch *b;
    rig_init(&rig, 1, 1, NULL);
    assert_int_equal(mkv_batch_create(rig.client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, (enum mkv_op)0, NULL), -EINVAL);
    assert_int_equal(mkv_batch_begin(b, (enum mkv_op)5, NULL), -EINVAL);
    assert_int_equal(mkv_batch_begin(b, (enum mkv_op) - 1, NULL), -EINVAL);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, &o), -EINVAL);
    o.namespace_len = 255;
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, &o), 0);
    o = (struct mkv_batch_options){.size = 1};
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, &o), -EINVAL);
    /* Options of an older header: what it did not have counts as zero. */
    o = (struct mkv_batch_options){.size = offsetof(struct mkv_batch_options, flags),
                                   .flags = MKV_NOTIFY};
    assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, &o), 0);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_client_reap(rig.client, &b, 1), 0);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

static void the_life_of_a_batch(void **state)
{
    (void)state;
    struct mkv_batch *b;
    rig_init(&rig, 1, 1, NULL);
    assert_int_equal(mkv_batch_create(rig.client, &b), 0);
    /* Not submitted. */
    assert_int_equal(mkv_batch_test(b), 1);
    assert_int_equal(mkv_batch_wait(b), -EINVAL);
    assert_int_equal(mkv_batch_cancel(b), 0);
    assert_int_equal(mkv_batch_add(b, "k", 1, NULL, 0), 0); /* exists until begun */
    assert_int_equal(mkv_batch_status(b, 0), MKV_PENDING);
    assert_int_equal(mkv_batch_error(b, 0), 0);
    assert_int_equal(mkv_batch_length(b, 0), 0);
    assert_false(mkv_batch_differs(b, 0));
    assert_int_equal(mkv_batch_prefix(b), 0);
    /* In flight. */
    rig.servers[0].hold = true;
    assert_int_equal(mkv_batch_submit(b), 0);
    rig_turns(&rig, 50);
    assert_int_equal(mkv_batch_test(b), 0);
    assert_int_equal(mkv_batch_submit(b), -EBUSY);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, NULL), -EBUSY);
    assert_int_equal(mkv_batch_add(b, "l", 1, NULL, 0), -EBUSY);
    assert_int_equal(mkv_batch_status(b, 0), MKV_PENDING);
    assert_int_equal(mkv_client_close(&rig.client), -EBUSY);
    assert_non_null(rig.client);
    rig_release(&rig.servers[0]);
    assert_int_equal(rig_wait(&rig, b), 0);
    /* Done. */
    assert_int_equal(mkv_batch_test(b), 1);
    assert_int_equal(mkv_batch_wait(b), 0);
    assert_int_equal(mkv_batch_cancel(b), 0);
    assert_int_equal(mkv_batch_submit(b), -EBUSY);
    assert_int_equal(mkv_batch_add(b, "l", 1, NULL, 0), -EBUSY);
    assert_int_equal(mkv_batch_status(b, 0), MKV_MISS);
    assert_int_equal(mkv_batch_status(b, 1), MKV_PENDING); /* there is none */
    assert_int_equal(mkv_batch_status(b, UINT32_MAX), MKV_PENDING);
    assert_int_equal(mkv_client_close(&rig.client), -EBUSY);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, NULL), 0);
    assert_int_equal(mkv_batch_submit(b), 0); /* no keys */
    assert_int_equal(rig_wait(&rig, b), 0);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

static void the_default_namespace_is_the_clients(void **state)
{
    (void)state;
    struct mkv_batch *b;
    rig_init(&rig, 2, 2, "namespace", "mine", NULL);
    struct mkv_batch_options o = {.size = sizeof(o), .namespace_ = "other", .namespace_len = 5};
    assert_int_equal(mkv_batch_create(rig.client, &b), 0);
    assert_int_equal(b->namespace_len, 4);
    assert_memory_equal(b->namespace_, "mine", 4);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, &o), 0);
    assert_memory_equal(b->namespace_, "other", 5);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, NULL), 0);
    assert_memory_equal(b->namespace_, "mine", 4);
    o.namespace_len = 0;
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, &o), 0);
    assert_int_equal(b->namespace_len, 0);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

static void scatter_and_gather(void **state)
{
    (void)state;
    enum { SEGMENTS = 700 };
    static unsigned char from[SEGMENTS * 8], to[SEGMENTS * 9], back[SEGMENTS * 8];
    struct mkv_segment segments[SEGMENTS];
    size_t len = 0;
    rig_init(&rig, 1, 1, NULL);
    rig_fill("sg", 1, from, sizeof(from));
    memset(to, 0xc5, sizeof(to));
    for (unsigned i = 0; i < SEGMENTS; i++) { /* 0 to 8 bytes, in no order, a canary behind each */
        segments[i] = (struct mkv_segment){to + (i * 37u % SEGMENTS) * 9u, i % 9u};
        len += i % 9u;
    }
    struct mkv_batch *b = rig_one(&rig, MKV_OP_SET, "sg", from, len, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, NULL), 0);
    assert_int_equal(mkv_batch_add(b, "sg", 2, segments, SEGMENTS), 0);
    memset(segments + 1, 0, sizeof(segments[0])); /* the list is the caller's own again */
    segments[1] = (struct mkv_segment){to + 37u * 9u, 1};
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_status(b, 0), MKV_HIT);
    assert_int_equal(mkv_batch_length(b, 0), len);
    size_t at = 0;
    for (unsigned i = 0; i < SEGMENTS; i++) {
        memcpy(back + at, segments[i].addr, segments[i].len);
        at += segments[i].len;
        assert_int_equal(((unsigned char *)segments[i].addr)[segments[i].len], 0xc5);
    }
    assert_memory_equal(back, from, len);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

static void another_length_is_a_miss_that_tells_it(void **state)
{
    (void)state;
    unsigned char value[100], got[200];
    rig_init(&rig, 1, 1, NULL);
    rig_fill("v", 1, value, 100);
    memset(got, 0xc5, sizeof(got));
    struct mkv_batch *b = rig_one(&rig, MKV_OP_SET, "v", value, 100, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    for (size_t len = 0; len <= 200; len += 40) {
        struct mkv_segment s = {got, len};
        assert_int_equal(mkv_batch_begin(b, MKV_OP_GET, NULL), 0);
        assert_int_equal(mkv_batch_add(b, "v", 1, &s, 1), 0);
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(rig_wait(&rig, b), 0);
        assert_int_equal(mkv_batch_status(b, 0), MKV_MISS);
        assert_int_equal(mkv_batch_length(b, 0), 100);
    }
    for (size_t i = 0; i < sizeof(got); i++) {
        assert_int_equal(got[i], 0xc5);
    }
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

/* The most keys that a batch may have, and one more. */
static void the_largest_batch(void **state)
{
    (void)state;
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 8 * RIG_S};
    struct mkv_batch *b;
    rig_init(&rig, 1, 1, "placement_grace", "0", NULL);
    assert_int_equal(mkv_batch_create(rig.client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, &o), 0);
    for (uint32_t i = 0; i < MKV_BATCH_MAX; i++) {
        assert_int_equal(mkv_batch_add(b, &i, sizeof(i), NULL, 0), i);
    }
    assert_int_equal(mkv_batch_add(b, "k", 1, NULL, 0), -EINVAL);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_status(b, MKV_BATCH_MAX - 1), MKV_MISS);
    assert_int_equal(rig.servers[0].requests, MKV_BATCH_MAX / MKV_KEYS_MAX);
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

/* Callbacks -------------------------------------------------------------------------------------- */

struct call {
    int n, left;
    bool destroy;
    struct mkv_batch *other;
    enum mkv_status seen;
};

static void called(void *arg, struct mkv_batch *b)
{
    struct call *c = arg;
    struct mkv_batch_options o = {.size = sizeof(o), .done = called, .done_arg = c};
    c->n++;
    c->seen = mkv_batch_status(b, 0);
    assert_int_equal(mkv_batch_test(b), 1);
    mkv_batch_wait(b); /* its own is done: no waiting */
    if (c->left-- > 0) {
        assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, &o), 0);
        assert_int_equal(mkv_batch_add(b, "again", 5, NULL, 0), 0);
        assert_int_equal(mkv_batch_submit(b), 0);
        return;
    }
    if (c->destroy) {
        mkv_batch_destroy(&b);
    }
}

static void once_for_each_submit(void **state)
{
    (void)state;
    struct call call = {0};
    struct mkv_batch_options o = {.size = sizeof(o), .done = called, .done_arg = &call};
    rig_init(&rig, 1, 1, NULL);
    struct mkv_batch *b = rig_batch(&rig, MKV_OP_EXISTS, "k", 3, NULL, 0, &o);
    assert_int_equal(mkv_batch_submit(b), 0);
    mkv__worker_turn(mkv__client_worker(rig.client, 0), 0);
    assert_int_equal(call.n, 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(call.n, 1);
    assert_int_equal(call.seen, MKV_MISS);
    rig_turns(&rig, 50);
    assert_int_equal(call.n, 1);
    /* A cancelled one and a late one are told too. */
    rig.servers[0].hold = true;
    for (int cancel = 0; cancel < 2; cancel++) {
        call = (struct call){0};
        o.timeout_ns = 20 * RIG_MS;
        assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, &o), 0);
        assert_int_equal(mkv_batch_add(b, "k", 1, NULL, 0), 0);
        assert_int_equal(mkv_batch_submit(b), 0);
        if (cancel) {
            assert_int_equal(mkv_batch_cancel(b), 0);
        }
        assert_int_equal(rig_wait(&rig, b), cancel ? -ECANCELED : -ETIMEDOUT);
        assert_int_equal(call.n, 1);
        assert_int_equal(call.seen, MKV_UNKNOWN);
    }
    mkv_batch_destroy(&b);
    rig_release(&rig.servers[0]);
    rig_fini(&rig);
}

static void used_again_and_destroyed_in_the_callback(void **state)
{
    (void)state;
    struct call call = {.left = 5, .destroy = true};
    struct mkv_batch_options o = {.size = sizeof(o), .done = called, .done_arg = &call};
    rig_init(&rig, 1, 1, NULL);
    struct mkv_batch *b = rig_batch(&rig, MKV_OP_EXISTS, "k", 3, NULL, 0, &o);
    assert_int_equal(mkv_batch_submit(b), 0);
    rig_turns(&rig, 1000);
    assert_int_equal(call.n, 6);
    rig_fini(&rig); /* it would be -EBUSY if the batch were still there */
}

/* A callback destroys another batch, in whatever state that one is: its memory is fenced at once. */
static void destroyer(void *arg, struct mkv_batch *b)
{
    struct call *c = arg;
    char value[1];
    (void)b;
    c->n++;
    assert_int_equal(mkv_client_close(&rig.client), -EBUSY);
    assert_int_equal(mkv_get(rig.client, "k", 1, value, 1, NULL), -EBUSY);
    assert_int_equal(mkv_set(rig.client, "k", 1, value, 1), -EBUSY);
    assert_int_equal(mkv_exists(rig.client, "k", 1), -EBUSY);
    if (!mkv_batch_test(c->other)) {
        assert_int_equal(mkv_batch_wait(c->other), -EBUSY);
        c->left++;
    }
    mkv_batch_destroy(&c->other);
}

static void another_is_destroyed_in_a_callback(void **state)
{
    (void)state;
    enum { SIZE = 50000 };
    static unsigned char page[SIZE], want[SIZE];
    int in_flight = 0, cancelled = 0;
    rig_init(&rig, 1, 1, NULL);
    rig_fill("p", 1, want, SIZE);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "p", 1, want, SIZE), 1);
    for (int turns = 0; turns < 60; turns++) {
        struct call call = {0};
        struct mkv_batch_options o = {.size = sizeof(o), .done = destroyer, .done_arg = &call};
        struct mkv_batch *b = rig_batch(&rig, MKV_OP_EXISTS, "k", 1, NULL, 0, &o);
        call.other = rig_batch(&rig, MKV_OP_GET, "p", 1, page, SIZE, NULL);
        if (turns % 3 == 0) { /* the one whose callback it is begins first */
            assert_int_equal(mkv_batch_submit(b), 0);
            rig_turns(&rig, turns / 3);
            if (call.n == 0) {
                assert_int_equal(mkv_batch_submit(call.other), 0);
            }
        } else {
            assert_int_equal(mkv_batch_submit(call.other), 0);
            rig_turns(&rig, turns / 3);
            assert_int_equal(mkv_batch_submit(b), 0);
        }
        if (turns % 3 == 2) {
            rig_turns(&rig, turns / 6);
            if (call.n == 0) {
                mkv_batch_cancel(call.other);
                cancelled++;
            }
        }
        while (call.n == 0) {
            rig_turn(&rig);
        }
        in_flight += call.left;
        memset(page, 0xc5, SIZE);
        rig_turns(&rig, 100);
        for (size_t i = 0; i < SIZE; i++) {
            assert_int_equal(page[i], 0xc5);
        }
        rig_wait(&rig, b);
        mkv_batch_destroy(&b);
    }
    assert_true(in_flight > 10 && cancelled > 5);
    rig_fini(&rig);
}

static void canceller(void *arg, struct mkv_batch *b)
{
    struct call *c = arg;
    (void)b;
    if (c->n++ == 0) {
        assert_int_equal(mkv_batch_cancel(c->other), 0);
    } else {
        mkv_batch_destroy(&c->other);
    }
}

/* In one turn: cancelled by a callback, answered, and destroyed by the next callback while its cancel
 * is still on the way. */
static void destroyed_before_its_cancel_has_run(void **state)
{
    (void)state;
    struct call call = {0};
    struct mkv_batch_options o = {.size = sizeof(o), .done = canceller, .done_arg = &call};
    rig_init(&rig, 1, 1, "placement_grace", "0", NULL);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 1, NULL, 0);
    rig.servers[0].hold = true;
    struct mkv_batch *first = rig_batch(&rig, MKV_OP_EXISTS, "k", 1, NULL, 0, &o);
    struct mkv_batch *last = rig_batch(&rig, MKV_OP_EXISTS, "k", 1, NULL, 0, &o);
    call.other = rig_batch(&rig, MKV_OP_EXISTS, "k", 1, NULL, 0, NULL);
    assert_int_equal(mkv_batch_submit(first), 0);
    assert_int_equal(mkv_batch_submit(call.other), 0);
    assert_int_equal(mkv_batch_submit(last), 0);
    rig_turns(&rig, 50);
    rig_release(&rig.servers[0]);
    rig.now_ns += RIG_MS;
    mkv__worker_turn(mkv__client_worker(rig.client, 0), 0);
    assert_int_equal(call.n, 2);
    assert_null(call.other);
    rig_turns(&rig, 50);
    mkv_batch_destroy(&first);
    mkv_batch_destroy(&last);
    rig_fini(&rig);
}

static void destroyed_in_flight(void **state)
{
    (void)state;
    unsigned char page[PAGE], want[PAGE];
    rig_init(&rig, 1, 1, NULL);
    rig_fill("p", 1, want, PAGE);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "p", 1, want, PAGE), 1);
    for (int turns = 0; turns < 40; turns++) {
        struct mkv_batch *b = rig_batch(&rig, MKV_OP_GET, "p", 1, page, PAGE, NULL);
        assert_int_equal(mkv_batch_submit(b), 0);
        rig_turns(&rig, turns);
        mkv_batch_destroy(&b);
        assert_null(b);
        memset(page, 0xc5, PAGE);
        rig_turns(&rig, 40);
        for (size_t i = 0; i < PAGE; i++) {
            assert_int_equal(page[i], 0xc5);
        }
    }
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "p", 1, page, PAGE), 1);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_add_refuses),
        cmocka_unit_test(what_begin_refuses),
        cmocka_unit_test(the_life_of_a_batch),
        cmocka_unit_test(the_default_namespace_is_the_clients),
        cmocka_unit_test(scatter_and_gather),
        cmocka_unit_test(another_length_is_a_miss_that_tells_it),
        cmocka_unit_test(the_largest_batch),
        cmocka_unit_test(once_for_each_submit),
        cmocka_unit_test(used_again_and_destroyed_in_the_callback),
        cmocka_unit_test(another_is_destroyed_in_a_callback),
        cmocka_unit_test(destroyed_before_its_cancel_has_run),
        cmocka_unit_test(destroyed_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
