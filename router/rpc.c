#include "router/internal.h"

#include "core/base.h"
#include "core/checksum.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct rpc *mkv__rpc_new(struct part *part)
{
    struct rpc *rpc = part->spare_rpcs;
    if (rpc != NULL) {
        part->spare_rpcs = rpc->next;
    } else {
        rpc = calloc(1, sizeof(*rpc));
    }
    if (rpc != NULL) {
        rpc->part = part;
        rpc->state = RPC_IDLE;
        rpc->again = AGAIN_NO;
        rpc->n = rpc->n_pieces = rpc->at = rpc->n_damaged = 0;
        rpc->error = 0;
        rpc->exposed = false;
    }
    return rpc;
}

void mkv__rpc_free(struct rpc *rpc)
{
    free(rpc->keys);
    free(rpc->offsets);
    free(rpc->sums);
    free(rpc->pieces);
    free(rpc);
}

static int reserve(struct rpc *rpc, uint32_t n, size_t n_pieces)
{
    if (n > rpc->cap) {
        uint32_t *keys = realloc(rpc->keys, n * sizeof(*keys));
        rpc->keys = keys != NULL ? keys : rpc->keys;
        uint64_t *offsets = realloc(rpc->offsets, ((size_t)n + 1) * sizeof(*offsets));
        rpc->offsets = offsets != NULL ? offsets : rpc->offsets;
        uint64_t *sums = realloc(rpc->sums, n * sizeof(*sums));
        rpc->sums = sums != NULL ? sums : rpc->sums;
        if (keys == NULL || offsets == NULL || sums == NULL) {
            return -ENOMEM;
        }
        rpc->cap = n;
    }
    if (n_pieces > rpc->pieces_cap) {
        struct mkv__piece *pieces = realloc(rpc->pieces, n_pieces * sizeof(*pieces));
        if (pieces == NULL) {
            return -ENOMEM;
        }
        rpc->pieces = pieces;
        rpc->pieces_cap = (uint32_t)n_pieces;
    }
    return 0;
}

/* Adds bytes at addr, to the last piece where they go on from it. */
static void add_piece(struct rpc *rpc, uint64_t offset, void *addr, uint64_t len)
{
    struct mkv__piece *last = rpc->n_pieces > 0 ? &rpc->pieces[rpc->n_pieces - 1] : NULL;
    if (last != NULL && (uint8_t *)last->addr + last->len == addr) {
        last->len += len;
    } else if (len > 0) {
        assert(rpc->pieces != NULL && rpc->n_pieces < rpc->pieces_cap);
        rpc->pieces[rpc->n_pieces++] = (struct mkv__piece){offset, addr, len};
    }
}

int mkv__rpc_fill(struct rpc *rpc, const uint32_t *keys, uint32_t n)
{
    struct mkv_batch *b = rpc->part->batch;
    size_t n_pieces = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_pieces += b->values[keys[i]].n_segments;
    }
    int r = reserve(rpc, n, n_pieces);
    if (r < 0) {
        return r;
    }
    uint64_t offset = 0;
    rpc->n = n;
    for (uint32_t i = 0; i < n; i++) {
        const struct value *v = &b->values[keys[i]];
        rpc->keys[i] = keys[i];
        rpc->offsets[i] = offset;
        rpc->sums[i] = 0;
        for (uint32_t j = 0; j < v->n_segments; j++) {
            const struct mkv_segment *s = &b->segments[v->first_segment + j];
            add_piece(rpc, offset, s->addr, s->len);
            offset += s->len;
        }
    }
    rpc->offsets[n] = offset;
    return 0;
}

static uint8_t type_of(const struct mkv_batch *b)
{
    static const uint8_t types[] = {0, MKV_TYPE_GET, MKV_TYPE_SET, MKV_TYPE_EXISTS,
                                    MKV_TYPE_DELETE};
    return types[b->op];
}

static uint32_t flags_of(const struct part *part)
{
    const struct mkv_batch *b = part->batch;
    /* In grace a key may be missing at its owner and be there at the next: later keys still count. */
    bool prefix = b->flags & MKV_PREFIX && b->op == MKV_OP_GET && !mkv__part_in_grace(part);
    uint32_t flags = prefix ? MKV_REQ_PREFIX : 0;
    flags |= b->flags & MKV_REPLACE && b->op == MKV_OP_SET ? MKV_REQ_REPLACE : 0;
    flags |= !(b->flags & MKV_NO_LEASE) && b->op == MKV_OP_EXISTS ? MKV_REQ_LEASE : 0;
    return flags;
}

static void wire_key(const struct rpc *rpc, uint32_t i, struct mkv__wire_key *to)
{
    const struct mkv_batch *b = rpc->part->batch;
    const struct value *v = &b->values[rpc->keys[i]];
    *to = (struct mkv__wire_key){.key = b->keys + v->key_at,
                                 .key_len = v->key_len,
                                 .position = rpc->keys[i],
                                 .length = v->length,
                                 .raw_length = v->length,
                                 .checksum = b->unsummed ? 0 : v->checksum};
}

