/* An idle server and an idle client sleep: what wakes them is counted, not timed. */
#include "testing/faults/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_S 2
#define MOST     10 /* sleeps in the window, of all threads but the asking one */

/* How often a thread went to sleep: each turn of an idle worker is one. */
static long sleeps_of(const char *path)
{
    static const char field[] = "voluntary_ctxt_switches:";
    char line[256];
    long n = 0;
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, field, sizeof(field) - 1) == 0) {
            n = strtol(line + sizeof(field) - 1, NULL, 10);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

static long sleeps(pid_t pid, int *threads_out)
{
    char path[400];
    long sum = 0;
    int threads = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] != '.' && atoi(e->d_name) != (int)getpid()) {
            snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, e->d_name);
            sum += sleeps_of(path);
            threads++;
        }
    }
    closedir(d);
    *threads_out = threads;
    return sum;
}

static void idle_costs_nothing(void **state)
{
    (void)state;
    struct fleet fleet;
    outside_start(&fleet, "64M");
    pid_t server = fleet.servers[0].pid;
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    char out[5];
    int n_server = 0, n_client = 0;
    assert_int_equal(mkv_set(c, "k", 1, "value", 5), 1);
    assert_int_equal(mkv_get(c, "k", 1, out, 5, NULL), 5);
    outside_until(&fleet, "bytes_ready", outside_figure(&fleet, "bytes_total"));
    outside_until(&fleet, "connections", 2); /* the client's and the question's */
    long before_server = sleeps(server, &n_server), before_client = sleeps(getpid(), &n_client);
    assert_true(n_server >= 2 && n_client >= 1 && before_server > 0 && before_client > 0);
    sleep(WINDOW_S); /* the window in which is counted */
    long of_server = sleeps(server, &n_server) - before_server;
    long of_client = sleeps(getpid(), &n_client) - before_client;
    print_message("in %d s: the server's %d threads slept %ld times, the client's %d %ld times\n",
                  WINDOW_S, n_server, of_server, n_client, of_client);
    assert_true(of_server <= MOST);
    assert_true(of_client <= MOST);
    assert_int_equal(mkv_get(c, "k", 1, out, 5, NULL), 5);
    for (double end = fleet_now() + 30; sleeps(server, &n_server) <= before_server;) {
        assert_true(fleet_now() < end); /* it is they that are counted */
    }
    assert_int_equal(mkv_client_close(&c), 0);
    fleet_stop(&fleet);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(idle_costs_nothing)};
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
