/*
 * The methods that move keys and values. Each fills a request under the GIL, sends it and waits
 * without, and makes the answer under it again. Buffers are held until the batch is done.
 */
#include "pyext/src/client.h"
#include "pyext/src/request.h"

#include <string.h>
#include <time.h>

#define CALL_MAX_NS ((uint64_t)8000000000u) /* no call takes longer */

struct how {
    enum mkv_op op;
    uint32_t flags;
    PyObject *timeout;    /* NULL, None or seconds */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
    bool lengths;         /* whether lengths are asked for */
    PyObject *namespace_; /* NULL, None, str or bytes; of the call's arguments */
};

struct outcome {
    uint8_t *status; /* enum mkv_status per key */
    uint32_t prefix;
    uint64_t *lengths; /* of each stored value, 0 where it is not known; NULL: not asked for */
};

static int how_timeout(const struct how *how, struct mkv_batch_options *out)
{
    if (how->timeout == NULL || how->timeout == Py_None) {
        return 0;
    }
    double s = PyFloat_AsDouble(how->timeout);
    if (s == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(s > 0 && s <= 3600)) {
        PyErr_SetString(PyExc_ValueError, "timeout is more than 0 and at most 3600 seconds");
        return -1;
    }
    out->timeout_ns = (uint64_t)(s * 1e9) > 0 ? (uint64_t)(s * 1e9) : 1;
    return 0;
}

static int how_namespace(const struct how *how, struct mkv_batch_options *out)
{
    PyObject *ns = how->namespace_;
    Py_ssize_t len = 0;
    if (ns == NULL || ns == Py_None) {
        return 0;
    }
    if (PyUnicode_Check(ns)) {
        out->namespace_ = PyUnicode_AsUTF8AndSize(ns, &len);
    } else if (PyBytes_Check(ns)) {
        out->namespace_ = PyBytes_AsString(ns);
        len = PyBytes_Size(ns);
    } else {
        PyErr_SetString(PyExc_TypeError, "namespace is None, str or bytes");
        return -1;
    }
    if (out->namespace_ != NULL && len > (Py_ssize_t)MKV_NAMESPACE_MAX) {
        PyErr_Format(PyExc_ValueError, "a namespace has at most 255 bytes, this one has %zd", len);
        return -1;
    }
    out->namespace_len = (size_t)len;
    return out->namespace_ == NULL ? -1 : 0;
}

/* Running -------------------------------------------------------------------------------------- */

static int send_and_wait(struct mkv_batch *batch, enum mkv_op op,
                         const struct mkv_batch_options *options, const struct request *q,
                         struct outcome *out)
{
    int r = mkv_batch_begin(batch, op, options);
    r = r < 0 ? r : request_add_to(q, batch);
    r = r < 0 ? r : mkv_batch_run(batch);
    if (r < 0) {
        return r;
    }
    for (Py_ssize_t i = 0; i < q->n; i++) {
        out->status[i] = (uint8_t)mkv_batch_status(batch, (uint32_t)i);
        if (out->lengths != NULL) {
            out->lengths[i] = mkv_batch_length(batch, (uint32_t)i);
        }
    }
    out->prefix = mkv_batch_prefix(batch);
    return 0;
}

static void outcome_free(struct outcome *out)
{
    PyMem_Free(out->status);
    PyMem_Free(out->lengths);
}

/* -1: exception set, and nothing was sent. outcome_free in any case. */
static int run(struct client *self, const struct how *how, const struct request *q,
               struct outcome *out)
{
    struct mkv_batch_options options = {
        .size = sizeof(options), .flags = how->flags, .deadline_ns = how->deadline_ns};
    memset(out, 0, sizeof(*out));
    if (how_timeout(how, &options) < 0 || how_namespace(how, &options) < 0) {
        return -1;
    }
    out->status = PyMem_Calloc((size_t)q->n + 1, 1);
    out->lengths = how->lengths ? PyMem_Calloc((size_t)q->n + 1, sizeof(*out->lengths)) : NULL;
    if (out->status == NULL || (how->lengths && out->lengths == NULL)) {
        PyErr_NoMemory();
        return -1;
    }
    struct mkv_batch *batch;
    PyThreadState *ts = PyEval_SaveThread();
    int r = client_begin(self, &batch);
    if (r == 0) {
        r = send_and_wait(batch, how->op, &options, q, out);
        client_end(self, batch);
    }
    PyEval_RestoreThread(ts);
    if (r < 0) {
        raise_errno(client_state(self), r, NULL);
        return -1;
    }
    return 0;
}

