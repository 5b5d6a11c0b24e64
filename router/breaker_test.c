/* Breakers: what opens them, how they probe, what closes them, what is logged. */
#include "router/internal.h"
#include "testing/router/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

static struct rig rig;

static int exists(const char *key)
{
    struct mkv_batch *b = rig_one(&rig, MKV_OP_EXISTS, key, NULL, 0, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    int r = rig_wait(&rig, b);
    mkv_batch_destroy(&b);
    return r;
}

static void a_dead_server_is_left_alone(void **state)
{
    (void)state;
    rig_init(&rig, 2, 2, "breaker.probe", "500ms", NULL);
    const char *key = rig_key(&rig, 2, 0);
    rig_die(&rig.servers[0]);
    assert_int_equal(exists(key), 0); /* the other one was asked instead */
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    assert_int_equal(rig_stats(&rig).connection_errors, 1);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(exists(key), 0);
    }
    /* Nobody's request has tried to connect, and all was said in one line. */
    assert_int_equal(rig_stats(&rig).connection_errors, 1);
    assert_int_equal(rig_logged(&rig, "s0: not used until it answers again"), 1);
    assert_int_equal(rig_logged(&rig, "no server answers"), 0);
    rig_fini(&rig);
}

static void nobody_answers_when_all_are_dead(void **state)
{
    (void)state;
    rig_init(&rig, 2, 2, "breaker.probe", "500ms", NULL);
    rig_die(&rig.servers[0]);
    rig_die(&rig.servers[1]);
    assert_int_equal(exists(rig_key(&rig, 2, 0)), -ECONNRESET);
    assert_int_equal(exists(rig_key(&rig, 2, 1)), -ECONNRESET);
    assert_int_equal(rig_stats(&rig).servers_up, 0);
    uint64_t errors = rig_stats(&rig).connection_errors, begin = rig.now_ns;
    for (int i = 0; i < 200; i++) {
        assert_int_equal(exists("any"), -ECONNRESET);
    }
    /* Each was answered in the turn that took it. */
    assert_true(rig.now_ns - begin <= 200 * 2 * 20000u);
    assert_int_equal(rig_stats(&rig).connection_errors, errors);
    assert_int_equal(rig_logged(&rig, "no server answers"), 1);
    rig_fini(&rig);
}

static uint64_t until_next_error(void)
{
    uint64_t errors = rig_stats(&rig).connection_errors, begin = rig.now_ns;
    while (rig_stats(&rig).connection_errors == errors) {
        rig.now_ns += RIG_MS;
        rig_turn(&rig);
        assert_true(rig.now_ns - begin < 60 * RIG_S);
    }
    return rig.now_ns - begin;
}

/* Pauses double up to the longest, and each is half to whole of that, at random. */
static void probes_back_off_with_jitter(void **state)
{
    (void)state;
    rig_init(&rig, 1, 1, "breaker.probe", "100ms", "breaker.probe_max", "1600ms", NULL);
    rig_die(&rig.servers[0]);
    assert_int_equal(exists("k"), -ECONNRESET);
    uint64_t whole = 100 * RIG_MS, least = UINT64_MAX, most = 0;
    for (int i = 0; i < 40; i++) {
        uint64_t pause = until_next_error();
        assert_in_range(pause, whole / 2, whole + 3 * RIG_MS);
        if (whole == 1600 * RIG_MS) {
            least = pause < least ? pause : least;
            most = pause > most ? pause : most;
        }
        whole = whole < 1600 * RIG_MS ? 2 * whole : whole;
    }
    assert_true(most - least > 200 * RIG_MS); /* they differ: by chance, once in 10^9 runs not */
    assert_int_equal(rig_logged(&rig, "s0: not used"), 1);
    assert_int_equal(rig_logged(&rig, "no server answers"), 1);
    rig_fini(&rig);
}

static void a_server_that_returns_is_used_again(void **state)
{
    (void)state;
    rig_init(&rig, 2, 2, "breaker.probe", "100ms", NULL);
    const char *key = rig_key(&rig, 2, 0);
    for (int i = 1; i <= 3; i++) {
        rig_die(&rig.servers[0]);
        rig_turns(&rig, 20);
        assert_int_equal(exists(key), 0);
        assert_int_equal(rig_stats(&rig).servers_up, 1);
        rig_live(&rig.servers[0]);
        int before = rig.servers[0].requests;
        rig_pass(&rig, 10 * RIG_MS);
        assert_int_equal(rig.servers[0].accepted, i - 1); /* not yet */
        rig_pass(&rig, 200 * RIG_MS);
        assert_int_equal(rig.servers[0].accepted, i); /* without anybody's request */
        assert_int_equal(rig.servers[0].requests, before);
        assert_int_equal(rig_stats(&rig).servers_up, 2);
        assert_int_equal(exists(key), 0);
        assert_int_equal(rig.servers[0].requests, before + 1);
        assert_int_equal(rig_logged(&rig, "s0: not used"), i);
        assert_int_equal(rig_logged(&rig, "s0: answers again"), i);
    }
    rig_fini(&rig);
}

