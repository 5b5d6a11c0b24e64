#include "server/prefault.h"

#include <errno.h>
#include <sys/mman.h>

/* How much a stop may have to wait for, and whoever maps memory: the kernel holds the lock of the
 * address space that long. For the same reason the thread's priority is an ordinary one. */
#define STEP ((size_t)2 << 20)
#define PAGE 4096u

#ifndef MADV_POPULATE_WRITE /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

/* Adds nothing to a byte of each page, beside whoever may be writing there. */
static void touch(uint8_t *from, size_t len)
{
    for (size_t at = 0; at < len; at += PAGE) {
        __atomic_fetch_or(from + at, 0, __ATOMIC_RELAXED);
    }
}

static bool populate(uint8_t *from, size_t len)
{
    if (madvise(from, len, MADV_POPULATE_WRITE) == 0) {
        return true;
    }
    if (errno != EINVAL) {
        return false;
    }
    touch(from, len);
    return true;
}

static void *run(void *arg)
{
    struct mkv__prefault *p = arg;
    for (size_t at = 0; at < p->len && !__atomic_load_n(&p->stopping, __ATOMIC_RELAXED);) {
        size_t n = p->len - at < STEP ? p->len - at : STEP;
        if (!populate(p->base + at, n)) {
            break;
        }
        at += n;
        __atomic_store_n(&p->done, at, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&p->ended, true, __ATOMIC_RELEASE);
    return NULL;
}

int mkv__prefault_start(struct mkv__prefault *p, void *base, size_t len)
{
    *p = (struct mkv__prefault){.base = base, .len = len};
    if (pthread_create(&p->thread, NULL, run, p) != 0) {
        return -EAGAIN;
    }
    p->runs = true;
    return 0;
}

void mkv__prefault_wait(struct mkv__prefault *p)
{
    if (p->runs) {
        pthread_join(p->thread, NULL);
        p->runs = false;
    }
}

void mkv__prefault_stop(struct mkv__prefault *p)
{
    __atomic_store_n(&p->stopping, true, __ATOMIC_RELAXED);
    mkv__prefault_wait(p);
}

bool mkv__prefault_ended(const struct mkv__prefault *p)
{
    return !p->runs || __atomic_load_n(&p->ended, __ATOMIC_ACQUIRE);
}

size_t mkv__prefault_done(const struct mkv__prefault *p)
{
    return __atomic_load_n(&p->done, __ATOMIC_ACQUIRE);
}
