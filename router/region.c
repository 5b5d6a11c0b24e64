#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mkv_region {
    struct mkv_client *client;
    void *addr;
    size_t len;
    int result;
    struct mkv__task task;
    struct mkv__completion done;
};

static void add(struct mkv__worker *worker, struct mkv__task *task)
{
    struct mkv_region *r = MKV_CONTAINER_OF(task, struct mkv_region, task);
    (void)worker;
    r->result = r->client->transport->region_add(r->client->endpoint, r->addr, r->len);
    mkv__completion_done(&r->done);
}

static void drop(struct mkv__worker *worker, struct mkv__task *task)
{
    struct mkv_region *r = MKV_CONTAINER_OF(task, struct mkv_region, task);
    (void)worker;
    r->client->transport->region_remove(r->client->endpoint, r->addr, r->len);
    mkv__completion_done(&r->done);
}

static void on_worker(struct mkv_region *r, void (*run)(struct mkv__worker *, struct mkv__task *))
{
    mkv__completion_init(&r->done, 1);
    r->task.run = run;
    mkv__worker_post(r->client->worker, &r->task);
    mkv__completion_wait(&r->done, false);
}

int mkv_region_open(struct mkv_client *client, void *addr, size_t len,
                    const struct mkv_region_options *options, struct mkv_region **out)
{
    if (client->forks != mkv__forks()) {
        return -ECANCELED;
    }
    if (addr == NULL || len == 0 || (uintptr_t)addr + len < len) {
        return -EINVAL;
    }
    if (options != NULL && options->kind != MKV_MEMORY_HOST) {
        return -ENOTSUP;
    }
    struct mkv_region *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return -ENOMEM;
    }
    *r = (struct mkv_region){.client = client, .addr = addr, .len = len};
    on_worker(r, add);
    if (r->result < 0) {
        int error = r->result;
        free(r);
        return error;
    }
    __atomic_add_fetch(&client->objects, 1, __ATOMIC_RELAXED);
    *out = r;
    return 0;
}

int mkv_region_close(struct mkv_region **region)
{
    struct mkv_region *r = *region;
    if (r == NULL) {
        return 0;
    }
    if (r->client->forks == mkv__forks()) {
        on_worker(r, drop);
        __atomic_sub_fetch(&r->client->objects, 1, __ATOMIC_RELEASE);
    }
    free(r);
    *region = NULL;
    return 0;
}
