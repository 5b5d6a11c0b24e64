#include "testing/e2e/fleet.h"

#include "router/seam.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 30.0

const char *fleet_command;
unsigned fleet_rails;

double fleet_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Servers ---------------------------------------------------------------------------------------- */

static void launch(struct fleet *fleet, int i, const char *listen)
{
    int out[2];
    char line[128];
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execl(fleet_command, fleet_command, "serve", "--listen", listen, "--memory", fleet->memory,
              (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    assert_int_equal(sscanf(line, "listening %63s", fleet->servers[i].address), 1);
    fclose(f);
    fleet->servers[i].pid = pid;
}

void fleet_start(struct fleet *fleet, int n, const char *memory)
{
    *fleet = (struct fleet){.n = n, .memory = memory};
    for (int i = 0; i < n; i++) {
        launch(fleet, i, "127.0.0.1:0");
    }
}

void fleet_kill(struct fleet *fleet, int i)
{
    if (fleet->servers[i].pid > 0) {
        kill(fleet->servers[i].pid, SIGKILL);
        assert_int_equal(waitpid(fleet->servers[i].pid, NULL, 0), fleet->servers[i].pid);
        fleet->servers[i].pid = 0;
    }
}

void fleet_stop(struct fleet *fleet)
{
    for (int i = 0; i < fleet->n; i++) {
        fleet_kill(fleet, i);
    }
}

void fleet_restart(struct fleet *fleet, int i)
{
    char address[64];
    snprintf(address, sizeof(address), "%s", fleet->servers[i].address);
    launch(fleet, i, address);
}

void fleet_pause(struct fleet *fleet, int i)
{
    int status;
    assert_int_equal(kill(fleet->servers[i].pid, SIGSTOP), 0);
    assert_int_equal(waitpid(fleet->servers[i].pid, &status, WUNTRACED), fleet->servers[i].pid);
    assert_true(WIFSTOPPED(status));
}

void fleet_resume(struct fleet *fleet, int i)
{
    assert_int_equal(kill(fleet->servers[i].pid, SIGCONT), 0);
}

/* Of the descriptors of this process the sockets are connections: nothing here listens. */
void fleet_cut(unsigned long long random)
{
    int sockets[64], n = 0;
    for (int fd = 3; fd < 1024 && n < 64; fd++) {
        int type = 0;
        socklen_t len = sizeof(type);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM) {
            sockets[n++] = fd;
        }
    }
    if (n > 0) {
        (void)shutdown(sockets[random % (unsigned)n], SHUT_RDWR);
    }
}

/* Clients ---------------------------------------------------------------------------------------- */

const char *fleet_list(const struct fleet *fleet, int n)
{
    static char list[1024];
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%ss%d=%s", i > 0 ? "," : "", i,
                                fleet->servers[i].address);
    }
    return list;
}

struct mkv_client *fleet_client(const struct fleet *fleet, int n, ...)
{
    /* Patient: a machine that is busy must not look like a server that is dead. */
    struct mkv_option options[16] = {{"servers", fleet_list(fleet, n)},
                                     {"breaker.probe", "50ms"},
                                     {"breaker.probe_max", "200ms"},
                                     {"log_level", "error"},
                                     {"connect_timeout", "8s"},
                                     {"exists_timeout", "8s"},
                                     {"get_timeout", "8s"},
                                     {"set_timeout", "8s"}};
    size_t n_options = 8;
    va_list ap;
    va_start(ap, n);
    for (const char *name; (name = va_arg(ap, const char *)) != NULL;) {
        size_t i = 0;
        while (i < n_options && strcmp(options[i].name, name) != 0) {
            i++;
        }
        n_options += i == n_options;
        options[i] = (struct mkv_option){name, va_arg(ap, const char *)};
    }
    va_end(ap);
    struct mkv_client_options o = {
        .size = sizeof(o), .options = options, .n_options = n_options, .ignore_environment = true};
    struct mkv_client *client = NULL;
    struct mkv_error error = {0};
    struct mkv__client_seam seam = {.rails = fleet_rails};
    if (mkv__client_open_on(&o, &seam, &client, &error) < 0) {
        fail_msg("%s", error.text);
    }
    return client;
}

