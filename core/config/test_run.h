/*
 * For the tests of this folder: one run of the chain, and what must have come of it.
 */
#ifndef CORE_CONFIG_TEST_RUN_H
#define CORE_CONFIG_TEST_RUN_H

#include "core/config/config.h"
#include "core/config/test_files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What a run of the chain is given, and what came of it. */
struct run {
    unsigned components;
    const char *file;
    char **environ_;
    const struct mkv__config_arg *args;
    size_t n_args;
    struct mkv__config *config;
    struct mkv__config_error error;
};

static inline int run(struct run *r)
{
    if (r->components == 0) {
        r->components = MKV__SERVER;
    }
    assert_int_equal(mkv__config_create(&r->config), 0);
    return mkv__config_load(r->config, r->components, r->file, r->environ_, r->args, r->n_args,
                            &r->error);
}

static inline void good(struct run *r)
{
    if (run(r) != 0) {
        fail_msg("%s", r->error.text);
    }
}

static inline void refused(struct run *r, const char *expected)
{
    int rc = run(r);
    if (rc != -EINVAL || strcmp(r->error.text, expected) != 0) {
        fail_msg("%d, %s", rc, r->error.text);
    }
    assert_int_equal(r->error.code, -EINVAL);
    mkv__config_destroy(&r->config);
    assert_null(r->config);
}

static inline void file(const char *text)
{
    assert_int_equal(test_files_write("memkv.yaml", text, strlen(text), 0600), 0);
}

static inline void check_origin(const struct run *r, enum mkv__option_id id, const char *value,
                                const char *origin)
{
    char out[200];
    mkv__config_print(r->config, id, out, sizeof(out));
    assert_string_equal(out, value);
    assert_string_equal(mkv__config_origin(r->config, id), origin);
}

static inline void check_warnings(const struct run *r, size_t n, const char *const *expected)
{
    for (size_t i = 0; i < n && i < mkv__config_n_warnings(r->config); i++) {
        assert_string_equal(mkv__config_warning(r->config, i), expected[i]);
    }
    assert_int_equal(mkv__config_n_warnings(r->config), n);
}

#endif
