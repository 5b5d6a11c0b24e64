#include "core/log_ring.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct memory {
    int n;
    int level;
    char lines[16][MKV_LOG_LINE];
};

static void remember(void *arg, int level, const char *line, size_t len)
{
    struct memory *m = arg;
    assert_int_equal(len, strlen(line));
    m->level = level;
    memcpy(m->lines[m->n++], line, len + 1);
}

static struct mkv__log_ring *make(unsigned lines)
{
    struct mkv__log_ring *ring;
    assert_int_equal(mkv__log_ring_create(lines, &ring), 0);
    return ring;
}

static void put(struct mkv__log_ring *ring, const char *line)
{
    mkv__log_ring_put(ring, MKV__LOG_INFO, line, strlen(line));
}

static void test_sizes(void **state)
{
    (void)state;
    struct mkv__log_ring *ring = NULL;
    static const unsigned bad[] = {0, 1, 3, 131072};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(mkv__log_ring_create(bad[i], &ring), -EINVAL);
    }
    assert_null(ring);
    mkv__log_ring_destroy(&ring);
}

static void test_lines_come_out_in_order(void **state)
{
    (void)state;
    struct mkv__log_ring *ring = make(4);
    struct memory m = {0};
    struct mkv__log log;
    mkv__log_init(&log, MKV__LOG_INFO, mkv__log_ring_put, ring);
    for (int round = 0; round < 10; round++) { /* several times round the ring */
        m.n = 0;
        MKV_INFO(&log, "one %d", round);
        MKV_WARNING(&log, "two");
        assert_int_equal(mkv__log_ring_drain(ring, remember, &m), 2);
        assert_int_equal(m.n, 2);
        assert_memory_equal(m.lines[0], "one ", 4);
        assert_string_equal(m.lines[1], "two");
        assert_int_equal(m.level, MKV__LOG_WARNING);
    }
    assert_int_equal(mkv__log_ring_drain(ring, remember, &m), 0);
    mkv__log_ring_destroy(&ring);
}

static void test_full_drops_counts_and_tells(void **state)
{
    (void)state;
    struct mkv__log_ring *ring = make(2);
    struct memory m = {0};
    put(ring, "a");
    put(ring, "b");
    put(ring, "c");
    put(ring, "d");
    assert_int_equal(mkv__log_ring_dropped(ring), 2);
    assert_int_equal(mkv__log_ring_drain(ring, remember, &m), 3);
    assert_string_equal(m.lines[0], "a");
    assert_string_equal(m.lines[1], "b");
    assert_string_equal(m.lines[2], "log: 2 lines were dropped, too many came");
    assert_int_equal(m.level, MKV__LOG_WARNING);
    put(ring, "e"); /* there is room again, and the loss is told once */
    m.n = 0;
    assert_int_equal(mkv__log_ring_drain(ring, remember, &m), 1);
    assert_string_equal(m.lines[0], "e");
    mkv__log_ring_destroy(&ring);
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    struct mkv__log_ring *ring = make(2);
    struct memory m = {0};
    char line[MKV_LOG_LINE + 10];
    memset(line, 'x', sizeof(line));
    mkv__log_ring_put(ring, MKV__LOG_INFO, line, MKV_LOG_LINE - 1);
    mkv__log_ring_put(ring, MKV__LOG_INFO, line, MKV_LOG_LINE);
    assert_int_equal(mkv__log_ring_drain(ring, remember, &m), 2);
    assert_int_equal(strlen(m.lines[0]), MKV_LOG_LINE - 1);
    assert_int_equal(strlen(m.lines[1]), MKV_LOG_LINE - 1);
    mkv__log_ring_destroy(&ring);
}

static void test_stop_ends_the_wait_and_lines_stay(void **state)
{
    (void)state;
    struct mkv__log_ring *ring = make(2);
    struct memory m = {0};
    put(ring, "last words");
    assert_true(mkv__log_ring_wait(ring)); /* at once: there is a line */
    mkv__log_ring_stop(ring);
    assert_false(mkv__log_ring_wait(ring));
    assert_int_equal(mkv__log_ring_drain(ring, remember, &m), 1);
    assert_string_equal(m.lines[0], "last words");
    mkv__log_ring_destroy(&ring);
}

