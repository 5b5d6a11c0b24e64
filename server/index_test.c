#include "server/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 5000u

static struct mkv__object *object(const char *namespace_, const void *key, uint8_t key_len)
{
    uint8_t len = (uint8_t)strlen(namespace_);
    struct mkv__object *o = calloc(1, mkv__object_bytes(0, len, key_len));
    assert_non_null(o);
    o->namespace_len = len;
    o->key_len = key_len;
    memcpy((uint8_t *)o->extents, namespace_, len);
    memcpy((uint8_t *)o->extents + len, key, key_len);
    o->hash = mkv__index_hash((const uint8_t *)namespace_, len, key, key_len);
    return o;
}

static struct mkv__object *find(struct mkv__index *index, const char *namespace_, const void *key,
                                uint8_t key_len, uint64_t hash)
{
    struct mkv__object *found;
    const struct mkv__index_key k = {
        .namespace_ = (const uint8_t *)namespace_,
        .key = key,
        .namespace_len = (uint8_t)strlen(namespace_),
        .key_len = key_len,
        .hash = hash,
    };
    mkv__index_find(index, &k, 1, &found);
    return found;
}

static void full_keys_are_compared(void **state)
{
    (void)state;
    struct mkv__index *index = NULL;
    assert_int_equal(mkv__index_create(1, &index), 0);
    /* One hash for all: only the comparison tells them apart. */
    struct mkv__object *a = object("n", "key", 3), *b = object("n", "kez", 3);
    struct mkv__object *c = object("nk", "ey", 2), *again = object("n", "key", 3);
    a->hash = b->hash = c->hash = again->hash = 7;
    assert_ptr_equal(mkv__index_add(index, a), a);
    assert_ptr_equal(mkv__index_add(index, b), b);
    assert_ptr_equal(mkv__index_add(index, c), c);
    assert_ptr_equal(mkv__index_add(index, again), a);
    assert_int_equal(mkv__index_count(index), 3);
    assert_ptr_equal(find(index, "n", "key", 3, 7), a);
    assert_ptr_equal(find(index, "n", "kez", 3, 7), b);
    assert_ptr_equal(find(index, "nk", "ey", 2, 7), c);
    assert_null(find(index, "n", "ke", 2, 7));
    assert_null(find(index, "m", "key", 3, 7));
    mkv__index_replace(index, a, again);
    assert_ptr_equal(find(index, "n", "key", 3, 7), again);
    assert_int_equal(mkv__index_count(index), 3);
    mkv__index_remove(index, again);
    mkv__index_remove(index, b);
    mkv__index_remove(index, c);
    assert_null(find(index, "n", "key", 3, 7));
    mkv__index_destroy(&index);
    assert_null(index);
    urcu_qsbr_synchronize_rcu();
    free(a);
    free(b);
    free(c);
    free(again);
}

static void grows_when_crowded(void **state)
{
    (void)state;
    static struct mkv__object *all[N];
    struct mkv__index *index = NULL;
    assert_int_equal(mkv__index_create(1, &index), 0);
    for (uint32_t i = 0; i < N; i++) {
        all[i] = object("ns", &i, sizeof(i));
        assert_ptr_equal(mkv__index_add(index, all[i]), all[i]);
    }
    assert_true(mkv__index_crowded(index));
    while (mkv__index_crowded(index)) {
        mkv__index_grow(index);
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_ptr_equal(find(index, "ns", &i, sizeof(i), all[i]->hash), all[i]);
    }
    for (uint32_t i = 0; i < N; i++) {
        mkv__index_remove(index, all[i]);
    }
    mkv__index_destroy(&index);
    urcu_qsbr_synchronize_rcu();
    for (uint32_t i = 0; i < N; i++) {
        free(all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_keys_are_compared),
        cmocka_unit_test(grows_when_crowded),
    };
    urcu_qsbr_register_thread();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    urcu_qsbr_unregister_thread();
    return failed;
}
