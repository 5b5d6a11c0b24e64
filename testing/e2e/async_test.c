/* Batches that are not waited for, deadlines, forks, and what is left behind. */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLIGHTS 64u
#define PAGES   16u
#define PAGE    16384u
#define CANARY  0xc5

static struct fleet fleet;

static int start(void **state)
{
    (void)state;
    fleet_start(&fleet, 2, "256M");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fleet_stop(&fleet);
    return 0;
}

static void many_by_submit_and_test(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, "get_timeout", "8s", NULL);
    struct mkv_batch *b[FLIGHTS];
    unsigned char *memory = calloc(FLIGHTS, PAGES * PAGE), *want = malloc(PAGES * PAGE);
    assert_true(memory != NULL && want != NULL);
    char tag[FLIGHTS][16];
    for (unsigned i = 0; i < FLIGHTS; i++) {
        snprintf(tag[i], sizeof(tag[i]), "many-%u", i);
        assert_int_equal(pages_write(c, tag[i], PAGES, PAGE), PAGES);
        b[i] = pages_batch(c, MKV_OP_GET, tag[i], PAGES, memory + i * PAGES * PAGE, PAGE, NULL);
    }
    for (unsigned i = 0; i < FLIGHTS; i++) {
        assert_int_equal(mkv_batch_submit(b[i]), 0);
        assert_int_equal(mkv_batch_submit(b[i]), -EBUSY);
    }
    unsigned left = FLIGHTS;
    bool seen[FLIGHTS] = {false};
    for (double end = fleet_now() + 20; left > 0 && fleet_now() < end;) {
        for (unsigned i = 0; i < FLIGHTS; i++) {
            if (!seen[i] && mkv_batch_test(b[i])) {
                seen[i] = true;
                left--;
            }
        }
    }
    assert_int_equal(left, 0);
    for (unsigned i = 0; i < FLIGHTS; i++) {
        assert_int_equal(mkv_batch_prefix(b[i]), PAGES);
        pages_fill(tag[i], PAGES, want, PAGE);
        assert_memory_equal(memory + i * PAGES * PAGE, want, PAGES * PAGE);
        mkv_batch_destroy(&b[i]);
    }
    free(memory);
    free(want);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void a_descriptor_to_wait_on(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    struct mkv_batch_options o = {.size = sizeof(o), .flags = MKV_NOTIFY};
    struct mkv_batch *b[FLIGHTS], *done[8];
    for (unsigned i = 0; i < FLIGHTS; i++) {
        b[i] = pages_batch(c, MKV_OP_EXISTS, "nothing", 10, NULL, 0, &o);
        assert_int_equal(mkv_batch_submit(b[i]), 0);
    }
    mkv_batch_destroy(&b[0]); /* never to be reaped */
    unsigned reaped = 0;
    while (reaped < FLIGHTS - 1) {
        struct pollfd p = {mkv_client_fd(c), POLLIN, 0};
        assert_int_equal(poll(&p, 1, 10000), 1);
        int n = mkv_client_reap(c, done, 8);
        for (int i = 0; i < n; i++) {
            assert_ptr_not_equal(done[i], b[0]);
            assert_int_equal(mkv_batch_status(done[i], 9), MKV_MISS);
        }
        reaped += (unsigned)n;
    }
    struct pollfd p = {mkv_client_fd(c), POLLIN, 0};
    assert_int_equal(poll(&p, 1, 0), 0);
    for (unsigned i = 1; i < FLIGHTS; i++) {
        mkv_batch_destroy(&b[i]);
    }
    assert_int_equal(mkv_client_close(&c), 0);
}

struct chain {
    struct mkv_client *client;
    unsigned rounds; /* atomic */
};

/* Uses its batch again, twenty times, on the worker; then lets it end. */
static void again(void *arg, struct mkv_batch *batch)
{
    struct chain *chain = arg;
    struct mkv_batch_options o = {.size = sizeof(o), .done = again, .done_arg = chain};
    if (mkv_batch_status(batch, 0) != MKV_MISS ||
        __atomic_add_fetch(&chain->rounds, 1, __ATOMIC_RELEASE) >= 20) {
        return;
    }
    if (mkv_batch_begin(batch, MKV_OP_EXISTS, &o) == 0 &&
        mkv_batch_add(batch, "nothing", 7, NULL, 0) == 0) {
        mkv_batch_submit(batch);
    }
}

