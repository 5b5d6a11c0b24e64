#include "cli/bench.h"

#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_MAX ((uint64_t)2 << 30)
#define ARGS_MAX   16

/* A quarter of the machine's memory at most. */
static uint64_t memory(void)
{
    struct sysinfo info;
    uint64_t quarter = sysinfo(&info) == 0 ? info.totalram * (uint64_t)info.mem_unit / 4 : 0;
    return quarter > 0 && quarter < MEMORY_MAX ? quarter : MEMORY_MAX;
}

/* The server has the key, and its file, that the client has. */
static void arguments(const char *out[ARGS_MAX], const char *size)
{
    const char *fixed[] = {"memkv",    "serve", "--listen",   "127.0.0.1:0",
                           "--memory", size,    "--prefault", "wait"};
    const char *pairs[][2] = {
        {"--config", flags.config},
        {"--auth-key", cli_flag(MKV_OPT_AUTH_KEY)},
        {"--auth-key-file", cli_flag(MKV_OPT_AUTH_KEY_FILE)},
        {"--auth-key-id", cli_flag(MKV_OPT_AUTH_KEY_ID)},
    };
    size_t n = sizeof(fixed) / sizeof(fixed[0]);
    memcpy(out, fixed, sizeof(fixed));
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i][1] != NULL) {
            out[n++] = pairs[i][0];
            out[n++] = pairs[i][1];
        }
    }
    if (flags.json) {
        out[n++] = "--json";
    }
    out[n] = NULL;
}

/* It ends with the benchmark, however that ends. */
static void become_server(int out, pid_t parent)
{
    const char *args[ARGS_MAX];
    char size[32];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    snprintf(size, sizeof(size), "%llu", (unsigned long long)memory());
    arguments(args, size);
    dup2(out, STDOUT_FILENO);
    execv("/proc/self/exe", (char *const *)(uintptr_t)args);
    _exit(127);
}

int bench_server_start(struct bench_server *server)
{
    int fds[2];
    pid_t parent = getpid();
    if (pipe(fds) < 0) {
        return -errno;
    }
    server->pid = fork();
    if (server->pid == 0) {
        close(fds[0]);
        become_server(fds[1], parent);
    }
    close(fds[1]);
    FILE *from = server->pid < 0 ? NULL : fdopen(fds[0], "r");
    char line[128];
    int r = -ECONNREFUSED;
    if (from != NULL && fgets(line, sizeof(line), from) != NULL &&
        sscanf(line, "listening %79s", server->address) == 1) {
        r = 0;
    }
    if (from != NULL) {
        fclose(from);
    } else {
        close(fds[0]);
    }
    if (r < 0 && server->pid > 0) {
        bench_server_stop(server);
    }
    return r;
}

void bench_server_stop(struct bench_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGTERM);
        waitpid(server->pid, NULL, 0);
        server->pid = 0;
    }
}

double bench_cpu_of(pid_t pid)
{
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    struct timespec t;
    if ((pid != 0 && clock_getcpuclockid(pid, &clock) != 0) || clock_gettime(clock, &t) < 0) {
        return 0;
    }
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
