/* The rails of a client: a worker each, an endpoint on it, and waiting for what they do. */
#include "router/internal.h"

#include "core/base.h"
#include "transport/pick.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void turn_all(struct mkv_client *c)
{
    for (unsigned i = 0; i < c->n_rails; i++) {
        mkv__worker_turn(c->rails[i].worker, 0);
    }
}

/* Not beside any of the workers on its own CPU. */
static bool may_spin(const struct mkv_client *c)
{
    bool may = c->spin;
    for (unsigned i = 0; i < c->n_rails && may; i++) {
        may = mkv__worker_may_spin(c->rails[i].worker);
    }
    return may;
}

void mkv__client_wait(struct mkv_client *c, struct mkv__completion *completion)
{
    while (c->manual && !mkv__completion_test(completion)) {
        turn_all(c);
    }
    mkv__completion_wait(completion, may_spin(c));
}

/* A thread that is cancelled in here would take the worker with it. */
void mkv__rail_run(struct rail *r, const struct mkv_batch *b)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    while (!mkv__completion_test(&b->completion) && mkv__part_rail(b->parts[0]) == r) {
        mkv__worker_turn(r->worker, UINT64_MAX);
    }
    mkv__worker_give(r->worker, r->n_parts > 0);
    pthread_setcancelstate(before, NULL);
}

struct rail *mkv__client_rail(const struct mkv_client *c)
{
    for (unsigned i = 0; i < c->n_rails && !c->manual; i++) {
        if (mkv__worker_is_current(c->rails[i].worker)) {
            return (struct rail *)&c->rails[i];
        }
    }
    return c->manual ? c->calling : NULL;
}

/* Opening -------------------------------------------------------------------------------------- */

void mkv__rails_count(struct mkv_client *c, unsigned wanted)
{
    if (wanted > 0 || c->found.n == 0) {
        c->found = (struct mkv__rails){.n = MKV_MAX(MKV_MIN(wanted, MKV_RAILS_MAX), 1)};
        for (unsigned i = 0; i < c->found.n; i++) {
            c->found.rails[i].numa_node = -1;
        }
    }
    c->n_rails = c->found.n;
}

/* Of all its servers the first has to say where the NIC is. */
static int nic_node(const struct mkv_client *c)
{
    const struct mkv__server_list *list = mkv__config_servers(c->config);
    return list->n > 0 ? c->transport->numa_node(list->servers[0].addresses[0].text) : -1;
}

static int open_worker(struct rail *r)
{
    struct mkv_client *c = r->client;
    char name[16] = "memkv-client";
    int node = c->found.rails[r->number].numa_node;
    if (c->n_rails > 1) {
        snprintf(name, sizeof(name), "memkv-client-%u", r->number % MKV_RAILS_MAX);
    }
    struct mkv__worker_options w = {
        .name = name,
        .cpus = mkv__config_string(c->config, MKV_OPT_WORKERS_CPUS),
        .numa_node = node >= 0 ? node : nic_node(c),
        .spin = (enum mkv__spin)mkv__config_choice(c->config, MKV_OPT_SPIN),
        .lends = true,
        .log = &c->log,
        .clock = c->clock,
        .clock_arg = c->clock_arg};
    if (c->n_rails > 1 && w.numa_node >= 0) { /* else there is no choice */
        (void)mkv__cpu_of_node(w.numa_node, &r->near);
    }
    return mkv__worker_create(&w, &r->worker);
}

static int open_rail(struct rail *r)
{
    struct mkv_client *c = r->client;
    struct mkv__endpoint_options e = c->endpoint_options;
    mkv__rail_options(&c->found, r->number, &e);
    e.lanes = (uint8_t)mkv__config_count(c->config, MKV_OPT_LANES);
    e.connect_timeout_ns = mkv__config_duration(c->config, MKV_OPT_CONNECT_TIMEOUT);
    e.idle_ping_ns = 10000000000u;
    e.log = &c->log;
    e.keys = mkv__config_keys(c->config, &e.n_keys);
    r->device = c->found.rails[r->number].device;
    r->body = malloc(MKV_MESSAGE_MAX);
    r->wire_keys = malloc(MKV_KEYS_MAX * sizeof(*r->wire_keys));
    r->wire_answers = malloc(MKV_KEYS_MAX * sizeof(*r->wire_answers));
    if (r->body == NULL || r->wire_keys == NULL || r->wire_answers == NULL) {
        return -ENOMEM;
    }
    int error = open_worker(r);
    return error < 0 ? error : c->transport->endpoint_open(r->worker, &e, &r->endpoint);
}

int mkv__rails_open(struct mkv_client *c)
{
    int r = 0;
    for (unsigned i = 0; i < c->n_rails && r == 0; i++) {
        c->rails[i].client = c;
        c->rails[i].number = i;
        r = open_rail(&c->rails[i]);
    }
    return r;
}

int mkv__rails_start(struct mkv_client *c)
{
    int r = 0;
    for (unsigned i = 0; i < c->n_rails && r == 0 && !c->manual; i++) {
        r = mkv__worker_start(c->rails[i].worker);
    }
    return r;
}

/* Closing -------------------------------------------------------------------------------------- */

void mkv__rails_stop(struct mkv_client *c)
{
    for (unsigned i = 0; i < c->n_rails; i++) {
        if (c->rails[i].worker != NULL) {
            mkv__worker_stop(c->rails[i].worker);
        }
    }
}

struct shut {
    struct mkv__task task;
    struct rail *rail;
    struct mkv__completion *done;
};

static void shut_endpoint(struct mkv__worker *worker, struct mkv__task *task)
{
    struct shut *s = MKV_CONTAINER_OF(task, struct shut, task);
    (void)worker;
    s->rail->client->transport->endpoint_close(&s->rail->endpoint);
    mkv__completion_done(s->done);
}

void mkv__rails_shut(struct mkv_client *c)
{
    struct shut shuts[MKV_RAILS_MAX];
    struct mkv__completion done;
    mkv__completion_init(&done, c->n_rails);
    for (unsigned i = 0; i < c->n_rails; i++) {
        shuts[i] = (struct shut){.task.run = shut_endpoint, .rail = &c->rails[i], .done = &done};
        mkv__worker_post(c->rails[i].worker, &shuts[i].task);
    }
    mkv__client_wait(c, &done);
    mkv__rails_stop(c);
}

void mkv__rails_close(struct mkv_client *c)
{
    for (unsigned i = 0; i < c->n_rails; i++) {
        struct rail *r = &c->rails[i];
        if (r->endpoint != NULL) {
            c->transport->endpoint_close(&r->endpoint);
        }
        mkv__worker_destroy(&r->worker);
        free(r->body);
        free(r->wire_keys);
        free(r->wire_answers);
    }
}
