/*
 * Which rail each key of a batch goes over. What is small goes over one rail, the nearest to the
 * caller. Of a get or set the keys of one server are dealt over several where each gets enough
 * bytes to be worth a message and the waking of another worker: in runs, so that what is in order in
 * the batch is so in each message. So are the servers of a batch, each of which gets less.
 */
#include "router/internal.h"

#include "core/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* At least so much for each rail: 20 us of a link of 100 Gbit/s, when a message takes some 10. */
#define SHARE_BYTES ((uint64_t)256 << 10)

/* Of a server in this batch. */
struct share {
    uint64_t bytes, dealt;
    uint32_t n;
    uint8_t rails[MKV_RAILS_MAX]; /* in the order of the runs */
    uint8_t n_rails;
};

/* Of the batch. */
struct deal {
    uint8_t order[MKV_RAILS_MAX]; /* all rails, near ones first */
    uint8_t part_of[MKV_RAILS_MAX];
};
#define NO_PART UINT8_MAX

static bool is_near(const struct rail *rail, int cpu)
{
    return cpu >= 0 && cpu < (int)MKV__CPUS && mkv__cpu_has(&rail->near, (unsigned)cpu);
}

static void order_rails(const struct mkv_client *c, struct deal *d)
{
    int cpu = c->n_rails > 1 ? mkv__cpu_current() : -1;
    unsigned n = 0;
    for (int near = 1; near >= 0; near--) {
        for (unsigned i = 0; i < c->n_rails; i++) {
            if (is_near(&c->rails[i], cpu) == (near == 1)) {
                d->order[n++] = (uint8_t)i;
            }
        }
    }
    memset(d->part_of, NO_PART, sizeof(d->part_of));
}

/* Parts are kept: none is allocated in the long run. */
static int part_on(struct mkv_batch *b, struct deal *d, unsigned rail, uint8_t *out)
{
    unsigned k = b->n_parts;
    *out = d->part_of[rail];
    if (*out != NO_PART) {
        return 0;
    }
    if (b->parts[k] == NULL) {
        b->parts[k] = k == 0 ? &b->first : calloc(1, sizeof(struct part));
        if (b->parts[k] == NULL) {
            return -ENOMEM;
        }
    }
    b->parts[k]->batch = b;
    b->parts[k]->number = (uint8_t)k;
    b->parts[k]->rail = &b->client->rails[rail];
    b->parts[k]->n = 0;
    d->part_of[rail] = *out = (uint8_t)k;
    b->n_parts++;
    return 0;
}

/* before: bytes of the servers before this one, whose rails it goes on from. */
static void choose_rails(const struct mkv_batch *b, const struct deal *d, uint32_t good,
                         uint64_t before, struct share *s)
{
    uint8_t all[MKV_RAILS_MAX];
    unsigned n = 0;
    uint64_t most = 1;
    if (b->op == MKV_OP_GET || b->op == MKV_OP_SET) {
        most = MKV_MIN(MKV_MAX(s->bytes / SHARE_BYTES, 1), s->n);
    }
    for (unsigned i = 0; i < b->client->n_rails; i++) {
        if (good & RAIL_CLOSED(d->order[i])) {
            all[n++] = d->order[i];
        }
    }
    if (n == 0) { /* it went down just now: any rail finds that out */
        all[n++] = d->order[0];
    }
    s->n_rails = 0;
    while (s->n_rails < n && (s->n_rails < most || s->n_rails == 0)) {
        s->rails[s->n_rails] = all[(before / SHARE_BYTES + s->n_rails) % n];
        s->n_rails++;
    }
}

static int sum_up(struct mkv_batch *b, const struct deal *d)
{
    const struct table *t = b->table;
    if (mkv__grow(&b->shares, &b->shares_cap, t->n, sizeof(*b->shares)) < 0) {
        return -ENOMEM;
    }
    memset(b->shares, 0, t->n * sizeof(*b->shares));
    for (uint32_t i = 0; i < b->n; i++) {
        const struct value *v = &b->values[i];
        if (v->server != MKV_NO_SERVER) {
            b->shares[v->server].bytes += v->length;
            b->shares[v->server].n++;
        }
    }
    uint64_t before = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        choose_rails(b, d, mkv__server_good(t->servers[i]), before, &b->shares[i]);
        before += b->shares[i].bytes;
    }
    return 0;
}

/* The run that the middle of this value falls into. */
static unsigned run_of(struct share *s, uint64_t length)
{
    uint64_t middle = s->dealt + length / 2;
    s->dealt += length;
    return s->bytes > 0 ? (unsigned)MKV_MIN(middle * s->n_rails / s->bytes, s->n_rails - 1u) : 0;
}

static int deal_all(struct mkv_batch *b, struct deal *d)
{
    int r = sum_up(b, d);
    for (uint32_t i = 0; i < b->n && r == 0; i++) {
        struct value *v = &b->values[i];
        v->part = 0;
        if (v->server != MKV_NO_SERVER) {
            struct share *s = &b->shares[v->server];
            r = part_on(b, d, s->rails[run_of(s, v->length)], &v->part);
            b->parts[v->part]->n += r == 0;
        }
    }
    return r;
}

/* Where no key goes anywhere there is one part all the same, that ends the batch on a worker. */
static int deal_one(struct mkv_batch *b, struct deal *d)
{
    uint32_t good = b->stat_out != NULL ? mkv__server_good(b->stat_server) : 0;
    struct share s = {0};
    uint8_t part;
    choose_rails(b, d, good, 0, &s);
    int r = part_on(b, d, s.rails[0], &part);
    b->first.n = b->n;
    return r;
}

/* Room for sorting, each part its own. */
static int divide_room(struct mkv_batch *b)
{
    size_t each = b->table->n + 1u;
    if (mkv__grow(&b->begins, &b->begins_cap, each * b->n_parts, sizeof(*b->begins)) < 0) {
        return -ENOMEM;
    }
    uint32_t *order = b->order;
    for (unsigned i = 0; i < b->n_parts; i++) {
        b->parts[i]->begins = b->begins + i * each;
        b->parts[i]->order = order;
        order += b->parts[i]->n;
    }
    return 0;
}

int mkv__batch_split(struct mkv_batch *b)
{
    struct deal d = {{0}, {0}};
    int r = 0;
    b->n_parts = 0;
    order_rails(b->client, &d);
    if (b->client->n_rails > 1 && b->stat_out == NULL) {
        r = deal_all(b, &d);
    }
    if (r == 0 && b->n_parts == 0) {
        r = deal_one(b, &d);
    }
    return r < 0 ? r : divide_room(b);
}
