/*
 * Client. Every method builds a batch under the GIL, submits and waits without it, and reads the
 * answers under it again. Batches are kept and used again, one for each call in progress. close
 * waits for the calls of other threads, which end by their deadlines.
 */
#include "pyext/src/module.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define SPARE_BATCHES 8

struct client {
    PyObject_HEAD struct mkv_client *client;
    PyObject *module;  /* keeps the log ring */
    PyObject *regions; /* dict: handle -> address of a struct mkv_region, as int */
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    unsigned calls;                         /* in progress, under mutex */
    bool closing;                           /* under mutex */
    struct mkv_batch *spare[SPARE_BATCHES]; /* under mutex */
    unsigned n_spare;
    unsigned long long next_region;
};

static struct module_state *client_state(struct client *self)
{
    return state_of(self->module);
}

/* Construction ------------------------------------------------------------------------------- */

static int client_open(struct client *self, PyObject *servers, const char *config, PyObject *dict)
{
    struct options o = {0};
    int r = -1;
    if (options_fill(&o, servers, dict) == 0) {
        struct module_state *state = client_state(self);
        struct mkv_error error = {0};
        struct mkv_client_options options = {
            .size = sizeof(options),
            .options = o.list,
            .n_options = o.n,
            .config_file = config,
            .log = log_ring_put,
            .log_arg = state->log,
        };
        log_ring_after_fork(state->log);
        Py_BEGIN_ALLOW_THREADS r = mkv_client_open(&options, &self->client, &error);
        Py_END_ALLOW_THREADS if (r == -EINVAL)
        {
            PyErr_SetString(state->config_error, error.text);
        }
        else if (r < 0)
        {
            raise_errno(state, r, error.text);
        }
    }
    options_free(&o);
    return r < 0 ? -1 : 0;
}

static PyObject *client_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"servers", "config", "options", NULL};
    PyObject *servers = NULL, *dict = NULL;
    const char *config = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$zO:Client", names, &servers, &config,
                                     &dict)) {
        return NULL;
    }
    if (dict == Py_None) {
        dict = NULL;
    }
    if (dict != NULL && !PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "options is a dict of names and values");
        return NULL;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct client *self = (struct client *)alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->idle, NULL);
    self->next_region = 1;
    self->module = Py_XNewRef(PyType_GetModule(type));
    self->regions = PyDict_New();
    if (self->module == NULL || self->regions == NULL ||
        client_open(self, servers, config, dict) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* Calls and closing ---------------------------------------------------------------------------- */

/* Enters a call and gives it a batch. NULL: exception set. */
static struct mkv_batch *call_begin(struct client *self)
{
    struct mkv_batch *batch = NULL;
    pthread_mutex_lock(&self->mutex);
    bool open = self->client != NULL && !self->closing;
    if (open) {
        self->calls++;
        if (self->n_spare > 0) {
            batch = self->spare[--self->n_spare];
        }
    }
    pthread_mutex_unlock(&self->mutex);
    if (!open) {
        return (struct mkv_batch *)(void *)raise_errno(client_state(self), -ECANCELED, NULL);
    }
    if (batch == NULL) {
        int r = mkv_batch_create(self->client, &batch);
        if (r < 0) {
            raise_errno(client_state(self), r, NULL);
            pthread_mutex_lock(&self->mutex);
            self->calls--;
            pthread_cond_broadcast(&self->idle);
            pthread_mutex_unlock(&self->mutex);
            return NULL;
        }
    }
    return batch;
}

static void call_end(struct client *self, struct mkv_batch *batch)
{
    pthread_mutex_lock(&self->mutex);
    if (self->n_spare < SPARE_BATCHES) {
        self->spare[self->n_spare++] = batch;
        batch = NULL;
    }
    pthread_mutex_unlock(&self->mutex);
    mkv_batch_destroy(&batch);
    pthread_mutex_lock(&self->mutex);
    self->calls--;
    pthread_cond_broadcast(&self->idle);
    pthread_mutex_unlock(&self->mutex);
}

static int close_regions(struct client *self)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(self->regions, &at, &key, &value)) {
        struct mkv_region *region = PyLong_AsVoidPtr(value);
        mkv_region_close(&region);
    }
    PyDict_Clear(self->regions);
    return 0;
}

