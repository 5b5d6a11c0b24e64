#include "transport/rdma/cm.h"

#include "core/base.h"

#include <rdma/rdma_cma.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static struct {
    struct rdma_event_channel *(*create_event_channel)(void);
    void (*destroy_event_channel)(struct rdma_event_channel *channel);
    int (*create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
                     enum rdma_port_space ps);
    int (*destroy_id)(struct rdma_cm_id *id);
    int (*bind_addr)(struct rdma_cm_id *id, struct sockaddr *addr);
} cm;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;

static void load(void)
{
    static const struct {
        const char *name;
        size_t at;
    } calls[] = {
        {"rdma_create_event_channel", offsetof(__typeof__(cm), create_event_channel)},
        {"rdma_destroy_event_channel", offsetof(__typeof__(cm), destroy_event_channel)},
        {"rdma_create_id", offsetof(__typeof__(cm), create_id)},
        {"rdma_destroy_id", offsetof(__typeof__(cm), destroy_id)},
        {"rdma_bind_addr", offsetof(__typeof__(cm), bind_addr)},
    };
    void *library = dlopen("librdmacm.so.1", RTLD_NOW | RTLD_LOCAL);

    for (size_t i = 0; library && i < MKV_ARRAY_LEN(calls); i++) {
        void *call = dlsym(library, calls[i].name);

        if (!call) {
            return;
        }
        memcpy((char *)&cm + calls[i].at, &call, sizeof(call));
    }
    loaded = library != NULL;
}

static bool find(struct rdma_event_channel *channel, const struct sockaddr_storage *address,
                 struct mkv__cm_place *out)
{
    struct sockaddr_storage at = *address;
    struct rdma_cm_id *id;
    bool found;

    if (at.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&at)->sin6_port = 0;
    } else {
        ((struct sockaddr_in *)&at)->sin_port = 0;
    }
    if (cm.create_id(channel, &id, NULL, RDMA_PS_TCP) != 0) {
        return false;
    }
    found = cm.bind_addr(id, (struct sockaddr *)&at) == 0 && id->verbs;
    if (found) {
        snprintf(out->device, sizeof(out->device), "%s", id->verbs->device->name);
        out->port = id->port_num;
        memcpy(out->gid, id->route.addr.addr.ibaddr.sgid.raw, 16);
    }
    (void)cm.destroy_id(id);
    return found;
}

bool mkv__cm_find(const struct sockaddr_storage *address, struct mkv__cm_place *out)
{
    struct rdma_event_channel *channel;
    bool found;

    (void)pthread_once(&once, load);
    channel = loaded ? cm.create_event_channel() : NULL;
    if (!channel) {
        return false;
    }
    found = find(channel, address, out);
    cm.destroy_event_channel(channel);
    return found;
}
