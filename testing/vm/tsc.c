/* Prints the kHz of this machine's time-stamp counter, which is the guest's, too: measured there, on
 * processors that come and go, it may be wrong by a factor. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES 50

/* The counter and the clock at the same time: the pair of those that took least. */
static void both(uint64_t *ticks, double *ns)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < TRIES; i++) {
        struct timespec t;
        uint64_t before = __rdtsc(), after;

        clock_gettime(CLOCK_MONOTONIC, &t);
        after = __rdtsc();
        if (after - before < least) {
            least = after - before;
            *ticks = before + least / 2;
            *ns = (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
        }
    }
}

int main(void)
{
    const struct timespec pause = {0, 100000000};
    uint64_t ticks[2];
    double ns[2];

    both(&ticks[0], &ns[0]);
    nanosleep(&pause, NULL);
    both(&ticks[1], &ns[1]);
    printf("%.0f\n", (double)(ticks[1] - ticks[0]) * 1e6 / (ns[1] - ns[0]));
    return 0;
}