static void client_shut(struct client *self)
{
    struct mkv_client *client;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&self->mutex);
    bool first = !self->closing;
    self->closing = true;
    while (self->calls > 0) {
        pthread_cond_wait(&self->idle, &self->mutex);
    }
    client = first ? self->client : NULL;
    while (first && self->n_spare > 0) {
        mkv_batch_destroy(&self->spare[--self->n_spare]);
    }
    pthread_mutex_unlock(&self->mutex);
    Py_END_ALLOW_THREADS if (client == NULL)
    {
        return;
    }
    close_regions(self);
    Py_BEGIN_ALLOW_THREADS mkv_client_close(&client);
    Py_END_ALLOW_THREADS self->client = NULL;
}

static void client_dealloc(struct client *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    if (self->client != NULL) {
        client_shut(self);
    }
    pthread_cond_destroy(&self->idle);
    pthread_mutex_destroy(&self->mutex);
    Py_XDECREF(self->regions);
    Py_XDECREF(self->module);
    freefunc free_fn = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_fn(self);
    Py_DECREF(type);
}

static int client_traverse(struct client *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->module);
    Py_VISIT(self->regions);
    return 0;
}

/* Batches -------------------------------------------------------------------------------------- */

struct how {
    enum mkv_op op;
    uint32_t flags;
    PyObject *timeout;    /* None or seconds */
    PyObject *namespace_; /* None, str or bytes */
};

static int how_options(const struct how *how, struct mkv_batch_options *out)
{
    *out = (struct mkv_batch_options){.size = sizeof(*out), .flags = how->flags};
    if (how->timeout != NULL && how->timeout != Py_None) {
        double s = PyFloat_AsDouble(how->timeout);
        if (s == -1.0 && PyErr_Occurred()) {
            return -1;
        }
        if (!(s > 0 && s <= 3600)) {
            PyErr_SetString(PyExc_ValueError, "timeout is more than 0 and at most 3600 seconds");
            return -1;
        }
        out->timeout_ns = (uint64_t)(s * 1e9) > 0 ? (uint64_t)(s * 1e9) : 1;
    }
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
    }
    out->namespace_len = (size_t)len;
    return out->namespace_ == NULL ? -1 : 0;
}

static int begin(struct client *self, struct mkv_batch *batch, const struct how *how)
{
    struct mkv_batch_options options;
    if (how_options(how, &options) < 0) {
        return -1;
    }
    int r = mkv_batch_begin(batch, how->op, &options);
    if (r < 0) {
        raise_errno(client_state(self), r, NULL);
    }
    return r;
}

/* Submits and waits; -1 with an exception only where nothing was sent. */
static int run(struct client *self, struct mkv_batch *batch)
{
    int r;
    Py_BEGIN_ALLOW_THREADS r = mkv_batch_submit(batch);
    if (r >= 0) {
        mkv_batch_wait(batch);
    }
    Py_END_ALLOW_THREADS if (r < 0)
    {
        raise_errno(client_state(self), r, NULL);
        return -1;
    }
    return 0;
}

static bool good(enum mkv_status status)
{
    return status == MKV_HIT || status == MKV_STORED || status == MKV_KEPT || status == MKV_DELETED;
}

static PyObject *answers(const struct mkv_batch *batch, bool three_valued)
{
    uint32_t n = mkv_batch_count(batch);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (uint32_t i = 0; list != NULL && i < n; i++) {
        enum mkv_status status = mkv_batch_status(batch, i);
        PyObject *item = good(status)                         ? Py_True
                         : three_valued && status != MKV_MISS ? Py_None
                                                              : Py_False;
        PyList_SetItem(list, (Py_ssize_t)i, Py_NewRef(item));
    }
    return list;
}