static void callbacks_may_submit(void **state)
{
    (void)state;
    struct chain chain = {.client = fleet_client(&fleet, 2, NULL)};
    struct mkv_batch_options o = {.size = sizeof(o), .done = again, .done_arg = &chain};
    struct mkv_batch *b = pages_batch(chain.client, MKV_OP_EXISTS, "nothing", 1, NULL, 0, &o);
    assert_int_equal(mkv_batch_submit(b), 0);
    double end = fleet_now() + 20;
    while (__atomic_load_n(&chain.rounds, __ATOMIC_ACQUIRE) < 20) {
        assert_true(fleet_now() < end);
        usleep(100);
    }
    mkv_batch_wait(b);
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&chain.client), 0);
}

struct look {
    uint32_t inside, looked; /* atomic */
    int first_error;
};

/* Looks at its batch while another thread waits for it. */
static void look(void *arg, struct mkv_batch *batch)
{
    struct look *l = arg;
    l->first_error = mkv_batch_wait(batch) + (mkv_batch_test(batch) != 1);
    __atomic_store_n(&l->inside, 1, __ATOMIC_RELEASE);
    usleep(30000);
    l->first_error += mkv_batch_status(batch, 0) != MKV_MISS;
    __atomic_store_n(&l->looked, 1, __ATOMIC_RELEASE);
}

/* Who waits, tests or destroys comes after the callback, which has still its batch. */
static void nobody_is_told_before_the_callback_ends(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    for (int how = 0; how < 3; how++) {
        struct look l = {0};
        struct mkv_batch_options o = {.size = sizeof(o), .done = look, .done_arg = &l};
        struct mkv_batch *b = pages_batch(c, MKV_OP_EXISTS, "nothing", 1, NULL, 0, &o);
        assert_int_equal(mkv_batch_submit(b), 0);
        while (!__atomic_load_n(&l.inside, __ATOMIC_ACQUIRE)) {
            usleep(100);
        }
        if (how == 0) {
            assert_int_equal(mkv_batch_wait(b), 0);
        } else if (how == 1) {
            while (!mkv_batch_test(b)) {
                usleep(100);
            }
        } else {
            mkv_batch_destroy(&b);
        }
        assert_int_equal(__atomic_load_n(&l.looked, __ATOMIC_ACQUIRE), 1);
        assert_int_equal(l.first_error, 0);
        mkv_batch_destroy(&b);
    }
    assert_int_equal(mkv_client_close(&c), 0);
}

static void cancel_ends_early(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, "get_timeout", "8s", NULL);
    unsigned char *memory = calloc(PAGES, PAGE);
    assert_non_null(memory);
    assert_int_equal(pages_write(c, "cancel", PAGES, PAGE), PAGES);
    fleet_pause(&fleet, 0);
    fleet_pause(&fleet, 1);
    struct mkv_batch *b = pages_batch(c, MKV_OP_GET, "cancel", PAGES, memory, PAGE, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(mkv_batch_cancel(b), 0);
    assert_int_equal(mkv_batch_cancel(b), 0);
    assert_int_equal(mkv_batch_wait(b), -ECANCELED); /* not -ETIMEDOUT */
    assert_int_equal(mkv_batch_status(b, 3), MKV_UNKNOWN);
    assert_int_equal(mkv_batch_error(b, 3), -ECANCELED);
    memset(memory, CANARY, PAGES * PAGE);
    fleet_resume(&fleet, 0);
    fleet_resume(&fleet, 1);
    mkv_batch_destroy(&b);
    assert_int_equal(pages_read(c, "cancel", PAGES, PAGE), PAGES);
    for (size_t i = 0; i < PAGES * PAGE; i++) {
        assert_int_equal(memory[i], CANARY);
    }
    free(memory);
    assert_int_equal(mkv_client_close(&c), 0);
}

