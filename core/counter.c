#include "core/counter.h"

void mkv__counter_sum(struct mkv__counter *sums, const struct mkv__counter *counters, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sums[i].value += mkv__counter_read(&counters[i]);
    }
}