/* keys and values to a batch that has begun. values NULL: none. */
static int fill(struct client *self, struct mkv_batch *batch, PyObject *keys_object,
                PyObject *values_object, bool writable, struct held *held)
{
    PyObject *keys = list_of(keys_object, "keys");
    PyObject *values = NULL;
    int r = keys == NULL ? -1 : 0;
    if (r == 0 && values_object != NULL) {
        values = list_of(values_object, "values");
        r = values == NULL ? -1 : 0;
    }
    if (r == 0 && values != NULL && PyList_Size(keys) != PyList_Size(values)) {
        PyErr_Format(PyExc_ValueError, "%zd keys and %zd values", PyList_Size(keys),
                     PyList_Size(values));
        r = -1;
    }
    for (Py_ssize_t i = 0; r == 0 && i < PyList_Size(keys); i++) {
        PyObject *value = values != NULL ? PyList_GetItem(values, i) : NULL;
        r = add_key(client_state(self), batch, PyList_GetItem(keys, i), value, writable, held);
    }
    Py_XDECREF(values);
    Py_XDECREF(keys);
    return r;
}

enum shape { EACH, THREE_VALUED, PREFIX };

static PyObject *do_batch(struct client *self, const struct how *how, PyObject *keys,
                          PyObject *values, enum shape shape)
{
    struct mkv_batch *batch = call_begin(self);
    if (batch == NULL) {
        return NULL;
    }
    struct held held = {0};
    PyObject *result = NULL;
    if (begin(self, batch, how) == 0 &&
        fill(self, batch, keys, values, how->op == MKV_OP_GET, &held) == 0 &&
        run(self, batch) == 0) {
        result = shape == PREFIX ? PyLong_FromUnsignedLong(mkv_batch_prefix(batch))
                                 : answers(batch, shape == THREE_VALUED);
    }
    held_release(&held);
    call_end(self, batch);
    return result;
}

static PyObject *client_get(struct client *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"keys", "values", "timeout", "namespace", NULL};
    struct how how = {.op = MKV_OP_GET};
    PyObject *keys, *values;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OO:get", names, &keys, &values,
                                     &how.timeout, &how.namespace_)) {
        return NULL;
    }
    return do_batch(self, &how, keys, values, EACH);
}

static PyObject *client_set(struct client *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"keys", "values", "timeout", "replace", "namespace", NULL};
    struct how how = {.op = MKV_OP_SET};
    PyObject *keys, *values;
    int replace = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OpO:set", names, &keys, &values,
                                     &how.timeout, &replace, &how.namespace_)) {
        return NULL;
    }
    how.flags = replace ? MKV_REPLACE : 0;
    return do_batch(self, &how, keys, values, EACH);
}

static PyObject *exists_as(struct client *self, PyObject *args, PyObject *kwargs, enum shape shape)
{
    static char *names[] = {"keys", "timeout", "namespace", NULL};
    struct how how = {.op = MKV_OP_EXISTS, .flags = shape == PREFIX ? MKV_PREFIX : 0};
    PyObject *keys;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OO:exists", names, &keys, &how.timeout,
                                     &how.namespace_)) {
        return NULL;
    }
    return do_batch(self, &how, keys, NULL, shape);
}

static PyObject *client_exists(struct client *self, PyObject *args, PyObject *kwargs)
{
    return exists_as(self, args, kwargs, THREE_VALUED);
}

static PyObject *client_exists_prefix(struct client *self, PyObject *args, PyObject *kwargs)
{
    return exists_as(self, args, kwargs, PREFIX);
}

/* Pages: addresses and sizes in flat arrays, `parts` of each per key. -------------------------- */

struct flat {
    uint64_t *addresses, *sizes;
    Py_ssize_t n_addresses, n_sizes;
};

static int fill_pages(struct client *self, struct mkv_batch *batch, PyObject *keys,
                      const struct flat *flat, Py_ssize_t parts)
{
    struct mkv_segment *segments = PyMem_Malloc(sizeof(*segments) * (size_t)parts);
    if (segments == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int r = 0;
    for (Py_ssize_t i = 0; r >= 0 && i < PyList_Size(keys); i++) {
        for (Py_ssize_t j = 0; j < parts; j++) {
            Py_ssize_t at = i * parts + j;
            segments[j] = (struct mkv_segment){(void *)(uintptr_t)flat->addresses[at],
                                               (size_t)flat->sizes[at]};
        }
        Py_ssize_t len = 0;
        PyObject *key = PyList_GetItem(keys, i);
        const char *bytes = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, &len)
                                                 : PyBytes_AsString(key);
        if (bytes == NULL) {
            r = -1;
            break;
        }
        len = PyUnicode_Check(key) ? len : PyBytes_Size(key);
        r = mkv_batch_add(batch, bytes, (size_t)len, segments, (size_t)parts);
        if (r < 0) {
            raise_errno(client_state(self), r, NULL);
        }
    }
    PyMem_Free(segments);
    return r < 0 ? -1 : 0;
}

