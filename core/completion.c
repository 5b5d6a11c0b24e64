#include "core/completion.h"

#include "core/os/clock.h"
#include "core/os/futex.h"

#define SPIN_NS 20000u

void mkv__completion_init(struct mkv__completion *c, uint32_t parts)
{
    __atomic_store_n(&c->waiters, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&c->left, parts, __ATOMIC_RELEASE);
}

bool mkv__completion_done(struct mkv__completion *c)
{
    if (__atomic_sub_fetch(&c->left, 1, __ATOMIC_ACQ_REL) != 0) {
        return false;
    }
    /* Only the address is used from here on: the waiter may have freed what c lies in. */
    mkv__futex_wake_all(&c->left);
    return true;
}

bool mkv__completion_test(const struct mkv__completion *c)
{
    return __atomic_load_n(&c->left, __ATOMIC_ACQUIRE) == 0;
}

void mkv__completion_wait(struct mkv__completion *c, bool spin)
{
    uint64_t end = spin ? mkv__clock_ns() + SPIN_NS : 0;
    while (spin && !mkv__completion_test(c) && mkv__clock_ns() < end) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    for (;;) {
        uint32_t left = __atomic_load_n(&c->left, __ATOMIC_ACQUIRE);
        if (left == 0) {
            return;
        }
        mkv__futex_wait(&c->left, left);
    }
}
