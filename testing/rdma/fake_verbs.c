/* Devices, ports, events and knobs. */
#include "testing/rdma/fake_verbs_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct fake_world fake_world;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void fake_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void fake_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

void fake_misuse(const char *what)
{
    fake_world.counts.misuses++;
    fprintf(stderr, "fake verbs: misuse: %s\n", what);
}

struct fake_device *fake_device_of(const struct ibv_context *context)
{
    return ((const struct fake_context *)context)->device;
}

/* Events ----------------------------------------------------------------------------------------- */

int fake_events_open(struct fake_events *e)
{
    e->fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    return e->fd < 0 ? -1 : 0;
}

void fake_events_close(struct fake_events *e)
{
    close(e->fd);
}

bool fake_events_wait(struct fake_events *e)
{
    uint64_t one;

    return read(e->fd, &one, sizeof(one)) == (ssize_t)sizeof(one);
}

void fake_tell(struct fake_context *context, const struct ibv_async_event *event)
{
    struct fake_events *e = &context->events;
    uint64_t one = 1;

    if (e->n == 64) {
        return;
    }
    e->async[(e->head + e->n++) % 64] = *event;
    (void)!write(e->fd, &one, sizeof(one));
}

static int get_async_event(struct ibv_context *context, struct ibv_async_event *out)
{
    struct fake_context *c = (struct fake_context *)context;
    struct fake_events *e = &c->events;
    int error = -1;

    if (!fake_events_wait(e)) {
        return -1;
    }
    fake_lock();
    errno = EAGAIN;
    if (e->n > 0) {
        *out = e->async[e->head];
        e->head = (e->head + 1) % 64;
        e->n--;
        c->unacknowledged++;
        if (out->event_type == IBV_EVENT_QP_FATAL ||
            out->event_type == IBV_EVENT_QP_LAST_WQE_REACHED) {
            ((struct fake_qp *)out->element.qp)->unacknowledged++;
        }
        error = 0;
    }
    fake_unlock();
    return error;
}

/* Like the library's, it knows the context by the event's element alone, or not at all. */
static void ack_async_event(struct ibv_async_event *event)
{
    fake_lock();
    if (event->event_type == IBV_EVENT_QP_FATAL ||
        event->event_type == IBV_EVENT_QP_LAST_WQE_REACHED) {
        ((struct fake_qp *)event->element.qp)->unacknowledged--;
    }
    fake_unlock();
}

static void fail_qps(const struct fake_device *device, const struct fake_context *context, bool say)
{
    for (struct fake_qp *qp = fake_world.qps; qp; qp = qp->next) {
        struct ibv_async_event event = {.element.qp = &qp->ibv, .event_type = IBV_EVENT_QP_FATAL};

        if (fake_device_of(qp->ibv.context) != device || qp->ibv.context != &context->ibv) {
            continue;
        }
        fake_qp_state(qp, IBV_QPS_ERR);
        if (say) {
            fake_tell((struct fake_context *)qp->ibv.context, &event);
        }
    }
}

static void tell_one(struct fake_context *context, enum ibv_event_type type)
{
    struct ibv_async_event event = {.element.port_num = 1, .event_type = type};

    if (type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_DEVICE_FATAL) {
        fail_qps(context->device, context, type == IBV_EVENT_QP_FATAL);
    }
    if (type != IBV_EVENT_QP_FATAL) {
        fake_tell(context, &event);
    }
}

void fake_verbs_event(unsigned device, enum ibv_event_type type)
{
    struct fake_device *d = &fake_world.devices[device];

    fake_lock();
    d->fatal |= type == IBV_EVENT_DEVICE_FATAL;
    d->state = type == IBV_EVENT_PORT_ERR      ? IBV_PORT_DOWN
               : type == IBV_EVENT_PORT_ACTIVE ? IBV_PORT_ACTIVE
                                               : d->state;
    for (struct fake_context *c = fake_world.contexts; c; c = c->next) {
        if (c->device == d) {
            tell_one(c, type);
        }
    }
    fake_move();
    fake_unlock();
}

/* Devices ---------------------------------------------------------------------------------------- */

static int fork_init(void)
{
    return 0;
}

static struct ibv_device **get_device_list(int *n_out)
{
    struct ibv_device **list = calloc(FAKE_DEVICES + 1, sizeof(struct ibv_device *));
    int n = 0;

    fake_lock();
    for (unsigned i = 0; i < fake_world.n && list; i++) {
        if (!fake_world.devices[i].gone) {
            memcpy(fake_world.ibv[i].name, fake_world.devices[i].name,
                   sizeof(fake_world.ibv[i].name));
            list[n++] = &fake_world.ibv[i];
        }
    }
    fake_world.counts.lists++;
    fake_unlock();
    *n_out = n;
    return list;
}

static void free_device_list(struct ibv_device **list)
{
    fake_lock();
    fake_world.counts.lists--;
    fake_unlock();
    free(list);
}