static PyObject *run_pages(struct client *self, const struct how *how, PyObject *keys,
                           const struct flat *flat, Py_ssize_t parts)
{
    Py_ssize_t n = PyList_Size(keys);
    if (parts < 1 || parts > (Py_ssize_t)MKV_SEGMENTS_MAX || flat->n_addresses != n * parts ||
        flat->n_sizes != n * parts) {
        return PyErr_Format(
            PyExc_ValueError,
            "%zd keys of %zd parts need as many addresses and sizes; got %zd and %zd", n, parts,
            flat->n_addresses, flat->n_sizes);
    }
    struct mkv_batch *batch = call_begin(self);
    if (batch == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    if (begin(self, batch, how) == 0 && fill_pages(self, batch, keys, flat, parts) == 0 &&
        run(self, batch) == 0) {
        result = answers(batch, false);
    }
    call_end(self, batch);
    return result;
}

static PyObject *pages_as(struct client *self, PyObject *args, PyObject *kwargs, enum mkv_op op)
{
    static char *names[] = {"keys", "addresses", "sizes", "parts", "timeout", "namespace", NULL};
    struct how how = {.op = op, .flags = op == MKV_OP_GET ? MKV_PREFIX : 0};
    PyObject *keys_object, *addresses, *sizes;
    Py_ssize_t parts;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOn|$OO:pages", names, &keys_object,
                                     &addresses, &sizes, &parts, &how.timeout, &how.namespace_)) {
        return NULL;
    }
    struct flat flat = {0};
    PyObject *result = NULL;
    PyObject *keys = list_of(keys_object, "keys");
    if (keys != NULL) {
        flat.n_addresses = uint64_array(addresses, "addresses", &flat.addresses);
        flat.n_sizes = flat.n_addresses < 0 ? -1 : uint64_array(sizes, "sizes", &flat.sizes);
        if (flat.n_sizes >= 0) {
            result = run_pages(self, &how, keys, &flat, parts);
        }
    }
    PyMem_Free(flat.addresses);
    PyMem_Free(flat.sizes);
    Py_XDECREF(keys);
    return result;
}

static PyObject *client_get_pages(struct client *self, PyObject *args, PyObject *kwargs)
{
    return pages_as(self, args, kwargs, MKV_OP_GET);
}

static PyObject *client_set_pages(struct client *self, PyObject *args, PyObject *kwargs)
{
    return pages_as(self, args, kwargs, MKV_OP_SET);
}

/* One value of unknown length ------------------------------------------------------------------ */

/* 1: hit into `into`; 0: miss, with the stored length (0: none) in *length_out; -1: exception */
static int try_get(struct client *self, struct mkv_batch *batch, const struct how *how,
                   PyObject *key, PyObject *into, uint64_t *length_out)
{
    struct held held = {0};
    int r = -1;
    struct mkv_segment segment = {PyByteArray_AsString(into), (size_t)PyByteArray_Size(into)};
    PyObject *pair = Py_BuildValue("(Kn)", (unsigned long long)(uintptr_t)segment.addr,
                                   (Py_ssize_t)segment.len);
    if (pair != NULL && begin(self, batch, how) == 0 &&
        add_key(client_state(self), batch, key, pair, true, &held) == 0 && run(self, batch) == 0) {
        r = mkv_batch_status(batch, 0) == MKV_HIT;
        *length_out = mkv_batch_length(batch, 0);
    }
    Py_XDECREF(pair);
    held_release(&held);
    return r;
}

