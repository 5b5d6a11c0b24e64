#include "core/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void parse_list(const char *text, cpu_set_t *out)
{
    CPU_ZERO(out);
    while (*text != '\0') {
        char *end;
        unsigned long from = strtoul(text, &end, 10), to = from;
        if (end == text) {
            return;
        }
        if (*end == '-') {
            to = strtoul(end + 1, &end, 10);
        }
        for (unsigned long i = from; i <= to && i < CPU_SETSIZE; i++) {
            CPU_SET(i, out);
        }
        text = *end == ',' ? end + 1 : end;
        if (*end != ',') {
            return;
        }
    }
}

static void of_node(int node, cpu_set_t *set)
{
    char path[80], text[1024];
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return;
    }
    if (fgets(text, sizeof(text), f) != NULL) {
        cpu_set_t near, both;
        parse_list(text, &near);
        CPU_AND(&both, &near, set);
        if (CPU_COUNT(&both) > 0) {
            *set = both;
        }
    }
    fclose(f);
}

/* -1: held by another worker. -2: locks do not work here. */
static int claim(int cpu)
{
    char path[64];
    snprintf(path, sizeof(path), "/dev/shm/memkv-cpu-%d", cpu);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        return -2;
    }
    fchmod(fd, 0666); /* the file is shared by all users of the host; fails for all but its owner */
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int mkv__pin_allowed(void)
{
    cpu_set_t set;
    return sched_getaffinity(getpid(), sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);
}

void mkv__pin_take(struct mkv__pin *pin, const char *cpus, int numa_node)
{
    cpu_set_t set, one;
    *pin = (struct mkv__pin){.cpu = -1, .lock_fd = -1};
    if (sched_getaffinity(0, sizeof(set), &set) < 0) {
        return;
    }
    if (cpus != NULL) {
        cpu_set_t wanted;
        parse_list(cpus, &wanted);
        CPU_AND(&set, &set, &wanted);
    } else if (numa_node >= 0) {
        of_node(numa_node, &set);
    }
    if (CPU_COUNT(&set) == 0) {
        return;
    }
    int held = 0;
    for (int i = 0; i < CPU_SETSIZE && pin->cpu < 0; i++) {
        if (!CPU_ISSET(i, &set)) {
            continue;
        }
        int fd = claim(i);
        held += fd == -1;
        if (fd >= 0) {
            pin->cpu = i;
            pin->lock_fd = fd;
        }
    }
    CPU_ZERO(&one);
    if (pin->cpu >= 0) {
        CPU_SET(pin->cpu, &one);
    }
    sched_setaffinity(0, sizeof(set), pin->cpu >= 0 ? &one : &set);
    pin->may_spin = pin->cpu >= 0 && mkv__pin_allowed() > held + 1;
}

void mkv__pin_drop(struct mkv__pin *pin)
{
    if (pin->lock_fd >= 0) {
        close(pin->lock_fd);
    }
    pin->lock_fd = -1;
    pin->cpu = -1;
}
