#include "testing/faults/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_S 30.0

static FILE *log_file;

void outside_start(struct fleet *fleet, const char *memory)
{
    int kept = dup(STDERR_FILENO);
    log_file = tmpfile();
    assert_true(kept >= 0 && log_file != NULL);
    dup2(fileno(log_file), STDERR_FILENO);
    fleet_start(fleet, 1, memory);
    dup2(kept, STDERR_FILENO);
    close(kept);
}

int outside_log_lines(void)
{
    char line[1000];
    int n = 0;
    rewind(log_file);
    while (fgets(line, sizeof(line), log_file) != NULL) {
        n++;
    }
    return n;
}

int outside_descriptors(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    return fleet_count(path);
}

long outside_figure(const struct fleet *fleet, const char *name)
{
    char command[600], text[8192], member[64];
    snprintf(command, sizeof(command),
             "MEMKV_CONNECT_TIMEOUT=8s '%s' stat --json --timeout 8s --servers '%s'", fleet_command,
             fleet->servers[0].address);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof(text) - 1, f);
    text[len] = '\0';
    assert_int_equal(pclose(f), 0);
    snprintf(member, sizeof(member), "\"%s\":", name);
    const char *at = strstr(text, member);
    assert_non_null(at);
    return strtol(at + strlen(member), NULL, 10);
}

void outside_until(const struct fleet *fleet, const char *name, long value)
{
    double end = fleet_now() + PATIENCE_S;
    for (long is; (is = outside_figure(fleet, name)) != value;) {
        if (fleet_now() > end) {
            fail_msg("%s is %ld and not %ld", name, is, value);
        }
    }
}

void outside_until_descriptors(const struct fleet *fleet, int most)
{
    double end = fleet_now() + PATIENCE_S;
    for (int is; (is = outside_descriptors(fleet->servers[0].pid)) > most;) {
        if (fleet_now() > end) {
            fail_msg("%d descriptors are open and not %d", is, most);
        }
        usleep(1000);
    }
}

int outside_connect(const struct fleet *fleet)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_port = htons((uint16_t)atoi(strrchr(fleet->servers[0].address, ':') + 1));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}
