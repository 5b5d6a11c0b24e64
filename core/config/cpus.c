#include "core/config/cpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_TEXT 12 /* "4095-4095," and a final zero */

static int parse_range(struct mkv__span s, bool *wanted, char *error)
{
    struct mkv__span last;
    struct mkv__span first = mkv__span_cut(s, "-", &last);
    int from = mkv__span_number(first);
    int to = last.p ? mkv__span_number(mkv__span_trim(last.p, last.len)) : from;
    if (from < 0 || to < from || to >= (int)MKV_CPUS_MAX) {
        return mkv__span_refuse(error, s, "is not a list of CPUs (expected e.g. 2,4-7)");
    }
    for (int cpu = from; cpu <= to; cpu++) {
        wanted[cpu] = true;
    }
    return 0;
}

int mkv__cpus_parse(const char *text, unsigned **cpus_out, size_t *n_out,
                    char error_out[MKV_SPAN_ERROR])
{
    bool wanted[MKV_CPUS_MAX] = {false};
    struct mkv__span rest = {text, strlen(text)};
    while (rest.p) {
        struct mkv__span range = mkv__span_cut(rest, ",", &rest);
        int rc = parse_range(range, wanted, error_out);
        if (rc < 0) {
            return rc;
        }
    }
    size_t n = 0;
    for (unsigned cpu = 0; cpu < MKV_CPUS_MAX; cpu++) {
        n += wanted[cpu];
    }
    unsigned *cpus = malloc(n * sizeof(cpus[0]));
    if (!cpus) {
        return mkv__span_no_memory(error_out);
    }
    *n_out = n;
    *cpus_out = cpus;
    for (unsigned cpu = 0; cpu < MKV_CPUS_MAX; cpu++) {
        if (wanted[cpu]) {
            *cpus++ = cpu;
        }
    }
    return 0;
}

char *mkv__cpus_text(const unsigned *cpus, size_t n)
{
    char *text = calloc(n + 1, RANGE_TEXT);
    char *end = text;
    for (size_t i = 0; text && i < n;) {
        size_t last = i;
        while (last + 1 < n && cpus[last + 1] == cpus[last] + 1) {
            last++;
        }
        const char *comma = i > 0 ? "," : "";
        int len = last == i ? snprintf(end, RANGE_TEXT, "%s%u", comma, cpus[i])
                            : snprintf(end, RANGE_TEXT, "%s%u-%u", comma, cpus[i], cpus[last]);
        end += len;
        i = last + 1;
    }
    return text;
}
