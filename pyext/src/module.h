/*
 * _memkv: the extension under memkv_sglang. One file per type, module state only. The GIL is
 * released around every call that may block; workers of the C library never take it.
 */
#ifndef PYEXT_SRC_MODULE_H
#define PYEXT_SRC_MODULE_H

#include "pyext/src/compat.h"

#include <memkv/memkv.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mkv__log_ring;

struct module_state {
    PyObject *error;           /* memkv_sglang.Error(Exception) */
    PyObject *config_error;    /* ConfigError(Error, ValueError) */
    PyObject *closed_error;    /* ClosedError(Error) */
    PyObject *transport_error; /* TransportError(Error, ConnectionError) */
    PyObject *client_type;
    struct mkv__log_ring *log;
    pid_t log_pid; /* the process that made it */
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
/* dict: NULL or a dict. -1: exception set; free in any case. */
int options_fill(struct module_state *state, struct options *options, PyObject *servers,
                 PyObject *dict);
void options_free(struct options *options);
/* The text of one option, as a new str without NUL, and its UTF-8. NULL: exception set. */
PyObject *option_text(struct module_state *state, const char *name, PyObject *value,
                      const char **utf8_out);

/* client.c */
extern PyType_Spec client_spec;

/* log.c: lines from the library's threads to a Python thread. */
int log_open(struct module_state *state); /* -1: exception set */
void log_close(struct module_state *state);
int log_after_fork(struct module_state *state); /* where a fork may have happened; as log_open */
void log_line(void *state, enum mkv_log_level level, const char *line, size_t len);
PyObject *take_log(PyObject *module, PyObject *unused);
PyObject *stop_log(PyObject *module, PyObject *unused);

#endif