/* Four writers, one reader that sleeps: every line comes whole and in its writer's order, or is
 * counted as dropped. */
enum { WRITERS = 4, LINES = 20000 };

struct stress {
    struct mkv__log_ring *ring;
    int writer;
    long last[WRITERS];
    uint64_t seen, told;
};

static void *write_lines(void *arg)
{
    struct stress *s = arg;
    for (int i = 0; i < LINES; i++) {
        char line[64];
        int len = snprintf(line, sizeof(line), "%d %d %d", s->writer, i, i);
        mkv__log_ring_put(s->ring, MKV__LOG_INFO, line, (size_t)len);
    }
    return NULL;
}

static void check_line(void *arg, int level, const char *line, size_t len)
{
    struct stress *s = arg;
    int writer = -1;
    long i = -1, again = -2;
    (void)len;
    if (level == MKV__LOG_WARNING) {
        unsigned long n = 0;
        assert_int_equal(sscanf(line, "log: %lu lines", &n), 1);
        s->told += n;
        return;
    }
    assert_int_equal(sscanf(line, "%d %ld %ld", &writer, &i, &again), 3);
    assert_in_range(writer, 0, WRITERS - 1);
    assert_int_equal(i, again);
    assert_true(i > s->last[writer]);
    s->last[writer] = i;
    s->seen++;
}

static void *read_lines(void *arg)
{
    struct stress *s = arg;
    while (mkv__log_ring_wait(s->ring)) {
        mkv__log_ring_drain(s->ring, check_line, s);
    }
    while (mkv__log_ring_drain(s->ring, check_line, s) > 0) {
    }
    return NULL;
}

static void test_stress(void **state)
{
    (void)state;
    struct stress reader = {.ring = make(64), .last = {-1, -1, -1, -1}};
    struct stress writers[WRITERS];
    pthread_t reading, writing[WRITERS];
    assert_int_equal(pthread_create(&reading, NULL, read_lines, &reader), 0);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct stress){.ring = reader.ring, .writer = i};
        assert_int_equal(pthread_create(&writing[i], NULL, write_lines, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writing[i], NULL);
    }
    mkv__log_ring_stop(reader.ring);
    pthread_join(reading, NULL);
    assert_int_equal(reader.seen + reader.told, WRITERS * LINES);
    assert_int_equal(reader.told, mkv__log_ring_dropped(reader.ring));
    mkv__log_ring_destroy(&reader.ring);
}

/* Line by line: each put must wake the reader, else this test does not end; and nothing else does. */
static void echo(void *arg, int level, const char *line, size_t len)
{
    (void)level;
    (void)line;
    (void)len;
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_SEQ_CST);
}

struct ping {
    struct mkv__log_ring *ring;
    int count;
    int woken; /* the reader's */
};

static void *answer(void *arg)
{
    struct ping *p = arg;
    while (mkv__log_ring_wait(p->ring)) {
        p->woken++;
        mkv__log_ring_drain(p->ring, echo, &p->count);
    }
    return NULL;
}

static void test_every_line_wakes(void **state)
{
    (void)state;
    struct ping p = {.ring = make(2)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, answer, &p), 0);
    for (int i = 1; i <= 2000; i++) {
        put(p.ring, "x");
        while (__atomic_load_n(&p.count, __ATOMIC_SEQ_CST) < i) {
            sched_yield();
        }
    }
    mkv__log_ring_stop(p.ring);
    pthread_join(thread, NULL);
    assert_in_range(p.woken, 1, 2000);
    assert_int_equal(mkv__log_ring_dropped(p.ring), 0);
    mkv__log_ring_destroy(&p.ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_lines_come_out_in_order),
        cmocka_unit_test(test_full_drops_counts_and_tells),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_stop_ends_the_wait_and_lines_stay),
        cmocka_unit_test(test_stress),
        cmocka_unit_test(test_every_line_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