/* Both servers are stopped at some moment of a get. When the wait returns the memory is the
 * caller's: what is written into it then stays, whatever the servers send when they go on. */
static void late_gets_write_nothing(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, "breaker.failures", "1000", NULL);
    size_t page = 1u << 20, n = 16, size = n * page;
    unsigned char *memory = malloc(size + 2 * page), *want = malloc(size);
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 100000000};
    assert_true(memory != NULL && want != NULL);
    assert_int_equal(pages_write(c, "late", (unsigned)n, page), n);
    pages_fill("late", (unsigned)n, want, page);
    unsigned late = 0;
    for (unsigned round = 0; round < 12; round++) {
        memset(memory, CANARY, size + 2 * page);
        struct mkv_batch *b = pages_batch(c, MKV_OP_GET, "late", (unsigned)n, memory + page, page,
                                          &o);
        assert_int_equal(mkv_batch_submit(b), 0);
        usleep(round * 300);
        fleet_pause(&fleet, 0);
        fleet_pause(&fleet, 1);
        mkv_batch_wait(b); /* while both stand still: nothing but the deadline ends it */
        for (uint32_t i = 0; i < n; i++) {
            late += mkv_batch_error(b, i) == -ETIMEDOUT;
            if (mkv_batch_status(b, i) == MKV_HIT) {
                assert_memory_equal(memory + page + i * page, want + i * page, page);
            }
        }
        mkv_batch_destroy(&b);
        memset(memory + page, CANARY, size);
        fleet_resume(&fleet, 0);
        fleet_resume(&fleet, 1);
        assert_int_equal(pages_read(c, "late", (unsigned)n, page), n);
        for (size_t i = 0; i < size + 2 * page; i++) {
            assert_true(memory[i] == CANARY);
        }
    }
    print_message("%u keys were late\n", late);
    assert_true(late > 0);
    assert_true(fleet_stats(c).timeouts > 0);
    free(memory);
    free(want);
    assert_int_equal(mkv_client_close(&c), 0);
}

/* The same for a set: what the caller writes into its memory afterwards is never stored. */
static void late_sets_store_nothing_else(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, "breaker.failures", "1000", NULL);
    size_t page = 1u << 20, n = 8;
    unsigned char *memory = malloc(n * page);
    struct mkv_batch_options o = {.size = sizeof(o), .timeout_ns = 100000000};
    assert_non_null(memory);
    unsigned late = 0;
    for (unsigned round = 0; round < 12; round++) {
        char tag[32];
        snprintf(tag, sizeof(tag), "late-set-%u", round);
        pages_fill(tag, (unsigned)n, memory, page);
        struct mkv_batch *b = pages_batch(c, MKV_OP_SET, tag, (unsigned)n, memory, page, &o);
        assert_int_equal(mkv_batch_submit(b), 0);
        usleep(round * 300);
        fleet_pause(&fleet, 0);
        fleet_pause(&fleet, 1);
        mkv_batch_wait(b);
        for (uint32_t i = 0; i < n; i++) {
            late += mkv_batch_error(b, i) == -ETIMEDOUT;
        }
        memset(memory, 0, n * page);
        mkv_batch_destroy(&b);
        fleet_resume(&fleet, 0);
        fleet_resume(&fleet, 1);
        pages_read(c, tag, (unsigned)n, page); /* compares every byte of what is there */
        assert_int_equal(fleet_stats(c).checksum_errors, 0);
    }
    print_message("%u keys were late\n", late);
    assert_true(late > 0);
    free(memory);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void regions_are_counted(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, "get_timeout", "8s", NULL);
    unsigned char *memory = calloc(PAGES, PAGE);
    struct mkv_region *region = NULL;
    struct mkv_region_options cuda = {.size = sizeof(cuda), .kind = MKV_MEMORY_CUDA};
    assert_non_null(memory);
    assert_int_equal(mkv_region_open(c, memory, PAGES * PAGE, &cuda, &region), -ENOTSUP);
    assert_int_equal(mkv_region_open(c, NULL, 1, NULL, &region), -EINVAL);
    assert_int_equal(mkv_region_open(c, memory, PAGES * PAGE, NULL, &region), 0);
    fleet_pause(&fleet, 0);
    fleet_pause(&fleet, 1);
    struct mkv_batch *b = pages_batch(c, MKV_OP_GET, "region", PAGES, memory, PAGE, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(mkv_region_close(&region), -EBUSY);
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&c), -EBUSY);
    assert_int_equal(mkv_region_close(&region), 0);
    fleet_resume(&fleet, 0);
    fleet_resume(&fleet, 1);
    free(memory);
    assert_int_equal(mkv_client_close(&c), 0);
}

