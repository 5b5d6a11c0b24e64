/* Options of a client: a Python dict to names and values of the library. */
#include "pyext/src/module.h"

void options_free(struct options *o)
{
    for (size_t i = 0; i < o->n; i++) {
        Py_XDECREF(o->texts[2 * i]);
        Py_XDECREF(o->texts[2 * i + 1]);
    }
    PyMem_Free(o->list);
    PyMem_Free(o->texts);
}

static PyObject *option_text(PyObject *value)
{
    if (PyBool_Check(value)) {
        return PyUnicode_FromString(value == Py_True ? "true" : "false");
    }
    if (PyList_Check(value) || PyTuple_Check(value)) {
        PyObject *comma = PyUnicode_FromString(",");
        PyObject *joined = comma == NULL ? NULL : PyUnicode_Join(comma, value);
        Py_XDECREF(comma);
        return joined;
    }
    return PyObject_Str(value);
}

static int options_add(struct options *o, const char *name, PyObject *name_object, PyObject *value)
{
    PyObject *text = option_text(value);
    if (text == NULL) {
        return -1;
    }
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, NULL);
    if (utf8 == NULL) {
        Py_DECREF(text);
        return -1;
    }
    o->texts[2 * o->n] = Py_XNewRef(name_object);
    o->texts[2 * o->n + 1] = text;
    o->list[o->n++] = (struct mkv_option){name, utf8};
    return 0;
}

int options_fill(struct options *o, PyObject *servers, PyObject *dict)
{
    size_t cap = 1 + (dict != NULL ? (size_t)PyDict_Size(dict) : 0);
    o->list = PyMem_Calloc(cap, sizeof(*o->list));
    o->texts = PyMem_Calloc(cap, 2 * sizeof(*o->texts));
    if (o->list == NULL || o->texts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (servers != NULL && servers != Py_None && options_add(o, "servers", NULL, servers) < 0) {
        return -1;
    }
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (dict != NULL && PyDict_Next(dict, &at, &key, &value)) {
        const char *name = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, NULL) : NULL;
        if (name == NULL) {
            PyErr_SetString(PyExc_TypeError, "names of options are str");
            return -1;
        }
        if (value != Py_None && options_add(o, name, key, value) < 0) {
            return -1;
        }
    }
    return 0;
}
