/* What a device tells beside completions: ports that go and come, and failures. */
#include "transport/rdma/rdma.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* All sessions of the device that are on queue pairs end; their requests are issued again. */
static void lose_all(struct mkv__rdma_device *device, const char *why)
{
    struct mkv__endpoint *ep = device->endpoint;
    struct mkv__conn *conn = ep->conns;

    while (conn) {
        struct mkv__conn *next = conn->next;

        if (conn->device == device && conn->path == MKV_RDMA_ON_RAILS) {
            mkv__rdma_lost(conn);
            mkv__rdma_conn_fail(conn, -ECONNRESET, why);
            next = ep->conns; /* whatever that has closed */
        }
        conn = next;
    }
}

static void port_down(struct mkv__rdma_device *device)
{
    char why[100];

    if (device->down) {
        return;
    }
    device->down = true;
    snprintf(why, sizeof(why), "%s: port %u is down", device->name, device->port);
    MKV_WARNING(device->endpoint->options.log, "rdma: %s", why);
    lose_all(device, why);
}

static void port_up(struct mkv__rdma_device *device)
{
    struct mkv__endpoint *ep = device->endpoint;

    if (!device->down) {
        return;
    }
    device->down = false;
    MKV_INFO(ep->options.log, "rdma: %s: port %u is up again", device->name, device->port);
    for (unsigned i = 0; i < MKV_RDMA_LOST; i++) {
        ep->lost[i].until_ns = 0;
    }
    for (struct mkv__conn *conn = ep->conns; conn; conn = conn->next) {
        if (!conn->server && conn->path == MKV_RDMA_ON_TCP && mkv__timer_armed(&conn->timer)) {
            mkv__rdma_shake_at(conn, mkv__worker_now(ep->worker));
        }
    }
}

static void died(struct mkv__rdma_device *device)
{
    char why[100];

    device->dead = true;
    snprintf(why, sizeof(why), "%s has failed (see the kernel's log)", device->name);
    MKV_ERROR(device->endpoint->options.log, "rdma: %s", why);
    lose_all(device, why);
}

/* A queue of one session has failed: its completion queue or shared receives; NULL: the queue pair of
 * this number. */
static void lose_one(struct mkv__rdma_device *device, const void *queue, uint32_t qp_num,
                     const char *what)
{
    struct mkv__conn *conn = device->endpoint->conns;

    for (; conn; conn = conn->next) {
        bool it_is = queue && (conn->cq == queue || conn->srq == queue);

        for (unsigned i = 0; i < MKV_RDMA_QPS && !queue && conn->device == device; i++) {
            it_is |= conn->qps[i] && conn->qps[i]->qp && conn->qps[i]->qp->qp_num == qp_num;
        }
        if (it_is) {
            break;
        }
    }
    if (!conn) {
        return;
    }
    if (conn->path == MKV_RDMA_SHAKING) {
        mkv__rdma_shake_failed(conn, MKV_REASON_FAULT, what);
        return;
    }
    mkv__rdma_lost(conn);
    mkv__rdma_conn_fail(conn, -ECONNRESET, what);
}

static void happened(struct mkv__rdma_device *device, const struct ibv_async_event *event,
                     uint32_t qp_num)
{
    switch (event->event_type) {
    case IBV_EVENT_PORT_ERR:
        if (event->element.port_num == device->port) {
            port_down(device);
        }
        break;
    case IBV_EVENT_PORT_ACTIVE:
        if (event->element.port_num == device->port) {
            port_up(device);
        }
        break;
    case IBV_EVENT_DEVICE_FATAL:
        died(device);
        break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
        lose_one(device, NULL, qp_num, "the device says that a queue pair has failed");
        break;
    case IBV_EVENT_CQ_ERR:
        lose_one(device, event->element.cq, 0, "the device says that completions are lost");
        break;
    case IBV_EVENT_SRQ_ERR:
        lose_one(device, event->element.srq, 0, "the device says that receives are lost");
        break;
    default: /* GID_CHANGE and LID_CHANGE: each handshake looks at the addresses anew */
        break;
    }
}

static bool of_qp(enum ibv_event_type type)
{
    return type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR ||
           type == IBV_EVENT_QP_ACCESS_ERR;
}

static void ready(struct mkv__worker *worker, struct mkv__source *source, unsigned events)
{
    struct mkv__rdma_device *device = MKV_CONTAINER_OF(source, struct mkv__rdma_device, events);
    struct mkv__endpoint *ep = device->endpoint;
    struct ibv_async_event event;

    (void)worker;
    (void)events;
    mkv__rdma_enter(ep);
    while (!ep->closed && ep->verbs->get_async_event(device->context, &event) == 0) {
        uint32_t qp_num = of_qp(event.event_type) ? event.element.qp->qp_num : 0;

        /* First: what it is about cannot be destroyed before. */
        ep->verbs->ack_async_event(&event);
        happened(device, &event, qp_num);
    }
    mkv__rdma_leave(ep);
}

int mkv__rdma_events_open(struct mkv__rdma_device *device)
{
    int fd = device->context->async_fd;
    int flags = fcntl(fd, F_GETFL);

    device->events = (struct mkv__source){.fd = fd};
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        mkv__worker_watch(device->endpoint->worker, &device->events, MKV_READABLE) < 0) {
        return -ENODEV;
    }
    device->events.ready = ready;
    return 0;
}

void mkv__rdma_events_close(struct mkv__rdma_device *device)
{
    if (device->events.ready) {
        mkv__worker_unwatch(device->endpoint->worker, &device->events);
        device->events.ready = NULL;
    }
}
