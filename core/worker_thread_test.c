/* The worker on its thread. */
#include "core/worker.h"

#include "core/base.h"
#include "core/completion.h"
#include "core/fault.h"
#include "core/os/clock.h"
#include "core/os/cpu.h"
#include "core/pin.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS 1000

static uint64_t turns; /* atomic */

static void count_turn(void *arg)
{
    (void)arg;
    __atomic_fetch_add(&turns, 1, __ATOMIC_RELAXED);
}

static struct mkv__worker *started(void)
{
    struct mkv__worker *worker = NULL;
    struct mkv__worker_options options = {.name = "test", .numa_node = -1, .quiescent = count_turn};
    assert_int_equal(mkv__worker_create(&options, &worker), 0);
    assert_int_equal(mkv__worker_start(worker), 0);
    return worker;
}

struct call {
    struct mkv__task task;
    struct mkv__completion done;
    int number, answer;
};

static void answer(struct mkv__worker *worker, struct mkv__task *task)
{
    struct call *call = MKV_CONTAINER_OF(task, struct call, task);
    call->answer = mkv__worker_is_current(worker) ? 2 * call->number : -1;
    mkv__completion_done(&call->done);
}

/* One call at a time, so that the worker goes to sleep, or nearly, before each: a wake-up that is
 * lost hangs the test. */
static void *ping(void *arg)
{
    struct mkv__worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct call call = {.task.run = answer, .number = i};
        mkv__completion_init(&call.done, 1);
        mkv__worker_post(worker, &call.task);
        mkv__completion_wait(&call.done, mkv__worker_may_spin(worker));
        if (call.answer != 2 * i) {
            return worker;
        }
    }
    return NULL;
}

static void test_posts_wake_a_sleeping_worker(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads *= 4) {
        struct mkv__worker *worker = started();
        pthread_t pingers[4];
        void *wrong;
        assert_false(mkv__worker_is_current(worker));
        for (int i = 0; i < threads; i++) {
            assert_int_equal(pthread_create(&pingers[i], NULL, ping, worker), 0);
        }
        for (int i = 0; i < threads; i++) {
            pthread_join(pingers[i], &wrong);
            assert_null(wrong);
        }
        mkv__worker_stop(worker);
        mkv__worker_destroy(&worker);
    }
}

struct chain {
    struct mkv__task task;
    int left;
};

static void run_chain(struct mkv__worker *worker, struct mkv__task *task)
{
    struct chain *chain = MKV_CONTAINER_OF(task, struct chain, task);
    if (--chain->left > 0) {
        mkv__worker_post(worker, task);
    }
}

static void test_stop_runs_the_inbox(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct mkv__worker *worker = started();
        struct chain chain = {.task.run = run_chain, .left = 1000};
        mkv__worker_post(worker, &chain.task);
        mkv__worker_stop(worker);
        assert_int_equal(chain.left, 0);
        assert_int_equal(mkv__worker_start(worker), 0); /* it may be started again */
        mkv__worker_stop(worker);
        mkv__worker_destroy(&worker);
    }
}

/* Idling --------------------------------------------------------------------------------------- */

struct idle {
    struct mkv__timer timer;
    struct mkv__poller poller;
    struct mkv__completion done;
    uint64_t turns, cpu_ns, wall_ns;
    int polls;
    int steps;
};

