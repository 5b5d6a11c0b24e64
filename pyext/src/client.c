/*
 * Client: opening and closing, regions, statistics. Batches are kept and used again, one for each
 * call in progress. close waits for the calls of other threads, which end by their deadlines.
 */
#include "pyext/src/client.h"
#include "pyext/src/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct module_state *client_state(struct client *self)
{
    return state_of(self->module);
}

static bool foreign(const struct client *self)
{
    return self->pid != getpid();
}

/* Construction ------------------------------------------------------------------------------- */

/* The thread that carries log lines; also tells it of a fork. */
static int start_log(struct module_state *state)
{
    PyObject *module = PyImport_ImportModule("memkv_sglang._log");
    PyObject *done = module == NULL ? NULL : PyObject_CallMethod(module, "start", NULL);
    Py_XDECREF(module);
    Py_XDECREF(done);
    return done == NULL ? -1 : log_after_fork(state);
}

static int client_open(struct client *self, PyObject *servers, const char *config, PyObject *dict)
{
    struct module_state *state = client_state(self);
    struct options o = {0};
    int r = -1;
    if (options_fill(state, &o, servers, dict) == 0 && start_log(state) == 0) {
        struct mkv_error error = {0};
        struct mkv_client_options options = {
            .size = sizeof(options),
            .options = o.list,
            .n_options = o.n,
            .config_file = config,
            .log = log_line,
            .log_arg = state->log,
        };
        PyThreadState *ts = PyEval_SaveThread();
        r = mkv_client_open(&options, &self->client, &error);
        PyEval_RestoreThread(ts);
        if (r == -EINVAL) {
            PyErr_SetString(state->config_error, error.text);
        } else if (r < 0) {
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
    self->next_handle = 1;
    self->pid = getpid();
    self->module = module_of_type(type);
    if (self->module == NULL || client_open(self, servers, config, dict) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* Calls and closing ---------------------------------------------------------------------------- */

int client_enter(struct client *self)
{
    if (foreign(self)) {
        return -ECANCELED;
    }
    pthread_mutex_lock(&self->mutex);
    bool open = !self->closing;
    self->calls += open;
    pthread_mutex_unlock(&self->mutex);
    return open ? 0 : -ECANCELED;
}

void client_leave(struct client *self)
{
    pthread_mutex_lock(&self->mutex);
    if (--self->calls == 0) {
        pthread_cond_broadcast(&self->idle);
    }
    pthread_mutex_unlock(&self->mutex);
}

int client_begin(struct client *self, struct mkv_batch **batch_out)
{
    struct mkv_batch *batch = NULL;
    int r = client_enter(self);
    if (r < 0) {
        return r;
    }
    pthread_mutex_lock(&self->mutex);
    if (self->n_spare > 0) {
        batch = self->spare[--self->n_spare];
    }
    pthread_mutex_unlock(&self->mutex);
    if (batch == NULL) {
        r = mkv_batch_create(self->client, &batch);
        if (r < 0) {
            client_leave(self);
            return r;
        }
    }
    *batch_out = batch;
    return 0;
}

void client_end(struct client *self, struct mkv_batch *batch)
{
    pthread_mutex_lock(&self->mutex);
    if (self->n_spare < SPARE_BATCHES) {
        self->spare[self->n_spare++] = batch;
        batch = NULL;
    }
    pthread_mutex_unlock(&self->mutex);
    mkv_batch_destroy(&batch);
    client_leave(self);
}

/* Nobody is in a call, and nobody will be. */
static void dispose(struct client *self)
{
    while (self->n_spare > 0) {
        mkv_batch_destroy(&self->spare[--self->n_spare]);
    }
    while (self->regions != NULL) {
        struct registration *r = self->regions;
        self->regions = r->next;
        mkv_region_close(&r->region);
        free(r);
    }
    mkv_client_close(&self->client);
}

/* Without the GIL. Whoever comes second waits for the first. */
static void shut(struct client *self)
{
    pthread_mutex_lock(&self->mutex);
    bool first = !self->closing;
    self->closing = true;
    while (self->calls > 0 || (!first && !self->closed)) {
        pthread_cond_wait(&self->idle, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    if (first) {
        dispose(self);
        pthread_mutex_lock(&self->mutex);
        self->closed = true;
        pthread_cond_broadcast(&self->idle);
        pthread_mutex_unlock(&self->mutex);
    }
}

/* In a child what the parent opened is left alone: its locks may be held for ever. */
static void client_shut(struct client *self)
{
    if (!foreign(self)) {
        PyThreadState *ts = PyEval_SaveThread();
        shut(self);
        PyEval_RestoreThread(ts);
    }
}

static void client_dealloc(struct client *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    client_shut(self);
    if (!foreign(self)) {
        pthread_cond_destroy(&self->idle);
        pthread_mutex_destroy(&self->mutex);
    }
    Py_XDECREF(self->module);
    freefunc free_fn = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_fn(self);
    Py_DECREF(type);
}

static int client_traverse(struct client *self, visitproc visit, void *arg)
{
    VISIT_TYPE(self);
    Py_VISIT(self->module);
    return 0;
}

/* Regions -------------------------------------------------------------------------------------- */

static void add_registration(struct client *self, struct registration *r)
{
    pthread_mutex_lock(&self->mutex);
    r->next = self->regions;
    self->regions = r;
    pthread_mutex_unlock(&self->mutex);
}

/* NULL: there is none. */
static struct registration *take_registration(struct client *self, uint64_t handle)
{
    pthread_mutex_lock(&self->mutex);
    struct registration **at = &self->regions;
    while (*at != NULL && (*at)->handle != handle) {
        at = &(*at)->next;
    }
    struct registration *found = *at;
    if (found != NULL) {
        *at = found->next;
    }
    pthread_mutex_unlock(&self->mutex);
    return found;
}

/* Without the GIL. */
static int open_region(struct client *self, uint64_t addr, uint64_t len, uint64_t *handle_out)
{
    struct registration *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return -ENOMEM;
    }
    int error = client_enter(self);
    if (error == 0) {
        error = mkv_region_open(self->client, (void *)(uintptr_t)addr, (size_t)len, NULL,
                                &r->region);
        if (error == 0) {
            pthread_mutex_lock(&self->mutex);
            *handle_out = r->handle = self->next_handle++;
            pthread_mutex_unlock(&self->mutex);
            add_registration(self, r);
        }
        client_leave(self);
    }
    if (error < 0) {
        free(r);
    }
    return error;
}

static PyObject *client_register(struct client *self, PyObject *args)
{
    uint64_t addr, len, handle = 0;
    if (!PyArg_ParseTuple(args, "O&O&:register", uint64_converter, &addr, uint64_converter, &len)) {
        return NULL;
    }
    PyThreadState *ts = PyEval_SaveThread();
    int r = open_region(self, addr, len, &handle);
    PyEval_RestoreThread(ts);
    if (r < 0) {
        return raise_errno(client_state(self), r,
                           r == -EINVAL ? "no memory of that length lies at that address" : NULL);
    }
    return PyLong_FromUnsignedLongLong(handle);
}

/* Without the GIL. -ENOENT: no such handle. */
static int close_region(struct client *self, uint64_t handle)
{
    int error = client_enter(self);
    if (error < 0) {
        return error;
    }
    struct registration *r = take_registration(self, handle);
    error = r == NULL ? -ENOENT : mkv_region_close(&r->region);
    if (r != NULL && error < 0) {
        add_registration(self, r);
    } else {
        free(r);
    }
    client_leave(self);
    return error;
}

static PyObject *client_unregister(struct client *self, PyObject *object)
{
    uint64_t handle;
    if (!uint64_converter(object, &handle)) {
        return NULL;
    }
    PyThreadState *ts = PyEval_SaveThread();
    int r = close_region(self, handle);
    PyEval_RestoreThread(ts);
    if (r == -ENOENT) {
        PyErr_SetString(PyExc_KeyError, "no such registration");
        return NULL;
    }
    if (r < 0) {
        return raise_errno(client_state(self), r, r == -EBUSY ? "the region is in use" : NULL);
    }
    Py_RETURN_NONE;
}

/* Statistics, servers, life -------------------------------------------------------------------- */

static PyObject *client_stats(struct client *self, PyObject *unused)
{
    (void)unused;
    struct mkv_client_stats s = {.size = sizeof(s)};
    int r = client_enter(self);
    if (r == 0) {
        r = mkv_client_stats(self->client, &s);
        client_leave(self);
    }
    if (r < 0) {
        return raise_errno(client_state(self), r, NULL);
    }
#define ULL(x) (unsigned long long)(x)
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsK}", "batches", ULL(s.batches), "keys", ULL(s.keys),
        "hits", ULL(s.hits), "misses", ULL(s.misses), "unknown", ULL(s.unknown), "bytes_read",
        ULL(s.bytes_read), "bytes_written", ULL(s.bytes_written), "requests", ULL(s.requests),
        "second_rounds", ULL(s.second_rounds), "timeouts", ULL(s.timeouts), "connection_errors",
        ULL(s.connection_errors), "checksum_errors", ULL(s.checksum_errors), "connects",
        ULL(s.connects), "servers", ULL(s.servers), "servers_up", ULL(s.servers_up), "reissued",
        ULL(s.reissued), "rails", ULL(s.rails), "rails_up", ULL(s.rails_up));
#undef ULL
}

static PyObject *client_set_servers(struct client *self, PyObject *servers)
{
    struct module_state *state = client_state(self);
    const char *list;
    PyObject *text = option_text(state, "servers", servers, &list);
    if (text == NULL) {
        return NULL;
    }
    struct mkv_error error = {0};
    PyThreadState *ts = PyEval_SaveThread();
    int r = client_enter(self);
    if (r == 0) {
        r = mkv_client_set_servers(self->client, list, &error);
        client_leave(self);
    }
    PyEval_RestoreThread(ts);
    Py_DECREF(text);
    if (r == -EINVAL) {
        PyErr_SetString(state->config_error, error.text);
        return NULL;
    }
    if (r < 0) {
        return raise_errno(state, r, error.text);
    }
    Py_RETURN_NONE;
}

static PyObject *client_close(struct client *self, PyObject *unused)
{
    (void)unused;
    client_shut(self);
    Py_RETURN_NONE;
}

static PyObject *client_context(struct client *self, PyObject *unused)
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
    int r = client_enter(self);
    if (r == 0) {
        client_leave(self);
    }
    return PyBool_FromLong(r < 0);
}

static PyObject *client_namespace(struct client *self, void *closure)
{
    (void)closure;
    char name[MKV_NAMESPACE_MAX];
    size_t len = 0;
    int r = client_enter(self);
    if (r < 0) {
        return raise_errno(client_state(self), r, NULL);
    }
    const char *own = mkv_client_namespace(self->client, &len);
    memcpy(name, own, len);
    client_leave(self);
    return PyBytes_FromStringAndSize(name, (Py_ssize_t)len);
}

static PyObject *client_transport(struct client *self, void *closure)
{
    (void)closure;
    int r = client_enter(self);
    if (r < 0) {
        return raise_errno(client_state(self), r, NULL);
    }
    const char *name = mkv_client_transport(self->client); /* static */
    client_leave(self);
    return PyUnicode_FromString(name);
}

#define KEYWORDS  (METH_VARARGS | METH_KEYWORDS)
#define METHOD(f) (PyCFunction)(void (*)(void))(f)
static PyMethodDef client_methods[] = {
    {"get", METHOD(client_get), KEYWORDS,
     "get($self, /, keys, values, *, timeout=None, namespace=None)\n--\n\n"
     "Fill each value whose key is stored with exactly that length; a list of bool.\n\n"
     "A value is a writable buffer, an (address, length) pair or a list of these. False: a miss, "
     "or no answer in time; what its memory holds is then undefined. Values must not overlap."},
    {"set", METHOD(client_set), KEYWORDS,
     "set($self, /, keys, values, *, timeout=None, replace=False, namespace=None)\n--\n\n"
     "Store each value; a list of bool.\n\n"
     "True: it is stored, or was there already (the first one stays, unless replace). False: it is "
     "not, since its server is away, late or full, or holds a value of another length."},
    {"exists", METHOD(client_exists), KEYWORDS,
     "exists($self, /, keys, *, timeout=None, namespace=None)\n--\n\n"
     "Say for each key whether it is there; a list of bool or None.\n\n"
     "None: not known, since the server that would know did not answer."},
    {"exists_prefix", METHOD(client_exists_prefix), KEYWORDS,
     "exists_prefix($self, /, keys, *, timeout=None, namespace=None)\n--\n\n"
     "The length of the leading run of keys that are there."},
    {"lengths", METHOD(client_lengths), KEYWORDS,
     "lengths($self, /, keys, *, timeout=None, namespace=None)\n--\n\n"
     "Each value's length; None: it is not there, or there was no answer."},
    {"get_pages", METHOD(client_get_pages), KEYWORDS,
     "get_pages($self, /, keys, addresses, sizes, parts, *, timeout=None, namespace=None)\n--\n\n"
     "Like get, with `parts` addresses and sizes for each key in two flat sequences.\n\n"
     "The keys are one prefix: behind a miss a server may answer False without a look."},
    {"set_pages", METHOD(client_set_pages), KEYWORDS,
     "set_pages($self, /, keys, addresses, sizes, parts, *, timeout=None, namespace=None)\n--\n\n"
     "Like set, with `parts` addresses and sizes for each key in two flat sequences."},
    {"get_value", METHOD(client_get_value), KEYWORDS,
     "get_value($self, /, key, *, max_length=67108864, timeout=None, namespace=None)\n--\n\n"
     "The value of one key, as bytes; None: a miss, no answer, or longer than max_length."},
    {"register", METHOD(client_register), METH_VARARGS,
     "register($self, address, length, /)\n--\n\n"
     "Register memory once, for transports that need it; a handle for unregister.\n\n"
     "It must stay mapped until then."},
    {"unregister", METHOD(client_unregister), METH_O,
     "unregister($self, handle, /)\n--\n\nEnd a registration."},
    {"set_servers", METHOD(client_set_servers), METH_O,
     "set_servers($self, servers, /)\n--\n\n"
     "Replace the list of servers; calls in progress end on the old one."},
    {"stats", METHOD(client_stats), METH_NOARGS, "stats($self, /)\n--\n\nCounters, since opening."},
    {"close", METHOD(client_close), METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Close; calls in progress in other threads are waited for. More than once does no harm."},
    {"__enter__", METHOD(client_context), METH_NOARGS, "__enter__($self, /)\n--\n\n"},
    {"__exit__", METHOD(client_exit), METH_VARARGS, "__exit__($self, /, *exc)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef client_properties[] = {
    {"closed", (getter)client_closed, NULL, "True after close", NULL},
    {"namespace", (getter)client_namespace, NULL, "The configured namespace, as bytes", NULL},
    {"transport", (getter)client_transport, NULL, "What sessions go over: rdma or tcp", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc,
     "Client(servers=None, *, config=None, options=None)\n--\n\n"
     "A client of MemKV servers.\n\n"
     "servers is \"10.0.0.10,10.0.0.11:9901\" or a list of such; without it the "
     "configuration names them. config is the path of a YAML file. options are those of "
     "docs/configuration.md, by name. Servers are connected to when they are needed: that "
     "they are away is no error.\n\n"
     "Any thread may call any method; calls of several threads run side by side. A call "
     "ends by its timeout, 8 seconds at the most, and until then Ctrl-C waits."},
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