static PyObject *client_get_value(struct client *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", "max_length", "timeout", "namespace", NULL};
    struct how how = {.op = MKV_OP_GET};
    PyObject *key;
    unsigned long long max_length = MKV_VALUE_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$KOO:get_value", names, &key, &max_length,
                                     &how.timeout, &how.namespace_)) {
        return NULL;
    }
    struct mkv_batch *batch = call_begin(self);
    if (batch == NULL) {
        return NULL;
    }
    PyObject *value = PyByteArray_FromStringAndSize(NULL, 0);
    int r = value == NULL ? -1 : 0;
    /* The first look finds the length; the value may be replaced between two looks. */
    for (int look = 0; r == 0 && look < 4; look++) {
        uint64_t length = 0;
        r = try_get(self, batch, &how, key, value, &length);
        if (r != 0 || length == 0 || length > max_length) {
            break;
        }
        r = PyByteArray_Resize(value, (Py_ssize_t)length) < 0 ? -1 : 0;
    }
    call_end(self, batch);
    PyObject *result = r > 0 ? PyBytes_FromObject(value) : r == 0 ? Py_NewRef(Py_None) : NULL;
    Py_XDECREF(value);
    return result;
}

/* Regions, statistics, life -------------------------------------------------------------------- */

static PyObject *client_register(struct client *self, PyObject *args)
{
    unsigned long long addr, len;
    if (!PyArg_ParseTuple(args, "KK:register", &addr, &len)) {
        return NULL;
    }
    if (self->client == NULL || self->closing) {
        return raise_errno(client_state(self), -ECANCELED, NULL);
    }
    struct mkv_region *region = NULL;
    int r;
    Py_BEGIN_ALLOW_THREADS r = mkv_region_open(self->client, (void *)(uintptr_t)addr, (size_t)len,
                                               NULL, &region);
    Py_END_ALLOW_THREADS if (r < 0)
    {
        return raise_errno(client_state(self), r, NULL);
    }
    PyObject *handle = PyLong_FromUnsignedLongLong(self->next_region++);
    PyObject *pointer = PyLong_FromVoidPtr(region);
    if (handle == NULL || pointer == NULL || PyDict_SetItem(self->regions, handle, pointer) < 0) {
        Py_CLEAR(handle);
        mkv_region_close(&region);
    }
    Py_XDECREF(pointer);
    return handle;
}

static PyObject *client_unregister(struct client *self, PyObject *handle)
{
    PyObject *pointer = PyDict_GetItemWithError(self->regions, handle);
    if (pointer == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_KeyError, "no such registration");
        }
        return NULL;
    }
    struct mkv_region *region = PyLong_AsVoidPtr(pointer);
    int r = mkv_region_close(&region);
    if (r < 0) {
        return raise_errno(client_state(self), r, "the region is in use");
    }
    if (PyDict_DelItem(self->regions, handle) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *client_stats(struct client *self, PyObject *unused)
{
    (void)unused;
    struct mkv_client_stats s = {.size = sizeof(s)};
    if (self->client == NULL || self->closing) {
        return raise_errno(client_state(self), -ECANCELED, NULL);
    }
    int r = mkv_client_stats(self->client, &s);
    if (r < 0) {
        return raise_errno(client_state(self), r, NULL);
    }
#define ULL(x) (unsigned long long)(x)
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKsKsKsKsKsKsKsK}", "batches", ULL(s.batches), "keys", ULL(s.keys), "hits",
        ULL(s.hits), "misses", ULL(s.misses), "unknown", ULL(s.unknown), "bytes_read",
        ULL(s.bytes_read), "bytes_written", ULL(s.bytes_written), "requests", ULL(s.requests),
        "second_rounds", ULL(s.second_rounds), "timeouts", ULL(s.timeouts), "connection_errors",
        ULL(s.connection_errors), "checksum_errors", ULL(s.checksum_errors), "connects",
        ULL(s.connects), "servers", ULL(s.servers), "servers_up", ULL(s.servers_up));
#undef ULL
}

