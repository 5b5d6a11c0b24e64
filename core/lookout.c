#include "core/lookout.h"

#include "core/fault.h"
#include "core/os/event.h"
#include "core/os/futex.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { RESTS, WATCHES, SEEN, ENDS };

struct mkv__lookout {
    uint32_t state; /* atomic; WATCHES -> SEEN by the thread, all else by the owner */
    int poll;
    struct mkv__cpu_set cpus;
    pid_t pid;
    pthread_t thread;
};

static void *watch(void *arg)
{
    struct mkv__lookout *l = arg;
    uint32_t state;
    pthread_setname_np(pthread_self(), "memkv-lookout");
    (void)mkv__cpu_bind(&l->cpus); /* else it stays where it was begun */
    while ((state = __atomic_load_n(&l->state, __ATOMIC_ACQUIRE)) != ENDS) {
        if (state != WATCHES) {
            mkv__futex_wait(&l->state, state);
            continue;
        }
        (void)mkv__event_wait(l->poll, UINT64_MAX);
        __atomic_compare_exchange_n(&l->state, &state, SEEN, false, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED);
    }
    return NULL;
}

int mkv__lookout_create(int poll, const struct mkv__cpu_set *cpus, struct mkv__lookout **out)
{
    struct mkv__lookout *l = MKV_FAULT("lookout.memory") ? NULL : calloc(1, sizeof(*l));
    if (l == NULL) {
        return -ENOMEM;
    }
    l->poll = poll;
    l->cpus = *cpus;
    l->pid = getpid();
    if (MKV_FAULT("lookout.thread") || pthread_create(&l->thread, NULL, watch, l) != 0) {
        free(l);
        return -EAGAIN;
    }
    *out = l;
    return 0;
}

static void become(struct mkv__lookout *l, uint32_t state)
{
    __atomic_store_n(&l->state, state, __ATOMIC_RELEASE);
    mkv__futex_wake_all(&l->state);
}

void mkv__lookout_destroy(struct mkv__lookout **lookout)
{
    struct mkv__lookout *l = *lookout;
    if (l == NULL) {
        return;
    }
    if (l->pid == getpid()) {
        become(l, ENDS);
        pthread_join(l->thread, NULL);
    }
    free(l);
    *lookout = NULL;
}

void mkv__lookout_watch(struct mkv__lookout *l)
{
    become(l, WATCHES);
}

bool mkv__lookout_quiet(const struct mkv__lookout *l)
{
    return __atomic_load_n(&l->state, __ATOMIC_ACQUIRE) == WATCHES;
}
