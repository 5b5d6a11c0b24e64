/* Rounds: messages, grace, deadline and cancel in every state, answers of every kind. */
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

#define PAGE 600u

static struct rig rig;

static void one_message_for_each_server(void **state)
{
    (void)state;
    rig_init(&rig, 4, 4, "placement_grace", "0", NULL);
    for (unsigned n = 100; n <= 4000; n *= 2) {
        uint64_t before = rig_stats(&rig).requests;
        rig_run(&rig, MKV_OP_EXISTS, "k", n, NULL, 0);
        assert_int_equal(rig_stats(&rig).requests - before, 4);
    }
    assert_int_equal(rig_stats(&rig).second_rounds, 0);
    rig_fini(&rig);
}

/* Of 9,000 keys for one server the first message has the first keys. */
static void large_batches_are_split_in_order(void **state)
{
    (void)state;
    unsigned char *memory = malloc(9000);
    assert_non_null(memory);
    rig_init(&rig, 1, 1, "placement_grace", "0", NULL);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 1, NULL, 0);
    rig_fill("k", 9000, memory, 1);
    rig.servers[0].hold = true;
    struct mkv_batch *b = rig_batch(&rig, MKV_OP_SET, "k", 9000, memory, 1, NULL);
    uint32_t keys = rig.servers[0].keys, first = 0;
    assert_int_equal(mkv_batch_submit(b), 0);
    for (int seen = 0, i = 0; i < 100; i++) {
        int before = rig.servers[0].n_held;
        rig_turn(&rig);
        if (rig.servers[0].n_held > before) {
            seen++;
            assert_true(rig.servers[0].position >= first);
            first = rig.servers[0].position;
        }
    }
    assert_int_equal(rig.servers[0].n_held, 3);
    assert_int_equal(rig.servers[0].keys - keys, 9000);
    rig_release(&rig.servers[0]);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_prefix(b), 9000);
    mkv_batch_destroy(&b);
    free(memory);
    rig_fini(&rig);
}

/* Grace ------------------------------------------------------------------------------------------ */

static void misses_are_asked_again_in_grace_only(void **state)
{
    (void)state;
    unsigned char memory[60 * PAGE], got[60 * PAGE];
    rig_init(&rig, 3, 3, "placement_grace", "60s", "breaker.probe", "100ms", NULL);
    rig_fill("g", 60, memory, PAGE);
    rig_die(&rig.servers[1]);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "g", 60, memory, PAGE), 60);
    assert_int_equal(rig_stats(&rig).servers_up, 2);
    rig_live(&rig.servers[1]);
    rig_pass(&rig, RIG_S);
    assert_int_equal(rig_stats(&rig).servers_up, 3);
    uint64_t before = rig_stats(&rig).second_rounds;
    assert_int_equal(rig_run(&rig, MKV_OP_EXISTS, "g", 60, NULL, 0), 60);
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "g", 60, got, PAGE), 60);
    assert_memory_equal(got, memory, sizeof(got));
    assert_int_equal(rig_stats(&rig).second_rounds - before, 2);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "new", 60, memory, PAGE), 60);
    before = rig_stats(&rig).second_rounds;
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "new", 60, got, PAGE), 60); /* nothing missed */
    assert_int_equal(rig_stats(&rig).second_rounds, before);
    rig_pass(&rig, 61 * RIG_S);
    assert_true(rig_run(&rig, MKV_OP_EXISTS, "g", 60, NULL, 0) < 60);
    assert_int_equal(rig_stats(&rig).second_rounds, before);
    assert_int_equal(rig_run(&rig, MKV_OP_EXISTS, "new", 60, NULL, 0), 60);
    rig_fini(&rig);
}