static int late(uint64_t timeout_ns)
{
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = timeout_ns};
    struct mkv_batch *b = rig_one(&rig, MKV_OP_EXISTS, "k", NULL, 0, &o);
    assert_int_equal(mkv_batch_submit(b), 0);
    int r = rig_wait(&rig, b);
    mkv_batch_destroy(&b);
    return r;
}

static void some_time_outs_in_a_row_open_it(void **state)
{
    (void)state;
    rig_init(&rig, 1, 1, "breaker.failures", "3", NULL);
    assert_int_equal(exists("k"), 0);
    for (int i = 0; i < 5; i++) {
        rig.servers[0].hold = true;
        assert_int_equal(late(50 * RIG_MS), -ETIMEDOUT);
        assert_int_equal(late(50 * RIG_MS), -ETIMEDOUT);
        rig_release(&rig.servers[0]); /* to nobody; but the next is answered: not in a row */
        assert_int_equal(exists("k"), 0);
    }
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    rig.servers[0].hold = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_stats(&rig).servers_up, 1);
        assert_int_equal(late(50 * RIG_MS), -ETIMEDOUT);
    }
    assert_int_equal(rig_stats(&rig).servers_up, 0);
    assert_int_equal(late(50 * RIG_MS), -ECONNRESET);
    assert_int_equal(rig_logged(&rig, "no answer in time"), 1);
    rig_fini(&rig);
}

/* However many requests it is sent in. */
static void a_large_batch_counts_once(void **state)
{
    (void)state;
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 50 * RIG_MS};
    rig_init(&rig, 1, 1, "breaker.failures", "3", NULL);
    assert_int_equal(exists("k"), 0);
    rig.servers[0].hold = true;
    int before = rig.servers[0].requests;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(rig_stats(&rig).servers_up, 1);
        struct mkv_batch *b = rig_batch(&rig, MKV_OP_EXISTS, "k", 20000, NULL, 0, &o);
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(rig_wait(&rig, b), -ETIMEDOUT);
        mkv_batch_destroy(&b);
        assert_true(rig.servers[0].requests >= before + 5 * i);
    }
    assert_int_equal(rig_stats(&rig).servers_up, 0);
    rig_fini(&rig);
}

/* Deadlines that nobody could keep are not the server's fault. */
static void short_deadlines_open_nothing(void **state)
{
    (void)state;
    rig_init(&rig, 1, 1, "breaker.failures", "1", NULL);
    assert_int_equal(exists("k"), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(late(1), -ETIMEDOUT);
        assert_int_equal(late(25000), -ETIMEDOUT);
    }
    assert_int_equal(rig_stats(&rig).servers_up, 1);
    assert_int_equal(exists("k"), 0);
    rig_fini(&rig);
}

static void nonsense_opens_it(void **state)
{
    (void)state;
    rig_init(&rig, 1, 1, "breaker.failures", "3", NULL);
    rig.servers[0].wrong = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(exists("k"), -EPROTO);
    }
    assert_int_equal(rig_stats(&rig).servers_up, 0);
    rig_fini(&rig);
}

/* The server wants a key: an error, not a warning, and callers learn what it is. */
static void a_key_on_one_side_only(void **state)
{
    (void)state;
    rig_init(&rig, 1, 1, "auth_key",
             "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", NULL);
    assert_int_equal(exists("k"), -EACCES);
    assert_int_equal(exists("k"), -EACCES);
    assert_int_equal(rig_stats(&rig).servers_up, 0);
    assert_int_equal(rig_logged(&rig, "0 s0: not used until it answers again"), 1);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_server_is_left_alone),
        cmocka_unit_test(nobody_answers_when_all_are_dead),
        cmocka_unit_test(probes_back_off_with_jitter),
        cmocka_unit_test(a_server_that_returns_is_used_again),
        cmocka_unit_test(some_time_outs_in_a_row_open_it),
        cmocka_unit_test(a_large_batch_counts_once),
        cmocka_unit_test(short_deadlines_open_nothing),
        cmocka_unit_test(nonsense_opens_it),
        cmocka_unit_test(a_key_on_one_side_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
