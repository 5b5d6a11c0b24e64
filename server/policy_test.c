#include "server/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define N 8

struct fixture {
    struct mkv__policy policy;
    struct mkv__object objects[2 * N];
    struct mkv__object *a[N], *b[N]; /* two batches */
};

static void init(struct fixture *f, uint64_t capacity)
{
    memset(f, 0, sizeof(*f));
    mkv__policy_init(&f->policy, capacity);
    for (int i = 0; i < N; i++) {
        f->a[i] = &f->objects[i];
        f->b[i] = &f->objects[N + i];
        f->a[i]->size = f->b[i]->size = 100;
    }
}

static struct mkv__object *evict(struct fixture *f)
{
    struct mkv__object *object = mkv__policy_victim(&f->policy);
    if (object != NULL) {
        mkv__policy_removed(&f->policy, object);
    }
    return object;
}

static void tail_goes_before_head(void **state)
{
    (void)state;
    struct fixture f;
    init(&f, 100000);
    mkv__policy_admitted(&f.policy, f.a, N);
    mkv__policy_admitted(&f.policy, f.b, N);
    for (int i = N; i-- > 0;) {
        assert_ptr_equal(evict(&f), f.a[i]);
    }
    mkv__policy_hit(&f.policy, f.b, N);
    for (int i = N; i-- > 0;) {
        assert_ptr_equal(evict(&f), f.b[i]);
    }
    assert_null(evict(&f));
}

static void what_is_used_once_does_not_flush_what_is_used_again(void **state)
{
    (void)state;
    struct fixture f;
    init(&f, 100000);
    mkv__policy_admitted(&f.policy, f.a, N);
    mkv__policy_hit(&f.policy, f.a, N);
    mkv__policy_admitted(&f.policy, f.b, N);
    for (int i = N; i-- > 0;) {
        assert_ptr_equal(evict(&f), f.b[i]);
    }
    assert_ptr_equal(evict(&f), f.a[N - 1]);
}

static void the_protected_segment_has_a_share(void **state)
{
    (void)state;
    struct fixture f;
    init(&f, 1000); /* 800 bytes protected: all of a */
    mkv__policy_admitted(&f.policy, f.a, N);
    mkv__policy_hit(&f.policy, f.a, N);
    mkv__policy_admitted(&f.policy, f.b, N);
    mkv__policy_hit(&f.policy, f.b, 2); /* two of a have to make room, its tail */
    assert_int_equal(f.policy.protected_.bytes, 800);
    assert_int_equal(f.a[N - 1]->segment, MKV__PROBATION);
    assert_int_equal(f.a[N - 2]->segment, MKV__PROBATION);
    assert_int_equal(f.a[N - 3]->segment, MKV__PROTECTED);
}

static void spared_ones_let_others_come(void **state)
{
    (void)state;
    struct fixture f;
    init(&f, 100000);
    mkv__policy_admitted(&f.policy, f.a, 2);
    struct mkv__object *none[1] = {NULL};
    mkv__policy_admitted(&f.policy, none, 1);
    mkv__policy_hit(&f.policy, f.b, 1); /* was never admitted: no effect */
    mkv__policy_spared(&f.policy, mkv__policy_victim(&f.policy));
    assert_ptr_equal(evict(&f), f.a[0]);
    assert_ptr_equal(evict(&f), f.a[1]);
    mkv__policy_removed(&f.policy, f.a[1]); /* twice is harmless */
    assert_null(evict(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tail_goes_before_head),
        cmocka_unit_test(what_is_used_once_does_not_flush_what_is_used_again),
        cmocka_unit_test(the_protected_segment_has_a_share),
        cmocka_unit_test(spared_ones_let_others_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
