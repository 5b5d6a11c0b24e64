#include "transport/tcp/nic.h"

#include "transport/tcp/tcp.h"

#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 512u
#define LAYERS     4 /* a VLAN on a bond on a card */

static int read_node(const char *sys, const char *name, const char *file)
{
    char path[PATH_BYTES];
    int node = -1;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s/%s", sys, name, file) >= sizeof(path)) {
        return -1;
    }
    FILE *f = fopen(path, "re");
    if (f) {
        node = fscanf(f, "%d", &node) == 1 ? node : -1;
        fclose(f);
    }
    return node;
}

/* The first interface that this one lies on. */
static bool below(const char *sys, const char *name, char out[IF_NAMESIZE])
{
    static const char lower[] = "lower_";
    char path[PATH_BYTES];
    bool found = false;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", sys, name) >= sizeof(path)) {
        return false;
    }
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && !found && (e = readdir(dir)) != NULL;) {
        const char *rest = e->d_name + sizeof(lower) - 1;
        if (strncmp(e->d_name, lower, sizeof(lower) - 1) == 0 && strlen(rest) < IF_NAMESIZE) {
            snprintf(out, IF_NAMESIZE, "%.*s", IF_NAMESIZE - 1, rest);
            found = true;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

int mkv__tcp_interface_node(const char *sys, const char *name)
{
    char at[IF_NAMESIZE], next[IF_NAMESIZE];

    snprintf(at, sizeof(at), "%s", name);
    for (int i = 0; i < LAYERS; i++) {
        int node = read_node(sys, at, "device/numa_node");
        /* A virtio interface's device is a child of the PCI device. */
        node = node >= 0 ? node : read_node(sys, at, "device/../numa_node");
        if (node >= 0 || !below(sys, at, next)) {
            return node;
        }
        memcpy(at, next, sizeof(at));
    }
    return -1;
}

static bool same_host(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (!a || a->sa_family != b->ss_family) {
        return false;
    }
    if (a->sa_family == AF_INET) {
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    }
    return a->sa_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

/* Our own address on the way there: a datagram socket that is connected asks the routes. */
static bool local_address(const struct sockaddr_storage *to, struct sockaddr_storage *out)
{
    socklen_t len = sizeof(*out);
    int fd = socket(to->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return false;
    }
    bool known = connect(fd, (const struct sockaddr *)to, mkv__tcp_address_len(to)) == 0 &&
                 getsockname(fd, (struct sockaddr *)out, &len) == 0;
    close(fd);
    return known;
}

int mkv__tcp_numa_node(const char *address)
{
    struct sockaddr_storage addresses[MKV_TCP_ADDRESSES], local = {0};
    char host[256], port[8];
    struct ifaddrs *list = NULL;
    int node = -1;

    if (mkv__tcp_address_split(address, host, port) < 0 ||
        mkv__tcp_address_numeric(host, port, addresses, false) < 1 ||
        !local_address(&addresses[0], &local) || getifaddrs(&list) < 0) {
        return -1;
    }
    for (const struct ifaddrs *i = list; i && node < 0; i = i->ifa_next) {
        if (same_host(i->ifa_addr, &local)) {
            node = mkv__tcp_interface_node("/sys/class/net", i->ifa_name);
        }
    }
    freeifaddrs(list);
    return node;
}
