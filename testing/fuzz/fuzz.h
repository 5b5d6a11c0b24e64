/*
 * A fuzzer is a function of this name in a file x_fuzz.c beside the parser x.c. It takes any bytes,
 * and aborts (or trips a sanitizer) when the parser breaks a promise. Each is run three ways:
 *
 *   as an ordinary test   replay.c over its corpus and some thousand seeded mutations of it
 *   one input again       bazel run //core/config:servers_fuzz -- FILE
 *   for hours             clang -fsanitize=fuzzer,address -I. x_fuzz.c ... testing/fuzz/corpus/x
 */
#ifndef TESTING_FUZZ_FUZZ_H
#define TESTING_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A promise that holds in every build; assert() may be compiled out. */
#define FUZZ_REQUIRE(condition)                                                            \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

#endif
