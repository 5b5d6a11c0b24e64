#include "core/os/event.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
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
