#include "transport/tcp/tcp.h"

void mkv__tcp_cursor_settle(struct mkv__tcp_cursor *c)
{
    while (c->piece < c->n && c->offset >= c->pieces[c->piece].len) {
        c->piece++;
        c->offset = 0;
    }
}

void mkv__tcp_cursor_advance(struct mkv__tcp_cursor *c, uint64_t len)
{
    while (len > 0 && c->piece < c->n) {
        uint64_t here = c->pieces[c->piece].len - c->offset;

        if (here > len) {
            c->offset += len;
            return;
        }
        len -= here;
        c->piece++;
        c->offset = 0;
    }
    mkv__tcp_cursor_settle(c);
}

uint64_t mkv__tcp_cursor_run(struct mkv__tcp_cursor c, uint64_t max, uint32_t max_pieces)
{
    uint64_t run = 0;

    mkv__tcp_cursor_settle(&c);
    while (c.piece < c.n && run < max && max_pieces-- > 0) {
        const struct mkv__piece *piece = &c.pieces[c.piece];
        uint64_t end = piece->offset + piece->len;

        run += piece->len - c.offset;
        c.piece++;
        c.offset = 0;
        mkv__tcp_cursor_settle(&c);
        if (c.piece < c.n && c.pieces[c.piece].offset != end) {
            break;
        }
    }
    return run < max ? run : max;
}

uint64_t mkv__tcp_cursor_iov(struct mkv__tcp_cursor c, uint64_t len, struct iovec *iov, size_t *n,
                             size_t cap)
{
    uint64_t taken = 0;

    mkv__tcp_cursor_settle(&c);
    while (taken < len && c.piece < c.n && *n < cap) {
        const struct mkv__piece *piece = &c.pieces[c.piece];
        uint64_t here = piece->len - c.offset;

        if (here > len - taken) {
            here = len - taken;
        }
        iov[*n].iov_base = (uint8_t *)piece->addr + c.offset;
        iov[*n].iov_len = here;
        (*n)++;
        taken += here;
        mkv__tcp_cursor_advance(&c, here);
    }
    return taken;
}

struct mkv__tcp_cursor mkv__tcp_cursor_at(const struct mkv__exposure *e, uint64_t offset)
{
    struct mkv__tcp_cursor c = {.pieces = e->pieces, .n = e->n_pieces};
    uint32_t low = 0;
    uint32_t high = e->n_pieces;

    /* The first piece that ends after offset. */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (e->pieces[middle].offset + e->pieces[middle].len > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    c.piece = low;
    if (low < e->n_pieces) {
        c.offset = offset - e->pieces[low].offset;
    }
    return c;
}
