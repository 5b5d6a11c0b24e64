/*
 * Which congestion control the sockets use. The kernel's default is made for the paths that the machine
 * is there for, which may be long ones: bbr paces what it sends, which costs large values on a path of
 * some microseconds more than it can gain there.
 */
#ifndef TRANSPORT_TCP_CONGESTION_H
#define TRANSPORT_TCP_CONGESTION_H

#include <stddef.h>

#define MKV_TCP_CONGESTION 16 /* TCP_CA_NAME_MAX, the end included */

struct mkv__tcp_congestion {
    char system[MKV_TCP_CONGESTION]; /* the default of sockets here; "": not known */
    char used[MKV_TCP_CONGESTION];   /* of ours */
    char why[160];                   /* of what is not as it should be; "": all is */
};

/*
 * wanted: "auto": the system's, where that does not pace; else cubic, or reno, whichever this process
 * may use. "system": the system's, whatever it is. Else its name; where it may not be used, the system's,
 * and why says so. Makes a socket, and sends nothing. Thread: any thread.
 */
void mkv__tcp_congestion_choose(const char *wanted, struct mkv__tcp_congestion *out);

/* Of this socket from now on. "": leaves it as it is. */
void mkv__tcp_congestion_set(int fd, const char *name);

#endif