struct mkv_client_stats fleet_stats(struct mkv_client *client)
{
    struct mkv_client_stats s = {.size = sizeof(s)};
    assert_int_equal(mkv_client_stats(client, &s), 0);
    return s;
}

void fleet_until_up(struct mkv_client *client, unsigned n)
{
    double end = fleet_now() + PATIENCE_S;
    while (fleet_stats(client).servers_up != n) {
        assert_true(fleet_now() < end);
        for (int i = 0; i < 16; i++) { /* so that each server is asked for something */
            char key[16];
            mkv_exists(client, key, (size_t)snprintf(key, sizeof(key), "up-%d", i));
        }
        usleep(1000);
    }
}

int fleet_count(const char *directory)
{
    DIR *d = opendir(directory);
    assert_non_null(d);
    int n = 0;
    while (readdir(d) != NULL) {
        n++;
    }
    closedir(d);
    return n;
}

/* Pages ------------------------------------------------------------------------------------------ */

static void fill(const char *tag, unsigned i, unsigned char *page, size_t len)
{
    uint64_t x = 1469598103934665603u + i;
    for (const char *c = tag; *c != '\0'; c++) {
        x = (x ^ (unsigned char)*c) * 1099511628211u;
    }
    for (size_t at = 0; at < len; at++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        page[at] = (unsigned char)(x >> 56);
    }
}

void pages_fill(const char *tag, unsigned n, unsigned char *memory, size_t page)
{
    for (unsigned i = 0; i < n; i++) {
        fill(tag, i, memory + i * page, page);
    }
}

struct mkv_batch *pages_batch(struct mkv_client *client, enum mkv_op op, const char *tag,
                              unsigned n, unsigned char *memory, size_t page,
                              const struct mkv_batch_options *options)
{
    struct mkv_batch *b = NULL;
    assert_int_equal(mkv_batch_create(client, &b), 0);
    assert_int_equal(mkv_batch_begin(b, op, options), 0);
    for (unsigned i = 0; i < n; i++) {
        char key[64];
        size_t len = (size_t)snprintf(key, sizeof(key), "%s-%u", tag, i);
        size_t half = page / 2; /* as k and v of a page */
        struct mkv_segment s[2];
        if (memory != NULL) {
            s[0] = (struct mkv_segment){memory + i * page, half};
            s[1] = (struct mkv_segment){memory + i * page + half, page - half};
        }
        assert_int_equal(mkv_batch_add(b, key, len, s, memory != NULL ? 2 : 0), i);
    }
    return b;
}

unsigned pages_exist(struct mkv_client *client, const char *tag, unsigned n)
{
    struct mkv_batch *b = pages_batch(client, MKV_OP_EXISTS, tag, n, NULL, 0, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    mkv_batch_wait(b);
    unsigned there = mkv_batch_prefix(b);
    mkv_batch_destroy(&b);
    return there;
}

unsigned pages_read(struct mkv_client *client, const char *tag, unsigned n, size_t page)
{
    unsigned char *got = calloc(n, page), *want = malloc(n * page);
    assert_true(got != NULL && want != NULL);
    struct mkv_batch_options o = {.size = sizeof(o), .flags = MKV_PREFIX};
    struct mkv_batch *b = pages_batch(client, MKV_OP_GET, tag, n, got, page, &o);
    assert_int_equal(mkv_batch_submit(b), 0);
    mkv_batch_wait(b);
    unsigned there = mkv_batch_prefix(b);
    pages_fill(tag, n, want, page);
    assert_memory_equal(got, want, there * page);
    mkv_batch_destroy(&b);
    free(got);
    free(want);
    return there;
}

unsigned pages_write(struct mkv_client *client, const char *tag, unsigned n, size_t page)
{
    unsigned char *memory = malloc(n * page);
    assert_non_null(memory);
    pages_fill(tag, n, memory, page);
    struct mkv_batch *b = pages_batch(client, MKV_OP_SET, tag, n, memory, page, NULL);
    assert_int_equal(mkv_batch_submit(b), 0);
    mkv_batch_wait(b);
    unsigned there = mkv_batch_prefix(b);
    if (there != n) {
        print_message("%s-%u was not stored: status %d, error %d\n", tag, there,
                      (int)mkv_batch_status(b, there), mkv_batch_error(b, there));
    }
    mkv_batch_destroy(&b);
    free(memory);
    return there;
}