static bool good(uint8_t status)
{
    return status == MKV_HIT || status == MKV_STORED || status == MKV_KEPT;
}

static PyObject *answers(const struct outcome *out, Py_ssize_t n, bool three_valued)
{
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        uint8_t status = out->status[i];
        PyObject *item = good(status)                         ? Py_True
                         : three_valued && status != MKV_MISS ? Py_None
                                                              : Py_False;
        PyList_SetItem(list, i, Py_NewRef(item));
    }
    return list;
}

static PyObject *lengths_of(const struct outcome *out, Py_ssize_t n)
{
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        bool there = out->lengths[i] > 0 || out->status[i] == MKV_HIT; /* a hit: of no bytes */
        PyObject *item = there ? PyLong_FromUnsignedLongLong(out->lengths[i]) : Py_NewRef(Py_None);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SetItem(list, i, item);
        }
    }
    return list;
}

enum shape { EACH, THREE_VALUED, PREFIX, LENGTHS };

static PyObject *shaped(const struct outcome *out, Py_ssize_t n, enum shape shape)
{
    switch (shape) {
    case PREFIX:
        return PyLong_FromUnsignedLong(out->prefix);
    case LENGTHS:
        return lengths_of(out, n);
    default:
        return answers(out, n, shape == THREE_VALUED);
    }
}

/* Ends a call: `filled` is what filling the request gave. */
static PyObject *finish(struct client *self, const struct how *how, struct request *q, int filled,
                        enum shape shape)
{
    struct outcome out = {0};
    PyObject *result = NULL;
    if (filled == 0 && run(self, how, q, &out) == 0) {
        result = shaped(&out, q->n, shape);
    }
    outcome_free(&out);
    request_free(q);
    return result;
}

/* Buffers and addresses ------------------------------------------------------------------------ */

PyObject *client_get(struct client *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"keys", "values", "timeout", "namespace", NULL};
    struct how how = {.op = MKV_OP_GET};
    struct request q = {0};
    PyObject *keys, *values;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OO:get", names, &keys, &values,
                                     &how.timeout, &how.namespace_)) {
        return NULL;
    }
    return finish(self, &how, &q, request_fill(&q, keys, values, true), EACH);
}

PyObject *client_set(struct client *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"keys", "values", "timeout", "replace", "namespace", NULL};
    struct how how = {.op = MKV_OP_SET};
    struct request q = {0};
    PyObject *keys, *values;
    int replace = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OpO:set", names, &keys, &values,
                                     &how.timeout, &replace, &how.namespace_)) {
        return NULL;
    }
    how.flags = replace ? MKV_REPLACE : 0;
    return finish(self, &how, &q, request_fill(&q, keys, values, false), EACH);
}

static PyObject *keys_as(struct client *self, PyObject *args, PyObject *kwargs, const char *format,
                         struct how how, enum shape shape)
{
    static char *names[] = {"keys", "timeout", "namespace", NULL};
    struct request q = {0};
    PyObject *keys;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &keys, &how.timeout,
                                     &how.namespace_)) {
        return NULL;
    }
    return finish(self, &how, &q, request_fill(&q, keys, NULL, false), shape);
}

PyObject *client_exists(struct client *self, PyObject *args, PyObject *kwargs)
{
    struct how how = {.op = MKV_OP_EXISTS};
    return keys_as(self, args, kwargs, "O|$OO:exists", how, THREE_VALUED);
}

PyObject *client_exists_prefix(struct client *self, PyObject *args, PyObject *kwargs)
{
    struct how how = {.op = MKV_OP_EXISTS, .flags = MKV_PREFIX};
    return keys_as(self, args, kwargs, "O|$OO:exists_prefix", how, PREFIX);
}