static PyObject *client_set_servers(struct client *self, PyObject *args)
{
    const char *servers;
    if (!PyArg_ParseTuple(args, "s:set_servers", &servers)) {
        return NULL;
    }
    if (self->client == NULL || self->closing) {
        return raise_errno(client_state(self), -ECANCELED, NULL);
    }
    struct mkv_error error = {0};
    if (mkv_client_set_servers(self->client, servers, &error) < 0) {
        PyErr_SetString(client_state(self)->config_error, error.text);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *client_close(struct client *self, PyObject *unused)
{
    (void)unused;
    client_shut(self);
    Py_RETURN_NONE;
}

static PyObject *client_enter(struct client *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)self);
}

static PyObject *client_exit(struct client *self, PyObject *args)
{
    (void)args;
    return client_close(self, NULL);
}

static PyObject *client_closed(struct client *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->client == NULL || self->closing);
}

static PyObject *client_namespace(struct client *self, void *closure)
{
    (void)closure;
    if (self->client == NULL || self->closing) {
        return raise_errno(client_state(self), -ECANCELED, NULL);
    }
    size_t len;
    const char *name = mkv_client_namespace(self->client, &len);
    return PyBytes_FromStringAndSize(name, (Py_ssize_t)len);
}

#define KEYWORDS  (METH_VARARGS | METH_KEYWORDS)
#define METHOD(f) (PyCFunction)(void (*)(void))(f)
static PyMethodDef client_methods[] = {
    {"get", METHOD(client_get), KEYWORDS,
     "get(keys, values, *, timeout=None, namespace=None) -> list[bool]\n\nFills each value (a "
     "writable buffer, an (address, length) pair or a list of these) whose key is stored with "
     "exactly that length. False: a miss, or no answer in time; its memory is then undefined."},
    {"set", METHOD(client_set), KEYWORDS,
     "set(keys, values, *, timeout=None, replace=False, namespace=None) -> list[bool]\n\nTrue: the "
     "value is stored, or was there already (the first one stays unless replace)."},
    {"exists", METHOD(client_exists), KEYWORDS,
     "exists(keys, *, timeout=None, namespace=None) -> list[bool | None]\n\nNone: not known, since "
     "the server that would know did not answer."},
    {"exists_prefix", METHOD(client_exists_prefix), KEYWORDS,
     "exists_prefix(keys, *, timeout=None, namespace=None) -> int\n\nLength of the leading run of "
     "keys that are there."},
    {"get_pages", METHOD(client_get_pages), KEYWORDS,
     "get_pages(keys, addresses, sizes, parts, *, timeout=None, namespace=None) -> list[bool]"},
    {"set_pages", METHOD(client_set_pages), KEYWORDS,
     "set_pages(keys, addresses, sizes, parts, *, timeout=None, namespace=None) -> list[bool]"},
    {"get_value", METHOD(client_get_value), KEYWORDS,
     "get_value(key, *, max_length=64 MiB, timeout=None, namespace=None) -> bytes | None"},
    {"register", METHOD(client_register), METH_VARARGS, "register(address, length) -> handle"},
    {"unregister", METHOD(client_unregister), METH_O, "unregister(handle)"},
    {"set_servers", METHOD(client_set_servers), METH_VARARGS, "set_servers(servers)"},
    {"stats", METHOD(client_stats), METH_NOARGS, "stats() -> dict of counters"},
    {"close", METHOD(client_close), METH_NOARGS,
     "close(): waits for calls in progress; idempotent"},
    {"__enter__", METHOD(client_enter), METH_NOARGS, NULL},
    {"__exit__", METHOD(client_exit), METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef client_properties[] = {
    {"closed", (getter)client_closed, NULL, "True after close", NULL},
    {"namespace", (getter)client_namespace, NULL, "The configured namespace, as bytes", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc, "Client(servers=None, *, config=None, options=None): a client of MemKV servers.\n\n"
                "Any thread may call any method; calls of several threads run side by side."},
    {Py_tp_new, client_new},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_traverse, client_traverse},
    {Py_tp_methods, client_methods},
    {Py_tp_getset, client_properties},
    {0, NULL},
};

PyType_Spec client_spec = {
    .name = "memkv_sglang.Client",
    .basicsize = sizeof(struct client),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = client_slots,
};
