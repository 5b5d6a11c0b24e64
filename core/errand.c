#include "core/errand.h"

#include "core/base.h"
#include "core/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>

static void end(struct mkv__errand *e)
{
    pthread_cond_destroy(&e->came_back);
    pthread_mutex_destroy(&e->lock);
}

static void came_back(struct mkv__worker *worker, struct mkv__task *task)
{
    struct mkv__errand *e = MKV_CONTAINER_OF(task, struct mkv__errand, task);
    bool forgotten;

    pthread_mutex_lock(&e->lock); /* the thread may still be inside its unlock */
    forgotten = e->forgotten;
    pthread_mutex_unlock(&e->lock);
    end(e);
    if (forgotten) {
        e->dropped(e);
    } else {
        e->done(worker, e);
    }
}

static void *errand_main(void *arg)
{
    struct mkv__errand *e = arg;
    bool forgotten;

    if (e->bound) {
        (void)mkv__cpu_bind(&e->cpus); /* not on the CPU that the worker is pinned to */
    }
    e->run(e);
    pthread_mutex_lock(&e->lock);
    forgotten = e->forgotten;
    if (!forgotten) {
        e->posted = true;
        mkv__worker_post(e->worker, &e->task);
        pthread_cond_broadcast(&e->came_back);
    }
    pthread_mutex_unlock(&e->lock);
    if (forgotten) {
        end(e);
        e->dropped(e);
    }
    return NULL;
}

static int start_thread(struct mkv__errand *e)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int error;

    if (MKV_FAULT("errand.thread") || pthread_attr_init(&attr) != 0) {
        return -EAGAIN;
    }
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&thread, &attr, errand_main, e);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return error ? -EAGAIN : 0;
}

int mkv__errand_start(struct mkv__errand *e, struct mkv__worker *worker, bool here)
{
    const struct mkv__cpu_set *cpus = mkv__worker_cpus(worker);
    int error = 0;

    e->bound = cpus && !here;
    if (e->bound) {
        e->cpus = *cpus;
    }
    e->task.run = came_back;
    e->worker = worker;
    e->forgotten = e->posted = false;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->came_back, NULL);
    if (here) {
        errand_main(e);
    } else {
        error = start_thread(e);
    }
    if (error) {
        end(e);
    }
    return error;
}

void mkv__errand_forget(struct mkv__errand *e)
{
    pthread_mutex_lock(&e->lock);
    e->forgotten = true;
    pthread_mutex_unlock(&e->lock);
}

void mkv__errand_wait(struct mkv__errand *e)
{
    pthread_mutex_lock(&e->lock);
    while (!e->posted && !e->forgotten) {
        pthread_cond_wait(&e->came_back, &e->lock);
    }
    pthread_mutex_unlock(&e->lock);
}
