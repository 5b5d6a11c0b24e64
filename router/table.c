#include "router/internal.h"
#include "router/placement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server *find(const struct table *table, const char *name, const char *address)
{
    for (uint32_t i = 0; table != NULL && i < table->n; i++) {
        if (strcmp(table->servers[i]->name, name) == 0 &&
            strcmp(table->servers[i]->address, address) == 0) {
            return table->servers[i];
        }
    }
    return NULL;
}

static struct server *server_for(struct mkv_client *client, const struct mkv__server_entry *from,
                                 const struct table *old)
{
    const char *address = from->addresses[0].text;
    struct server *s = find(old, from->name, address);
    if (s != NULL) {
        __atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
        return s;
    }
    s = calloc(1, sizeof(*s));
    if (s != NULL) {
        s->client = client;
        s->references = 1;
        snprintf(s->name, sizeof(s->name), "%s", from->name);
        snprintf(s->address, sizeof(s->address), "%s", address);
        s->hash = mkv__place_server(s->name);
        mkv__server_init(s);
        __atomic_add_fetch(&client->live_servers, 1, __ATOMIC_RELAXED);
    }
    return s;
}

int mkv__table_make(struct mkv_client *client, const struct mkv__server_list *list,
                    const struct table *old, struct table **out)
{
    struct table *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return -ENOMEM;
    }
    t->references = 1;
    t->equal_weights = true;
    t->servers = calloc(list->n, sizeof(struct server *));
    t->weights = calloc(list->n, sizeof(*t->weights));
    while (t->servers != NULL && t->weights != NULL && t->n < list->n) {
        struct server *s = server_for(client, &list->servers[t->n], old);
        if (s == NULL) {
            break;
        }
        t->servers[t->n] = s;
        t->weights[t->n] = list->servers[t->n].weight;
        t->equal_weights = t->equal_weights && t->weights[t->n] == t->weights[0];
        t->n++;
    }
    if (t->n < list->n) {
        mkv__table_put(t);
        return -ENOMEM;
    }
    *out = t;
    return 0;
}

struct table *mkv__table_get(struct mkv_client *client)
{
    urcu_bp_read_lock();
    struct table *t = rcu_dereference(client->table);
    MKV_TSAN_ACQUIRE(t);
    /* The publisher drops its reference only after a grace period, so this never revives one. */
    __atomic_add_fetch(&t->references, 1, __ATOMIC_RELAXED);
    urcu_bp_read_unlock();
    return t;
}

void mkv__table_put(struct table *table)
{
    if (table == NULL || __atomic_sub_fetch(&table->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    for (uint32_t i = 0; i < table->n; i++) {
        mkv__server_put(table->servers[i]);
    }
    free(table->servers);
    free(table->weights);
    free(table);
}

static void retire(struct mkv__worker *worker, struct mkv__task *task)
{
    struct server *s = (struct server *)((char *)task - offsetof(struct server, retire));
    struct mkv_client *client = s->client;
    (void)worker;
    mkv__server_shut(s);
    free(s);
    __atomic_sub_fetch(&client->live_servers, 1, __ATOMIC_RELEASE);
}

void mkv__server_put(struct server *server)
{
    if (__atomic_sub_fetch(&server->references, 1, __ATOMIC_ACQ_REL) == 0) {
        server->retire.run = retire;
        mkv__worker_post(server->client->worker, &server->retire);
    }
}

uint32_t mkv__table_place(const struct table *table, uint64_t key_hash, uint32_t without)
{
    uint32_t best = MKV_NO_SERVER;
    uint64_t best_draw = 0;
    for (uint32_t i = 0; i < table->n; i++) {
        const struct server *s = table->servers[i];
        if (i == without || __atomic_load_n(&s->breaker, __ATOMIC_RELAXED) != BREAKER_CLOSED) {
            continue;
        }
        uint64_t draw = mkv__place_draw(key_hash, s->hash);
        if (best == MKV_NO_SERVER ||
            mkv__place_before(draw, table->weights[i], best_draw, table->weights[best])) {
            best = i;
            best_draw = draw;
        }
    }
    return best;
}
