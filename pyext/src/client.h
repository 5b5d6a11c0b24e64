/*
 * The object behind memkv_sglang.Client, and what its methods share.
 *
 * A call that uses the library enters and leaves, and between the two runs no code of Python: so
 * close, which waits for the calls in progress, never waits for its own thread. After a fork the
 * child touches neither the mutex nor the counts: a thread that is not there may have held them.
 */
#ifndef PYEXT_SRC_CLIENT_H
#define PYEXT_SRC_CLIENT_H

#include "pyext/src/module.h"

#include <pthread.h>

#define SPARE_BATCHES 8

struct registration {
    struct registration *next;
    uint64_t handle;
    struct mkv_region *region;
};

struct client {
    PyObject_HEAD struct mkv_client *client; /* stays while a call is in progress */
    PyObject *module;                        /* keeps the log ring */
    pid_t pid;                               /* the process that opened it */
    pthread_mutex_t mutex;                   /* never held while the GIL is waited for */
    pthread_cond_t idle;
    /* Under mutex: */
    unsigned calls; /* in progress */
    bool closing, closed;
    struct mkv_batch *spare[SPARE_BATCHES];
    unsigned n_spare;
    struct registration *regions;
    uint64_t next_handle;
};

struct module_state *client_state(struct client *self);

/* 0, or -ECANCELED: closed, or another process's. With or without the GIL. */
int client_enter(struct client *self);
void client_leave(struct client *self);

/* client_enter and a batch, client_leave and no batch. Without the GIL. */
int client_begin(struct client *self, struct mkv_batch **batch_out);
void client_end(struct client *self, struct mkv_batch *batch);

/* batch.c: methods. */
PyObject *client_get(struct client *self, PyObject *args, PyObject *kwargs);
PyObject *client_set(struct client *self, PyObject *args, PyObject *kwargs);
PyObject *client_exists(struct client *self, PyObject *args, PyObject *kwargs);
PyObject *client_exists_prefix(struct client *self, PyObject *args, PyObject *kwargs);
PyObject *client_lengths(struct client *self, PyObject *args, PyObject *kwargs);
PyObject *client_get_pages(struct client *self, PyObject *args, PyObject *kwargs);
PyObject *client_set_pages(struct client *self, PyObject *args, PyObject *kwargs);
PyObject *client_get_value(struct client *self, PyObject *args, PyObject *kwargs);

#endif
