#include "core/os/cpu.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned mkv__cpu_count(const struct mkv__cpu_set *set)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MKV__CPUS / 64; i++) {
        n += (unsigned)__builtin_popcountll(set->bits[i]);
    }
    return n;
}

int mkv__cpu_allowed(struct mkv__cpu_set *set_out)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0) {
        return -errno;
    }
    memset(set_out, 0, sizeof(*set_out));
    for (unsigned i = 0; i < MKV__CPUS && i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set)) {
            mkv__cpu_add(set_out, i);
        }
    }
    return 0;
}

int mkv__cpu_bind(const struct mkv__cpu_set *from)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (unsigned i = 0; i < MKV__CPUS && i < CPU_SETSIZE; i++) {
        if (mkv__cpu_has(from, i)) {
            CPU_SET(i, &set);
        }
    }
    return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

int mkv__cpu_current(void)
{
    return sched_getcpu();
}

/* A number, digits only; NULL when there is none or it is too large. */
static const char *number(const char *text, unsigned *out)
{
    if (!isdigit((unsigned char)*text)) {
        return NULL;
    }
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *out = (unsigned)value;
    return value < MKV__CPUS ? end : NULL;
}

int mkv__cpu_parse(const char *text, struct mkv__cpu_set *set_out)
{
    struct mkv__cpu_set set = {{0}};
    for (;;) {
        unsigned from, to;
        if ((text = number(text, &from)) == NULL) {
            return -EINVAL;
        }
        to = from;
        if (*text == '-' && (text = number(text + 1, &to)) == NULL) {
            return -EINVAL;
        }
        if (to < from) {
            return -EINVAL;
        }
        for (unsigned i = from; i <= to; i++) {
            mkv__cpu_add(&set, i);
        }
        if (*text != ',') {
            break;
        }
        text++;
    }
    if (*text != '\0' && *text != '\n') {
        return -EINVAL;
    }
    *set_out = set;
    return 0;
}

int mkv__cpu_of_node(int node, struct mkv__cpu_set *set_out)
{
    char path[80], text[4096];
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return -ENOENT;
    }
    int r = fgets(text, sizeof(text), file) == NULL ? -ENOENT : mkv__cpu_parse(text, set_out);
    fclose(file);
    return r < 0 ? -ENOENT : 0;
}
