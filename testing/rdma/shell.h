/* Runs a line of the shell: what is done to the network between two steps of a test. */
#ifndef TESTING_RDMA_SHELL_H
#define TESTING_RDMA_SHELL_H

#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

/* True: it ended with 0. */
static inline bool shell(const char *line)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

#endif
