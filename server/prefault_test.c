/* Memory that is taken ahead: all of it, nothing written over, and an end at any time. */
#include "server/prefault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define LEN ((size_t)40 << 20)

static uint8_t *reserve(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

static size_t resident(uint8_t *base, size_t len)
{
    static unsigned char pages[LEN / 4096];
    size_t n = 0;
    assert_int_equal(mincore(base, len, pages), 0);
    for (size_t i = 0; i < len / 4096; i++) {
        n += pages[i] & 1u;
    }
    return n * 4096;
}

static void takes_all_and_changes_nothing(void **state)
{
    (void)state;
    struct mkv__prefault p;
    uint8_t *base = reserve(LEN);
    base[0] = 7;
    base[LEN - 1] = 9;
    assert_in_range(resident(base, LEN), 8192, LEN / 2);
    assert_int_equal(mkv__prefault_start(&p, base, LEN), 0);
    mkv__prefault_wait(&p);
    assert_int_equal(mkv__prefault_done(&p), LEN);
    assert_int_equal(resident(base, LEN), LEN);
    assert_int_equal(base[0], 7);
    assert_int_equal(base[LEN - 1], 9);
    mkv__prefault_stop(&p); /* does nothing more */
    munmap(base, LEN);
}

static void ends_at_any_time(void **state)
{
    (void)state;
    uint8_t *base = reserve(LEN);
    for (int i = 0; i < 20; i++) {
        struct mkv__prefault p;
        assert_int_equal(mkv__prefault_start(&p, base, LEN), 0);
        mkv__prefault_stop(&p);
        assert_true(mkv__prefault_done(&p) <= LEN);
        assert_int_equal(madvise(base, LEN, MADV_DONTNEED), 0);
    }
    munmap(base, LEN);
}

/* The kernel gives no more: what is missing is not called done. */
static void stops_where_the_kernel_does(void **state)
{
    (void)state;
    struct mkv__prefault p;
    uint8_t *base = reserve(LEN);
    assert_int_equal(munmap(base + ((size_t)16 << 20), (size_t)16 << 20), 0);
    assert_int_equal(mkv__prefault_start(&p, base, LEN), 0);
    mkv__prefault_wait(&p);
    assert_int_equal(mkv__prefault_done(&p), (size_t)16 << 20);
    munmap(base, LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_all_and_changes_nothing),
        cmocka_unit_test(ends_at_any_time),
        cmocka_unit_test(stops_where_the_kernel_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
