/* Prefixes of 512 pages while servers die, return and are added. */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGES 512u
#define PAGE  4096u
#define CALLS 101

static void check_at(struct mkv_client *c, const char *tag, int line)
{
    unsigned there = pages_exist(c, tag, PAGES), read = pages_read(c, tag, PAGES, PAGE);
    if (there != PAGES || read != PAGES) {
        struct mkv_client_stats s = fleet_stats(c);
        fail_msg("line %d: of \"%s\" %u are there, %u can be read; %d servers up, %d second rounds",
                 line, tag, there, read, (int)s.servers_up, (int)s.second_rounds);
    }
}
#define check(client, tag) check_at((client), (tag), __LINE__)

/* As an engine that has just started sees it. */
static void check_anew(const struct fleet *fleet, int n, const char *tag)
{
    struct mkv_client *c = fleet_client(fleet, n, NULL);
    check(c, tag);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void a_server_dies_returns_and_one_is_added(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_start(&fleet, 5, "64M");
    struct mkv_client *c = fleet_client(&fleet, 4, NULL);
    assert_int_equal(pages_write(c, "before", PAGES, PAGE), PAGES);
    check(c, "before");

    fleet_kill(&fleet, 2);
    assert_int_equal(pages_write(c, "while", PAGES, PAGE), PAGES);
    assert_int_equal(fleet_stats(c).servers_up, 3);
    check(c, "while");
    check_anew(&fleet, 4, "while");
    assert_true(pages_exist(c, "before", PAGES) <
                PAGES); /* its pages are gone, or it was not used */

    fleet_restart(&fleet, 2);
    fleet_until_up(c, 4);
    check(c, "while");
    check_anew(&fleet, 4, "while");
    assert_int_equal(pages_write(c, "after", PAGES, PAGE), PAGES);

    assert_int_equal(mkv_client_set_servers(c, fleet_list(&fleet, 5), NULL), 0);
    check(c, "while");
    check(c, "after");
    check_anew(&fleet, 5, "after");
    assert_int_equal(pages_write(c, "five", PAGES, PAGE), PAGES);
    check(c, "five");
    assert_int_equal(fleet_stats(c).unknown, 0);
    assert_int_equal(mkv_client_close(&c), 0);
    fleet_stop(&fleet);
}

static void a_server_dies_under_a_batch(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_start(&fleet, 4, "128M");
    struct mkv_client *c = fleet_client(&fleet, 4, NULL);
    size_t page = 65536;
    unsigned char *memory = malloc(PAGES * page);
    assert_non_null(memory);
    pages_fill("under", PAGES, memory, page);
    struct mkv_batch *b = pages_batch(c, MKV_OP_SET, "under", PAGES, memory, page, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    fleet_kill(&fleet, 1);
    mkv_batch_wait(b);
    for (uint32_t i = 0; i < PAGES; i++) {
        assert_int_equal(mkv_batch_status(b, i), MKV_STORED);
    }
    mkv_batch_destroy(&b);
    /* What the dead one had answered before it died is lost; nothing raises, nothing is wrong. */
    pages_read(c, "under", PAGES, page);
    assert_int_equal(pages_write(c, "next", PAGES, page / 2), PAGES);
    assert_int_equal(pages_read(c, "next", PAGES, page / 2), PAGES);
    free(memory);
    assert_int_equal(mkv_client_close(&c), 0);
    fleet_stop(&fleet);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void every_server_is_dead(void **state)
{
    (void)state;
    struct fleet fleet;
    double took[CALLS];
    char out[8];
    fleet_start(&fleet, 2, "64M");
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    assert_int_equal(pages_write(c, "x", 16, 100), 16);
    fleet_kill(&fleet, 0);
    fleet_kill(&fleet, 1);
    fleet_until_up(c, 0);
    static const enum mkv_op ops[] = {MKV_OP_EXISTS, MKV_OP_GET, MKV_OP_SET};
    static unsigned char memory[128 * 64];
    for (int i = 0; i < CALLS; i++) {
        struct mkv_batch *b = pages_batch(c, ops[i % 3], "k", 128, i % 3 == 0 ? NULL : memory, 64,
                                          NULL);
        double begin = fleet_now();
        assert_int_equal(mkv_batch_submit(b), 0);
        assert_int_equal(mkv_batch_wait(b), -ECONNRESET);
        took[i] = fleet_now() - begin;
        for (uint32_t k = 0; k < 128; k++) {
            assert_int_equal(mkv_batch_status(b, k), MKV_UNKNOWN);
        }
        mkv_batch_destroy(&b);
        assert_int_equal(mkv_exists(c, "k", 1), -ECONNRESET);
        assert_int_equal(mkv_get(c, "k", 1, out, sizeof(out), NULL), -ECONNRESET);
        assert_int_equal(mkv_set(c, "k", 1, out, sizeof(out)), -ECONNRESET);
    }
    qsort(took, CALLS, sizeof(took[0]), by_size);
    print_message("every server dead: %.0f us for 128 keys (median), %.0f us (worst)\n",
                  took[CALLS / 2] * 1e6, took[CALLS - 1] * 1e6);
    assert_true(took[CALLS / 2] <= 0.001);
    fleet_restart(&fleet, 0);
    fleet_restart(&fleet, 1);
    fleet_until_up(c, 2);
    assert_int_equal(mkv_set(c, "k", 1, "12345678", 8), 1);
    assert_int_equal(mkv_get(c, "k", 1, out, 8, NULL), 8);
    assert_int_equal(mkv_client_close(&c), 0);
    fleet_stop(&fleet);
}

static void opening_without_servers(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_start(&fleet, 1, "64M");
    fleet_kill(&fleet, 0);
    struct mkv_client *c = fleet_client(&fleet, 1, NULL); /* fail_open: no error */
    assert_int_equal(mkv_exists(c, "k", 1), -ECONNRESET);
    assert_int_equal(mkv_client_close(&c), 0);
    struct mkv_option options[] = {{"servers", fleet_list(&fleet, 1)}, {"fail_open", "false"}};
    struct mkv_client_options o = {
        .size = sizeof(o), .options = options, .n_options = 2, .ignore_environment = true};
    struct mkv_error error = {0};
    assert_int_equal(mkv_client_open(&o, &c, &error), -ECONNRESET);
    assert_null(c);
    fleet_stop(&fleet);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_dies_returns_and_one_is_added),
        cmocka_unit_test(a_server_dies_under_a_batch),
        cmocka_unit_test(every_server_is_dead),
        cmocka_unit_test(opening_without_servers),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
