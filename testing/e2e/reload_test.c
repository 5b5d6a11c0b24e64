/* SIGHUP: a command that runs reads its file again and goes on with the servers that it names. */
#include "testing/e2e/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fleet fleet;
static char config[200], directory[210];

static void write_config(const char *text)
{
    FILE *f = fopen(config, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void write_server(int i)
{
    char text[200];
    snprintf(text, sizeof(text), "client:\n  servers: s%d=%s\n", i, fleet.servers[i].address);
    write_config(text);
}

struct command {
    pid_t pid;
    FILE *out, *err;
};

static struct command run(char *const argv[])
{
    struct command c = {0};
    int out[2], err[2];
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(err), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        dup2(out[1], 1);
        dup2(err[1], 2);
        for (int i = 0; i < 2; i++) {
            close(out[i]);
            close(err[i]);
        }
        execv(fleet_command, argv);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    c.out = fdopen(out[0], "r");
    c.err = fdopen(err[0], "r");
    assert_true(c.out != NULL && c.err != NULL);
    return c;
}

static void expect(FILE *from, const char *text)
{
    char line[1000], seen[4000] = "";
    size_t len = 0;
    while (fgets(line, sizeof(line), from) != NULL) {
        if (strstr(line, text) != NULL) {
            return;
        }
        len += (size_t)snprintf(seen + len, sizeof(seen) - len, "%s", line);
        len = len < sizeof(seen) ? len : sizeof(seen) - 1;
    }
    fail_msg("\"%s\" was not said, but: %s", text, seen);
}

static int end_of(struct command *c)
{
    int status = 0;
    char line[1000];
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    while (status != 0 && fgets(line, sizeof(line), c->err) != NULL) {
        print_message("it said: %s", line);
    }
    fclose(c->out);
    fclose(c->err);
    return status;
}

/* Gets one key again and again, then another. Nobody reads what it prints, so that it stops in the
 * middle, until it is let go on. */
#define TIMES 4000

static struct command begin_get(char *option, char *value)
{
    static char *argv[TIMES + 16];
    int n = 0;
    char *const head[] = {"memkv", "get", "--json", option, value, "--to", directory};
    for (; n < 7; n++) {
        argv[n] = head[n];
    }
    while (n < 7 + TIMES) {
        argv[n++] = "everywhere";
    }
    argv[n++] = "elsewhere";
    argv[n] = NULL;
    struct command c = run(argv);
    expect(c.out, "everywhere"); /* it is at work */
    return c;
}

static void set_on(int i, const char *key)
{
    char list[100];
    struct mkv_client *c = fleet_client(&fleet, 2, NULL);
    snprintf(list, sizeof(list), "%s", fleet.servers[i].address);
    assert_int_equal(mkv_client_set_servers(c, list, NULL), 0);
    assert_int_equal(mkv_set(c, key, strlen(key), "v", 1), 1);
    assert_int_equal(mkv_client_close(&c), 0);
}

static void the_list_of_the_file_is_taken(void **state)
{
    (void)state;
    write_server(0);
    struct command c = begin_get("--config", config);
    write_config("client: [nonsense\n");
    assert_int_equal(kill(c.pid, SIGHUP), 0);
    expect(c.err, "the old list of servers stays");
    write_server(1);
    assert_int_equal(kill(c.pid, SIGHUP), 0);
    expect(c.err, "SIGHUP: the servers are s1=");
    expect(c.out, "elsewhere"); /* which only that one has */
    assert_int_equal(end_of(&c), 0);
}

/* Without a file there is nothing to read: the signal ends the command, as it always did. */
static void without_a_file_it_ends(void **state)
{
    (void)state;
    struct command c = begin_get("--servers", fleet.servers[0].address);
    assert_int_equal(kill(c.pid, SIGHUP), 0);
    int status = end_of(&c);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGHUP);
}

static int start(void **state)
{
    (void)state;
    const char *dir = getenv("TEST_TMPDIR");
    snprintf(config, sizeof(config), "%s/memkv-reload-%d.yaml", dir != NULL ? dir : "/tmp",
             (int)getpid());
    snprintf(directory, sizeof(directory), "%s.d", config);
    unsetenv("MEMKV_SERVERS");
    unsetenv("MEMKV_CONFIG");
    fleet_start(&fleet, 2, "64M");
    set_on(0, "everywhere");
    set_on(1, "everywhere");
    set_on(1, "elsewhere");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    char path[300];
    unlink(config);
    snprintf(path, sizeof(path), "%s/everywhere", directory);
    unlink(path);
    snprintf(path, sizeof(path), "%s/elsewhere", directory);
    unlink(path);
    rmdir(directory);
    fleet_stop(&fleet);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_of_the_file_is_taken),
        cmocka_unit_test(without_a_file_it_ends),
    };
    fleet_command = argc > 1 ? argv[1] : "memkv";
    return cmocka_run_group_tests(tests, start, stop);
}