/* A get with room for no byte: the answer names the length of what is there. */
PyObject *client_lengths(struct client *self, PyObject *args, PyObject *kwargs)
{
    struct how how = {.op = MKV_OP_GET, .lengths = true};
    return keys_as(self, args, kwargs, "O|$OO:lengths", how, LENGTHS);
}

/* Pages: addresses and sizes in flat arrays, `parts` of each per key. -------------------------- */

static PyObject *pages_as(struct client *self, PyObject *args, PyObject *kwargs, const char *format,
                          struct how how)
{
    static char *names[] = {"keys", "addresses", "sizes", "parts", "timeout", "namespace", NULL};
    struct request q = {0};
    PyObject *keys, *addresses, *sizes;
    Py_ssize_t parts;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &keys, &addresses, &sizes, &parts,
                                     &how.timeout, &how.namespace_)) {
        return NULL;
    }
    return finish(self, &how, &q, request_fill_pages(&q, keys, addresses, sizes, parts), EACH);
}

PyObject *client_get_pages(struct client *self, PyObject *args, PyObject *kwargs)
{
    struct how how = {.op = MKV_OP_GET, .flags = MKV_PREFIX};
    return pages_as(self, args, kwargs, "OOOn|$OO:get_pages", how);
}

PyObject *client_set_pages(struct client *self, PyObject *args, PyObject *kwargs)
{
    struct how how = {.op = MKV_OP_SET};
    return pages_as(self, args, kwargs, "OOOn|$OO:set_pages", how);
}

/* One value of unknown length ------------------------------------------------------------------ */

/* 1: hit into `into`; 0: no hit, *length_out is the stored length (0: none); -1: exception. */
static int try_get(struct client *self, const struct how *how, PyObject *key, PyObject *into,
                   uint64_t *length_out)
{
    struct request q = {0};
    struct outcome out = {0};
    int r = -1;
    struct mkv_segment segment = {PyBytes_AsString(into), (size_t)PyBytes_Size(into)};
    if (request_fill_one(&q, key, segment) == 0 && run(self, how, &q, &out) == 0) {
        r = out.status[0] == MKV_HIT;
        *length_out = out.lengths != NULL ? out.lengths[0] : 0;
    }
    outcome_free(&out);
    request_free(&q);
    return r;
}

/* All looks together end by the deadline of one call. */
static int take_deadline(struct how *how)
{
    struct mkv_batch_options options = {0};
    struct timespec now;
    if (how_timeout(how, &options) < 0) {
        return -1;
    }
    bool told = options.timeout_ns > 0 && options.timeout_ns < CALL_MAX_NS;
    uint64_t left = told ? options.timeout_ns : CALL_MAX_NS;
    clock_gettime(CLOCK_MONOTONIC, &now);
    how->deadline_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + left;
    return 0;
}

PyObject *client_get_value(struct client *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", "max_length", "timeout", "namespace", NULL};
    struct how how = {.op = MKV_OP_GET, .lengths = true};
    PyObject *key;
    uint64_t max_length = MKV_VALUE_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O&OO:get_value", names, &key,
                                     uint64_converter, &max_length, &how.timeout,
                                     &how.namespace_)) {
        return NULL;
    }
    if (take_deadline(&how) < 0) {
        return NULL;
    }
    PyObject *value = PyBytes_FromStringAndSize(NULL, 0);
    int r = value == NULL ? -1 : 0;
    /* The first look finds the length; the value may be replaced between two looks. */
    for (int look = 0; r == 0 && look < 4; look++) {
        uint64_t length = 0;
        r = try_get(self, &how, key, value, &length);
        if (r != 0 || length == 0 || length > max_length || length > MKV_VALUE_MAX) {
            break;
        }
        Py_DECREF(value);
        value = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length); /* nobody else sees it yet */
        r = value == NULL ? -1 : 0;
    }
    if (r > 0) {
        return value;
    }
    Py_XDECREF(value);
    return r == 0 ? Py_NewRef(Py_None) : NULL;
}
