#include "cli/cli.h"

#include <string.h>
#include <unistd.h>

#define WIDTH    30
#define EVERY_NS 100000000u

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
    *p = (struct progress){.what = what, .total = total, .started_ns = now_ns()};
    p->on = isatty(STDERR_FILENO) && total > 0 && !flags.json;
}

static void show(struct progress *p)
{
    char bar[WIDTH + 1];
    size_t filled = (size_t)(p->done * WIDTH / p->total);
    filled = filled > WIDTH ? WIDTH : filled;
    memset(bar, '#', filled);
    memset(bar + filled, '.', WIDTH - filled);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3u%%", p->what, bar, (unsigned)(p->done * 100 / p->total));
    p->visible = true;
}

void progress_add(struct progress *p, uint64_t n)
{
    p->done += n;
    uint64_t now = now_ns();
    /* Short work shows nothing. */
    if (p->on && now - p->started_ns > 5 * EVERY_NS && now - p->shown_ns > EVERY_NS) {
        p->shown_ns = now;
        show(p);
    }
}

void progress_clear(struct progress *p)
{
    if (p->visible) {
        fprintf(stderr, "\r\033[K");
        p->visible = false;
    }
}

void progress_end(struct progress *p)
{
    progress_clear(p);
    p->on = false;
}
