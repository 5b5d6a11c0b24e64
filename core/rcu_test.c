#include "core/rcu.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define READERS 2
#define ROUNDS  200

struct object {
    int a, b; /* b = -a while it lives, both 0 after */
};

static struct object *shared;
static int ending;  /* atomic */
static int started; /* atomic */

static struct object *make(int a)
{
    struct object *o = malloc(sizeof(*o));
    *o = (struct object){a, -a};
    return o;
}

static void unmake(struct object *o)
{
    o->a = o->b = 0;
    free(o);
}

static bool good(const struct object *o)
{
    return o != NULL && o->a > 0 && o->b == -o->a;
}

static void *read_bp(void *arg)
{
    bool *ok = arg;
    *ok = true;
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        urcu_bp_read_lock();
        *ok &= good(MKV_RCU_DEREFERENCE(shared));
        MKV_RCU_BP_READ_UNLOCK(&shared);
        __atomic_store_n(&started, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *read_qsbr(void *arg)
{
    bool *ok = arg;
    *ok = true;
    urcu_qsbr_register_thread();
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        *ok &= good(MKV_RCU_DEREFERENCE(shared));
        MKV_RCU_QSBR_QUIESCENT(&shared);
        __atomic_store_n(&started, 1, __ATOMIC_RELAXED);
    }
    urcu_qsbr_unregister_thread();
    return NULL;
}

static void replace(int a, bool qsbr)
{
    struct object *old = shared, *new = make(a);
    MKV_RCU_PUBLISH(&shared, new);
    if (qsbr) {
        MKV_RCU_QSBR_SYNCHRONIZE(&shared);
    } else {
        MKV_RCU_BP_SYNCHRONIZE(&shared);
    }
    unmake(old);
}

static void readers_see_whole_objects(void *(*reader)(void *), bool qsbr)
{
    pthread_t threads[READERS];
    bool ok[READERS];
    ending = started = 0;
    shared = make(1);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &ok[i]), 0);
    }
    while (!__atomic_load_n(&started, __ATOMIC_RELAXED)) {
    }
    for (int i = 2; i < ROUNDS; i++) {
        replace(i, qsbr);
    }
    __atomic_store_n(&ending, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(ok[i]);
    }
    unmake(shared);
}

static void test_bp(void **state)
{
    (void)state;
    readers_see_whole_objects(read_bp, false);
}

static void test_qsbr(void **state)
{
    (void)state;
    readers_see_whole_objects(read_qsbr, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bp),
        cmocka_unit_test(test_qsbr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