static int poll_nothing(struct mkv__poller *poller, uint64_t now_ns)
{
    (void)now_ns;
    MKV_CONTAINER_OF(poller, struct idle, poller)->polls++;
    return 0;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Fires three times; between the second and the third the worker has had nothing to do. */
static void idle_step(struct mkv__worker *worker, struct mkv__timer *timer)
{
    struct idle *idle = MKV_CONTAINER_OF(timer, struct idle, timer);
    uint64_t now_turns = __atomic_load_n(&turns, __ATOMIC_RELAXED);
    idle->turns = now_turns - idle->turns;
    idle->cpu_ns = cpu_ns() - idle->cpu_ns;
    idle->wall_ns = mkv__clock_ns() - idle->wall_ns;
    if (++idle->steps == 2) {
        mkv__completion_done(&idle->done);
        return;
    }
    idle->turns = now_turns;
    idle->cpu_ns = cpu_ns();
    idle->wall_ns = mkv__clock_ns();
    mkv__timer_set(worker, timer, mkv__worker_now(worker) + 500000000u);
}

struct begin {
    struct mkv__task task;
    struct idle *idle;
    bool polls;
};

static void begin_idle(struct mkv__worker *worker, struct mkv__task *task)
{
    struct begin *begin = MKV_CONTAINER_OF(task, struct begin, task);
    mkv__timer_init(&begin->idle->timer, idle_step);
    mkv__timer_set(worker, &begin->idle->timer, mkv__worker_now(worker) + 10000000u);
    if (begin->polls) {
        begin->idle->poller.poll = poll_nothing;
        mkv__worker_add_poller(worker, &begin->idle->poller);
    }
}

static struct idle idle_for_half_a_second(bool polls)
{
    struct mkv__worker *worker = started();
    struct idle idle = {.steps = 0};
    struct begin begin = {.task.run = begin_idle, .idle = &idle, .polls = polls};
    mkv__completion_init(&idle.done, 1);
    mkv__worker_post(worker, &begin.task);
    mkv__completion_wait(&idle.done, false);
    mkv__worker_stop(worker);
    if (polls) {
        mkv__worker_remove_poller(worker, &idle.poller);
    }
    mkv__worker_destroy(&worker);
    return idle;
}

static void test_idling_is_cheap(void **state)
{
    (void)state;
    struct idle idle = idle_for_half_a_second(false);
    print_message("idle: %llu turns, %.3f%% of a core\n", (unsigned long long)idle.turns,
                  100.0 * (double)idle.cpu_ns / (double)idle.wall_ns);
    /* A few turns of lingering after the timer where there are CPUs to spare, then none. */
    assert_true(idle.turns < 1000);
    assert_true(idle.cpu_ns < idle.wall_ns / 100);
}

static void test_polling_without_work_is_cheap(void **state)
{
    (void)state;
    struct idle idle = idle_for_half_a_second(true);
    print_message("idle, polling: %llu turns, %.3f%% of a core\n", (unsigned long long)idle.turns,
                  100.0 * (double)idle.cpu_ns / (double)idle.wall_ns);
    assert_true(idle.polls > 30);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    assert_true(idle.cpu_ns < idle.wall_ns / 100);
#endif
}

/* The thread ----------------------------------------------------------------------------------- */

struct seen {
    struct mkv__task task;
    sigset_t blocked;
    char name[16];
};

static void look_around(struct mkv__worker *worker, struct mkv__task *task)
{
    struct seen *seen = MKV_CONTAINER_OF(task, struct seen, task);
    (void)worker;
    pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
    pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
}

static void test_signals_are_the_programs(void **state)
{
    (void)state;
    struct mkv__worker *worker = started();
    struct seen seen = {.task.run = look_around};
    mkv__worker_post(worker, &seen.task);
    mkv__worker_stop(worker);
    assert_true(sigismember(&seen.blocked, SIGINT));
    assert_true(sigismember(&seen.blocked, SIGTERM));
    assert_true(sigismember(&seen.blocked, SIGCHLD));
    assert_false(sigismember(&seen.blocked, SIGSEGV)); /* a crash handler sees it */
    assert_string_equal(seen.name, "test");
    mkv__worker_destroy(&worker);
}

static int descriptors_of(const char *path)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        char link[32], target[256] = "";
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n += readlink(link, target, sizeof(target) - 1) > 0 && strcmp(target, path) == 0;
    }
    return n;
}

/* In a child the parent's worker has no thread: what closes it must neither hang nor touch it. Nor
 * may the child keep the parent's CPU claimed. */
