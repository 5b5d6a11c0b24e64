#include "core/config/doc.h"
#include "core/config/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_every_option_is_whole(void **state)
{
    (void)state;
    for (enum mkv__option_id id = 0; id < MKV_OPT_COUNT; id++) {
        const struct mkv__option *o = mkv__option_get(id);
        assert_non_null(o->name);
        assert_non_null(o->group);
        assert_non_null(o->help);
        assert_true(o->help[strlen(o->help) - 1] == '.');
        assert_true(o->components != 0);
        assert_true(o->value || o->example); /* else the page could not show one */
        assert_true((o->type == MKV__TYPE_CHOICE) == (o->choice != NULL));
        assert_non_null(mkv__option_type_name(o->type));
        assert_int_equal(mkv__option_find(o->name), id); /* names differ */
    }
}

static void test_spellings(void **state)
{
    (void)state;
    assert_int_equal(mkv__option_find("workers.cpus"), MKV_OPT_WORKERS_CPUS);
    assert_int_equal(mkv__option_find("workers_cpus"), MKV_OPT_WORKERS_CPUS);
    assert_int_equal(mkv__option_find("workers-cpus"), MKV_OPT_WORKERS_CPUS);
    assert_int_equal(mkv__option_find("WORKERS_CPUS"), MKV_OPT_WORKERS_CPUS);
    assert_int_equal(mkv__option_find("workers"), MKV_OPT_WORKERS);
    assert_int_equal(mkv__option_find("worker"), -1);
    assert_int_equal(mkv__option_find("workers.cpus.x"), -1);
    assert_int_equal(mkv__option_find(""), -1);
}

static void test_suggestions(void **state)
{
    (void)state;
    unsigned both = MKV__CLIENT | MKV__SERVER;
    static const char *const slips[][2] = {
        {"get_timout", "get_timeout"},
        {"gettimeout", "get_timeout"},
        {"timeout_get", NULL},
        {"server", "servers"},
        {"sevrers", "servers"},
        {"lane", "lanes"},
        {"Lanse", "lanes"},
        {"authkey", "auth_key"},
        {"autth_key", "auth_key"},
        {"memroy", "memory"},
        {"workers.cpu", "workers.cpus"},
        {"breaker.probe_mx", "breaker.probe_max"},
        {"lzns", "lanes"},
        {"lzzs", NULL},
        {"prefetch_threshold", NULL},
        {"", NULL},
        {"x", NULL},
        {"a_name_that_is_far_too_long_to_be_a_slip_of_any_option_here", NULL},
    };
    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        const char *got = mkv__option_suggest(slips[i][0], both);
        if (slips[i][1] == NULL ? got != NULL : !got || strcmp(got, slips[i][1]) != 0) {
            fail_msg("\"%s\": suggests %s", slips[i][0], got ? got : "nothing");
        }
    }
    assert_null(mkv__option_suggest("memroy", MKV__CLIENT)); /* the server's */
}

static void test_variables_flags_ranges(void **state)
{
    (void)state;
    char out[MKV_VARIABLE_TEXT], range[MKV_RANGE_TEXT];
    assert_string_equal(mkv__option_variable(MKV_OPT_WORKERS_CPUS, out), "MEMKV_WORKERS_CPUS");
    assert_string_equal(mkv__option_flag(MKV_OPT_WORKERS_CPUS, out), "--workers-cpus");
    assert_string_equal(mkv__option_range(MKV_OPT_GET_TIMEOUT, range), "1ms to 8s");
    assert_string_equal(mkv__option_range(MKV_OPT_TRANSPORT, range), "auto|rdma|shm|tcp");
    assert_string_equal(mkv__option_range(MKV_OPT_WORKERS, range), "1 to 64");
    assert_string_equal(mkv__option_range(MKV_OPT_MAX_VALUE, range), "4K to 64M");
    assert_string_equal(mkv__option_range(MKV_OPT_SPIN, range), "auto|always|never");
    assert_string_equal(mkv__option_range(MKV_OPT_CHECKSUM, range), "");
}

/* What the design fixes; changing one of these changes what users rely on. */
static void test_defaults_that_are_promised(void **state)
{
    (void)state;
    assert_string_equal(mkv__option_get(MKV_OPT_CONNECT_TIMEOUT)->value, "500ms");
    assert_string_equal(mkv__option_get(MKV_OPT_EXISTS_TIMEOUT)->value, "200ms");
    assert_string_equal(mkv__option_get(MKV_OPT_GET_TIMEOUT)->value, "2s");
    assert_string_equal(mkv__option_get(MKV_OPT_SET_TIMEOUT)->value, "2s");
    assert_string_equal(mkv__option_get(MKV_OPT_PLACEMENT_GRACE)->value, "1h");
    assert_string_equal(mkv__option_get(MKV_OPT_LISTEN)->value, "127.0.0.1:9900");
    assert_string_equal(mkv__option_get(MKV_OPT_LEASE)->value, "10s");
    assert_string_equal(mkv__option_get(MKV_OPT_MEMORY)->value, "1G");
    assert_string_equal(mkv__option_get(MKV_OPT_MAX_VALUE)->value, "64M");
    assert_string_equal(mkv__option_get(MKV_OPT_CHECKSUM)->value, "true");
    assert_string_equal(mkv__option_get(MKV_OPT_FAIL_OPEN)->value, "true");
    assert_null(mkv__option_get(MKV_OPT_SERVERS)->value);
    for (enum mkv__option_id id = 0; id < MKV_OPT_COUNT; id++) {
        if (strstr(mkv__option_get(id)->name, "_timeout")) {
            assert_true(mkv__option_get(id)->max == UINT64_C(8000000000));
        }
    }
}

static char *help(unsigned components, bool flags, unsigned columns)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    mkv__config_write_help(out, components, flags, columns);
    fclose(out);
    return text;
}

static void test_help(void **state)
{
    (void)state;
    char *text = help(MKV__SERVER, true, 80);
    assert_non_null(strstr(text, "  --lease DURATION            For this long what exists has "
                                 "announced is not\n"
                                 "                              evicted, so that the get that "
                                 "follows finds it. 0:\n"
                                 "                              no leases.\n"
                                 "                              default 10s; 0s to 1h\n"));
    assert_non_null(strstr(text,
                           "  --checksum BOOL             Verify every value where it arrives. "
                           "Switching it\n"
                           "                              off gives up the promise that a "
                           "wrong page is\n"
                           "                              never returned.\n"
                           "                              default true\n"));
    assert_non_null(strstr(text, "Not used by tcp.\n  --rdma-gid N "));
    assert_null(strstr(text, "--servers"));
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(strchr(line, '\n') - line <= 80);
    }
    free(text);
    text = help(MKV__CLIENT, false, 100);
    assert_non_null(strstr(text, "  get_timeout DURATION        For a batch of get.\n"));
    assert_null(strstr(text, "  memory"));
    free(text);
}

static void test_page_has_every_option(void **state)
{
    (void)state;
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    mkv__config_write_doc(out);
    fclose(out);
    for (enum mkv__option_id id = 0; id < MKV_OPT_COUNT; id++) {
        char heading[80];
        snprintf(heading, sizeof(heading), "\n#### %s\n", mkv__option_get(id)->name);
        const char *found = strstr(text, heading);
        assert_non_null(found);
        assert_null(strstr(found + 1, heading));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_option_is_whole),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_variables_flags_ranges),
        cmocka_unit_test(test_defaults_that_are_promised),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_page_has_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
