#include "core/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

/* A sink that remembers the last line. */
struct memory {
    int n;
    int level;
    size_t len;
    char line[2 * MKV_LOG_LINE];
};

static void remember(void *arg, int level, const char *line, size_t len)
{
    struct memory *m = arg;
    m->n++;
    m->level = level;
    m->len = len;
    assert_true(len < MKV_LOG_LINE);
    memcpy(m->line, line, len + 1);
}

static int evaluated;

static int costly(void)
{
    return ++evaluated;
}

static void test_levels(void **state)
{
    (void)state;
    struct memory m = {0};
    struct mkv__log log;
    mkv__log_init(&log, MKV__LOG_WARNING, remember, &m);
    MKV_ERROR(&log, "%s: gone", "10.0.0.1:9900");
    assert_string_equal(m.line, "10.0.0.1:9900: gone");
    assert_int_equal(m.len, strlen(m.line));
    assert_int_equal(m.level, MKV__LOG_ERROR);
    MKV_WARNING(&log, "slow");
    assert_int_equal(m.n, 2);
    MKV_INFO(&log, "not wanted");
    assert_int_equal(m.n, 2);
    mkv__log_set_level(&log, MKV__LOG_DEBUG);
    MKV_DEBUG(&log, "wanted now");
    assert_string_equal(m.line, "wanted now");
}

static void test_arguments_of_unwanted_lines_are_not_computed(void **state)
{
    (void)state;
    struct memory m = {0};
    struct mkv__log log;
    evaluated = 0;
    mkv__log_init(&log, MKV__LOG_ERROR, remember, &m);
    MKV_INFO(&log, "%d", costly());
    assert_int_equal(evaluated, 0);
    MKV_ERROR(&log, "%d", costly());
    assert_int_equal(evaluated, 1);
}

static void test_no_log_is_a_log(void **state)
{
    (void)state;
    struct mkv__log *none = NULL;
    struct mkv__log_limit limit = {0};
    evaluated = 0;
    MKV_ERROR(none, "%d", costly());
    MKV_LIMITED(none, &limit, MKV__LOG_ERROR, "%d", costly());
    assert_int_equal(evaluated, 0);
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    struct memory m = {0};
    struct mkv__log log;
    char text[2 * MKV_LOG_LINE];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    mkv__log_init(&log, MKV__LOG_INFO, remember, &m);
    MKV_INFO(&log, "%s", text);
    assert_int_equal(m.len, MKV_LOG_LINE - 1);
    assert_string_equal(m.line + m.len - 4, "x...");
    text[MKV_LOG_LINE] = '\0'; /* one too long */
    MKV_INFO(&log, "%s", text);
    assert_int_equal(m.len, MKV_LOG_LINE - 1);
    assert_string_equal(m.line + m.len - 4, "x...");
    text[MKV_LOG_LINE - 1] = '\0'; /* the longest that fits */
    MKV_INFO(&log, "%s", text);
    assert_int_equal(m.len, MKV_LOG_LINE - 1);
    assert_string_equal(m.line + m.len - 4, "xxxx");
}

static void test_a_peer_cannot_forge_a_line(void **state)
{
    (void)state;
    struct memory m = {0};
    struct mkv__log log;
    mkv__log_init(&log, MKV__LOG_INFO, remember, &m);
    MKV_INFO(&log, "%s", "a\nmemkv: error: b\r\x1b[31m\x7f\t\xc3\xa4");
    assert_string_equal(m.line, "a memkv: error: b??[31m? \xc3\xa4");
}

