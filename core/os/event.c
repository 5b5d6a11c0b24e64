#include "core/os/event.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

int mkv__event_open(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void mkv__event_signal(int fd)
{
    uint64_t one = 1;
    /* A full counter is a signal too. */
    if (write(fd, &one, sizeof(one)) < 0) {
        return;
    }
}

void mkv__event_clear(int fd)
{
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0) {
        return;
    }
}

bool mkv__event_wait(int fd, uint64_t timeout_ns)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec t = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                         .tv_nsec = (long)(timeout_ns % 1000000000u)};
    return ppoll(&p, 1, &t, NULL) > 0;
}