static void test_a_forked_child_may_close(void **state)
{
    (void)state;
    struct mkv__worker *worker = started();
    pid_t child = fork();
    if (child == 0) {
        mkv__worker_stop(worker);
        mkv__worker_destroy(&worker);
        _exit(worker == NULL && descriptors_of(MKV__PIN_CLAIMS) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_null(ping(worker)); /* the parent's goes on */
    mkv__worker_stop(worker);
    mkv__worker_destroy(&worker);
}

/* Processes ------------------------------------------------------------------------------------ */

static void works_in_a_child(const char *cpus, pid_t *child_out)
{
    *child_out = fork();
    if (*child_out == 0) {
        struct mkv__worker *worker = NULL;
        struct mkv__worker_options options = {.name = "test", .numa_node = -1, .cpus = cpus};
        int r = mkv__worker_create(&options, &worker);
        if (r == 0) {
            r = mkv__worker_start(worker);
        }
        if (r == 0) {
            r = ping(worker) != NULL;
            mkv__worker_stop(worker);
        }
        mkv__worker_destroy(&worker);
        _exit(r != 0);
    }
}

static void all_make_progress(const char *cpus)
{
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        works_in_a_child(cpus, &children[i]);
    }
    for (int i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void test_four_processes_make_progress(void **state)
{
    (void)state;
    all_make_progress(NULL);
}

/* Posters and workers alike on one CPU: who spins for the other there never ends. */
static void test_one_allowed_cpu(void **state)
{
    (void)state;
    struct mkv__cpu_set all, one = {{0}};
    assert_int_equal(mkv__cpu_allowed(&all), 0);
    unsigned cpu = 0;
    while (!mkv__cpu_has(&all, cpu)) {
        cpu++;
    }
    mkv__cpu_add(&one, cpu);
    assert_int_equal(mkv__cpu_bind(&one), 0);
    struct mkv__worker *worker = started();
    assert_true(mkv__worker_cpu(worker) == (int)cpu || mkv__worker_cpu(worker) == -1);
    assert_false(mkv__worker_may_spin(worker));
    assert_null(ping(worker));
    mkv__worker_stop(worker);
    mkv__worker_destroy(&worker);
    all_make_progress(NULL);
    assert_int_equal(mkv__cpu_bind(&all), 0);
}

/* Fails wherever there is a CPU to spare. */
static void test_never_to_spin_is_respected(void **state)
{
    (void)state;
    struct mkv__worker *worker = NULL;
    struct mkv__worker_options options = {.name = "test", .numa_node = -1, .spin = MKV_SPIN_NEVER};
    assert_int_equal(mkv__worker_create(&options, &worker), 0);
    assert_int_equal(mkv__worker_start(worker), 0);
    assert_false(mkv__worker_may_spin(worker));
    assert_null(ping(worker));
    assert_false(mkv__worker_may_spin(worker));
    mkv__worker_stop(worker);
    mkv__worker_destroy(&worker);
}

struct busy {
    struct mkv__poller poller;
    struct mkv__source source;
    struct mkv__task begin, end;
    struct mkv__completion came, ended;
    bool works;
};

/* As if something always came. */
static int always_works(struct mkv__poller *poller, uint64_t now_ns)
{
    (void)now_ns;
    return MKV_CONTAINER_OF(poller, struct busy, poller)->works;
}

static void came(struct mkv__worker *worker, struct mkv__source *source, unsigned events)
{
    char byte;
    (void)worker;
    (void)events;
    assert_int_equal(read(source->fd, &byte, 1), 1);
    mkv__completion_done(&MKV_CONTAINER_OF(source, struct busy, source)->came);
}

static void begin_busy(struct mkv__worker *worker, struct mkv__task *task)
{
    struct busy *b = MKV_CONTAINER_OF(task, struct busy, begin);
    b->poller.poll = always_works;
    b->works = true;
    mkv__worker_add_poller(worker, &b->poller);
    assert_int_equal(mkv__worker_watch(worker, &b->source, MKV_READABLE), 0);
}

static void end_busy(struct mkv__worker *worker, struct mkv__task *task)
{
    struct busy *b = MKV_CONTAINER_OF(task, struct busy, end);
    mkv__worker_remove_poller(worker, &b->poller);
    mkv__worker_unwatch(worker, &b->source);
    mkv__completion_done(&b->ended);
}

static void hears(struct busy *b, int fd)
{
    mkv__completion_init(&b->came, 1);
    assert_int_equal(write(fd, "", 1), 1);
    mkv__completion_wait(&b->came, false);
}

/* Until it has none for a while: a machine that is busy makes looks, too. */
static void until_no_looks(const struct mkv__worker *worker)
{
    uint64_t looks, end = mkv__clock_ns() + 10000000000u;
    do {
        looks = mkv__worker_looks(worker);
        mkv__clock_sleep_ns(50000000);
        assert_true(mkv__clock_ns() < end);
    } while (looks == 0 || mkv__worker_looks(worker) != looks);
}

/* A worker that polls without a pause asks the kernel for nothing, and hears of everything. Where nobody
 * can look out for it, it asks. */
static void test_polling_makes_no_calls(void **state)
{
    static const char *const faults[] = {"none", "lookout.memory", "lookout.thread"};
    struct mkv__worker_options options = {.name = "test", .numa_node = -1, .spin = MKV_SPIN_ALWAYS};
    (void)state;
    for (int f = 0; f < 3; f++) {
        struct mkv__worker *worker = NULL;
        struct busy b = {.source.ready = came, .begin.run = begin_busy, .end.run = end_busy};
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        b.source.fd = ends[0];
        mkv__completion_init(&b.ended, 1);
        mkv__fault_arm(faults[f], 1, 1);
        assert_int_equal(mkv__worker_create(&options, &worker), 0);
        assert_int_equal(mkv__worker_start(worker), 0);
        mkv__worker_post(worker, &b.begin);
        for (int i = 0; i < 5; i++) {
            if (f == 0) {
                until_no_looks(worker);
            }
            hears(&b, ends[1]);
            mkv__clock_sleep_ns(10000000);
        }
        mkv__worker_post(worker, &b.end);
        mkv__completion_wait(&b.ended, false);
        mkv__worker_stop(worker);
        mkv__worker_destroy(&worker);
        assert_int_equal(mkv__fault_disarm(), f > 0);
        close(ends[0]);
        close(ends[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_four_processes_make_progress), /* forks: before there are threads */
        cmocka_unit_test(test_one_allowed_cpu),
        cmocka_unit_test(test_never_to_spin_is_respected),
        cmocka_unit_test(test_polling_makes_no_calls),
        cmocka_unit_test(test_posts_wake_a_sleeping_worker),
        cmocka_unit_test(test_stop_runs_the_inbox),
        cmocka_unit_test(test_idling_is_cheap),
        cmocka_unit_test(test_polling_without_work_is_cheap),
        cmocka_unit_test(test_signals_are_the_programs),
        cmocka_unit_test(test_a_forked_child_may_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
