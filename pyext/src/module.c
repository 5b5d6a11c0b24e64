#include "pyext/src/module.h"

struct module_state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

static PyObject *take_log(PyObject *module, PyObject *args)
{
    double timeout;
    if (!PyArg_ParseTuple(args, "d:take_log", &timeout)) {
        return NULL;
    }
    if (!(timeout >= 0 && timeout <= 3600)) {
        PyErr_SetString(PyExc_ValueError, "timeout is 0 to 3600 seconds");
        return NULL;
    }
    log_ring_after_fork(state_of(module)->log);
    return log_ring_take(state_of(module)->log, timeout);
}

static PyMethodDef methods[] = {
    {"take_log", take_log, METH_VARARGS,
     "take_log(timeout) -> list of (level, line); waits up to timeout seconds for a line."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    struct module_state *s = state_of(module);
    s->log = log_ring_create();
    if (s->log == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (errors_add(module, s) < 0 ||
        PyModule_AddStringConstant(module, "__version__", mkv_version()) < 0) {
        return -1;
    }
    s->client_type = PyType_FromModuleAndSpec(module, &client_spec, NULL);
    if (s->client_type == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Client", s->client_type);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *s = state_of(module);
    Py_VISIT(s->error);
    Py_VISIT(s->config_error);
    Py_VISIT(s->closed_error);
    Py_VISIT(s->transport_error);
    Py_VISIT(s->client_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct module_state *s = state_of(module);
    Py_CLEAR(s->error);
    Py_CLEAR(s->config_error);
    Py_CLEAR(s->closed_error);
    Py_CLEAR(s->transport_error);
    Py_CLEAR(s->client_type);
    return 0;
}

static void module_free(void *module)
{
    struct module_state *s = state_of(module);
    module_clear(module);
    log_ring_destroy(s->log);
    s->log = NULL;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "memkv_sglang._memkv",
    .m_doc = "The C part of memkv_sglang.",
    .m_size = sizeof(struct module_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__memkv(void);
PyMODINIT_FUNC PyInit__memkv(void)
{
    return PyModuleDef_Init(&definition);
}
