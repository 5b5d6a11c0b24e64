/* A descriptor that one thread makes readable to wake another (Linux: eventfd). */
#ifndef CORE_OS_EVENT_H
#define CORE_OS_EVENT_H

#include <stdbool.h>
#include <stdint.h>

int mkv__event_open(void); /* non-blocking, close-on-exec; -errno */
void mkv__event_signal(int fd);
void mkv__event_clear(int fd);
bool mkv__event_wait(int fd, uint64_t timeout_ns); /* whether it is signalled; clears nothing */

#endif