static void test_bucket(void **state)
{
    (void)state;
    struct mkv__log_limit limit;
    uint64_t now = 1000 * SECOND;
    uint64_t suppressed = 99;
    mkv__log_limit_init(&limit, 2, SECOND);
    assert_true(mkv__log_limit_take(&limit, now, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_true(mkv__log_limit_take(&limit, now, &suppressed));
    for (int i = 0; i < 3; i++) {
        assert_false(mkv__log_limit_take(&limit, now, &suppressed));
    }
    assert_false(mkv__log_limit_take(&limit, now + SECOND - 1, &suppressed));
    assert_true(mkv__log_limit_take(&limit, now + SECOND, &suppressed));
    assert_int_equal(suppressed, 4);
    assert_false(mkv__log_limit_take(&limit, now + SECOND, &suppressed));
    /* full again, and never more than full */
    assert_true(mkv__log_limit_take(&limit, now + 100 * SECOND, &suppressed));
    assert_int_equal(suppressed, 1);
    assert_true(mkv__log_limit_take(&limit, now + 100 * SECOND, &suppressed));
    assert_false(mkv__log_limit_take(&limit, now + 100 * SECOND, &suppressed));
}

static void test_a_zeroed_limiter_works(void **state)
{
    (void)state;
    struct mkv__log_limit limit = {0};
    uint64_t suppressed;
    for (int i = 0; i < 5; i++) {
        assert_true(mkv__log_limit_take(&limit, 0, &suppressed));
    }
    assert_false(mkv__log_limit_take(&limit, 0, &suppressed));
    assert_true(mkv__log_limit_take(&limit, SECOND, &suppressed));
}

static void test_limited_lines_say_what_was_not_shown(void **state)
{
    (void)state;
    struct memory m = {0};
    struct mkv__log log;
    struct mkv__log_limit limit;
    mkv__log_init(&log, MKV__LOG_INFO, remember, &m);
    mkv__log_limit_init(&limit, 1, 3600 * SECOND);
    for (int i = 0; i < 18; i++) {
        MKV_LIMITED(&log, &limit, MKV__LOG_WARNING, "frame %d is bad", i);
    }
    assert_int_equal(m.n, 1);
    assert_string_equal(m.line, "frame 0 is bad");
    limit.full_at_ns = 0; /* an hour later */
    MKV_LIMITED(&log, &limit, MKV__LOG_WARNING, "frame %d is bad", 18);
    assert_string_equal(m.line, "frame 18 is bad (17 more like this were not shown)");
    assert_int_equal(m.len, strlen(m.line));
    limit.full_at_ns = 0;
    limit.suppressed = 1;
    MKV_LIMITED(&log, &limit, MKV__LOG_WARNING, "frame is bad");
    assert_string_equal(m.line, "frame is bad (1 more like this were not shown)");
}

static void test_what_is_told_also_fits_a_long_line(void **state)
{
    (void)state;
    struct memory m = {0};
    struct mkv__log log;
    struct mkv__log_limit limit = {.suppressed = UINT64_MAX};
    char text[2 * MKV_LOG_LINE];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    mkv__log_init(&log, MKV__LOG_INFO, remember, &m);
    MKV_LIMITED(&log, &limit, MKV__LOG_WARNING, "%s", text);
    assert_int_equal(m.len, MKV_LOG_LINE - 1);
    assert_non_null(strstr(m.line, "x... (18446744073709551615 more like this were not shown)"));
}

static void *take_many(void *arg)
{
    uint64_t suppressed;
    uintptr_t passed = 0;
    for (int i = 0; i < 20000; i++) {
        passed += mkv__log_limit_take(arg, 1, &suppressed);
    }
    return (void *)passed;
}

/* The bucket holds what it holds, also when many take at once. */
static void test_bucket_is_shared(void **state)
{
    (void)state;
    struct mkv__log_limit limit;
    pthread_t threads[4];
    uintptr_t passed = 0;
    mkv__log_limit_init(&limit, 1000, SECOND);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &limit), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        passed += (uintptr_t)result;
    }
    assert_int_equal(passed, 1000);
}

static void test_stderr_lines(void **state)
{
    (void)state;
    int pipe_fds[2];
    char out[200];
    assert_int_equal(pipe(pipe_fds), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(pipe_fds[1], STDERR_FILENO) >= 0);
    struct mkv__log log;
    mkv__log_init(&log, MKV__LOG_INFO, NULL, NULL);
    MKV_WARNING(&log, "%s: no answer", "a");
    dup2(saved, STDERR_FILENO);
    ssize_t n = read(pipe_fds[0], out, sizeof(out) - 1);
    assert_true(n > 0);
    out[n] = '\0';
    assert_string_equal(out, "memkv: warning: a: no answer\n");
    close(saved);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* It hangs where a line waits for a reader. */
static void test_a_full_pipe_is_not_waited_for(void **state)
{
    (void)state;
    int pipe_fds[2];
    char out[100000];
    assert_int_equal(pipe(pipe_fds), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(pipe_fds[1], STDERR_FILENO) >= 0);
    struct mkv__log log;
    mkv__log_init(&log, MKV__LOG_INFO, NULL, NULL);
    for (int i = 0; i < 20000; i++) {
        MKV_WARNING(&log, "line");
    }
    ssize_t n = read(pipe_fds[0], out, sizeof(out));
    MKV_WARNING(&log, "there is room again");
    ssize_t m = read(pipe_fds[0], out, sizeof(out));
    dup2(saved, STDERR_FILENO);
    assert_true(n > 1000 && n % (ssize_t)strlen("memkv: warning: line\n") == 0);
    assert_true(m > 0 && memmem(out, (size_t)m, "again", 5) != NULL);
    close(saved);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_arguments_of_unwanted_lines_are_not_computed),
        cmocka_unit_test(test_no_log_is_a_log),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_a_peer_cannot_forge_a_line),
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_a_zeroed_limiter_works),
        cmocka_unit_test(test_limited_lines_say_what_was_not_shown),
        cmocka_unit_test(test_what_is_told_also_fits_a_long_line),
        cmocka_unit_test(test_bucket_is_shared),
        cmocka_unit_test(test_stderr_lines),
        cmocka_unit_test(test_a_full_pipe_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
