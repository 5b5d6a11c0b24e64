/*
 * Sizes, durations and counts as people write them, both ways.
 *
 *   size      64K  1MiB  1.5G  4096  100B     units B K M G T, each also as KiB or KB; all are
 *                                             powers of 1024, since memory and pages are
 *   duration  250ms  2s  1.5h  10us  0        units ns us ms s m (or min) h d; a bare number other
 *                                             than 0 is refused, since nobody can tell its unit
 *   count     8  1000000
 *
 * Units in upper or lower case, blanks around number and unit allowed. Signs, exponents, hex,
 * compound durations ("1h30m") and anything left over are refused.
 */
#ifndef CORE_UNITS_H
#define CORE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Enough for every text that the functions below print, the final zero included. */
#define MKV_UNIT_TEXT 32u

/*
 * Parse a text; on success the value is set, else untouched.
 * Errors: -EINVAL; then *why_out (if not NULL) is a static text that completes the sentence
 * `"TEXT" ...`: "is not a size (expected e.g. 64K, 1MiB, 1.5G)". Thread: any thread.
 */
int mkv__parse_size(const char *text, uint64_t *bytes_out, const char **why_out);
int mkv__parse_duration(const char *text, uint64_t *ns_out, const char **why_out);
int mkv__parse_count(const char *text, uint64_t *count_out, const char **why_out);

/*
 * Print exactly, in the largest unit that loses nothing: "64K", "1536M", "250ms", "0s". What these
 * print, the parsers above read back. They return `out`.
 */
const char *mkv__print_size(char out[MKV_UNIT_TEXT], uint64_t bytes);
const char *mkv__print_duration(char out[MKV_UNIT_TEXT], uint64_t ns);

/* Print for people, three significant digits: "1.50 GiB", "12.3 us", "1.23M". They return `out`. */
const char *mkv__people_size(char out[MKV_UNIT_TEXT], uint64_t bytes);
const char *mkv__people_duration(char out[MKV_UNIT_TEXT], uint64_t ns);
const char *mkv__people_count(char out[MKV_UNIT_TEXT], uint64_t count);

#ifdef __cplusplus
}
#endif

#endif
