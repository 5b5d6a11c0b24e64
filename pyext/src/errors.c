#include "pyext/src/module.h"

#include <errno.h>

static int add(PyObject *module, const char *name, const char *doc, PyObject *bases, PyObject **out)
{
    char qualified[64];
    PyOS_snprintf(qualified, sizeof(qualified), "memkv_sglang.%s", name);
    *out = PyErr_NewExceptionWithDoc(qualified, doc, bases, NULL);
    if (*out == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, name, *out);
}

static int add_with(PyObject *module, const char *name, const char *doc, PyObject *error,
                    PyObject *builtin, PyObject **out)
{
    PyObject *bases = PyTuple_Pack(2, error, builtin);
    if (bases == NULL) {
        return -1;
    }
    int r = add(module, name, doc, bases, out);
    Py_DECREF(bases);
    return r;
}

int errors_add(PyObject *module, struct module_state *s)
{
    if (add(module, "Error", "Base of the errors of this package.", NULL, &s->error) < 0 ||
        add_with(module, "ConfigError", "The configuration is wrong; the text says where.",
                 s->error, PyExc_ValueError, &s->config_error) < 0 ||
        add(module, "ClosedError", "The client is closed, or was opened before a fork.", s->error,
            &s->closed_error) < 0 ||
        add_with(module, "TransportError", "A server could not be reached, or refused the key.",
                 s->error, PyExc_ConnectionError, &s->transport_error) < 0) {
        return -1;
    }
    return 0;
}

PyObject *raise_errno(struct module_state *s, int error, const char *text)
{
    const char *why = text != NULL && text[0] != '\0' ? text : mkv_error_text(error);
    switch (error) {
    case -ENOMEM:
        return PyErr_NoMemory();
    case -EINVAL:
        PyErr_SetString(PyExc_ValueError, why);
        return NULL;
    case -EMSGSIZE:
        PyErr_SetString(PyExc_ValueError, "a value has 0 to 64 MiB in at most 4,096 segments");
        return NULL;
    case -ECANCELED:
        PyErr_SetString(s->closed_error, "the client is closed, or was opened before a fork");
        return NULL;
    case -ECONNRESET:
    case -EACCES:
    case -ETIMEDOUT:
        PyErr_SetString(s->transport_error, why);
        return NULL;
    default:
        PyErr_SetString(s->error, why);
        return NULL;
    }
}
