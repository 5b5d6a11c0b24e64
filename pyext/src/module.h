/*
 * _memkv: the extension under memkv_sglang. One file per type, module state only, built for the
 * stable ABI of CPython 3.11. The GIL is released around every call that may block; workers of the
 * C library never take it.
 */
#ifndef PYEXT_SRC_MODULE_H
#define PYEXT_SRC_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memkv/memkv.h>

#include <stdbool.h>
#include <stdint.h>

struct log_ring;

struct module_state {
    PyObject *error;           /* memkv_sglang.Error(Exception) */
    PyObject *config_error;    /* ConfigError(Error, ValueError) */
    PyObject *closed_error;    /* ClosedError(Error) */
    PyObject *transport_error; /* TransportError(Error, ConnectionError) */
    PyObject *client_type;
    struct log_ring *log;
};

struct module_state *state_of(PyObject *module);

/* errors.c */
int errors_add(PyObject *module, struct module_state *state);
/* Raises what fits a negative errno of the library. Returns NULL. */
PyObject *raise_errno(struct module_state *state, int error, const char *text);

/* options.c: what Client() was given, as the library wants it. */

struct options {
    struct mkv_option *list;
    PyObject **texts; /* keep the UTF-8 alive */
    size_t n;
};
/* -1: exception set; free in any case. */
int options_fill(struct options *options, PyObject *servers, PyObject *dict);
void options_free(struct options *options);

/* client.c */
extern PyType_Spec client_spec;

/* log.c: a bounded ring between the library's threads and a Python thread. */
struct log_ring *log_ring_create(void);
void log_ring_destroy(struct log_ring *ring);
void log_ring_after_fork(struct log_ring *ring); /* call where a fork may have happened */
void log_ring_put(void *ring, enum mkv_log_level level, const char *line, size_t len);
PyObject *log_ring_take(struct log_ring *ring, double timeout_s);

/* values.c: Python objects to the segments of a batch. */

/* Buffers held until the batch is done. */
struct held {
    Py_buffer *views;
    Py_ssize_t n, cap;
};
void held_release(struct held *held);
/* Adds one key. value: NULL, a buffer, (address, length) or a list of these. -1: exception set. */
int add_key(struct module_state *state, struct mkv_batch *batch, PyObject *key, PyObject *value,
            bool writable, struct held *held);
/* A buffer of 8-byte integers or a sequence of int, as an array to PyMem_Free. -1: exception. */
Py_ssize_t uint64_array(PyObject *object, const char *what, uint64_t **out);
/* A list made of any sequence but str and bytes. */
PyObject *list_of(PyObject *object, const char *what);

#endif
