/* Options of a client: a Python dict to names and values of the library. */
#include "pyext/src/module.h"

#include <string.h>

void options_free(struct options *o)
{
    for (size_t i = 0; i < o->n; i++) {
        Py_XDECREF(o->texts[2 * i]);
        Py_XDECREF(o->texts[2 * i + 1]);
    }
    PyMem_Free(o->list);
    PyMem_Free(o->texts);
}

static PyObject *as_str(PyObject *value)
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

PyObject *option_text(struct module_state *state, const char *name, PyObject *value,
                      const char **utf8_out)
{
    PyObject *text = as_str(value);
    Py_ssize_t len = 0;
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8AndSize(text, &len);
    if (utf8 == NULL) {
        Py_XDECREF(text);
        return NULL;
    }
    if (strlen(utf8) != (size_t)len) {
        PyErr_Format(state->config_error, "%s: the value has a NUL character in it", name);
        Py_DECREF(text);
        return NULL;
    }
    *utf8_out = utf8;
    return text;
}

/* name lives as long as name_object, which may be NULL for a constant. */
static int options_add(struct module_state *state, struct options *o, const char *name,
                       PyObject *name_object, PyObject *value)
{
    const char *utf8;
    PyObject *text = option_text(state, name, value, &utf8);
    if (text == NULL) {
        return -1;
    }
    o->texts[2 * o->n] = Py_XNewRef(name_object);
    o->texts[2 * o->n + 1] = text;
    o->list[o->n++] = (struct mkv_option){name, utf8};
    return 0;
}

static int options_add_items(struct module_state *state, struct options *o, PyObject *items)
{
    for (Py_ssize_t i = 0; i < PyList_Size(items); i++) {
        PyObject *item = PyList_GetItem(items, i);
        PyObject *key = PyTuple_GetItem(item, 0), *value = PyTuple_GetItem(item, 1);
        if (!PyUnicode_Check(key)) {
            PyErr_SetString(PyExc_TypeError, "names of options are str");
            return -1;
        }
        Py_ssize_t len = 0;
        const char *name = PyUnicode_AsUTF8AndSize(key, &len);
        if (name == NULL) {
            return -1;
        }
        if (strlen(name) != (size_t)len) {
            PyErr_SetString(state->config_error, "the name of an option has a NUL character in it");
            return -1;
        }
        if (value != Py_None && options_add(state, o, name, key, value) < 0) {
            return -1;
        }
    }
    return 0;
}

int options_fill(struct module_state *state, struct options *o, PyObject *servers, PyObject *dict)
{
    /* A list of our own: __str__ of a value may change the dict. */
    PyObject *items = dict != NULL ? PyDict_Items(dict) : PyList_New(0);
    if (items == NULL) {
        return -1;
    }
    int r = -1;
    size_t cap = 1 + (size_t)PyList_Size(items);
    o->list = PyMem_Calloc(cap, sizeof(*o->list));
    o->texts = PyMem_Calloc(cap, 2 * sizeof(PyObject *));
    if (o->list == NULL || o->texts == NULL) {
        PyErr_NoMemory();
    } else if (servers == NULL || servers == Py_None ||
               options_add(state, o, "servers", NULL, servers) == 0) {
        r = options_add_items(state, o, items);
    }
    Py_DECREF(items);
    return r;
}
