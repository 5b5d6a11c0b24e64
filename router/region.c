#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What one rail has to do with a region. */
struct registration {
    struct mkv_region *region;
    struct rail *rail;
    int result; /* of the add */
    struct mkv__task add, drop;
};

struct mkv_region {
    struct mkv_client *client;
    struct mkv_region *next; /* of the client, under its mutex */
    unsigned users;          /* atomic: batches in flight */
    unsigned references;     /* atomic: the caller's, and tasks on their way */
    void *addr;
    size_t len;
    struct mkv__completion added, dropped;
    struct registration rails[];
};

static void put(struct mkv_region *r)
{
    if (__atomic_sub_fetch(&r->references, 1, __ATOMIC_ACQ_REL) == 0) {
        free(r);
    }
}

static void add(struct mkv__worker *worker, struct mkv__task *task)
{
    struct registration *g = MKV_CONTAINER_OF(task, struct registration, add);
    struct mkv_region *r = g->region;
    (void)worker;
    g->result = r->client->transport->region_add(g->rail->endpoint, r->addr, r->len);
    mkv__completion_done(&r->added);
    put(r);
}

static void drop(struct mkv__worker *worker, struct mkv__task *task)
{
    struct registration *g = MKV_CONTAINER_OF(task, struct registration, drop);
    struct mkv_region *r = g->region;
    (void)worker;
    if (g->result == 0) {
        r->client->transport->region_remove(g->rail->endpoint, r->addr, r->len);
    }
    mkv__completion_done(&r->dropped);
    put(r);
}

/* On all rails at once. In a callback, where nobody may wait, on this one, and on the others as soon
 * as their workers are told. */
static void on_rails(struct mkv_region *r, bool adds)
{
    struct mkv_client *c = r->client;
    const struct rail *here = mkv__client_rail(c);
    struct mkv__completion *done = adds ? &r->added : &r->dropped;
    unsigned n = c->n_rails;
    mkv__completion_init(done, n);
    __atomic_add_fetch(&r->references, n, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < n; i++) {
        struct registration *g = &r->rails[i];
        struct mkv__task *task = adds ? &g->add : &g->drop;
        if (g->rail == here) {
            task->run(g->rail->worker, task);
        } else {
            mkv__worker_post(g->rail->worker, task);
        }
    }
    if (here == NULL) {
        mkv__client_wait(c, done);
    }
}

static struct mkv_region *new_region(struct mkv_client *client, void *addr, size_t len)
{
    unsigned n = client->n_rails;
    struct mkv_region *r = calloc(1, sizeof(*r) + n * sizeof(struct registration));
    if (r != NULL) {
        *r = (struct mkv_region){.client = client, .references = 1, .addr = addr, .len = len};
        for (unsigned i = 0; i < n; i++) {
            r->rails[i].region = r;
            r->rails[i].rail = &client->rails[i];
            r->rails[i].add.run = add;
            r->rails[i].drop.run = drop;
        }
    }
    return r;
}

/* Of the rails whose answer is here. */
static int first_result(const struct mkv_region *r)
{
    const struct rail *here = mkv__client_rail(r->client);
    int error = 0;
    for (unsigned i = r->client->n_rails; i-- > 0;) {
        const struct registration *g = &r->rails[i];
        error = (here == NULL || here == g->rail) && g->result < 0 ? g->result : error;
    }
    return error;
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
    struct mkv_region *r = new_region(client, addr, len);
    if (r == NULL) {
        return -ENOMEM;
    }
    on_rails(r, true);
    int error = first_result(r);
    if (error < 0) {
        on_rails(r, false);
        put(r);
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
        on_rails(r, false);
        __atomic_sub_fetch(&r->client->n_regions, 1, __ATOMIC_RELEASE);
        __atomic_sub_fetch(&r->client->objects, 1, __ATOMIC_RELEASE);
    }
    put(r);
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