/* In the child: every handle answers, none is touched. Returns the number of what is wrong. */
static int in_child(struct mkv_client *c, struct mkv_batch *b)
{
    struct mkv_client_stats s = {.size = sizeof(s)};
    char out[1];
    int bad = 0;
    bad += mkv_exists(c, "k", 1) != -ECANCELED;
    bad += mkv_get(c, "k", 1, out, 1, NULL) != -ECANCELED;
    bad += mkv_batch_submit(b) != -ECANCELED;
    bad += mkv_batch_test(b) != 1;
    bad += mkv_batch_wait(b) != -ECANCELED;
    bad += mkv_batch_cancel(b) != -ECANCELED;
    bad += mkv_client_stats(c, &s) != -ECANCELED;
    bad += mkv_client_fd(c) != -ECANCELED;
    mkv_batch_destroy(&b);
    bad += mkv_client_close(&c) != 0;
#ifndef __SANITIZE_THREAD__ /* which allows no thread after a fork */
    struct mkv_client *own = fleet_client(&fleet, 2, NULL);
    bad += mkv_set(own, "child", 5, "x", 1) < 0;
    bad += mkv_get(own, "child", 5, out, 1, NULL) != 1;
    bad += mkv_client_close(&own) != 0;
#endif
    return bad;
}

static void forks_are_safe(void **state)
{
    (void)state;
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    struct mkv_batch *b = pages_batch(c, MKV_OP_EXISTS, "nothing", 4, NULL, 0, NULL);
    assert_int_equal(mkv_set(c, "parent", 6, "p", 1), 1);
    assert_int_equal(mkv_batch_submit(b), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(in_child(c, b));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(mkv_batch_wait(b), 0);
    assert_int_equal(mkv_exists(c, "parent", 6), 1);
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void nothing_is_left_behind(void **state)
{
    (void)state;
    char server_fds[64];
    snprintf(server_fds, sizeof(server_fds), "/proc/%d/fd", (int)fleet.servers[0].pid);
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    mkv_exists(c, "k", 1);
    mkv_client_close(&c);
    int fds = fleet_count("/proc/self/fd"), threads = fleet_count("/proc/self/task");
    int theirs = fleet_count(server_fds);
    for (int i = 0; i < 1000; i++) {
        c = fleet_client(&fleet, 1, NULL);
        if (i % 4 == 0) {
            assert_int_equal(mkv_exists(c, "k", 1), 0);
        }
        assert_int_equal(mkv_client_close(&c), 0);
    }
    assert_int_equal(fleet_count("/proc/self/fd"), fds);
    assert_int_equal(fleet_count("/proc/self/task"), threads);
    for (double end = fleet_now() + 10; fleet_count(server_fds) > theirs;) {
        assert_true(fleet_now() < end);
        usleep(1000);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_by_submit_and_test),
        cmocka_unit_test(a_descriptor_to_wait_on),
        cmocka_unit_test(callbacks_may_submit),
        cmocka_unit_test(nobody_is_told_before_the_callback_ends),
        cmocka_unit_test(cancel_ends_early),
        cmocka_unit_test(late_gets_write_nothing),
        cmocka_unit_test(late_sets_store_nothing_else),
        cmocka_unit_test(regions_are_counted),
        cmocka_unit_test(forks_are_safe),
        cmocka_unit_test(nothing_is_left_behind),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, start, stop);
}
