#include "core/pin.h"

#include "core/base.h"
#include "core/os/claim.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct mkv__cpu_set all;
static char claims[256]; /* of this test alone: other workers of the host are not its matter */
static unsigned first, second; /* two allowed CPUs; the same one where there is one only */

static struct mkv__pin_options options_of(const char *cpus)
{
    return (struct mkv__pin_options){.cpus = cpus, .numa_node = -1, .claims_path = claims};
}

static int set_up(void **state)
{
    (void)state;
    unlink(claims);
    return mkv__cpu_bind(&all);
}

static void bind_to(unsigned a, unsigned b)
{
    struct mkv__cpu_set set = {{0}};
    mkv__cpu_add(&set, a);
    mkv__cpu_add(&set, b);
    assert_int_equal(mkv__cpu_bind(&set), 0);
}

static bool runs_only_on(const struct mkv__cpu_set *wanted)
{
    struct mkv__cpu_set set;
    return mkv__cpu_allowed(&set) == 0 && memcmp(&set, wanted, sizeof(set)) == 0;
}

static void test_lists(void **state)
{
    (void)state;
    struct mkv__cpu_set set;
    static const char *const bad[] = {"",    ",",   "1,",   "-1",
                                      "3-1", "a",   "1024", "0-99999",
                                      "1 2", "0x1", "1-",   "99999999999999999999"};
    assert_int_equal(mkv__cpu_parse("0-3,8,1023", &set), 0);
    assert_int_equal(mkv__cpu_count(&set), 6);
    assert_true(mkv__cpu_has(&set, 0) && mkv__cpu_has(&set, 3) && mkv__cpu_has(&set, 8) &&
                mkv__cpu_has(&set, 1023));
    assert_false(mkv__cpu_has(&set, 4));
    for (size_t i = 0; i < MKV_ARRAY_LEN(bad); i++) {
        assert_int_equal(mkv__cpu_parse(bad[i], &set), -EINVAL);
    }
}

