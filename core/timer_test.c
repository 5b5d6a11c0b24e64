#include "core/timer.h"

#include "core/base.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TIMERS 500

static uint32_t random_of(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void never(struct mkv__worker *worker, struct mkv__timer *timer)
{
    (void)worker;
    (void)timer;
}

/* Takes all that are left, first due first. Returns how many. */
static int drain(struct mkv__timer **root)
{
    int n = 0;
    uint64_t last = 0;
    while (*root != NULL) {
        struct mkv__timer *t = *root;
        assert_true(mkv__timer_armed(t));
        assert_true(t->due_ns >= last);
        last = t->due_ns;
        mkv__timers_remove(root, t);
        assert_false(mkv__timer_armed(t));
        n++;
    }
    return n;
}

static void test_order(void **state)
{
    (void)state;
    static struct mkv__timer timers[TIMERS];
    struct mkv__timer *root = NULL;
    uint32_t seed = 1;
    for (int i = 0; i < TIMERS; i++) {
        mkv__timer_init(&timers[i], never);
        timers[i].due_ns = random_of(&seed) % 100;
        mkv__timers_insert(&root, &timers[i]);
    }
    assert_int_equal(drain(&root), TIMERS);
}

/* Any mixture of insert and remove, from anywhere in the heap, beside a plain array. */
static void test_any_may_be_removed(void **state)
{
    (void)state;
    static struct mkv__timer timers[TIMERS];
    for (uint32_t seed = 1, round = 0; round < 50; round++) {
        struct mkv__timer *root = NULL;
        int armed = 0;
        for (int i = 0; i < TIMERS; i++) {
            mkv__timer_init(&timers[i], never);
        }
        for (int step = 0; step < 4 * TIMERS; step++) {
            struct mkv__timer *t = &timers[random_of(&seed) % TIMERS];
            if (mkv__timer_armed(t)) {
                mkv__timers_remove(&root, t);
                armed--;
            } else {
                t->due_ns = random_of(&seed);
                mkv__timers_insert(&root, t);
                armed++;
            }
            if (root != NULL && t->link != NULL) {
                assert_true(root->due_ns <= t->due_ns);
            }
        }
        assert_int_equal(drain(&root), armed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_any_may_be_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
