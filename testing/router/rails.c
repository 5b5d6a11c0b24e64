#include "testing/router/rails.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

struct rig rig;
unsigned char memory[PAGES * PAGE], got[PAGES * PAGE];

void start(unsigned rails, unsigned servers)
{
    rig_setting.rails = rails;
    rig_init(&rig, servers, servers, "placement_grace", "0", "set_timeout", "2s", "get_timeout",
             "2s", "breaker.probe", "100ms", "log_level", "info", NULL);
    rig_setting.rails = 0;
}

struct mkv_batch *submit(enum mkv_op op, const char *tag, unsigned n, unsigned char *at,
                         size_t page, const struct mkv_batch_options *options)
{
    struct mkv_batch *b = rig_batch(&rig, op, tag, n, at, page, options);
    assert_int_equal(mkv_batch_submit(b), 0);
    return b;
}

void write_pages(const char *tag)
{
    rig_fill(tag, PAGES, memory, PAGE);
    assert_int_equal(rig_run(&rig, MKV_OP_SET, tag, PAGES, memory, PAGE), PAGES);
}

void read_pages(const char *tag)
{
    rig_fill(tag, PAGES, memory, PAGE);
    memset(got, 0, sizeof(got));
    assert_int_equal(rig_run(&rig, MKV_OP_GET, tag, PAGES, got, PAGE), PAGES);
    assert_memory_equal(got, memory, sizeof(got));
}
