#include "transport/rdma/rdma.h"
#include "transport/rdma/rdma_probe.h"
#include "transport/tcp/nic.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define GIDS_MAX 256

static const char *state_name(enum ibv_port_state state)
{
    return state == IBV_PORT_ACTIVE  ? "active"
           : state == IBV_PORT_ARMED ? "armed"
           : state == IBV_PORT_INIT  ? "initializing"
                                     : "down";
}

static const char *layer_name(uint8_t layer)
{
    return layer == IBV_LINK_LAYER_INFINIBAND ? "infiniband" : "ethernet";
}

static bool is_named(const char *const *names, size_t n_names, const char *name)
{
    bool any = n_names == 0;

    for (size_t i = 0; i < n_names; i++) {
        any |= strcmp(names[i], name) == 0;
    }
    return any;
}

__attribute__((format(printf, 3, 4))) static void amiss(struct mkv__rdma_survey *s,
                                                        enum mkv__rdma_reason reason,
                                                        const char *format, ...)
{
    va_list list;

    s->reason = reason;
    va_start(list, format);
    (void)vsnprintf(s->why, sizeof(s->why), format, list);
    va_end(list);
}

/* The one that a session would take that knows nothing of addresses. */
static void look_at_gids(const struct mkv__verbs *v, struct ibv_context *context,
                         struct mkv__rdma_port *port)
{
    struct ibv_gid_entry gids[GIDS_MAX];
    ssize_t n = v->query_gid_table(context, gids, GIDS_MAX, 0, sizeof(gids[0]));
    int best = 0;

    for (ssize_t i = 0; i < n; i++) {
        int now = gids[i].port_num == port->port
                      ? mkv__rdma_gid_rank(gids[i].gid.raw, gids[i].gid_type)
                      : 0;

        if (now > best) {
            best = now;
            port->gid_index = gids[i].gid_index;
            port->gid_type = mkv__rdma_gid_type(gids[i].gid_type);
            mkv__rdma_gid_text(gids[i].gid.raw, port->gid);
        }
    }
}

/* How many active ports it has. */
static unsigned look_at_ports(const struct mkv__verbs *v, struct ibv_context *context,
                              uint8_t n_ports, const struct mkv__rdma_port *device,
                              struct mkv__rdma_survey *s)
{
    unsigned n_active = 0;

    for (uint8_t i = 1; i <= n_ports && s->n < MKV_RDMA_PORTS_MAX; i++) {
        struct mkv__rdma_port *port = &s->ports[s->n];
        struct ibv_port_attr p;

        memset(&p, 0, sizeof(p));
        if (v->query_port(context, i, (struct _compat_ibv_port_attr *)&p) != 0) {
            continue;
        }
        *port = *device;
        port->port = i;
        port->active = p.state == IBV_PORT_ACTIVE;
        port->state = state_name(p.state);
        port->link_layer = layer_name(p.link_layer);
        port->mtu = 128u << p.active_mtu;
        look_at_gids(v, context, port);
        n_active += port->active;
        s->n++;
    }
    return n_active;
}

/* Really registers memory: limits, rights and drivers have too many ways to refuse it. */
static int try_memory(const struct mkv__verbs *v, struct ibv_context *context, size_t len)
{
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct ibv_pd *pd = v->alloc_pd(context);
    struct ibv_mr *mr = NULL;
    int error = 0;

    if (memory == MAP_FAILED || !pd) {
        error = mkv__verbs_errno();
    } else {
        mr = v->reg_mr(pd, memory, len, IBV_ACCESS_LOCAL_WRITE);
        error = mr ? 0 : mkv__verbs_errno();
    }
    if (mr) {
        (void)v->dereg_mr(mr);
    }
    if (pd) {
        (void)v->dealloc_pd(pd);
    }
    if (memory != MAP_FAILED) {
        (void)munmap(memory, len);
    }
    return error;
}

static void no_memory(struct mkv__rdma_survey *s, const char *name, size_t len, int error)
{
    struct rlimit limit = {0};
    char text[60] = "";

    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        snprintf(text, sizeof(text), ", and %llu KiB may be locked",
                 (unsigned long long)(limit.rlim_cur >> 10));
    }
    amiss(s, MKV_REASON_MEMORY, "%s: %zu MiB of memory cannot be registered: %s%s", name, len >> 20,
          strerror(-error), text);
}

static bool any_gid(const struct mkv__rdma_survey *s, unsigned first)
{
    bool any = false;

    for (unsigned i = first; i < s->n; i++) {
        any |= s->ports[i].active && s->ports[i].gid[0] != '\0';
    }
    return any;
}

/* What keeps this device from working goes into s; a device that does is all that is needed. */
static void look_at_device(const struct mkv__verbs *v, struct ibv_device *which, bool used,
                           size_t memory, struct mkv__rdma_survey *s)
{
    struct mkv__rdma_port device = {.used = used, .gid_type = ""};
    struct ibv_context *context = v->open_device(which);
    struct ibv_device_attr attributes = {0};
    unsigned first = s->n, n_active;
    int error;

    snprintf(device.device, sizeof(device.device), "%s", v->get_device_name(which));
    device.numa_node = mkv__tcp_interface_node("/sys/class/infiniband", device.device);
    if (!context || v->query_device(context, &attributes) != 0) {
        error = mkv__verbs_errno();
        if (context) {
            (void)v->close_device(context);
        }
        if (used && !s->works) {
            amiss(s, MKV_REASON_FAULT, "%s cannot be opened: %s", device.device, strerror(-error));
        }
        return;
    }
    n_active = look_at_ports(v, context, attributes.phys_port_cnt, &device, s);
    error = used && n_active > 0 ? try_memory(v, context, memory) : 0;
    (void)v->close_device(context);
    if (!used || s->works) {
        return;
    }
    if (n_active == 0) {
        amiss(s, MKV_REASON_PORT_DOWN, "%s: no port is up", device.device);
    } else if (!any_gid(s, first)) {
        amiss(s, MKV_REASON_NO_GID, "%s has no GID", device.device);
    } else if (error) {
        no_memory(s, device.device, memory, error);
    } else {
        s->works = true;
        amiss(s, MKV_REASON_NONE, "%s", "");
    }
}

/* One that is named, and that no device is called. */
static const char *missing(const struct mkv__rdma_survey *s, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned j = 0;

        while (j < s->n && strcmp(s->ports[j].device, names[i]) != 0) {
            j++;
        }
        if (j == s->n) {
            return names[i];
        }
    }
    return NULL;
}

void mkv__rdma_survey(const char *const *names, size_t n_names, size_t memory,
                      struct mkv__rdma_survey *out)
{
    const struct mkv__verbs *v;
    struct ibv_device **list;
    int n = 0;

    memset(out, 0, sizeof(*out));
    v = mkv__verbs_load(&out->reason, out->why, sizeof(out->why));
    if (!v) {
        return;
    }
    list = v->get_device_list(&n);
    amiss(out, MKV_REASON_NO_DEVICE, "this machine has no RDMA device");
    for (int i = 0; i < n; i++) {
        look_at_device(v, list[i], is_named(names, n_names, v->get_device_name(list[i])), memory,
                       out);
    }
    if (out->reason == MKV_REASON_NO_DEVICE && n > 0 && n_names > 0) {
        amiss(out, MKV_REASON_NOT_NAMED, "there is no RDMA device called %s",
              missing(out, names, n_names));
    }
    if (list) {
        v->free_device_list(list);
    }
}
