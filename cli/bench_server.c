#include "cli/bench.h"

#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void become_server(int out, const char *memory)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    execl("/proc/self/exe", "memkv", "serve", "--listen", "127.0.0.1:0", "--memory", memory,
          "--prefault", "wait", (char *)NULL);
    _exit(127);
}

int bench_server_start(struct bench_server *server, const char *memory)
{
    int fds[2];
    if (pipe(fds) < 0) {
        return -errno;
    }
    server->pid = fork();
    if (server->pid == 0) {
        close(fds[0]);
        become_server(fds[1], memory);
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
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = pid > 0 ? fopen(path, "r") : NULL;
    if (f == NULL) {
        return 0;
    }
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    unsigned long user = 0, system = 0;
    char *after = strrchr(text, ')');
    if (after == NULL || sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                &user, &system) != 2) {
        return 0;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}
