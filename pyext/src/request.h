/*
 * What a call was given, taken apart: keys, where their values lie, and the buffers held. All of
 * Python's code that this may run (iterators, __index__, buffers of classes, finalizers) runs while
 * a request is filled; sending it runs none.
 */
#ifndef PYEXT_SRC_REQUEST_H
#define PYEXT_SRC_REQUEST_H

#include "pyext/src/module.h"

struct request_key {
    const char *bytes; /* of an object in `keys` */
    uint8_t len;
    uint32_t n_segments;
};

struct request {
    PyObject *keys; /* a list of our own: nobody else can take a key out of it */
    struct request_key *key;
    Py_ssize_t n;
    struct mkv_segment *segments; /* of all keys, one after another */
    size_t n_segments, cap_segments;
    Py_buffer *views; /* held until request_free */
    size_t n_views, cap_views;
};

/* values NULL: none; otherwise for each key a buffer, an (address, length) pair or a list of these.
 * -1: exception set. request_free in any case. */
int request_fill(struct request *request, PyObject *keys, PyObject *values, bool writable);

/* `parts` addresses and sizes per key, each in a buffer of 8-byte integers or a sequence of int. */
int request_fill_pages(struct request *request, PyObject *keys, PyObject *addresses,
                       PyObject *sizes, Py_ssize_t parts);

/* One key with one segment. */
int request_fill_one(struct request *request, PyObject *key, struct mkv_segment segment);

void request_free(struct request *request);

/* Into a batch that has begun: 0, or what mkv_batch_add says. Needs no GIL. */
int request_add_to(const struct request *request, struct mkv_batch *batch);

/* For the "O&" of argument lists: an int from 0 to 2^64 - 1, as uint64_t. */
int uint64_converter(PyObject *object, void *out);

#endif