/* What the owner said stays when the next in rank cannot answer. */
static void a_miss_stays_a_miss(void **state)
{
    (void)state;
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 50 * RIG_MS};
    rig_init(&rig, 2, 2, "breaker.failures", "100", NULL);
    const char *key = rig_key(&rig, 2, 0);
    struct mkv_batch *b = rig_one(&rig, MKV_OP_EXISTS, key, NULL, 0, &o);
    rig.servers[1].say = MKV_WIRE_ERROR;
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), 0);
    assert_int_equal(mkv_batch_status(b, 0), MKV_MISS);
    assert_int_equal(rig.servers[1].requests, 1);
    rig.servers[1].hold = true;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        assert_int_equal(mkv_batch_begin(b, MKV_OP_EXISTS, &o), 0);
        assert_int_equal(mkv_batch_add(b, key, strlen(key), NULL, 0), 0);
        assert_int_equal(mkv_batch_submit(b), 0);
        rig_turns(&rig, 50);
        assert_int_equal(rig.servers[1].n_held, 1 + cancelled);
        if (cancelled) {
            assert_int_equal(mkv_batch_cancel(b), 0);
        }
        assert_int_equal(rig_wait(&rig, b), 0);
        assert_int_equal(mkv_batch_status(b, 0), MKV_MISS);
        assert_int_equal(mkv_batch_error(b, 0), 0);
    }
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

/* Deadline and cancel ---------------------------------------------------------------------------- */

enum where { UNBEGUN, CONNECTING, WAITING, SENT, MOVING, SECOND, WHERE };

/* Brings a get of one page of s0 to a state; returns it in flight. */
static struct mkv_batch *bring_to(enum where where, unsigned char *page, uint64_t timeout_ns)
{
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = timeout_ns};
    const char *key = rig_key(&rig, 2, where == SECOND ? 1 : 0);
    unsigned char value[PAGE] = {1};
    if (where != CONNECTING) {
        struct mkv_batch *set = rig_one(&rig, MKV_OP_SET, key, value, PAGE, NULL);
        assert_int_equal(mkv_batch_submit(set), 0);
        assert_int_equal(rig_wait(&rig, set), 0);
        mkv_batch_destroy(&set);
    }
    if (where == SECOND) {
        rig_forget(&rig.servers[1]);
        rig_run(&rig, MKV_OP_EXISTS, "connect-both", 20, NULL, 0);
    }
    rig.servers[0].stalled = where == CONNECTING;
    rig.servers[0].hold = where != MOVING;
    struct mkv_batch *b = rig_one(&rig, MKV_OP_GET, key, page, PAGE, &o);
    assert_int_equal(mkv_batch_submit(b), 0);
    if (where == MOVING) {
        for (int before = rig.servers[0].requests; rig.servers[0].requests == before;) {
            rig_turn(&rig);
        }
        rig.servers[0].stalled = true;
    } else if (where != UNBEGUN) {
        rig_turns(&rig, 50);
        assert_int_equal(rig.servers[0].n_held, where == SENT || where == SECOND ? 1 : 0);
    }
    return b;
}

static void fill_slots(struct mkv_batch **b)
{
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 7 * RIG_S};
    const char *key = rig_key(&rig, 2, 0);
    rig.servers[0].hold = true;
    for (unsigned i = 0; i < MKV_REQUESTS_MAX; i++) {
        b[i] = rig_one(&rig, MKV_OP_EXISTS, key, NULL, 0, &o);
        assert_int_equal(mkv_batch_submit(b[i]), 0);
    }
    rig_turns(&rig, 100);
}

