#include "router/internal.h"

#include "core/base.h"
#include "router/placement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_same(const struct server *s, const struct mkv__server_entry *e)
{
    bool same = strcmp(s->name, e->name) == 0 && s->n_addresses == e->n_addresses;
    for (uint32_t i = 0; same && i < e->n_addresses; i++) {
        same = strcmp(s->addresses[i], e->addresses[i].text) == 0;
    }
    return same;
}

static struct server *find(const struct table *table, const struct mkv__server_entry *e)
{
    for (uint32_t i = 0; table != NULL && i < table->n; i++) {
        if (is_same(table->servers[i], e)) {
            return table->servers[i];
        }
    }
    return NULL;
}

static void free_server(struct server *s)
{
    if (s != NULL) {
        free(s->addresses);
        free(s);
    }
}

static struct server *new_server(struct mkv_client *client, const struct mkv__server_entry *e)
{
    struct server *s = calloc(1, sizeof(*s) + client->n_rails * sizeof(struct session));
    if (s == NULL || (s->addresses = calloc(e->n_addresses, sizeof(*s->addresses))) == NULL) {
        free_server(s);
        return NULL;
    }
    s->client = client;
    s->references = 1;
    s->n_addresses = e->n_addresses;
    snprintf(s->name, sizeof(s->name), "%s", e->name);
    for (uint32_t i = 0; i < e->n_addresses; i++) {
        snprintf(s->addresses[i], sizeof(s->addresses[i]), "%s", e->addresses[i].text);
    }
    s->hash = mkv__place_server(s->name);
    s->state = RAILS_ALL >> (MKV_RAILS_MAX - client->n_rails); /* all closed */
    s->retiring = client->n_rails;
    for (unsigned i = 0; i < client->n_rails; i++) {
        mkv__session_init(&s->sessions[i], s, &client->rails[i]);
    }
    return s;
}

static struct server *server_for(struct mkv_client *client, const struct mkv__server_entry *from,
                                 const struct table *old)
{
    struct server *s = find(old, from);
    if (s == NULL) {
        return new_server(client, from);
    }
    __atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
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
    t->servers = calloc(list->n, sizeof(struct server *));
    t->weights = calloc(list->n, sizeof(*t->weights));
    while (t->servers != NULL && t->weights != NULL && t->n < list->n) {
        struct server *s = server_for(client, &list->servers[t->n], old);
        if (s == NULL) {
            break;
        }
        t->servers[t->n] = s;
        t->weights[t->n] = list->servers[t->n].weight;
        t->n++;
    }
    if (t->n < list->n) {
        mkv__table_put(t);
        return -ENOMEM;
    }
    *out = t;
    return 0;
}

bool mkv__table_is(const struct table *table, const struct mkv__server_list *list)
{
    bool same = table->n == list->n;
    for (uint32_t i = 0; same && i < table->n; i++) {
        same = is_same(table->servers[i], &list->servers[i]) &&
               table->weights[i] == list->servers[i].weight;
    }
    return same;
}

struct table *mkv__table_get(struct mkv_client *client)
{
    urcu_bp_read_lock();
    struct table *t = MKV_RCU_DEREFERENCE(client->table);
    if (t != NULL) {
        /* The publisher drops its reference only after a grace period: none is revived here. */
        __atomic_add_fetch(&t->references, 1, __ATOMIC_RELAXED);
    }
    MKV_RCU_BP_READ_UNLOCK(&client->table);
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

void mkv__server_left(struct server *server)
{
    if (__atomic_sub_fetch(&server->retiring, 1, __ATOMIC_ACQ_REL) == 0) {
        free_server(server);
    }
}

static void retire(struct mkv__worker *worker, struct mkv__task *task)
{
    struct session *session = MKV_CONTAINER_OF(task, struct session, retire);
    (void)worker;
    mkv__session_shut(session);
    mkv__server_left(session->server);
}

void mkv__server_put(struct server *server)
{
    if (__atomic_sub_fetch(&server->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    const struct mkv_client *client = server->client;
    for (unsigned i = 0, n = client->n_rails; i < n; i++) {
        server->sessions[i].retire.run = retire;
        mkv__worker_post(client->rails[i].worker, &server->sessions[i].retire);
    }
}

uint32_t mkv__table_place(const struct table *table, uint64_t key_hash, uint32_t after)
{
    uint32_t best = MKV_NO_SERVER;
    uint64_t best_draw = 0, after_draw = 0;
    if (after != MKV_NO_SERVER) {
        after_draw = mkv__place_draw(key_hash, table->servers[after]->hash);
    }
    for (uint32_t i = 0; i < table->n; i++) {
        uint64_t draw = mkv__place_draw(key_hash, table->servers[i]->hash);
        uint32_t weight = table->weights[i];
        if (!mkv__server_up(table->servers[i]) ||
            (after != MKV_NO_SERVER &&
             !mkv__place_before(after_draw, table->weights[after], draw, weight))) {
            continue;
        }
        if (best == MKV_NO_SERVER ||
            mkv__place_before(draw, weight, best_draw, table->weights[best])) {
            best = i;
            best_draw = draw;
        }
    }
    return best;
}
