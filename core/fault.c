#include "core/fault.h"

#include <string.h>

uint32_t mkv__fault_armed;

static struct {
    const char *prefix;
    uint64_t first, last; /* passes, counted from 1, that fail */
    uint64_t passed;      /* atomic */
    uint64_t failed;      /* atomic */
} state;

void mkv__fault_arm(const char *prefix, uint64_t nth, uint64_t count)
{
    state.prefix = prefix;
    state.first = nth;
    state.last = count > UINT64_MAX - nth ? UINT64_MAX : nth + count - 1;
    state.passed = state.failed = 0;
    __atomic_store_n(&mkv__fault_armed, 1, __ATOMIC_RELEASE);
}

uint64_t mkv__fault_disarm(void)
{
    __atomic_store_n(&mkv__fault_armed, 0, __ATOMIC_RELEASE);
    return __atomic_load_n(&state.failed, __ATOMIC_RELAXED);
}

bool mkv__fault_hit(const char *point)
{
    if (strncmp(point, state.prefix, strlen(state.prefix)) != 0) {
        return false;
    }
    uint64_t pass = __atomic_add_fetch(&state.passed, 1, __ATOMIC_RELAXED);
    if (pass < state.first || pass > state.last) {
        return false;
    }
    __atomic_add_fetch(&state.failed, 1, __ATOMIC_RELAXED);
    return true;
}
