#include "pyext/src/module.h"

struct module_state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

static PyMethodDef methods[] = {
    {"take_log", take_log, METH_NOARGS,
     "take_log($module, /)\n--\n\nA list of (level, line), and a bool. Sleeps until there is a "
     "line. False: stop_log "
     "was called, and these lines are the last. One thread at a time."},
    {"stop_log", stop_log, METH_NOARGS, "stop_log($module, /)\n--\n\nEnd take_log, for good."},
    {NULL, NULL, 0, NULL},
};

static bool is_main(void)
{
    return PyInterpreterState_GetID(PyInterpreterState_Get()) == 0;
}

static int module_exec(PyObject *module)
{
    struct module_state *s = state_of(module);
    if (log_open(s) < 0 || errors_add(module, s) < 0 ||
        PyModule_AddStringConstant(module, "__version__", mkv_version()) < 0 ||
        PyModule_AddObjectRef(module, "MAIN_INTERPRETER", is_main() ? Py_True : Py_False) < 0) {
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
    log_close(s);
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