static void end_in(enum where where, bool cancel)
{
    struct mkv_batch *fill[MKV_REQUESTS_MAX];
    unsigned char page[PAGE + 1] = {0}, zero[PAGE + 1] = {0};
    rig_init(&rig, 2, 2, "breaker.failures", "1000", "connect_timeout", "5s", NULL);
    if (where == WAITING) {
        fill_slots(fill);
    }
    uint64_t timeout_ns = 30 * RIG_MS;
    struct mkv_batch *b;
    if (where == WAITING) {
        struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = timeout_ns};
        b = rig_one(&rig, MKV_OP_GET, rig_key(&rig, 2, 0), page, PAGE, &o);
        assert_int_equal(mkv_batch_submit(b), 0);
        rig_turns(&rig, 50);
    } else {
        b = bring_to(where, page, timeout_ns);
    }
    assert_int_equal(mkv_batch_test(b), 0);
    uint64_t begin = rig.now_ns;
    if (cancel) {
        assert_int_equal(mkv_batch_cancel(b), 0);
    }
    int r = rig_wait(&rig, b);
    /* A turn and the fence; or what was left of the deadline, and these. */
    assert_true(rig.now_ns - begin <= (cancel ? 2 * 20000u : timeout_ns + 40000u));
    int why = cancel ? -ECANCELED : -ETIMEDOUT;
    assert_int_equal(r, where == SECOND ? 0 : why);
    assert_int_equal(mkv_batch_status(b, 0), where == SECOND ? MKV_MISS : MKV_UNKNOWN);
    memset(page, 0, sizeof(page)); /* the caller's own again */
    rig.servers[0].stalled = false;
    rig_release(&rig.servers[0]);
    rig_pass(&rig, RIG_S);
    assert_memory_equal(page, zero, sizeof(page));
    for (unsigned i = 0; where == WAITING && i < MKV_REQUESTS_MAX; i++) {
        assert_int_equal(rig_wait(&rig, fill[i]), 0);
        mkv_batch_destroy(&fill[i]);
    }
    mkv_batch_destroy(&b);
    rig_fini(&rig);
}

static void deadlines_hold_in_every_state(void **state)
{
    (void)state;
    for (int where = CONNECTING; where < WHERE; where++) {
        end_in((enum where)where, false);
    }
}

static void cancel_ends_it_in_every_state(void **state)
{
    (void)state;
    for (int where = UNBEGUN; where < WHERE; where++) {
        end_in((enum where)where, true);
    }
}

static void deadline_times(void **state)
{
    (void)state;
    rig_init(&rig, 1, 1, "breaker.failures", "1000", "exists_timeout", "200ms", NULL);
    rig_run(&rig, MKV_OP_EXISTS, "warm", 1, NULL, 0);
    rig.servers[0].hold = true;
    const struct {
        uint64_t timeout_ns, deadline_in_ns, want_ns;
    } cases[] = {
        {0, 0, 200 * RIG_MS},
        {70 * RIG_MS, 0, 70 * RIG_MS},
        {0, 30 * RIG_MS, 30 * RIG_MS},
        {10 * RIG_MS, 30 * RIG_MS, 10 * RIG_MS},
        {30 * RIG_MS, 10 * RIG_MS, 10 * RIG_MS},
        {100 * RIG_S, 0, 8 * RIG_S},
        {UINT64_MAX, 0, 8 * RIG_S},
        {0, UINT64_MAX / 2, 200 * RIG_MS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = cases[i].timeout_ns};
        o.deadline_ns = cases[i].deadline_in_ns > 0 ? rig.now_ns + cases[i].deadline_in_ns : 0;
        struct mkv_batch *b = rig_one(&rig, MKV_OP_EXISTS, "k", NULL, 0, &o);
        uint64_t begin = rig.now_ns;
        assert_int_equal(mkv_batch_submit(b), 0);
        while (!mkv_batch_test(b)) {
            rig.now_ns += RIG_MS;
            rig_turn(&rig);
        }
        assert_int_equal(mkv_batch_wait(b), -ETIMEDOUT);
        assert_in_range(rig.now_ns - begin, cases[i].want_ns, cases[i].want_ns + 3 * RIG_MS);
        mkv_batch_destroy(&b);
    }
    /* One that has passed already bothers nobody. */
    int before = rig.servers[0].requests;
    struct mkv_batch_options o = {.size = sizeof(o), .deadline_ns = rig.now_ns - 1};
    struct mkv_batch *b = rig_one(&rig, MKV_OP_EXISTS, "k", NULL, 0, &o);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(rig_wait(&rig, b), -ETIMEDOUT);
    rig_turns(&rig, 50);
    assert_int_equal(rig.servers[0].requests, before);
    mkv_batch_destroy(&b);
    rig_release(&rig.servers[0]);
    rig_fini(&rig);
}

