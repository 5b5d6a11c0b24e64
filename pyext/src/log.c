/*
 * Lines go from any thread of the library into a bounded ring, and from there, by a Python thread
 * that sleeps in take, to the logger memkv_sglang. The mutex is held for a memcpy only and never
 * while the GIL is waited for; a full ring drops the line and counts it.
 */
#include "pyext/src/module.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINES      256
#define LINE_BYTES 512

struct line {
    int level;
    size_t len;
    char text[LINE_BYTES];
};

struct log_ring {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    pid_t pid;
    unsigned first, count;
    unsigned long dropped;
    struct line lines[LINES];
};

static void ring_init(struct log_ring *ring)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&ring->mutex, NULL);
    pthread_cond_init(&ring->filled, &attr);
    pthread_condattr_destroy(&attr);
    ring->pid = getpid();
    ring->first = ring->count = 0;
    ring->dropped = 0;
}

struct log_ring *log_ring_create(void)
{
    struct log_ring *ring = calloc(1, sizeof(*ring));
    if (ring != NULL) {
        ring_init(ring);
    }
    return ring;
}

void log_ring_destroy(struct log_ring *ring)
{
    if (ring != NULL) {
        pthread_cond_destroy(&ring->filled);
        pthread_mutex_destroy(&ring->mutex);
        free(ring);
    }
}

void log_ring_after_fork(struct log_ring *ring)
{
    if (ring->pid != getpid()) {
        ring_init(ring); /* the mutex may have been held by a thread that is not here */
    }
}

void log_ring_put(void *arg, enum mkv_log_level level, const char *line, size_t len)
{
    struct log_ring *ring = arg;
    if (pthread_mutex_trylock(&ring->mutex) != 0) {
        pthread_mutex_lock(&ring->mutex);
    }
    if (ring->count == LINES) {
        ring->dropped++;
    } else {
        struct line *l = &ring->lines[(ring->first + ring->count++) % LINES];
        l->level = (int)level;
        l->len = len < LINE_BYTES ? len : LINE_BYTES;
        memcpy(l->text, line, l->len);
    }
    pthread_cond_signal(&ring->filled);
    pthread_mutex_unlock(&ring->mutex);
}

static void wait_filled(struct log_ring *ring, double timeout_s)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    uint64_t ns = (uint64_t)end.tv_nsec + (uint64_t)(timeout_s * 1e9);
    end.tv_sec += (time_t)(ns / 1000000000u);
    end.tv_nsec = (long)(ns % 1000000000u);
    while (ring->count == 0) {
        if (pthread_cond_timedwait(&ring->filled, &ring->mutex, &end) == ETIMEDOUT) {
            break;
        }
    }
}

static PyObject *lines_to_list(const struct line *lines, unsigned n, unsigned long dropped)
{
    PyObject *list = PyList_New(0);
    for (unsigned i = 0; list != NULL && i < n + (dropped > 0); i++) {
        PyObject *item;
        if (i < n) {
            PyObject *text = PyUnicode_DecodeUTF8(lines[i].text, (Py_ssize_t)lines[i].len,
                                                  "replace");
            item = text == NULL ? NULL : Py_BuildValue("(iN)", lines[i].level, text);
        } else {
            item = Py_BuildValue("(iN)", (int)MKV_LOG_WARNING,
                                 PyUnicode_FromFormat("%lu log lines were dropped", dropped));
        }
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

PyObject *log_ring_take(struct log_ring *ring, double timeout_s)
{
    struct line *copy = malloc(sizeof(*copy) * LINES);
    if (copy == NULL) {
        return PyErr_NoMemory();
    }
    unsigned n = 0;
    unsigned long dropped;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&ring->mutex);
    wait_filled(ring, timeout_s);
    for (; n < ring->count; n++) {
        copy[n] = ring->lines[(ring->first + n) % LINES];
    }
    ring->first = (ring->first + n) % LINES;
    ring->count = 0;
    dropped = ring->dropped;
    ring->dropped = 0;
    pthread_mutex_unlock(&ring->mutex);
    Py_END_ALLOW_THREADS PyObject *list = lines_to_list(copy, n, dropped);
    free(copy);
    return list;
}
