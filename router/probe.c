#include "router/probe.h"

#include "core/base.h"
#include "core/os/clock.h"
#include "router/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS 5

unsigned mkv__client_n_servers(struct mkv_client *client)
{
    struct table *t = mkv__table_get(client);
    unsigned n = t->n;
    mkv__table_put(t);
    return n;
}

const struct mkv__config *mkv__client_config(const struct mkv_client *client)
{
    return client->config;
}

static int ask_once(struct mkv_batch *b, struct server *s, uint64_t timeout_ns, char **json)
{
    struct mkv_batch_options options = {.size = sizeof(options), .timeout_ns = timeout_ns};
    int r = mkv_batch_begin(b, MKV_OP_EXISTS, &options);
    if (r < 0) {
        return r;
    }
    free(*json);
    *json = NULL;
    b->stat_out = json;
    b->stat_server = s;
    r = mkv_batch_run(b);
    r = r < 0 ? r : mkv_batch_wait(b);
    b->stat_out = NULL;
    return r < 0 ? r : *json == NULL ? -EPROTO : 0;
}

/* Over another rail where one does not get there. */
static int ask(struct mkv_batch *b, struct server *s, uint64_t timeout_ns, char **json)
{
    int r = ask_once(b, s, timeout_ns, json);
    for (unsigned i = 1; r == -ECONNRESET && i < s->client->n_rails && mkv__server_up(s); i++) {
        r = ask_once(b, s, timeout_ns, json);
    }
    return r;
}

struct look {
    struct mkv__task task;
    struct mkv__completion done;
    struct session *session;
    struct mkv__probe *out;
};

static void look(struct mkv__worker *worker, struct mkv__task *task)
{
    struct look *l = MKV_CONTAINER_OF(task, struct look, task);
    const struct session *s = l->session;
    (void)worker;
    snprintf(l->out->address, sizeof(l->out->address), "%s", s->server->addresses[s->address]);
    l->out->version = s->version_high;
    if (s->conn != NULL) {
        s->rail->client->transport->describe(s->conn, l->out->path, sizeof(l->out->path));
        l->out->reason = (int)s->rail->client->transport->reason(s->conn, &l->out->of_peer);
    }
    if (l->out->error < 0) {
        snprintf(l->out->why, sizeof(l->out->why), "%s",
                 s->why[0] != '\0' ? s->why : mkv_error_text(l->out->error));
        l->out->error = mkv__server_error(s->server) == -EACCES ? -EACCES : l->out->error;
    }
    mkv__completion_done(&l->done);
}

static void measure(struct mkv_batch *b, struct server *s, uint64_t timeout_ns,
                    struct mkv__probe *out)
{
    uint64_t start = mkv__clock_ns();
    out->error = ask(b, s, timeout_ns, &out->stat);
    out->connect_us = (double)(mkv__clock_ns() - start) / 1e3;
    for (int i = 0; i < LOOKS && out->error == 0; i++) {
        start = mkv__clock_ns();
        out->error = ask(b, s, timeout_ns, &out->stat);
        double us = (double)(mkv__clock_ns() - start) / 1e3;
        out->latency_us = i == 0 || us < out->latency_us ? us : out->latency_us;
    }
}

int mkv__client_probe(struct mkv_client *client, unsigned i, uint64_t timeout_ns,
                      struct mkv__probe *out)
{
    struct mkv_batch *b;
    *out = (struct mkv__probe){0};
    int r = mkv_batch_create(client, &b);
    if (r < 0) {
        out->error = r;
        return r;
    }
    struct table *t = mkv__table_get(client);
    if (i < t->n) {
        snprintf(out->name, sizeof(out->name), "%s", t->servers[i]->name);
        measure(b, t->servers[i], timeout_ns, out);
        const struct rail *rail = mkv__part_rail(&b->first); /* the one that was used last */
        struct look l = {.task.run = look,
                         .session = &t->servers[i]->sessions[rail != NULL ? rail->number : 0],
                         .out = out};
        mkv__completion_init(&l.done, 1);
        mkv__worker_post(l.session->rail->worker, &l.task);
        mkv__client_wait(client, &l.done);
    } else {
        out->error = -EINVAL; /* the list was replaced by a shorter one */
    }
    mkv__table_put(t);
    mkv_batch_destroy(&b);
    return out->error;
}
