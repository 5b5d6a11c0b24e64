/*
 * A histogram of durations from 1 ns to 1 minute with 2 or 3 significant digits, in fixed memory.
 *
 * The layout is HdrHistogram's: buckets whose width doubles, each divided into the same number of
 * equal parts, so that every value is kept with the same relative error. Debian 12 has no package of
 * HdrHistogram's C library, hence this one; it holds what is needed here and nothing else.
 *
 *   digits   error     memory
 *   2        < 1%      30 KiB
 *   3        < 0.1%    214 KiB
 *
 * Values over a minute are counted as one minute (and in `clamped`).
 *
 * record and merge into: one writer at a time. Reading beside the writer is allowed; what is read
 * is a moment's figure.
 */
#ifndef CORE_HIST_H
#define CORE_HIST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MKV_HIST_MAX_NS UINT64_C(60000000000)

struct mkv__hist;

/* digits: 2 or 3. Errors: -EINVAL, -ENOMEM. */
int mkv__hist_create(int digits, struct mkv__hist **hist_out);
void mkv__hist_destroy(struct mkv__hist **hist);

/* Counts one duration. O(1), no allocation. Thread: owner. */
void mkv__hist_record(struct mkv__hist *hist, uint64_t ns);

/* Adds what `from` has counted. Errors: -EINVAL other digits. Thread: owner of `into`. */
int mkv__hist_merge(struct mkv__hist *into, const struct mkv__hist *from);

/* Forgets all. Thread: owner. */
void mkv__hist_reset(struct mkv__hist *hist);

uint64_t mkv__hist_count(const struct mkv__hist *hist);
uint64_t mkv__hist_clamped(const struct mkv__hist *hist);
uint64_t mkv__hist_min(const struct mkv__hist *hist); /* exact; 0: nothing counted */
uint64_t mkv__hist_max(const struct mkv__hist *hist); /* exact, but for what was clamped */
double mkv__hist_mean(const struct mkv__hist *hist);  /* exact, but for what was clamped */

/*
 * The smallest value such that `percent` (0 to 100) of all values are not larger, rounded up within
 * the error; never over mkv__hist_max. 0: nothing counted.
 */
uint64_t mkv__hist_percentile(const struct mkv__hist *hist, double percent);

#ifdef __cplusplus
}
#endif

#endif
