/*
 * Lists of CPUs, "0-3,8", as taskset and cpusets write them.
 */
#ifndef CORE_CONFIG_CPUS_H
#define CORE_CONFIG_CPUS_H

#include "core/config/span.h"

#define MKV_CPUS_MAX 4096u /* CPU numbers are below it */

/* Parses; the outputs are set only on success: ascending, each once, at least one; free() them.
 * Errors: -EINVAL, -ENOMEM, with a text in error_out. Thread: any thread. */
int mkv__cpus_parse(const char *text, unsigned **cpus_out, size_t *n_out,
                    char error_out[MKV_SPAN_ERROR]);

/* The shortest text for ascending CPUs; free() it. NULL: out of memory. Thread: any thread. */
char *mkv__cpus_text(const unsigned *cpus, size_t n);

#endif
