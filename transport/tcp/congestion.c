#include "transport/tcp/congestion.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void mkv__tcp_congestion_set(int fd, const char *name)
{
    if (name[0] != '\0') {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
    }
}

static void get(int fd, char out[MKV_TCP_CONGESTION])
{
    socklen_t len = MKV_TCP_CONGESTION - 1;

    out[0] = '\0';
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, out, &len) == 0) {
        out[MKV_TCP_CONGESTION - 1] = '\0';
    }
}

static bool may_use(int fd, const char *name)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0;
}

/* Sends at a rate that it has measured: bbr, bbr2, bbr3. */
static bool paces(const char *name)
{
    return strncmp(name, "bbr", 3) == 0;
}

static void choose(int fd, const char *wanted, struct mkv__tcp_congestion *out)
{
    bool automatic = strcmp(wanted, "auto") == 0;

    if (strcmp(wanted, "system") == 0 || (automatic && !paces(out->system))) {
        return;
    }
    if (!automatic && !may_use(fd, wanted)) {
        snprintf(out->why, sizeof(out->why),
                 "congestion_control: \"%.20s\": %s; see "
                 "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
                 wanted,
                 errno == EPERM ? "only root may use it" : "the kernel has none of this name");
    }
    if (automatic && !may_use(fd, "cubic") && !may_use(fd, "reno")) {
        snprintf(
            out->why, sizeof(out->why),
            "the system's congestion control is %s, and this process may use neither cubic nor "
            "reno",
            out->system);
    }
}

void mkv__tcp_congestion_choose(const char *wanted, struct mkv__tcp_congestion *out)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(out, 0, sizeof(*out));
    if (fd < 0) {
        return;
    }
    get(fd, out->system);
    choose(fd, wanted, out);
    get(fd, out->used);
    close(fd);
}
