#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mkv_region {
    struct mkv_client *client;
    struct mkv_region *next; /* of the client, under its mutex */
    unsigned users;          /* atomic: batches in flight */
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
    if (mkv__client_in_callback(r->client)) {
        run(r->client->worker, &r->task); /* in a callback */
        return;
    }
    mkv__worker_post(r->client->worker, &r->task);
    mkv__client_wait(r->client, &r->done);
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
    pthread_mutex_lock(&client->mutex);
    r->next = client->regions;
    client->regions = r;
    pthread_mutex_unlock(&client->mutex);
    __atomic_add_fetch(&client->n_regions, 1, __ATOMIC_RELEASE);
    __atomic_add_fetch(&client->objects, 1, __ATOMIC_RELAXED);
    *out = r;
    return 0;
}

/* Takes it out of the list, unless a batch uses it. */
static int unlist(struct mkv_region *r)
{
    struct mkv_client *client = r->client;
    pthread_mutex_lock(&client->mutex);
    bool busy = __atomic_load_n(&r->users, __ATOMIC_ACQUIRE) > 0;
    for (struct mkv_region **at = &client->regions; !busy && *at != NULL; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    pthread_mutex_unlock(&client->mutex);
    return busy ? -EBUSY : 0;
}

int mkv_region_close(struct mkv_region **region)
{
    struct mkv_region *r = *region;
    if (r == NULL) {
        return 0;
    }
    if (r->client->forks == mkv__forks()) {
        int busy = unlist(r);
        if (busy < 0) {
            return busy;
        }
        on_worker(r, drop);
        __atomic_sub_fetch(&r->client->n_regions, 1, __ATOMIC_RELEASE);
        __atomic_sub_fetch(&r->client->objects, 1, __ATOMIC_RELEASE);
    }
    free(r);
    *region = NULL;
    return 0;
}

static bool lies_in(const struct mkv_batch *b, const struct mkv_region *r)
{
    for (size_t i = 0; i < b->n_segments; i++) {
        uintptr_t at = (uintptr_t)b->segments[i].addr, begin = (uintptr_t)r->addr;
        if (at < begin + r->len && at + b->segments[i].len > begin) {
            return true;
        }
    }
    return false;
}

int mkv__regions_hold(struct mkv_batch *b)
{
    struct mkv_client *client = b->client;
    int result = 0;
    b->n_regions = 0;
    if (b->n_segments == 0 || __atomic_load_n(&client->n_regions, __ATOMIC_ACQUIRE) == 0) {
        return 0;
    }
    pthread_mutex_lock(&client->mutex);
    for (struct mkv_region *r = client->regions; r != NULL && result == 0; r = r->next) {
        if (!lies_in(b, r)) {
            continue;
        }
        result = mkv__grow(&b->regions, &b->regions_cap, b->n_regions + 1, sizeof(*b->regions));
        if (result == 0) {
            __atomic_add_fetch(&r->users, 1, __ATOMIC_RELAXED);
            b->regions[b->n_regions++] = r;
        }
    }
    pthread_mutex_unlock(&client->mutex);
    if (result < 0) {
        mkv__regions_drop(b);
    }
    return result;
}

void mkv__regions_drop(struct mkv_batch *b)
{
    while (b->n_regions > 0) {
        __atomic_sub_fetch(&b->regions[--b->n_regions]->users, 1, __ATOMIC_RELEASE);
    }
}
