#include "transport/rdma/rdma.h"
#include "transport/rdma/rdma_probe.h"
#include "transport/tcp/nic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int port_of(struct mkv__endpoint *ep, struct mkv__rdma_device *device,
                   const struct ibv_device_attr *attributes)
{
    for (uint8_t port = 1; port <= attributes->phys_port_cnt; port++) {
        struct ibv_port_attr p;
        int error;

        memset(&p, 0, sizeof(p));
        error = ep->verbs->query_port(device->context, port, (struct _compat_ibv_port_attr *)&p);
        if (!error && p.state == IBV_PORT_ACTIVE) {
            device->port = port;
            device->mtu = (uint8_t)p.active_mtu;
            return 0;
        }
    }
    ep->reason = MKV_REASON_PORT_DOWN;
    snprintf(ep->why, sizeof(ep->why), "%s: no port is up (see: rdma link)", device->name);
    return -ENETDOWN;
}

static void device_close(struct mkv__endpoint *ep, struct mkv__rdma_device *device)
{
    mkv__rdma_events_close(device);
    if (device->channel) {
        if (device->source.ready) {
            mkv__worker_unwatch(ep->worker, &device->source);
        }
        (void)ep->verbs->destroy_comp_channel(device->channel);
    }
    mkv__rdma_windows_destroy(&device->spare);
    if (device->pd) {
        (void)ep->verbs->dealloc_pd(device->pd);
    }
    if (device->context) {
        (void)ep->verbs->close_device(device->context);
    }
    memset(device, 0, sizeof(*device));
}

/* Opens it, and finds a port that is up. */
static int device_look(struct mkv__endpoint *ep, struct ibv_device *which,
                       struct mkv__rdma_device *device)
{
    struct ibv_device_attr attributes;

    device->endpoint = ep;
    snprintf(device->name, sizeof(device->name), "%s", ep->verbs->get_device_name(which));
    device->context = ep->verbs->open_device(which);
    if (!device->context || ep->verbs->query_device(device->context, &attributes) != 0) {
        ep->reason = MKV_REASON_FAULT;
        snprintf(ep->why, sizeof(ep->why), "%s cannot be opened: %s", device->name,
                 strerror(-mkv__verbs_errno()));
        return -ENODEV;
    }
    device->reads = (uint8_t)(attributes.max_qp_rd_atom < 16 ? attributes.max_qp_rd_atom : 16);
    device->max_sge = (uint32_t)attributes.max_sge < MKV_RDMA_SGE ? (uint32_t)attributes.max_sge
                                                                  : MKV_RDMA_SGE;
    device->srq = attributes.max_srq > 0 && attributes.max_srq_wr >= (int)MKV_RDMA_RECEIVES;
    device->max_mr_size = attributes.max_mr_size;
    device->vendor = attributes.vendor_id;
    device->windows = (attributes.device_cap_flags &
                       (IBV_DEVICE_MEM_WINDOW_TYPE_2A | IBV_DEVICE_MEM_WINDOW_TYPE_2B)) != 0;
    return port_of(ep, device, &attributes);
}

static int device_open(struct mkv__endpoint *ep, struct ibv_device *which,
                       struct mkv__rdma_device *device)
{
    int error = device_look(ep, which, device);
    int flags;

    if (error) {
        return error;
    }
    device->pd = ep->verbs->alloc_pd(device->context);
    device->channel = device->pd ? ep->verbs->create_comp_channel(device->context) : NULL;
    if (!device->channel) {
        ep->reason = MKV_REASON_FAULT;
        snprintf(ep->why, sizeof(ep->why), "%s: %s", device->name, strerror(-mkv__verbs_errno()));
        return -ENODEV;
    }
    flags = fcntl(device->channel->fd, F_GETFL);
    device->source = (struct mkv__source){.fd = device->channel->fd};
    if (fcntl(device->channel->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        mkv__worker_watch(ep->worker, &device->source, MKV_READABLE) < 0) {
        ep->reason = MKV_REASON_FAULT;
        snprintf(ep->why, sizeof(ep->why), "%s: its events cannot be watched", device->name);
        return -ENODEV;
    }
    device->source.ready = mkv__rdma_channel_ready;
    if (mkv__rdma_events_open(device) < 0) {
        snprintf(ep->why, sizeof(ep->why), "%s: its events cannot be watched", device->name);
        return -ENODEV;
    }
    return 0;
}

/* Stays so unless one is found, or says itself what it lacks. */
static void no_device(struct mkv__endpoint *ep, int n)
{
    ep->reason = n > 0 ? MKV_REASON_NOT_NAMED : MKV_REASON_NO_DEVICE;
    snprintf(ep->why, sizeof(ep->why), "this machine has no RDMA device%s",
             n > 0 ? " of those that rdma_devices names (see: rdma link)" : "");
}

void mkv__rdma_devices_open(struct mkv__endpoint *ep)
{
    struct ibv_device **list;
    int n = 0;

    ep->verbs = mkv__verbs_load(&ep->reason, ep->why, sizeof(ep->why));
    if (!ep->verbs) {
        return;
    }
    list = ep->verbs->get_device_list(&n);
    no_device(ep, n);
    for (int i = 0; i < n && ep->n_devices < MKV_RDMA_DEVICES; i++) {
        struct mkv__rdma_device *device = &ep->devices[ep->n_devices];

        if (ep->options.device &&
            strcmp(ep->options.device, ep->verbs->get_device_name(list[i])) != 0) {
            continue;
        }
        if (device_open(ep, list[i], device) == 0) {
            ep->n_devices++;
        } else {
            device_close(ep, device);
        }
    }
    if (list) {
        ep->verbs->free_device_list(list);
    }
}

void mkv__rdma_devices_close(struct mkv__endpoint *ep)
{
    while (ep->n_devices > 0) {
        device_close(ep, &ep->devices[--ep->n_devices]);
    }
}

static void rail_add(struct mkv__rails *rails, const char *name)
{
    struct mkv__rail *rail = &rails->rails[rails->n++];

    snprintf(rail->device, sizeof(rail->device), "%s", name);
    rail->numa_node = mkv__tcp_interface_node("/sys/class/infiniband", name);
}

/* Those called `name`; NULL: all. */
static void probe(struct mkv__endpoint *ep, struct ibv_device **list, int n, const char *name,
                  struct mkv__rails *rails)
{
    for (int i = 0; i < n && rails->n < MKV_RAILS_MAX; i++) {
        struct mkv__rdma_device device = {0};

        if (name && strcmp(name, ep->verbs->get_device_name(list[i])) != 0) {
            continue;
        }
        if (device_look(ep, list[i], &device) == 0) {
            rail_add(rails, device.name);
        }
        device_close(ep, &device);
    }
}

bool mkv__rdma_probe(const char *const *names, size_t n_names, struct mkv__rails *rails, char *why,
                     size_t why_len)
{
    struct mkv__endpoint *ep = calloc(1, sizeof(*ep));
    int n = 0;

    rails->n = 0;
    if (!ep) {
        return false;
    }
    ep->verbs = mkv__verbs_load(&ep->reason, ep->why, sizeof(ep->why));
    if (ep->verbs) {
        struct ibv_device **list = ep->verbs->get_device_list(&n);

        no_device(ep, n);
        for (size_t i = 0; i < n_names; i++) {
            probe(ep, list, n, names[i], rails);
        }
        if (n_names == 0) {
            probe(ep, list, n, NULL, rails);
        }
        if (list) {
            ep->verbs->free_device_list(list);
        }
    }
    snprintf(why, why_len, "%s", ep->why);
    free(ep);
    return rails->n > 0;
}
