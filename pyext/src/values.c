#include "pyext/src/module.h"

#include <string.h>

void held_release(struct held *held)
{
    for (Py_ssize_t i = 0; i < held->n; i++) {
        PyBuffer_Release(&held->views[i]);
    }
    PyMem_Free(held->views);
    memset(held, 0, sizeof(*held));
}

static Py_buffer *held_next(struct held *held)
{
    if (held->n == held->cap) {
        Py_ssize_t cap = held->cap ? 2 * held->cap : 64;
        Py_buffer *views = PyMem_Malloc((size_t)cap * sizeof(*views));
        if (views == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        /* The consumer may keep its Py_buffer where it likes once it is filled. */
        if (held->n > 0) {
            memcpy(views, held->views, (size_t)held->n * sizeof(*views));
        }
        PyMem_Free(held->views);
        held->views = views;
        held->cap = cap;
    }
    return &held->views[held->n];
}

static int segment_of_buffer(PyObject *value, bool writable, struct held *held,
                             struct mkv_segment *out)
{
    Py_buffer *view = held_next(held);
    if (view == NULL) {
        return -1;
    }
    if (PyObject_GetBuffer(value, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) {
        return -1; /* BufferError: read-only or not contiguous */
    }
    held->n++;
    *out = (struct mkv_segment){view->buf, (size_t)view->len};
    return 0;
}

static bool is_address_pair(PyObject *value)
{
    return PyTuple_Check(value) && PyTuple_Size(value) == 2 &&
           PyLong_Check(PyTuple_GetItem(value, 0)) && PyLong_Check(PyTuple_GetItem(value, 1));
}

static int segment_of_pair(PyObject *pair, struct mkv_segment *out)
{
    unsigned long long addr = PyLong_AsUnsignedLongLong(PyTuple_GetItem(pair, 0));
    if (addr == (unsigned long long)-1 && PyErr_Occurred()) {
        return -1;
    }
    unsigned long long len = PyLong_AsUnsignedLongLong(PyTuple_GetItem(pair, 1));
    if (len == (unsigned long long)-1 && PyErr_Occurred()) {
        return -1;
    }
    if (addr == 0 && len > 0) {
        PyErr_SetString(PyExc_ValueError, "an (address, length) pair with address 0");
        return -1;
    }
    *out = (struct mkv_segment){(void *)(uintptr_t)addr, (size_t)len};
    return 0;
}

static int segment_of(PyObject *value, bool writable, struct held *held, struct mkv_segment *out)
{
    if (is_address_pair(value)) {
        return segment_of_pair(value, out);
    }
    if (!PyObject_CheckBuffer(value)) {
        PyErr_SetString(PyExc_TypeError,
                        "a value is a buffer, an (address, length) pair or a list of these");
        return -1;
    }
    return segment_of_buffer(value, writable, held, out);
}

static int add_list(struct module_state *state, struct mkv_batch *batch, const char *key,
                    Py_ssize_t key_len, PyObject *list, bool writable, struct held *held)
{
    Py_ssize_t n = PyList_Size(list);
    struct mkv_segment *segments = PyMem_Malloc(sizeof(*segments) * (size_t)(n > 0 ? n : 1));
    if (segments == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int r = 0;
    for (Py_ssize_t i = 0; i < n && r == 0; i++) {
        r = segment_of(PyList_GetItem(list, i), writable, held, &segments[i]);
    }
    if (r == 0) {
        r = mkv_batch_add(batch, key, (size_t)key_len, segments, (size_t)n);
        if (r < 0) {
            raise_errno(state, r, NULL);
        }
    }
    PyMem_Free(segments);
    return r < 0 ? -1 : 0;
}

static int key_bytes(PyObject *key, const char **out, Py_ssize_t *len_out)
{
    if (PyUnicode_Check(key)) {
        *out = PyUnicode_AsUTF8AndSize(key, len_out);
    } else if (PyBytes_Check(key)) {
        if (PyBytes_AsStringAndSize(key, (char **)out, len_out) < 0) {
            return -1;
        }
    } else {
        PyErr_SetString(PyExc_TypeError, "a key is str or bytes");
        return -1;
    }
    if (*out == NULL) {
        return -1;
    }
    if (*len_out < 1 || *len_out > (Py_ssize_t)MKV_KEY_MAX) {
        PyErr_Format(PyExc_ValueError, "a key has 1 to 255 bytes, this one has %zd", *len_out);
        return -1;
    }
    return 0;
}

int add_key(struct module_state *state, struct mkv_batch *batch, PyObject *key, PyObject *value,
            bool writable, struct held *held)
{
    const char *bytes;
    Py_ssize_t len;
    if (key_bytes(key, &bytes, &len) < 0) {
        return -1;
    }
    if (value != NULL && PyList_Check(value)) {
        return add_list(state, batch, bytes, len, value, writable, held);
    }
    struct mkv_segment segment;
    if (value != NULL && segment_of(value, writable, held, &segment) < 0) {
        return -1;
    }
    int r = mkv_batch_add(batch, bytes, (size_t)len, value ? &segment : NULL, value ? 1 : 0);
    if (r < 0) {
        raise_errno(state, r, NULL);
        return -1;
    }
    return 0;
}

static Py_ssize_t uint64_from_buffer(PyObject *object, const char *what, uint64_t **out)
{
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_ND | PyBUF_FORMAT) < 0) {
        return -1;
    }
    Py_ssize_t n = -1;
    if (view.itemsize != 8) {
        PyErr_Format(PyExc_TypeError, "%s has items of %zd bytes; expected 8-byte integers", what,
                     view.itemsize);
    } else {
        *out = PyMem_Malloc(view.len > 0 ? (size_t)view.len : 8);
        if (*out == NULL) {
            PyErr_NoMemory();
        } else {
            memcpy(*out, view.buf, (size_t)view.len);
            n = view.len / 8;
        }
    }
    PyBuffer_Release(&view);
    return n;
}

Py_ssize_t uint64_array(PyObject *object, const char *what, uint64_t **out)
{
    if (PyObject_CheckBuffer(object)) {
        return uint64_from_buffer(object, what, out);
    }
    PyObject *list = list_of(object, what);
    if (list == NULL) {
        return -1;
    }
    Py_ssize_t n = PyList_Size(list);
    uint64_t *array = PyMem_Malloc(sizeof(*array) * (size_t)(n > 0 ? n : 1));
    if (array == NULL) {
        Py_DECREF(list);
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        array[i] = PyLong_AsUnsignedLongLong(PyList_GetItem(list, i));
        if (array[i] == UINT64_MAX && PyErr_Occurred()) {
            PyMem_Free(array);
            Py_DECREF(list);
            return -1;
        }
    }
    Py_DECREF(list);
    *out = array;
    return n;
}

PyObject *list_of(PyObject *object, const char *what)
{
    if (PyUnicode_Check(object) || PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s is a list, not a single str or bytes", what);
        return NULL;
    }
    if (PyList_Check(object)) {
        return Py_NewRef(object);
    }
    return PySequence_List(object);
}