static void test_claims(void **state)
{
    (void)state;
    struct stat st;
    mode_t old = umask(077);
    int a = mkv__claims_open(claims);
    umask(old);
    int b = mkv__claims_open(claims);
    assert_true(a >= 0 && b >= 0);
    assert_int_equal(stat(claims, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666);
    assert_int_equal(mkv__claims_take(a, 5), 0);
    assert_int_equal(mkv__claims_take(b, 5), -EAGAIN);
    assert_int_equal(mkv__claims_take(b, 6), 0);
    assert_true(mkv__claims_held(b, 5));
    assert_false(mkv__claims_held(a, 5)); /* by another */
    mkv__claims_drop(a, 5);
    assert_int_equal(mkv__claims_take(b, 5), 0);
    close(b);
    assert_int_equal(mkv__claims_take(a, 6), 0);
    close(a);
    assert_true(mkv__claims_open("/dev/null/x") < 0);
}

/* Descriptor 0 is as good as any, in a process that has closed its standard input. */
static void test_claims_of_descriptor_zero(void **state)
{
    (void)state;
    struct mkv__pin pin;
    struct mkv__pin_options options = options_of(NULL);
    int kept = dup(0);
    close(0);
    mkv__pin_take(&pin, &options);
    assert_int_equal(pin.claims, 0);
    assert_int_equal(pin.cpu, first);
    mkv__pin_drop(&pin);
    assert_int_equal(pin.claims, -1);
    if (kept >= 0) {
        dup2(kept, 0);
        close(kept);
    }
}

static void test_one_cpu_for_two(void **state)
{
    (void)state;
    struct mkv__pin a, b;
    struct mkv__pin_options options = options_of(NULL);
    struct mkv__cpu_set one = {{0}};
    mkv__cpu_add(&one, first);
    bind_to(first, first);
    mkv__pin_take(&a, &options);
    assert_int_equal(a.cpu, first);
    assert_false(mkv__pin_may_spin(&a)); /* there is no other to wait on */
    mkv__pin_take(&b, &options);
    assert_int_equal(b.cpu, -1);
    assert_non_null(b.note);
    assert_true(runs_only_on(&one));
    assert_false(mkv__pin_may_spin(&b));
    mkv__pin_drop(&a);
    mkv__pin_take(&b, &options);
    assert_int_equal(b.cpu, first);
    mkv__pin_drop(&b);
    mkv__pin_drop(&b);
}

static void test_spin_only_with_a_cpu_to_spare(void **state)
{
    (void)state;
    if (first == second) {
        print_message("skipped: only one CPU is allowed here\n");
        skip();
    }
    struct mkv__pin a, b;
    struct mkv__pin_options options = options_of(NULL);
    bind_to(first, second);
    mkv__pin_take(&a, &options);
    assert_true(mkv__pin_may_spin(&a));
    bind_to(first, second);
    mkv__pin_take(&b, &options);
    assert_true(a.cpu >= 0 && b.cpu >= 0 && a.cpu != b.cpu);
    assert_false(mkv__pin_may_spin(&a));
    assert_false(mkv__pin_may_spin(&b));
    mkv__pin_drop(&b);
    assert_true(mkv__pin_may_spin(&a));
    mkv__pin_drop(&a);
}

static void test_a_list_overrides(void **state)
{
    (void)state;
    struct mkv__pin pin;
    char list[16];
    snprintf(list, sizeof(list), "%u", second);
    bind_to(first, first); /* what the process has now does not matter */
    struct mkv__pin_options options = options_of(list);
    mkv__pin_take(&pin, &options);
    assert_int_equal(pin.cpu, second);
    assert_null(pin.note);
    mkv__pin_drop(&pin);
}

static void test_a_useless_list_is_told(void **state)
{
    (void)state;
    static const char *const lists[] = {"1023", "x"};
    for (size_t i = 0; i < MKV_ARRAY_LEN(lists); i++) {
        struct mkv__pin pin;
        struct mkv__pin_options options = options_of(lists[i]);
        bind_to(first, first);
        mkv__pin_take(&pin, &options);
        assert_int_equal(pin.cpu, first);
        assert_non_null(strstr(pin.note, "cpus"));
        mkv__pin_drop(&pin);
    }
}

static void test_without_claims_the_set_is_kept(void **state)
{
    (void)state;
    struct mkv__pin pin;
    struct mkv__pin_options options = options_of(NULL);
    options.claims_path = "/dev/null/none";
    mkv__pin_take(&pin, &options);
    assert_int_equal(pin.cpu, -1);
    assert_non_null(pin.note);
    assert_true(runs_only_on(&all));
    assert_false(mkv__pin_may_spin(&pin));
    mkv__pin_drop(&pin);
}

static void test_a_node_that_is_not_there(void **state)
{
    (void)state;
    struct mkv__pin pin;
    struct mkv__pin_options options = options_of(NULL);
    options.numa_node = 12345;
    mkv__pin_take(&pin, &options);
    assert_int_equal(pin.cpu, first);
    mkv__pin_drop(&pin);
}

/* Processes ------------------------------------------------------------------------------------ */

struct process {
    pid_t pid;
    int cpu, cpus; /* its own, -1: none; how many it may run on */
    int release;   /* a byte here lets the process end */
};

static void run_process(int report, int release)
{
    struct mkv__pin pin;
    struct mkv__pin_options options = options_of(NULL);
    struct mkv__cpu_set set;
    char c;
    mkv__pin_take(&pin, &options);
    int answer[2] = {pin.cpu, mkv__cpu_allowed(&set) == 0 ? (int)mkv__cpu_count(&set) : -1};
    if (write(report, answer, sizeof(answer)) != sizeof(answer) || read(release, &c, 1) != 1) {
        _exit(1);
    }
    _exit(0); /* without dropping */
}

static struct process start_process(void)
{
    struct process p;
    int report[2], release[2], answer[2];
    assert_int_equal(pipe(report), 0);
    assert_int_equal(pipe(release), 0);
    p.pid = fork();
    if (p.pid == 0) {
        close(release[1]);
        run_process(report[1], release[0]);
    }
    close(report[1]);
    close(release[0]);
    assert_int_equal(read(report[0], answer, sizeof(answer)), sizeof(answer));
    close(report[0]);
    p.release = release[1];
    p.cpu = answer[0];
    p.cpus = answer[1];
    return p;
}

static void end_process(struct process *p, bool kill_it)
{
    int status;
    if (kill_it) {
        signal(SIGPIPE, SIG_IGN);
        assert_int_equal(kill(p->pid, SIGKILL), 0);
    }
    assert_true(write(p->release, "x", 1) == 1 || kill_it);
    close(p->release);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_int_equal(kill_it ? WTERMSIG(status) : WEXITSTATUS(status), kill_it ? SIGKILL : 0);
}

static void test_processes_take_different_cpus(void **state)
{
    (void)state;
    if (first == second) {
        print_message("skipped: only one CPU is allowed here\n");
        skip();
    }
    bind_to(first, second);
    struct process p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = start_process();
    }
    assert_int_equal(p[0].cpu, first);
    assert_int_equal(p[1].cpu, second);
    assert_int_equal(p[0].cpus, 1);
    assert_int_equal(p[1].cpus, 1);
    for (int i = 2; i < 4; i++) { /* none is free: they keep both */
        assert_int_equal(p[i].cpu, -1);
        assert_int_equal(p[i].cpus, 2);
    }
    end_process(&p[1], true);
    p[1] = start_process(); /* a claim does not outlive its process */
    assert_int_equal(p[1].cpu, second);
    end_process(&p[0], false);
    p[0] = start_process();
    assert_int_equal(p[0].cpu, first);
    for (int i = 0; i < 4; i++) {
        end_process(&p[i], i % 2);
    }
}

int main(void)
{
    const char *dir = getenv("TEST_TMPDIR");
    snprintf(claims, sizeof(claims), "%s/memkv-pin-test-%d", dir != NULL ? dir : "/tmp",
             (int)getpid());
    if (mkv__cpu_allowed(&all) < 0) {
        return 1;
    }
    while (!mkv__cpu_has(&all, first)) {
        first++;
    }
    second = first;
    for (unsigned i = first + 1; i < MKV__CPUS && second == first; i++) {
        second = mkv__cpu_has(&all, i) ? i : first;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_lists, set_up),
        cmocka_unit_test_setup(test_claims, set_up),
        cmocka_unit_test_setup(test_claims_of_descriptor_zero, set_up),
        cmocka_unit_test_setup(test_one_cpu_for_two, set_up),
        cmocka_unit_test_setup(test_spin_only_with_a_cpu_to_spare, set_up),
        cmocka_unit_test_setup(test_a_list_overrides, set_up),
        cmocka_unit_test_setup(test_a_useless_list_is_told, set_up),
        cmocka_unit_test_setup(test_without_claims_the_set_is_kept, set_up),
        cmocka_unit_test_setup(test_a_node_that_is_not_there, set_up),
        cmocka_unit_test_setup(test_processes_take_different_cpus, set_up),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(claims);
    return r;
}
