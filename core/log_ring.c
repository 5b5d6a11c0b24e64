#include "core/log_ring.h"

#include "core/os/futex.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 65536u

struct cell {
    uint64_t sequence; /* atomic: ticket of the put (empty) or drain (full) whose turn it is */
    int level;
    uint32_t len;
    char line[MKV_LOG_LINE];
};

struct mkv__log_ring {
    uint64_t tail;    /* atomic: the next put's ticket */
    uint64_t head;    /* the reader's */
    uint64_t dropped; /* atomic */
    uint64_t told;    /* the reader's: of dropped, those told */
    uint32_t asleep;  /* atomic, futex: 1 while the reader sleeps */
    uint32_t stopped; /* atomic */
    uint64_t mask;
    struct cell cells[];
};

int mkv__log_ring_create(unsigned lines, struct mkv__log_ring **ring_out)
{
    if (lines < 2 || lines > LINES_MAX || (lines & (lines - 1)) != 0) {
        return -EINVAL;
    }
    struct mkv__log_ring *ring = calloc(1, sizeof(*ring) + lines * sizeof(ring->cells[0]));
    if (!ring) {
        return -ENOMEM;
    }
    ring->mask = lines - 1;
    for (uint64_t i = 0; i < lines; i++) {
        ring->cells[i].sequence = i;
    }
    *ring_out = ring;
    return 0;
}

void mkv__log_ring_destroy(struct mkv__log_ring **ring)
{
    free(*ring);
    *ring = NULL;
}

/* Claims a cell; NULL: full. */
static struct cell *claim(struct mkv__log_ring *ring, uint64_t *ticket_out)
{
    uint64_t ticket = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);
    for (;;) {
        struct cell *cell = &ring->cells[ticket & ring->mask];
        uint64_t sequence = __atomic_load_n(&cell->sequence, __ATOMIC_ACQUIRE);
        int64_t ahead = (int64_t)(sequence - ticket);
        if (ahead < 0) {
            return NULL; /* the reader has not been here since the last round */
        }
        if (ahead > 0) { /* another put took it */
            ticket = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);
        } else if (__atomic_compare_exchange_n(&ring->tail, &ticket, ticket + 1, true,
                                               __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            *ticket_out = ticket;
            return cell;
        }
    }
}

/* The caller's news and `asleep` are sequentially consistent, here and in wait: either the reader
 * sees the news, or we see it asleep. */
static void wake(struct mkv__log_ring *ring)
{
    if (__atomic_load_n(&ring->asleep, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&ring->asleep, 0, __ATOMIC_SEQ_CST)) {
        mkv__futex_wake_all(&ring->asleep);
    }
}

void mkv__log_ring_put(void *arg, int level, const char *line, size_t len)
{
    struct mkv__log_ring *ring = arg;
    uint64_t ticket;
    struct cell *cell = claim(ring, &ticket);
    if (!cell) {
        __atomic_fetch_add(&ring->dropped, 1, __ATOMIC_RELAXED);
        return;
    }
    cell->level = level;
    cell->len = (uint32_t)(len < MKV_LOG_LINE ? len : MKV_LOG_LINE - 1);
    memcpy(cell->line, line, cell->len);
    cell->line[cell->len] = '\0';
    __atomic_store_n(&cell->sequence, ticket + 1, __ATOMIC_SEQ_CST);
    wake(ring);
}

static bool has_line(const struct mkv__log_ring *ring)
{
    const struct cell *cell = &ring->cells[ring->head & ring->mask];
    return __atomic_load_n(&cell->sequence, __ATOMIC_SEQ_CST) == ring->head + 1;
}

bool mkv__log_ring_wait(struct mkv__log_ring *ring)
{
    while (!__atomic_load_n(&ring->stopped, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&ring->asleep, 1, __ATOMIC_SEQ_CST);
        if (has_line(ring) || __atomic_load_n(&ring->stopped, __ATOMIC_SEQ_CST)) {
            __atomic_store_n(&ring->asleep, 0, __ATOMIC_RELAXED);
            break;
        }
        mkv__futex_wait(&ring->asleep, 1);
    }
    return !__atomic_load_n(&ring->stopped, __ATOMIC_SEQ_CST);
}

static void take(struct mkv__log_ring *ring, mkv__log_fn fn, void *arg)
{
    struct cell *cell = &ring->cells[ring->head & ring->mask];
    fn(arg, cell->level, cell->line, cell->len);
    __atomic_store_n(&cell->sequence, ring->head + ring->mask + 1, __ATOMIC_RELEASE);
    ring->head++;
}

size_t mkv__log_ring_drain(struct mkv__log_ring *ring, mkv__log_fn fn, void *arg)
{
    size_t n = 0;
    for (; n <= ring->mask && has_line(ring); n++) { /* one round: writers cannot keep us here */
        take(ring, fn, arg);
    }
    uint64_t dropped = mkv__log_ring_dropped(ring);
    if (dropped != ring->told) {
        char line[96];
        int len = snprintf(line, sizeof(line), "log: %" PRIu64 " lines were dropped, too many came",
                           dropped - ring->told);
        ring->told = dropped;
        fn(arg, MKV__LOG_WARNING, line, (size_t)len);
        n++;
    }
    return n;
}

void mkv__log_ring_stop(struct mkv__log_ring *ring)
{
    __atomic_store_n(&ring->stopped, 1, __ATOMIC_SEQ_CST);
    wake(ring);
}

uint64_t mkv__log_ring_dropped(const struct mkv__log_ring *ring)
{
    return __atomic_load_n(&ring->dropped, __ATOMIC_RELAXED);
}