/* Answers ---------------------------------------------------------------------------------------- */

static void every_status_has_its_meaning(void **state)
{
    (void)state;
    enum { GET = MKV_OP_GET, SET = MKV_OP_SET, EXISTS = MKV_OP_EXISTS, DELETE = MKV_OP_DELETE };
    static const struct {
        int op;
        uint8_t say;
        enum mkv_status status;
        int error;
    } cases[] = {
        {GET, MKV_WIRE_MISS, MKV_MISS, 0},
        {GET, MKV_WIRE_SKIPPED, MKV_MISS, 0},
        {GET, MKV_WIRE_LATE, MKV_UNKNOWN, -ETIMEDOUT},
        {GET, MKV_WIRE_DENIED, MKV_REFUSED, -EACCES},
        {GET, MKV_WIRE_ERROR, MKV_UNKNOWN, -EPROTO},
        {GET, MKV_WIRE_STORED, MKV_UNKNOWN, -EPROTO},
        {GET, MKV_WIRE_KEPT, MKV_UNKNOWN, -EPROTO},
        {GET, MKV_WIRE_DELETED, MKV_UNKNOWN, -EPROTO},
        {SET, MKV_WIRE_STORED, MKV_STORED, 0},
        {SET, MKV_WIRE_KEPT, MKV_KEPT, 0},
        {SET, MKV_WIRE_CONFLICT, MKV_REFUSED, -EMSGSIZE},
        {SET, MKV_WIRE_BUSY, MKV_UNKNOWN, -EAGAIN},
        {SET, MKV_WIRE_FULL, MKV_FULL, -ENOSPC},
        {SET, MKV_WIRE_LATE, MKV_UNKNOWN, -ETIMEDOUT},
        {SET, MKV_WIRE_DAMAGED, MKV_UNKNOWN, -EPROTO},
        {SET, MKV_WIRE_DENIED, MKV_REFUSED, -EACCES},
        {SET, MKV_WIRE_HIT, MKV_UNKNOWN, -EPROTO},
        {SET, MKV_WIRE_MISS, MKV_UNKNOWN, -EPROTO},
        {EXISTS, MKV_WIRE_HIT, MKV_HIT, 0},
        {EXISTS, MKV_WIRE_MISS, MKV_MISS, 0},
        {EXISTS, MKV_WIRE_STORED, MKV_UNKNOWN, -EPROTO},
        {DELETE, MKV_WIRE_DELETED, MKV_DELETED, 0},
        {DELETE, MKV_WIRE_MISS, MKV_MISS, 0},
        {DELETE, MKV_WIRE_DENIED, MKV_REFUSED, -EACCES},
        {DELETE, MKV_WIRE_HIT, MKV_UNKNOWN, -EPROTO},
    };
    unsigned char value[8] = {0};
    rig_init(&rig, 1, 1, "breaker.failures", "1000", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool bytes = cases[i].op == GET || cases[i].op == SET;
        rig.servers[0].say = cases[i].say;
        struct mkv_batch *b = rig_one(&rig, (enum mkv_op)cases[i].op, "k", bytes ? value : NULL, 8,
                                      NULL);
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(rig_wait(&rig, b), cases[i].error);
        assert_int_equal(mkv_batch_status(b, 0), cases[i].status);
        assert_int_equal(mkv_batch_error(b, 0), cases[i].error);
        mkv_batch_destroy(&b);
    }
    rig_fini(&rig);
}

