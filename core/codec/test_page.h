/* Golden bytes: the examples of docs/protocol.md, which the tests of core/codec and core/auth read. */
#ifndef CORE_CODEC_TEST_PAGE_H
#define CORE_CODEC_TEST_PAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE         "docs/protocol.md"
#define PAGE_EXAMPLE 512u /* bytes of an example at most */

/*
 * The bytes of the block that is indented by four blanks and follows "Example `name`". Returns their
 * number; fails the test when the page has no such example.
 */
static inline size_t page_example(const char *name, uint8_t out[PAGE_EXAMPLE])
{
    char line[512], title[64];
    size_t n = 0;
    int found = 0; /* 1: the title, 2: the block */
    FILE *page = fopen(PAGE, "re");
    assert_non_null(page);
    snprintf(title, sizeof(title), "Example `%s`", name);
    while (found < 3 && fgets(line, sizeof(line), page) != NULL) {
        if (found == 0) {
            found = strncmp(line, title, strlen(title)) == 0;
            continue;
        }
        if (strncmp(line, "    ", 4) != 0) {
            found = found == 2 ? 3 : 1;
            continue;
        }
        found = 2;
        unsigned byte;
        int used;
        for (const char *p = line; sscanf(p, " %2x%n", &byte, &used) == 1; p += used) {
            assert_in_range(n, 0, PAGE_EXAMPLE - 1);
            out[n++] = (uint8_t)byte;
        }
    }
    fclose(page);
    if (n == 0) {
        fail_msg("%s has no example `%s`", PAGE, name);
    }
    return n;
}

static inline void assert_is_example(const char *name, const uint8_t *bytes, size_t len)
{
    uint8_t golden[PAGE_EXAMPLE];
    size_t n = page_example(name, golden);
    for (size_t i = 0; i < len && i < n; i++) {
        if (bytes[i] != golden[i]) {
            fail_msg("byte %zu of `%s` is %02x, on the page %02x", i, name, bytes[i], golden[i]);
        }
    }
    assert_int_equal(len, n);
}

#endif