/* Whether this request goes without checksums: those of a set come with its bytes, or nobody wants
 * any. */
static bool goes_unsummed(const struct rpc *rpc)
{
    const struct mkv_batch *b = rpc->part->batch;
    return b->op == MKV_OP_GET ? !b->client->verify : b->unsummed;
}

int64_t mkv__rpc_encode(struct rpc *rpc, uint8_t *type_out)
{
    struct mkv_batch *b = rpc->part->batch;
    if (b->stat_out != NULL) {
        *type_out = MKV_TYPE_STAT;
        return 0;
    }
    struct mkv__wire_key *keys = rpc->session->rail->wire_keys;
    uint32_t unsummed = goes_unsummed(rpc) ? MKV_REQ_UNSUMMED : 0;
    for (uint32_t i = 0; i < rpc->n; i++) {
        wire_key(rpc, i, &keys[i]);
    }
    struct mkv__request request = {.type = type_of(b),
                                   .flags = flags_of(rpc->part) | unsummed,
                                   .namespace_ = b->namespace_,
                                   .namespace_len = b->namespace_len,
                                   .depth = b->first_depth,
                                   .ttl_ms = b->ttl_ms,
                                   .n_keys = rpc->n,
                                   .keys = keys};
    *type_out = request.type;
    return mkv__request_encode(&request, rpc->session->rail->body, MKV_MESSAGE_MAX);
}

/* Bytes of a get have come: into the sum of the value or values they belong to. */
static void landed(struct mkv__exposure *e, uint64_t offset, const void *data, size_t len)
{
    struct rpc *rpc = e->owner;
    const uint8_t *p = data;
    while (len > 0) {
        while (offset < rpc->offsets[rpc->at]) {
            rpc->at--;
        }
        while (offset >= rpc->offsets[rpc->at + 1]) {
            rpc->at++;
        }
        uint64_t end = rpc->offsets[rpc->at + 1];
        size_t n = MKV_MIN(len, (size_t)(end - offset));
        rpc->sums[rpc->at] ^= mkv__sum_slice(p, n, end - offset - n);
        p += n;
        offset += n;
        len -= n;
    }
}

void mkv__rpc_expose(struct rpc *rpc, uint64_t request_id)
{
    const struct mkv_batch *b = rpc->part->batch;
    bool get = b->op == MKV_OP_GET;
    rpc->exposure = (struct mkv__exposure){.request_id = request_id,
                                           .writable = get,
                                           .pieces = rpc->pieces,
                                           .n_pieces = rpc->n_pieces,
                                           .len = rpc->offsets[rpc->n],
                                           .landed = get && b->client->verify ? landed : NULL,
                                           .summed = b->unsummed,
                                           .owner = rpc};
}

static void answer_get(struct rpc *rpc, uint32_t i, const struct mkv__answer *from,
                       struct answer *to)
{
    const struct value *v = &rpc->part->batch->values[rpc->keys[i]];
    struct mkv_client *client = rpc->part->batch->client;
    if (from->status != MKV_WIRE_HIT) {
        return;
    }
    bool right = !client->verify || ((from->flags & MKV_ANSWER_UNSUMMED) == 0 &&
                                     (v->checksum ^ rpc->sums[i]) == from->checksum);
    if (from->length == v->length && right) {
        to->status = MKV_HIT;
        return;
    }
    to->status = MKV_MISS;
    COUNT(client, checksum_errors, 1);
    MKV_LIMITED(&client->log, &client->damage_limit, MKV__LOG_WARNING,
                "%s: a value did not match its checksum and is taken for a miss",
                rpc->session->server->name);
    struct mkv__wire_key *damaged = &rpc->session->rail->wire_keys[rpc->n_damaged++];
    wire_key(rpc, i, damaged);
    damaged->checksum = from->checksum;
    damaged->generation = from->generation;
}

/* Has the server verify what was damaged again, so that nothing bad lives for ever behind "kept". */
static void report(struct rpc *rpc)
{
    struct rail *rail = rpc->session->rail;
    struct mkv__request request = {.type = MKV_TYPE_REPORT,
                                   .namespace_ = rpc->part->batch->namespace_,
                                   .namespace_len = rpc->part->batch->namespace_len,
                                   .n_keys = rpc->n_damaged,
                                   .keys = rail->wire_keys};
    int64_t len = mkv__request_encode(&request, rail->body, MKV_MESSAGE_MAX);
    if (len > 0) {
        mkv__session_tell(rpc->session, MKV_TYPE_REPORT, rail->body, (uint32_t)len);
    }
}

/* Whether a status can be the answer to this operation. */
static bool fits(enum mkv_op op, uint8_t status)
{
    static const uint8_t good[][3] = {
        [MKV_OP_GET] = {MKV_WIRE_HIT, MKV_WIRE_MISS, MKV_WIRE_SKIPPED},
        [MKV_OP_SET] = {MKV_WIRE_STORED, MKV_WIRE_KEPT, MKV_WIRE_KEPT},
        [MKV_OP_EXISTS] = {MKV_WIRE_HIT, MKV_WIRE_MISS, MKV_WIRE_MISS},
        [MKV_OP_DELETE] = {MKV_WIRE_DELETED, MKV_WIRE_MISS, MKV_WIRE_MISS},
    };
    return status == good[op][0] || status == good[op][1] || status == good[op][2];
}

