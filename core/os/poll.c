#include "core/os/poll.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int mkv__poll_open(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int control(int poll, int op, int fd, unsigned events, void *data)
{
    struct epoll_event e = {.data.ptr = data};
    e.events = (events & MKV__POLL_IN ? EPOLLIN | EPOLLRDHUP : 0u) |
               (events & MKV__POLL_OUT ? (uint32_t)EPOLLOUT : 0u);
    return epoll_ctl(poll, op, fd, &e) < 0 ? -errno : 0;
}

int mkv__poll_add(int poll, int fd, unsigned events, void *data)
{
    return control(poll, EPOLL_CTL_ADD, fd, events, data);
}

int mkv__poll_change(int poll, int fd, unsigned events, void *data)
{
    return control(poll, EPOLL_CTL_MOD, fd, events, data);
}

void mkv__poll_remove(int poll, int fd)
{
    epoll_ctl(poll, EPOLL_CTL_DEL, fd, NULL);
}

/* epoll_pwait2 (Linux 5.11) takes nanoseconds; called by number, so that an older C library does. */
static int wait_ns(int poll, struct epoll_event *events, uint64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
    static int missing; /* a race writes the same value */
    if (!__atomic_load_n(&missing, __ATOMIC_RELAXED)) {
        struct timespec t = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                             .tv_nsec = (long)(timeout_ns % 1000000000u)};
        long n = syscall(SYS_epoll_pwait2, poll, events, MKV__POLL_EVENTS,
                         timeout_ns == UINT64_MAX ? NULL : &t, NULL, 0);
        if (n >= 0 || errno != ENOSYS) {
            return (int)n;
        }
        __atomic_store_n(&missing, 1, __ATOMIC_RELAXED);
    }
#endif
    uint64_t ms = (timeout_ns + 999999u) / 1000000u;
    int timeout = timeout_ns == UINT64_MAX ? -1 : ms > 60000 ? 60000 : (int)ms;
    return epoll_wait(poll, events, MKV__POLL_EVENTS, timeout);
}

int mkv__poll_wait(int poll, struct mkv__poll_event out[MKV__POLL_EVENTS], uint64_t timeout_ns)
{
    struct epoll_event events[MKV__POLL_EVENTS];
    int n = wait_ns(poll, events, timeout_ns);
    for (int i = 0; i < n; i++) {
        uint32_t e = events[i].events;
        out[i].data = events[i].data.ptr;
        out[i].events = (e & EPOLLIN ? MKV__POLL_IN : 0u) | (e & EPOLLOUT ? MKV__POLL_OUT : 0u) |
                        (e & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) ? MKV__POLL_HUP : 0u);
    }
    return n < 0 ? 0 : n;
}
