#include "pyext/src/request.h"

#include <string.h>

void request_free(struct request *q)
{
    for (size_t i = 0; i < q->n_views; i++) {
        PyBuffer_Release(&q->views[i]);
    }
    PyMem_Free(q->views);
    PyMem_Free(q->segments);
    PyMem_Free(q->key);
    Py_XDECREF(q->keys);
    memset(q, 0, sizeof(*q));
}

/* Room for one more. */
static int grow(void *pointer, size_t n, size_t *cap, size_t item)
{
    void **p = pointer;
    if (n < *cap) {
        return 0;
    }
    size_t more = *cap > 0 ? 2 * *cap : 64;
    void *grown = PyMem_Realloc(*p, more * item);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *p = grown;
    *cap = more;
    return 0;
}

/* A new list, whatever the sequence is: the caller's own may change under us. */
static PyObject *list_of(PyObject *object, const char *what)
{
    if (PyUnicode_Check(object) || PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s is a sequence, not a single str or bytes", what);
        return NULL;
    }
    return PySequence_List(object);
}

/* Keys ----------------------------------------------------------------------------------------- */

static int key_bytes(PyObject *key, struct request_key *out)
{
    Py_ssize_t len = 0;
    if (PyUnicode_Check(key)) {
        out->bytes = PyUnicode_AsUTF8AndSize(key, &len);
    } else if (PyBytes_Check(key)) {
        out->bytes = PyBytes_AsString(key);
        len = PyBytes_Size(key);
    } else {
        PyErr_SetString(PyExc_TypeError, "a key is str or bytes");
        return -1;
    }
    if (out->bytes == NULL) {
        return -1;
    }
    if (len < 1 || len > (Py_ssize_t)MKV_KEY_MAX) {
        PyErr_Format(PyExc_ValueError, "a key has 1 to 255 bytes, this one has %zd", len);
        return -1;
    }
    out->len = (uint8_t)len;
    return 0;
}

