/* Timers of a worker: a pairing heap, intrusive, without allocation. */
#include "core/timer.h"

static struct mkv__timer *meld(struct mkv__timer *a, struct mkv__timer *b)
{
    if (a == NULL || b == NULL) {
        return a != NULL ? a : b;
    }
    if (b->due_ns < a->due_ns) {
        struct mkv__timer *t = a;
        a = b;
        b = t;
    }
    b->next = a->child;
    if (b->next != NULL) {
        b->next->link = &b->next;
    }
    a->child = b;
    b->link = &a->child;
    return a;
}

/* Melds a list of siblings: pairs from the left, then the pairs from the right. */
static struct mkv__timer *meld_all(struct mkv__timer *list)
{
    struct mkv__timer *pairs = NULL;
    while (list != NULL) {
        struct mkv__timer *a = list, *b = a->next;
        list = b != NULL ? b->next : NULL;
        a->next = NULL;
        if (b != NULL) {
            b->next = NULL;
        }
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct mkv__timer *root = NULL;
    while (pairs != NULL) {
        struct mkv__timer *next = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

static void set_root(struct mkv__timer **root, struct mkv__timer *timer)
{
    *root = timer;
    if (timer != NULL) {
        timer->link = root;
        timer->next = NULL;
    }
}

void mkv__timers_insert(struct mkv__timer **root, struct mkv__timer *timer)
{
    timer->child = timer->next = NULL;
    set_root(root, meld(*root, timer));
}

void mkv__timers_remove(struct mkv__timer **root, struct mkv__timer *timer)
{
    struct mkv__timer *below = meld_all(timer->child);
    if (*root == timer) {
        set_root(root, below);
    } else {
        *timer->link = timer->next;
        if (timer->next != NULL) {
            timer->next->link = timer->link;
        }
        set_root(root, meld(*root, below));
    }
    timer->child = timer->next = NULL;
    timer->link = NULL;
}
