#include "core/completion.h"

#include "core/os/clock.h"
#include "core/os/futex.h"

#define SPIN_NS  20000u
#define SLEEPER  0x80000000u
#define PARTS(w) ((w) & ~SLEEPER)

void mkv__completion_init(struct mkv__completion *c, uint32_t parts)
{
    __atomic_store_n(&c->word, parts, __ATOMIC_RELEASE);
}

bool mkv__completion_done(struct mkv__completion *c)
{
    uint32_t word = __atomic_sub_fetch(&c->word, 1, __ATOMIC_ACQ_REL);
    if (PARTS(word) != 0) {
        return false;
    }
    /* Only the address is used from here on: the waiter may have freed what c lies in. */
    if (word & SLEEPER) {
        mkv__futex_wake_all(&c->word);
    }
    return true;
}

bool mkv__completion_add(struct mkv__completion *c)
{
    uint32_t word = __atomic_load_n(&c->word, __ATOMIC_ACQUIRE);
    while (PARTS(word) != 0 && !__atomic_compare_exchange_n(&c->word, &word, word + 1, true,
                                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    return PARTS(word) != 0;
}

bool mkv__completion_test(const struct mkv__completion *c)
{
    return PARTS(__atomic_load_n(&c->word, __ATOMIC_ACQUIRE)) == 0;
}

static void spin_briefly(const struct mkv__completion *c)
{
    uint64_t end = mkv__clock_ns() + SPIN_NS;
    while (!mkv__completion_test(c) && mkv__clock_ns() < end) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

void mkv__completion_wait(struct mkv__completion *c, bool spin)
{
    if (spin) {
        spin_briefly(c);
    }
    uint32_t word = __atomic_load_n(&c->word, __ATOMIC_ACQUIRE);
    while (PARTS(word) != 0) {
        if ((word & SLEEPER) || __atomic_compare_exchange_n(&c->word, &word, word | SLEEPER, false,
                                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            mkv__futex_wait(&c->word, word | SLEEPER);
            word = __atomic_load_n(&c->word, __ATOMIC_ACQUIRE);
        }
    }
}
