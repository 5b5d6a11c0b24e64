/* What a worker's turn writes to a broken stderr must not kill the caller that runs the turn. */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(bool run)
{
    int ends[2];
    if (pipe(ends) < 0) {
        return 9;
    }
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    signal(SIGPIPE, SIG_DFL);
    struct mkv_option options[] = {{"servers", "s0=127.0.0.1:9"}, {"transport", "tcp"}};
    struct mkv_client_options o = {
        .size = sizeof(o), .options = options, .n_options = 2, .ignore_environment = true};
    struct mkv_client *client = NULL;
    if (mkv_client_open(&o, &client, NULL) < 0) {
        return 8;
    }
    for (int i = 0; i < 20; i++) {
        struct mkv_batch *b = NULL;
        usleep(20000);
        if (mkv_batch_create(client, &b) < 0 || mkv_batch_begin(b, MKV_OP_EXISTS, NULL) < 0 ||
            mkv_batch_add(b, "k", 1, NULL, 0) < 0) {
            return 7;
        }
        if (run) {
            mkv_batch_run(b);
        } else {
            mkv_batch_submit(b);
            mkv_batch_wait(b);
        }
        mkv_batch_destroy(&b);
    }
    mkv_client_close(&client);
    return 0;
}

static void stderr_is_broken(void **state)
{
    (void)state;
    for (int run = 0; run < 2; run++) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(child(run == 1));
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        print_message("%s: exited %d, code %d, signal %d\n", run ? "run" : "submit and wait",
                      WIFEXITED(status), WEXITSTATUS(status),
                      WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        assert_int_equal(status, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stderr_is_broken)};
    (void)argc;
    fleet_command = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