static void answer_key(struct rpc *rpc, uint32_t i, const struct mkv__answer *from)
{
    struct mkv_batch *b = rpc->part->batch;
    struct answer *to = &b->answers[rpc->keys[i]];
    const struct value *v = &b->values[rpc->keys[i]];
    static const uint8_t statuses[] = {
        [MKV_WIRE_HIT] = MKV_HIT,          [MKV_WIRE_MISS] = MKV_MISS,
        [MKV_WIRE_STORED] = MKV_STORED,    [MKV_WIRE_KEPT] = MKV_KEPT,
        [MKV_WIRE_CONFLICT] = MKV_REFUSED, [MKV_WIRE_BUSY] = MKV_UNKNOWN,
        [MKV_WIRE_FULL] = MKV_FULL,        [MKV_WIRE_LATE] = MKV_UNKNOWN,
        [MKV_WIRE_SKIPPED] = MKV_MISS,     [MKV_WIRE_DAMAGED] = MKV_UNKNOWN,
        [MKV_WIRE_DELETED] = MKV_DELETED,  [MKV_WIRE_DENIED] = MKV_REFUSED,
        [MKV_WIRE_ERROR] = MKV_UNKNOWN,
    };
    static const int errors[] = {
        [MKV_WIRE_CONFLICT] = -EMSGSIZE, [MKV_WIRE_BUSY] = -EAGAIN,    [MKV_WIRE_FULL] = -ENOSPC,
        [MKV_WIRE_LATE] = -ETIMEDOUT,    [MKV_WIRE_DAMAGED] = -EPROTO, [MKV_WIRE_DENIED] = -EACCES,
        [MKV_WIRE_ERROR] = -EPROTO,
    };
    int error = from->status < MKV_ARRAY_LEN(errors) ? errors[from->status] : 0;
    if (error == 0 && !fits(b->op, from->status)) {
        error = -EPROTO;
        rpc->error = -EPROTO;
    }
    if (to->status == MKV_MISS && error < 0) {
        return; /* a later round; its owner did answer */
    }
    to->status = error == -EPROTO ? MKV_UNKNOWN : statuses[from->status];
    to->error = error;
    to->length = from->length;
    to->differs = from->status == MKV_WIRE_KEPT && b->flags & MKV_DIFFERS &&
                  (from->flags & MKV_ANSWER_UNSUMMED) == 0 && from->checksum != v->checksum;
    if (from->status == MKV_WIRE_BUSY && v->reissued > 0) {
        to->again = AGAIN_BUSY; /* most likely with what we have sent before */
    }
    if (from->status == MKV_WIRE_LATE && rpc->session->going_away) {
        to->error = -ECONNRESET; /* it takes no new work: the next in rank does */
    }
    if (b->op == MKV_OP_GET) {
        answer_get(rpc, i, from, to);
    }
}

static void answer_stat(struct rpc *rpc, const struct mkv__message *message)
{
    char *text = malloc(message->body_len + 1u);
    if (text != NULL) {
        memcpy(text, message->body, message->body_len);
        text[message->body_len] = '\0';
        *rpc->part->batch->stat_out = text;
    }
}

void mkv__rpc_answer(struct rpc *rpc, const struct mkv__message *message)
{
    struct mkv__reply reply;
    if (rpc->part->batch->stat_out != NULL && message->type == MKV_TYPE_REPLY_TO(MKV_TYPE_STAT)) {
        answer_stat(rpc, message);
        return;
    }
    if (message->type != MKV_TYPE_REPLY_TO(type_of(rpc->part->batch)) ||
        mkv__reply_decode(message->type, message->body, message->body_len,
                          rpc->session->rail->wire_answers, MKV_KEYS_MAX, &reply) < 0 ||
        reply.n != rpc->n) {
        rpc->error = -EPROTO;
        return;
    }
    for (uint32_t i = 0; i < rpc->n; i++) {
        answer_key(rpc, i, &reply.answers[i]);
    }
    if (rpc->n_damaged > 0) {
        report(rpc);
    }
}

void mkv__rpc_finished(struct rpc *rpc, int error)
{
    struct mkv_batch *b = rpc->part->batch;
    rpc->state = RPC_IDLE;
    for (uint32_t i = 0; error < 0 && i < rpc->n; i++) {
        struct answer *a = &b->answers[rpc->keys[i]];
        if (a->status != MKV_MISS) { /* the first round's: its owner did answer */
            *a = (struct answer){.status = MKV_UNKNOWN, .error = error};
        }
        a->again = error == -ECONNRESET ? (uint8_t)rpc->again : AGAIN_NO;
    }
    if (b->stat_out != NULL && error < 0) {
        b->stat_error = error;
    }
    mkv__part_rpc_done(rpc->part);
}
