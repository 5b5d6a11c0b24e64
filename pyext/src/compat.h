/*
 * What CPython 3.8 to 3.10 lack. From 3.11 on the extension is built for the stable ABI, once for
 * all versions; for the older ones, whose stable ABI has no buffers, once for each.
 */
#ifndef PYEXT_SRC_COMPAT_H
#define PYEXT_SRC_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030a0000

#define Py_TPFLAGS_IMMUTABLETYPE 0

static inline PyObject *Py_NewRef(PyObject *o)
{
    Py_INCREF(o);
    return o;
}

static inline PyObject *Py_XNewRef(PyObject *o)
{
    Py_XINCREF(o);
    return o;
}

static inline int PyModule_AddObjectRef(PyObject *module, const char *name, PyObject *value)
{
    Py_INCREF(value);
    int r = PyModule_AddObject(module, name, value);
    if (r < 0) {
        Py_DECREF(value);
    }
    return r;
}

#endif

#if PY_VERSION_HEX < 0x03090000

#define PyInterpreterState_Get _PyInterpreterState_Get

/* A type does not know its module; here there is one module to an interpreter. */
static inline PyObject *PyType_FromModuleAndSpec(PyObject *module, PyType_Spec *spec,
                                                 PyObject *bases)
{
    (void)module;
    return PyType_FromSpecWithBases(spec, bases);
}

static inline PyObject *module_of_type(PyTypeObject *type)
{
    (void)type;
    return PyImport_ImportModule("memkv_sglang._memkv");
}

/* Instances hold no counted reference to their type that the collector could follow. */
#define VISIT_TYPE(self) ((void)0)

#else

static inline PyObject *module_of_type(PyTypeObject *type)
{
    return Py_XNewRef(PyType_GetModule(type));
}

#define VISIT_TYPE(self) Py_VISIT(Py_TYPE((PyObject *)(self)))

#endif

#endif
