#include "router/probe.h"

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

static int ask(struct mkv_batch *b, struct server *s, uint64_t timeout_ns, char **json)
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
    r = mkv_batch_submit(b);
    r = r < 0 ? r : mkv_batch_wait(b);
    b->stat_out = NULL;
    return r < 0 ? r : *json == NULL ? -EPROTO : 0;
}

int mkv__client_probe(struct mkv_client *client, unsigned i, uint64_t timeout_ns,
                      struct mkv__probe *out)
{
    struct mkv_batch *b;
    *out = (struct mkv__probe){0};
    int r = mkv_batch_create(client, &b);
    if (r < 0) {
        return r;
    }
    struct table *t = mkv__table_get(client);
    struct server *s = t->servers[i];
    snprintf(out->name, sizeof(out->name), "%s", s->name);
    snprintf(out->address, sizeof(out->address), "%s", s->address);
    uint64_t start = mkv__clock_ns();
    out->error = ask(b, s, timeout_ns, &out->stat);
    out->connect_us = (double)(mkv__clock_ns() - start) / 1e3;
    for (int look = 0; look < LOOKS && out->error == 0; look++) {
        start = mkv__clock_ns();
        out->error = ask(b, s, timeout_ns, &out->stat);
        double us = (double)(mkv__clock_ns() - start) / 1e3;
        out->latency_us = look == 0 || us < out->latency_us ? us : out->latency_us;
    }
    out->version = s->version_high;
    if (out->error < 0) {
        snprintf(out->why, sizeof(out->why), "%s",
                 s->why[0] != '\0' ? s->why : mkv_error_text(out->error));
        out->error = s->last_error == -EACCES ? -EACCES : out->error;
    }
    mkv__table_put(t);
    mkv_batch_destroy(&b);
    return out->error;
}
