/* Clients that die in the middle of transfers leave nothing behind. */
#include "testing/faults/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLS 100
#define VALUE (4u << 20)
#define KEYS  4

static void transfer_for_ever(const struct fleet *fleet, int out)
{
    static const char *const keys[KEYS] = {"k0", "k1", "k2", "k3"};
    struct mkv_client *c = fleet_client(fleet, 1, NULL);
    char *value = calloc(KEYS, VALUE);
    for (char started = 1;; started = 0) {
        enum mkv_op ops[] = {MKV_OP_SET, MKV_OP_GET, MKV_OP_DELETE};
        for (int op = 0; op < 3; op++) {
            struct mkv_batch *b = NULL;
            mkv_batch_create(c, &b);
            mkv_batch_begin(b, ops[op], NULL);
            for (unsigned i = 0; i < KEYS; i++) {
                struct mkv_segment s = {value + (size_t)i * VALUE, VALUE};
                mkv_batch_add(b, keys[i], 2, &s, ops[op] != MKV_OP_DELETE);
            }
            mkv_batch_submit(b);
            if (started && op == 0) {
                (void)!write(out, &started, 1);
            }
            mkv_batch_wait(b);
            mkv_batch_destroy(&b);
        }
    }
}

static void kill_one(const struct fleet *fleet, int round)
{
    int started[2];
    char byte;
    assert_int_equal(pipe(started), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        transfer_for_ever(fleet, started[1]);
        _exit(0);
    }
    close(started[1]);
    assert_int_equal(read(started[0], &byte, 1), 1);
    close(started[0]);
    usleep((useconds_t)(round * 7919 % 20000)); /* any moment of its work */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void killed_clients_leave_nothing(void **state)
{
    (void)state;
    struct fleet fleet;
    outside_start(&fleet, "64M");
    int descriptors = outside_descriptors(fleet.servers[0].pid); /* nobody has come yet */
    for (int round = 0; round < KILLS; round++) {
        kill_one(&fleet, round);
    }
    outside_until(&fleet, "connections", 1);
    assert_int_equal(outside_figure(&fleet, "in_flight"), 0);
    assert_int_equal(outside_figure(&fleet, "in_flight_bytes"), 0);
    assert_true(outside_figure(&fleet, "bytes_in") > 0);
    struct mkv_client *c = fleet_client(&fleet, 1, NULL);
    struct mkv_batch *b = pages_batch(c, MKV_OP_DELETE, "k", 0, NULL, 0, NULL);
    for (int i = 0; i < KEYS; i++) {
        char key[2] = {'k', (char)('0' + i)};
        mkv_batch_add(b, key, 2, NULL, 0);
    }
    assert_int_equal(mkv_batch_submit(b), 0);
    assert_int_equal(mkv_batch_wait(b), 0);
    mkv_batch_destroy(&b);
    assert_int_equal(mkv_client_close(&c), 0);
    outside_until(&fleet, "objects", 0);
    outside_until(&fleet, "bytes_used", 0); /* records go a grace period later */
    outside_until(&fleet, "connections", 1);
    outside_until_descriptors(&fleet, descriptors);
    fleet_stop(&fleet);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_clients_leave_nothing)};
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
