#include "testing/rdma/sides.h"

#include "testing/rdma/fake_verbs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct lines lines_of[2]; /* client, server */
const char *device_of[2];
bool must;

static void keep(void *arg, int level, const char *line, size_t len)
{
    struct lines *lines = arg;
    size_t at = strlen(lines->text);

    (void)len;
    snprintf(lines->text + at, sizeof(lines->text) - at, "%s: %s\n", mkv__log_level_name(level),
             line);
}

static void tune(struct mkv__endpoint_options *options, bool server)
{
    mkv__log_init(&lines_of[server].log, MKV__LOG_INFO, keep, &lines_of[server]);
    options->log = &lines_of[server].log;
    options->device = device_of[server];
    options->must = must;
    options->connect_timeout_ns = 300000000;
}

struct mkv__subject sides_subject = {
    .transport = &mkv__rdma, .any_address = "127.0.0.1:0", .told_at_last = true, .tune = tune};

int sides_setup(void **state)
{
    (void)state;
    fake_verbs_begin(2);
    memset(lines_of, 0, sizeof(lines_of));
    memset(device_of, 0, sizeof(device_of));
    must = false;
    sides_subject.any_address = "127.0.0.1:0";
    sides_subject.fake_clock = false;
    case_subject = &sides_subject;
    return 0;
}

/* After each: nothing is left, and no rule was broken. */
int sides_teardown(void **state)
{
    struct fake_counts c;

    (void)state;
    fake_verbs_counts(&c);
    assert_int_equal(fake_verbs_left(), 0);
    assert_int_equal(c.misuses, 0);
    assert_int_equal(c.overruns, 0);
    assert_int_equal(c.rnrs, 0);
    fake_verbs_end();
    return 0;
}

unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) {
        n++;
    }
    return n;
}

void goes_over(struct end *end, const char *what)
{
    char text[300];

    end->rig->t->describe(end->conn, text, sizeof(text));
    if (strncmp(text, what, strlen(what)) != 0) {
        fail_msg("goes over: %s", text);
    }
}

void until_on_rails(struct rig *rig)
{
    for (int i = 0; i < 5000 && rig->t->degraded(rig->client.conn); i++) {
        rig_turns(rig, 1);
        usleep(1000);
    }
    goes_over(&rig->client, "rdma: fake0");
}