static int take_keys(struct request *q, PyObject *keys)
{
    q->keys = list_of(keys, "keys");
    if (q->keys == NULL) {
        return -1;
    }
    q->n = PyList_Size(q->keys);
    if (q->n > (Py_ssize_t)MKV_BATCH_MAX) {
        PyErr_Format(PyExc_ValueError, "a call takes at most %u keys, not %zd", MKV_BATCH_MAX,
                     q->n);
        return -1;
    }
    q->key = PyMem_Calloc((size_t)q->n + 1, sizeof(*q->key));
    if (q->key == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < q->n; i++) {
        if (key_bytes(PyList_GetItem(q->keys, i), &q->key[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Values --------------------------------------------------------------------------------------- */

static int add_segment(struct request *q, uint64_t addr, uint64_t len)
{
    if (len > 0 && (addr == 0 || addr + len < addr)) {
        PyErr_Format(PyExc_ValueError, "no memory of %llu bytes lies at address %llu",
                     (unsigned long long)len, (unsigned long long)addr);
        return -1;
    }
    if (grow(&q->segments, q->n_segments, &q->cap_segments, sizeof(*q->segments)) < 0) {
        return -1;
    }
    q->segments[q->n_segments++] = (struct mkv_segment){(void *)(uintptr_t)addr, (size_t)len};
    return 0;
}

static int add_buffer(struct request *q, PyObject *value, bool writable)
{
    if (grow(&q->views, q->n_views, &q->cap_views, sizeof(*q->views)) < 0) {
        return -1;
    }
    /* Not into q->views itself: code of Python may run, and our array may not move meanwhile. */
    Py_buffer view;
    if (PyObject_GetBuffer(value, &view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) {
        return -1; /* BufferError: read-only, or not contiguous */
    }
    q->views[q->n_views++] = view;
    return add_segment(q, (uint64_t)(uintptr_t)view.buf, (uint64_t)view.len);
}

static bool is_address_pair(PyObject *value)
{
    return PyTuple_Check(value) && PyTuple_Size(value) == 2 &&
           PyLong_Check(PyTuple_GetItem(value, 0)) && PyLong_Check(PyTuple_GetItem(value, 1));
}

static int add_part(struct request *q, PyObject *value, bool writable)
{
    uint64_t addr, len;
    if (PyObject_CheckBuffer(value)) {
        return add_buffer(q, value, writable);
    }
    if (!is_address_pair(value)) {
        PyErr_SetString(PyExc_TypeError,
                        "a value is a buffer, an (address, length) pair or a list of these");
        return -1;
    }
    return uint64_converter(PyTuple_GetItem(value, 0), &addr) &&
                   uint64_converter(PyTuple_GetItem(value, 1), &len)
               ? add_segment(q, addr, len)
               : -1;
}

static int add_parts(struct request *q, PyObject *value, bool writable)
{
    PyObject *parts = PyList_Check(value) ? PySequence_List(value) : NULL;
    if (parts == NULL) {
        return PyErr_Occurred() ? -1 : add_part(q, value, writable);
    }
    Py_ssize_t n = PyList_Size(parts);
    int r = 0;
    if (n > (Py_ssize_t)MKV_SEGMENTS_MAX) {
        PyErr_Format(PyExc_ValueError, "a value has at most %u parts, not %zd", MKV_SEGMENTS_MAX,
                     n);
        r = -1;
    }
    for (Py_ssize_t i = 0; r == 0 && i < n; i++) {
        r = add_part(q, PyList_GetItem(parts, i), writable);
    }
    Py_DECREF(parts);
    return r;
}

static int take_values(struct request *q, PyObject *values, bool writable)
{
    int r = 0;
    if (PyList_Size(values) != q->n) {
        PyErr_Format(PyExc_ValueError, "%zd keys and %zd values", q->n, PyList_Size(values));
        return -1;
    }
    for (Py_ssize_t i = 0; r == 0 && i < q->n; i++) {
        size_t before = q->n_segments;
        r = add_parts(q, PyList_GetItem(values, i), writable);
        q->key[i].n_segments = (uint32_t)(q->n_segments - before);
    }
    return r;
}

int request_fill(struct request *q, PyObject *keys, PyObject *values, bool writable)
{
    if (take_keys(q, keys) < 0) {
        return -1;
    }
    if (values == NULL) {
        return 0;
    }
    PyObject *list = list_of(values, "values");
    int r = list == NULL ? -1 : take_values(q, list, writable);
    Py_XDECREF(list);
    return r;
}

int request_fill_one(struct request *q, PyObject *key, struct mkv_segment segment)
{
    PyObject *keys = PyList_New(0);
    int r = keys == NULL || PyList_Append(keys, key) < 0 ? -1 : take_keys(q, keys);
    Py_XDECREF(keys);
    if (r == 0) {
        r = add_segment(q, (uint64_t)(uintptr_t)segment.addr, segment.len);
        q->key[0].n_segments = 1;
    }
    return r;
}

/* Pages ---------------------------------------------------------------------------------------- */

int uint64_converter(PyObject *object, void *out)
{
    if (!PyLong_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "addresses and lengths are int");
        return 0;
    }
    unsigned long long value = PyLong_AsUnsignedLongLong(object);
    if (value == (unsigned long long)-1 && PyErr_Occurred()) {
        return 0; /* OverflowError */
    }
    *(uint64_t *)out = value;
    return 1;
}

/* Integers of eight bytes in this machine's order, as array, numpy and torch name them. */
static bool is_integers(const Py_buffer *view)
{
    const char *format = view->format != NULL ? view->format : "B";
    format += *format == '@' || *format == '=' || (*format == '<' && PY_LITTLE_ENDIAN) ? 1 : 0;
    return view->itemsize == 8 && format[0] != '\0' && strchr("qQlLnN", format[0]) != NULL &&
           format[1] == '\0';
}

static Py_ssize_t array_of_buffer(PyObject *object, const char *what, uint64_t **out)
{
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_ND | PyBUF_FORMAT) < 0) {
        return -1;
    }
    Py_ssize_t n = -1;
    if (!is_integers(&view)) {
        PyErr_Format(PyExc_TypeError, "%s: a buffer of 8-byte integers or a sequence of int", what);
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

static Py_ssize_t array_of_sequence(PyObject *object, const char *what, uint64_t **out)
{
    PyObject *list = list_of(object, what);
    if (list == NULL) {
        return -1;
    }
    Py_ssize_t n = PyList_Size(list);
    *out = PyMem_Calloc((size_t)n + 1, sizeof(**out));
    if (*out == NULL) {
        PyErr_NoMemory();
        n = -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!uint64_converter(PyList_GetItem(list, i), &(*out)[i])) {
            n = -1;
        }
    }
    Py_DECREF(list);
    return n;
}

static Py_ssize_t array_of(PyObject *object, const char *what, uint64_t **out)
{
    return PyObject_CheckBuffer(object) ? array_of_buffer(object, what, out)
                                        : array_of_sequence(object, what, out);
}

static int take_pages(struct request *q, const uint64_t *addresses, const uint64_t *sizes,
                      Py_ssize_t parts)
{
    for (Py_ssize_t i = 0; i < q->n * parts; i++) {
        if (add_segment(q, addresses[i], sizes[i]) < 0) {
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < q->n; i++) {
        q->key[i].n_segments = (uint32_t)parts;
    }
    return 0;
}

int request_fill_pages(struct request *q, PyObject *keys, PyObject *addresses, PyObject *sizes,
                       Py_ssize_t parts)
{
    uint64_t *a = NULL, *s = NULL;
    int r = -1;
    if (take_keys(q, keys) < 0) {
        return -1;
    }
    Py_ssize_t n_a = array_of(addresses, "addresses", &a);
    Py_ssize_t n_s = n_a < 0 ? -1 : array_of(sizes, "sizes", &s);
    if (n_s >= 0) {
        if (parts < 1 || parts > (Py_ssize_t)MKV_SEGMENTS_MAX) {
            PyErr_Format(PyExc_ValueError, "a page has 1 to %u parts, not %zd", MKV_SEGMENTS_MAX,
                         parts);
        } else if (n_a != q->n * parts || n_s != n_a) {
            PyErr_Format(PyExc_ValueError,
                         "%zd keys of %zd parts need as many addresses and sizes; got %zd and %zd",
                         q->n, parts, n_a, n_s);
        } else {
            r = take_pages(q, a, s, parts);
        }
    }
    PyMem_Free(a);
    PyMem_Free(s);
    return r;
}

/* Sending -------------------------------------------------------------------------------------- */

int request_add_to(const struct request *q, struct mkv_batch *batch)
{
    const struct mkv_segment *segments = q->segments;
    for (Py_ssize_t i = 0; i < q->n; i++) {
        const struct request_key *k = &q->key[i];
        int r = mkv_batch_add(batch, k->bytes, k->len, k->n_segments > 0 ? segments : NULL,
                              k->n_segments);
        if (r < 0) {
            return r;
        }
        segments += k->n_segments;
    }
    return 0;
}