static void answers_that_are_none(void **state)
{
    (void)state;
    rig_init(&rig, 1, 1, "breaker.failures", "1000", NULL);
    for (int how = 0; how < 2; how++) {
        rig.servers[0].short_ = how == 0;
        rig.servers[0].wrong = how == 1;
        struct mkv_batch *b = rig_batch(&rig, MKV_OP_EXISTS, "k", 10, NULL, 0, NULL);
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(rig_wait(&rig, b), -EPROTO);
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(mkv_batch_status(b, i), MKV_UNKNOWN);
        }
        mkv_batch_destroy(&b);
    }
    rig_fini(&rig);
}

/* Wrong bytes are a miss, are counted, and the server is told to look at them again. */
static void damage_is_a_miss_and_reported(void **state)
{
    (void)state;
    unsigned char memory[10 * PAGE], got[10 * PAGE];
    rig_init(&rig, 1, 1, NULL);
    rig_fill("d", 10, memory, PAGE);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, "d", 10, memory, PAGE), 10);
    rig.servers[0].spoil = true;
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "d", 10, got, PAGE), 0);
    rig_turns(&rig, 50);
    assert_int_equal(rig_stats(&rig).checksum_errors, 10);
    assert_int_equal(rig.servers[0].reports, 1);
    assert_int_equal(rig_stats(&rig).hits, 0);
    /* Said to be there without a byte moved. */
    rig.servers[0].spoil = false;
    rig.servers[0].say = MKV_WIRE_HIT;
    rig.servers[0].other = PAGE;
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "d", 10, got, PAGE), 0);
    rig.servers[0].say = 0;
    assert_int_equal(rig_run(&rig, MKV_OP_GET, "d", 10, got, PAGE), 10);
    rig_fini(&rig);
}

static void what_a_batch_asks_for_travels(void **state)
{
    (void)state;
    unsigned char value[4] = {0};
    static const struct {
        enum mkv_op op;
        uint32_t flags, want;
        uint8_t cls;
    } cases[] = {
        {MKV_OP_EXISTS, 0, MKV_REQ_LEASE, MKV_CLASS_URGENT},
        {MKV_OP_EXISTS, MKV_NO_LEASE, 0, MKV_CLASS_URGENT},
        {MKV_OP_EXISTS, MKV_REPLACE | MKV_PREFIX, MKV_REQ_LEASE, MKV_CLASS_URGENT},
        {MKV_OP_GET, MKV_PREFIX, MKV_REQ_PREFIX, MKV_CLASS_URGENT},
        {MKV_OP_GET, MKV_REPLACE | MKV_BACKGROUND, 0, MKV_CLASS_BACKGROUND},
        {MKV_OP_SET, MKV_REPLACE, MKV_REQ_REPLACE | MKV_REQ_UNSUMMED, MKV_CLASS_URGENT},
        {MKV_OP_SET, MKV_PREFIX, MKV_REQ_UNSUMMED, MKV_CLASS_URGENT},
    };
    rig_init(&rig, 1, 1, "placement_grace", "0", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mkv_batch_options o = {.size = sizeof(o), .flags = cases[i].flags};
        bool bytes = cases[i].op != MKV_OP_EXISTS;
        struct mkv_batch *b = rig_one(&rig, cases[i].op, "k", bytes ? value : NULL, 4, &o);
        assert_int_equal(mkv_batch_submit(b), 0);
        rig_wait(&rig, b);
        assert_int_equal(rig.servers[0].flags, cases[i].want);
        assert_int_equal(rig.servers[0].cls, cases[i].cls);
        mkv_batch_destroy(&b);
    }
    rig_fini(&rig);
}

/* Of sets they come with the bytes, or ahead where the server reads those by itself; or where somebody
 * wants to know whether what is kept differs. Nobody asks for those of gets without checksums. */