static const char *get_device_name(struct ibv_device *device)
{
    return device->name;
}

static struct ibv_context *open_device(struct ibv_device *device)
{
    struct fake_context *c = calloc(1, sizeof(*c));

    if (!c || fake_events_open(&c->events) < 0) {
        free(c);
        return NULL;
    }
    fake_lock();
    c->ibv.device = device;
    c->ibv.async_fd = c->events.fd;
    c->ibv.cmd_fd = -1;
    c->ibv.num_comp_vectors = 1;
    fake_wire_fill(&c->ibv.ops);
    c->device = &fake_world.devices[device - fake_world.ibv];
    c->next = fake_world.contexts;
    fake_world.contexts = c;
    fake_world.counts.contexts++;
    fake_world.counts.made++;
    fake_unlock();
    return &c->ibv;
}

static int close_device(struct ibv_context *context)
{
    struct fake_context **at = &fake_world.contexts, *c;

    fake_lock();
    while (*at && &(*at)->ibv != context) {
        at = &(*at)->next;
    }
    c = *at;
    if (!c) {
        fake_misuse("a device is closed that is not open");
        fake_unlock();
        return EINVAL;
    }
    if (c->users > 0) {
        fake_misuse("a device is closed that is in use");
    }
    *at = c->next;
    fake_events_close(&c->events);
    free(c);
    fake_world.counts.contexts--;
    fake_unlock();
    return 0;
}

static int query_device(struct ibv_context *context, struct ibv_device_attr *out)
{
    const struct fake_device *d = fake_device_of(context);

    memset(out, 0, sizeof(*out));
    if (d->fatal) {
        return EIO;
    }
    out->max_mr_size = d->max_mr_size;
    out->max_qp = 65536;
    out->max_qp_wr = 8192;
    out->max_sge = d->max_sge;
    out->max_sge_rd = d->max_sge;
    out->max_cq = 65536;
    out->max_cqe = 1 << 20;
    out->max_mr = 1 << 20;
    out->max_pd = 65536;
    out->max_qp_rd_atom = d->reads;
    out->max_qp_init_rd_atom = d->reads;
    out->max_mw = d->windows ? 1 << 20 : 0;
    out->max_srq = d->srqs ? 1024 : 0;
    out->max_srq_wr = d->srqs ? 16384 : 0;
    out->max_srq_sge = d->srqs ? 1 : 0;
    out->device_cap_flags = d->windows
                                ? IBV_DEVICE_MEM_WINDOW_TYPE_2B | IBV_DEVICE_MEM_MGT_EXTENSIONS
                                : 0;
    out->max_pkeys = 1;
    out->phys_port_cnt = 1;
    return 0;
}

static int query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *out)
{
    const struct fake_device *d = fake_device_of(context);
    struct ibv_port_attr *p = (struct ibv_port_attr *)out;

    if (port != 1 || d->fatal) {
        return EINVAL;
    }
    p->state = d->state;
    p->max_mtu = IBV_MTU_4096;
    p->active_mtu = d->mtu;
    p->gid_tbl_len = (int)d->n_gids;
    p->max_msg_sz = 1u << 30;
    p->pkey_tbl_len = 1;
    p->link_layer = d->link_layer;
    return 0;
}

static void gid_of(const char *address, union ibv_gid *out)
{
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET6, address, out->raw) != 1) {
        out->raw[10] = out->raw[11] = 0xff;
        (void)inet_pton(AF_INET, address, out->raw + 12);
    }
}

static ssize_t query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries,
                               size_t max, uint32_t flags, size_t entry_size)
{
    const struct fake_device *d = fake_device_of(context);
    ssize_t n = 0;

    (void)flags;
    if (entry_size != sizeof(*entries) || d->fatal) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < d->n_gids && (size_t)n < max; i++) {
        if (!d->gids[i].address) {
            continue; /* a hole in the table */
        }
        entries[n] = (struct ibv_gid_entry){
            .gid_index = i, .port_num = 1, .gid_type = d->gids[i].type};
        gid_of(d->gids[i].address, &entries[n++].gid);
    }
    return n;
}

bool fake_has_gid(const struct fake_device *d, const union ibv_gid *gid)
{
    for (unsigned i = 0; i < d->n_gids; i++) {
        union ibv_gid have;

        if (d->gids[i].address) {
            gid_of(d->gids[i].address, &have);
            if (memcmp(&have, gid, sizeof(have)) == 0) {
                return true;
            }
        }
    }
    return false;
}

