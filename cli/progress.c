#include "cli/cli.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH    30
#define BESIDE   9 /* blanks, brackets, percents, and the last column, which some would wrap at */
#define EVERY_NS 100000000u

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
    *p = (struct progress){.what = what, .total = total, .started_ns = now_ns()};
    p->on = isatty(STDERR_FILENO) && total > 0 && !flags.json;
    p->width = WIDTH;
    struct winsize window;
    if (p->on && ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) {
        int room = window.ws_col - (int)strlen(what) - BESIDE;
        p->width = room < WIDTH ? room : WIDTH;
        p->on = room > 0;
    }
}

static void show(struct progress *p)
{
    char bar[WIDTH + 1];
    size_t width = (size_t)p->width;
    size_t filled = (size_t)(p->done * width / p->total);
    filled = filled > width ? width : filled;
    memset(bar, '#', filled);
    memset(bar + filled, '.', width - filled);
    bar[width] = '\0';
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

void progress_word(struct progress *p, const char *word)
{
    if (p->on) {
        fprintf(stderr, "\r\033[K%s: %.*s", p->what, p->width + 6, word);
        p->visible = true;
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
