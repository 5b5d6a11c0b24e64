/* What a batch costs when nothing is new: allocations, messages and system calls, counted. */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE    1024u
#define MOST    1024u
#define BATCHES 1000
#define TRACED  200
#define SERVERS 3

/* Every allocation of this process, the client's worker's included. */
static long allocations; /* atomic */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static void count(void)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    count();
    return __libc_realloc(old, size);
}

static struct fleet fleet;
static unsigned char memory[MOST * PAGE];
static char keys[MOST][32];

static int start(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MOST; i++) {
        snprintf(keys[i], sizeof(keys[i]), "count-%u", i);
    }
    fleet_start(&fleet, SERVERS, "64M");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fleet_stop(&fleet);
    return 0;
}

static int run(struct mkv_batch *b, enum mkv_op op, unsigned n)
{
    int r = mkv_batch_begin(b, op, NULL);
    for (unsigned i = 0; i < n && r >= 0; i++) {
        struct mkv_segment s = {memory + i * PAGE, PAGE};
        r = mkv_batch_add(b, keys[i], strlen(keys[i]), &s, op == MKV_OP_EXISTS ? 0 : 1);
    }
    r = r < 0 ? r : mkv_batch_submit(b);
    return r < 0 ? r : mkv_batch_wait(b);
}

static void nothing_is_allocated_and_messages_are_few(void **state)
{
    (void)state;
    static const enum mkv_op ops[] = {MKV_OP_SET, MKV_OP_GET, MKV_OP_EXISTS};
    struct mkv_client *c = fleet_client(&fleet, SERVERS, "placement_grace", "0", NULL);
    struct mkv_batch *b;
    assert_int_equal(mkv_batch_create(c, &b), 0);
    for (int warm = 0; warm < 20; warm++) {
        for (int i = 0; i < 3; i++) {
            assert_int_equal(run(b, ops[i], 128), 0);
        }
    }
    for (int i = 0; i < 3; i++) {
        uint64_t requests = fleet_stats(c).requests;
        long before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
        int failed = 0;
        for (int n = 0; n < BATCHES; n++) {
            failed += run(b, ops[i], 128) != 0;
        }
        long after = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
        assert_int_equal(failed, 0);
        assert_int_equal(mkv_batch_prefix(b), 128);
        print_message("%s: %ld allocations in %d batches\n",
                      (const char *[]){"set", "get", "exists"}[i], after - before, BATCHES);
        assert_int_equal(after - before, 0);
        assert_int_equal(fleet_stats(c).requests - requests, (uint64_t)BATCHES * SERVERS);
    }
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&c), 0);
}

/* Nor where a batch is split: a message for each rail. */
static void rails_cost_a_message_each(void **state)
{
    (void)state;
    fleet_rails = 2;
    struct mkv_client *c = fleet_client(&fleet, 1, "placement_grace", "0", NULL);
    fleet_rails = 0;
    struct mkv_batch *b;
    assert_int_equal(mkv_batch_create(c, &b), 0);
    for (int warm = 0; warm < 20; warm++) {
        assert_int_equal(run(b, MKV_OP_SET, MOST), 0);
        assert_int_equal(run(b, MKV_OP_GET, MOST), 0);
        assert_int_equal(run(b, MKV_OP_EXISTS, MOST), 0);
    }
    uint64_t requests = fleet_stats(c).requests;
    long before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
    for (int n = 0; n < BATCHES / 10; n++) {
        assert_int_equal(run(b, MKV_OP_GET, MOST), 0);
        assert_int_equal(run(b, MKV_OP_EXISTS, MOST), 0);
    }
    assert_int_equal(__atomic_load_n(&allocations, __ATOMIC_RELAXED) - before, 0);
    assert_int_equal(fleet_stats(c).requests - requests, BATCHES / 10 * 3);
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&c), 0);
}

/* System calls ------------------------------------------------------------------------------------ */

/* Marks for the tracer: a call that nothing else here makes. */
static void mark(void)
{
    syscall(SYS_getppid);
}

static int traced(unsigned n)
{
    int failed = 0;
    struct mkv_client *c = fleet_client(&fleet, SERVERS, "placement_grace", "0", "spin", "never",
                                        NULL);
    struct mkv_batch *b;
    failed += mkv_batch_create(c, &b) != 0;
    for (int i = 0; i < 20; i++) {
        failed += run(b, MKV_OP_SET, n) != 0;
        failed += run(b, MKV_OP_EXISTS, n) != 0;
    }
    mark();
    for (int i = 0; i < TRACED; i++) {
        failed += run(b, MKV_OP_EXISTS, n) != 0;
    }
    mark();
    mkv_batch_destroy(&b);
    failed += mkv_client_close(&c) != 0;
    return failed;
}

/* System calls of all threads between the two marks; -1: it may not be traced here. */
static long count_calls(unsigned n)
{
    long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    int status = 0, marks = 0;
    long calls = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) {
            _exit(99);
        }
        raise(SIGSTOP);
        _exit(traced(n) != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSTOPPED(status)) {
        return -1;
    }
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, NULL, options), 0);
    assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        assert_true(pid > 0);
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == child) {
                assert_int_equal(status, 0);
                break;
            }
            continue;
        }
        int signal = WSTOPSIG(status);
        if (signal == (SIGTRAP | 0x80)) {
            struct __ptrace_syscall_info info = {0};
            assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
                marks += info.entry.nr == SYS_getppid;
                calls += marks == 1;
            }
            signal = 0;
        }
        bool own = signal == 0 || signal == SIGTRAP || signal == SIGSTOP;
        (void)ptrace(PTRACE_SYSCALL, pid, NULL, own ? 0L : (long)signal);
    }
    assert_int_equal(marks, 2);
    return calls;
}

/* As many for a thousand keys as for eight: none is made per key. */
static void system_calls_do_not_grow_with_the_keys(void **state)
{
    (void)state;
    long few = count_calls(8), many = count_calls(MOST);
    assert_true(few > 0 && many > 0);
    double a = (double)few / TRACED, b = (double)many / TRACED;
    print_message("system calls of an exists over %d servers: %.1f (8 keys), %.1f (%u keys)\n",
                  SERVERS, a, b, MOST);
    /* Caller: a write to wake the worker, a futex. Worker: reading the eventfd; for each server a
     * send, a receive, one more that finds nothing, a wait; a futex. */
    assert_true(a <= 6 + 5 * SERVERS);
    assert_true(b <= 6 + 5 * SERVERS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_allocated_and_messages_are_few),
        cmocka_unit_test(rails_cost_a_message_each),
        cmocka_unit_test(system_calls_do_not_grow_with_the_keys),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, start, stop);
}
