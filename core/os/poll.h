/* Readiness of many descriptors (Linux: epoll, level triggered). */
#ifndef CORE_OS_POLL_H
#define CORE_OS_POLL_H

#include <stdint.h>

enum { MKV__POLL_IN = 1, MKV__POLL_OUT = 2, MKV__POLL_HUP = 4 };

struct mkv__poll_event {
    void *data;
    unsigned events;
};

int mkv__poll_open(void); /* -errno */
int mkv__poll_add(int poll, int fd, unsigned events, void *data);
int mkv__poll_change(int poll, int fd, unsigned events, void *data);
void mkv__poll_remove(int poll, int fd);
/* Waits at most timeout_ns (UINT64_MAX: for ever). Returns the number of events, at most 64. */
#define MKV__POLL_EVENTS 64
int mkv__poll_wait(int poll, struct mkv__poll_event out[MKV__POLL_EVENTS], uint64_t timeout_ns);

#endif