static void when_checksums_are_made(void **state)
{
    (void)state;
    unsigned char value[4] = "abc", back[4];
    struct mkv__transport fenced = mkv__fake;
    static const struct {
        const char *checksum;
        bool fenced;
        uint32_t flags, set, get;
    } cases[] = {
        {"yes", true, 0, 0, 0},
        {"yes", true, MKV_DIFFERS, 0, 0},
        {"yes", false, 0, MKV_REQ_UNSUMMED, 0},
        {"yes", false, MKV_DIFFERS, 0, 0},
        {"no", true, 0, MKV_REQ_UNSUMMED, MKV_REQ_UNSUMMED},
        {"no", true, MKV_DIFFERS, 0, MKV_REQ_UNSUMMED},
        {"no", false, 0, MKV_REQ_UNSUMMED, MKV_REQ_UNSUMMED},
        {"no", false, MKV_DIFFERS, 0, MKV_REQ_UNSUMMED},
    };
    rig_setting.transport = &fenced;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mkv_batch_options o = {.size = sizeof(o), .flags = cases[i].flags};
        fenced.limits.reads_are_fenced = cases[i].fenced;
        rig_init(&rig, 1, 1, "placement_grace", "0", "checksum", cases[i].checksum, NULL);
        struct mkv_batch *b = rig_one(&rig, MKV_OP_SET, "k", value, sizeof(value), &o);
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(rig_wait(&rig, b), 0);
        assert_int_equal(mkv_batch_status(b, 0), MKV_STORED);
        assert_int_equal(rig.servers[0].flags, cases[i].set);
        assert_int_equal(rig.servers[0].checksum != 0, cases[i].set == 0);
        value[0] ^= 1; /* it keeps what it has */
        assert_int_equal(mkv_batch_begin(b, MKV_OP_SET, &o), 0);
        struct mkv_segment segment = {value, sizeof(value)};
        assert_int_equal(mkv_batch_add(b, "k", 1, &segment, 1), 0);
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(rig_wait(&rig, b), 0);
        assert_int_equal(mkv_batch_status(b, 0), MKV_KEPT);
        assert_int_equal(mkv_batch_differs(b, 0), cases[i].flags == MKV_DIFFERS);
        mkv_batch_destroy(&b);
        value[0] ^= 1;
        b = rig_one(&rig, MKV_OP_GET, "k", back, sizeof(back), NULL);
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(rig_wait(&rig, b), 0);
        assert_int_equal(mkv_batch_status(b, 0), MKV_HIT);
        assert_int_equal(rig.servers[0].flags, cases[i].get);
        assert_memory_equal(back, value, sizeof(value));
        mkv_batch_destroy(&b);
        assert_int_equal(rig.servers[0].damaged, 0);
        rig_fini(&rig);
    }
    rig_setting.transport = NULL;
}

/* So that servers count what differs: of one batch in 64. */
static void a_sample_has_them_ahead(void **state)
{
    (void)state;
    unsigned char value[4] = "abc";
    int ahead = 0;
    rig_init(&rig, 1, 1, NULL);
    for (int i = 0; i < 256; i++) {
        char tag[16];
        snprintf(tag, sizeof(tag), "t%d", i);
        assert_int_equal(rig_run(&rig, MKV_OP_SET, tag, 1, value, sizeof(value)), 1);
        ahead += rig.servers[0].flags == 0;
    }
    assert_int_equal(ahead, 4);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_for_each_server),
        cmocka_unit_test(large_batches_are_split_in_order),
        cmocka_unit_test(misses_are_asked_again_in_grace_only),
        cmocka_unit_test(a_miss_stays_a_miss),
        cmocka_unit_test(deadlines_hold_in_every_state),
        cmocka_unit_test(cancel_ends_it_in_every_state),
        cmocka_unit_test(deadline_times),
        cmocka_unit_test(every_status_has_its_meaning),
        cmocka_unit_test(answers_that_are_none),
        cmocka_unit_test(damage_is_a_miss_and_reported),
        cmocka_unit_test(what_a_batch_asks_for_travels),
        cmocka_unit_test(when_checksums_are_made),
        cmocka_unit_test(a_sample_has_them_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
