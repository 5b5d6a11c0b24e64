/*
 * Lines go from any thread of the library into the bounded ring of core/log_ring.h, and from there,
 * by a Python thread that sleeps in take_log, to the logger memkv_sglang. Who puts a line neither
 * waits nor takes the GIL; a full ring drops the line, and the reader is told how many.
 */
#include "pyext/src/module.h"

#include "core/log_ring.h"

#include <unistd.h>

#define LINES 256u

int log_open(struct module_state *s)
{
    if (mkv__log_ring_create(LINES, &s->log) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    s->log_pid = getpid();
    return 0;
}

void log_close(struct module_state *s)
{
    mkv__log_ring_destroy(&s->log);
}

int log_after_fork(struct module_state *s)
{
    /* A thread that is not here may have been half way through a line: the ring is left as it is. */
    return s->log_pid == getpid() ? 0 : log_open(s);
}

void log_line(void *ring, enum mkv_log_level level, const char *line, size_t len)
{
    mkv__log_ring_put(ring, (int)level, line, len);
}

/* With the GIL. *arg is a list, or NULL once something has failed. */
static void append(void *arg, int level, const char *line, size_t len)
{
    PyObject **list = arg;
    if (*list == NULL) {
        return;
    }
    PyObject *text = PyUnicode_DecodeUTF8(line, (Py_ssize_t)len, "replace");
    PyObject *item = text == NULL ? NULL : Py_BuildValue("(iN)", level, text);
    if (item == NULL || PyList_Append(*list, item) < 0) {
        Py_CLEAR(*list);
    }
    Py_XDECREF(item);
}

PyObject *take_log(PyObject *module, PyObject *unused)
{
    struct module_state *s = state_of(module);
    (void)unused;
    if (log_after_fork(s) < 0) {
        return NULL;
    }
    struct mkv__log_ring *ring = s->log;
    PyThreadState *ts = PyEval_SaveThread();
    bool more = mkv__log_ring_wait(ring);
    PyEval_RestoreThread(ts);
    PyObject *list = PyList_New(0);
    mkv__log_ring_drain(ring, append, &list);
    return list == NULL ? NULL : Py_BuildValue("(NO)", list, more ? Py_True : Py_False);
}

PyObject *stop_log(PyObject *module, PyObject *unused)
{
    (void)unused;
    mkv__log_ring_stop(state_of(module)->log);
    Py_RETURN_NONE;
}