static const char *wc_status_str(enum ibv_wc_status status)
{
    static const char *const names[] = {
        [IBV_WC_SUCCESS] = "success",
        [IBV_WC_LOC_LEN_ERR] = "local length error",
        [IBV_WC_LOC_QP_OP_ERR] = "local QP operation error",
        [IBV_WC_LOC_PROT_ERR] = "local protection error",
        [IBV_WC_WR_FLUSH_ERR] = "Work Request Flushed Error",
        [IBV_WC_MW_BIND_ERR] = "memory bind operation error",
        [IBV_WC_REM_INV_REQ_ERR] = "remote invalid request error",
        [IBV_WC_REM_ACCESS_ERR] = "remote access error",
        [IBV_WC_RETRY_EXC_ERR] = "transport retry counter exceeded",
        [IBV_WC_RNR_RETRY_EXC_ERR] = "RNR retry counter exceeded",
    };

    return (size_t)status < sizeof(names) / sizeof(names[0]) && names[status] ? names[status]
                                                                              : "another error";
}

/* Knobs ------------------------------------------------------------------------------------------ */

static void device_fill(struct fake_device *d, unsigned i)
{
    static const char *const addresses[FAKE_DEVICES] = {"127.0.0.1", "127.0.0.2", "127.0.0.3",
                                                        "127.0.0.4", "127.0.0.5", "127.0.0.6",
                                                        "127.0.0.7", "127.0.0.8"};

    *d = (struct fake_device){
        .state = IBV_PORT_ACTIVE,
        .mtu = IBV_MTU_4096,
        .link_layer = IBV_LINK_LAYER_ETHERNET,
        .max_sge = 16,
        .reads = 16,
        .max_inline = 256,
        .max_mr_size = UINT64_C(1) << 40,
        .windows = true,
        .srqs = true,
        .gids = {{"fe80::1", IBV_GID_TYPE_ROCE_V1},
                 {addresses[i], IBV_GID_TYPE_ROCE_V1},
                 {addresses[i], IBV_GID_TYPE_ROCE_V2}},
        .n_gids = 3,
    };
    snprintf(d->name, sizeof(d->name), "fake%u", i);
}

static struct mkv__verbs table = {
    .fork_init = fork_init,
    .get_device_list = get_device_list,
    .free_device_list = free_device_list,
    .get_device_name = get_device_name,
    .open_device = open_device,
    .close_device = close_device,
    .query_device = query_device,
    .query_port = query_port,
    .query_gid_table = query_gid_table,
    .get_async_event = get_async_event,
    .ack_async_event = ack_async_event,
    .wc_status_str = wc_status_str,
};

void fake_verbs_begin(unsigned n)
{
    memset(&fake_world, 0, sizeof(fake_world));
    fake_world.n = n < FAKE_DEVICES ? n : FAKE_DEVICES;
    fake_world.next_key = 0x1000;
    fake_world.next_qpn = 0x11;
    for (unsigned i = 0; i < fake_world.n; i++) {
        device_fill(&fake_world.devices[i], i);
    }
    fake_objects_fill(&table);
    mkv__verbs_use(&table);
}

void fake_verbs_end(void)
{
    mkv__verbs_use(NULL);
}

void fake_verbs_far(unsigned device, uint32_t ms, int error)
{
    fake_lock();
    fake_world.devices[device].far_ms = ms;
    fake_world.devices[device].far_error = error;
    fake_unlock();
    table.at_once = false;
}

struct fake_device *fake_verbs_device(unsigned i)
{
    return &fake_world.devices[i];
}

void fake_verbs_counts(struct fake_counts *out)
{
    fake_lock();
    *out = fake_world.counts;
    fake_unlock();
}

uint64_t fake_verbs_left(void)
{
    struct fake_counts c;

    fake_verbs_counts(&c);
    return c.lists + c.contexts + c.pds + c.mrs + c.mws + c.channels + c.cqs + c.srqs + c.qps;
}

void fake_verbs_late(uint32_t polls, uint64_t seed)
{
    fake_world.late = polls;
    fake_world.seed = seed;
}

void fake_verbs_wrong_window(bool wrong)
{
    fake_lock();
    fake_world.wrong_window = wrong;
    fake_unlock();
}

void fake_verbs_late_sends(bool late)
{
    fake_lock();
    fake_world.late_sends = late;
    fake_unlock();
}

void fake_verbs_relaxed(bool relaxed)
{
    fake_world.relaxed = relaxed;
}

void fake_verbs_wire_mtu(uint32_t bytes)
{
    fake_world.wire_mtu = bytes;
}

void fake_verbs_fail(int opcode, uint32_t nth, enum ibv_wc_status status, uint32_t vendor_error)
{
    fake_lock();
    fake_world.fail_opcode = opcode;
    fake_world.fail_nth = nth;
    fake_world.fail_status = status;
    fake_world.fail_vendor = vendor_error;
    fake_unlock();
}

bool fake_verbs_clean(const char *when)
{
    struct fake_counts c;

    fake_verbs_counts(&c);
    if (fake_verbs_left() == 0 && c.misuses == 0 && c.overruns == 0 && c.rnrs == 0) {
        return true;
    }
    printf("%s: left %llu objects; misuses %llu, overruns %llu, RNRs %llu\n", when,
           (unsigned long long)fake_verbs_left(), (unsigned long long)c.misuses,
           (unsigned long long)c.overruns, (unsigned long long)c.rnrs);
    return false;
}
