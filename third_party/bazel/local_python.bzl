"""memkv_python: headers, toolchain and names of the Python that builds the extension."""

# Five lines: the interpreter, its include directory, EXT_SUFFIX, version, and
# how useful it is here (Python.h: 2, pytest: 1).
_PROBE = """
import importlib.util, os, sys, sysconfig
inc = sysconfig.get_paths()["include"]
use = 2 * os.path.exists(os.path.join(inc, "Python.h")) + (importlib.util.find_spec("pytest") is not None)
print(sys.executable, inc, sysconfig.get_config_var("EXT_SUFFIX"), "%d.%d" % sys.version_info[:2], use, sep=chr(10))
"""

_BUILD = """load("@rules_cc//cc:defs.bzl", "cc_library")
load("@rules_python//python:defs.bzl", "py_runtime", "py_runtime_pair")

package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob(["include/**/*.h"], allow_empty = True),
    includes = ["include"],
)

py_runtime(
    name = "py3",
    interpreter_path = "%{executable}",
    stub_shebang = "#!%{executable}",
    python_version = "PY3",
)

py_runtime_pair(
    name = "runtime_pair",
    py3_runtime = ":py3",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtime_pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _local_python_impl(ctx):
    wanted = ctx.os.environ.get("MEMKV_PYTHON")
    candidates = [wanted] if wanted else [ctx.which("python3"), "/usr/bin/python3", "/usr/local/bin/python3"]

    # Never a failure: the toolchain of this repository is registered, so a
    # failure here would stop the build of the C library too. Without Python.h
    # or pytest, only the extension or its tests fail.
    best = ["/usr/bin/python3", "", ".so", "3", "-1"]
    for python in candidates:
        if python and ctx.path(python).exists:
            r = ctx.execute([python, "-c", _PROBE])
            info = r.stdout.splitlines()
            if r.return_code == 0 and len(info) == 5 and int(info[4]) > int(best[4]):
                best = info
    executable, include, ext_suffix, version = best[:4]
    if include and ctx.path(include).exists:
        ctx.symlink(include, "include")
    ctx.file("BUILD", _BUILD.replace("%{executable}", executable), executable = False)
    ctx.file("defs.bzl", "\n".join([
        "PYTHON = %r" % executable,
        "EXT_SUFFIX = %r" % ext_suffix,
        "PYTHON_VERSION = %r" % version,
        "",
    ]), executable = False)

local_python = repository_rule(
    implementation = _local_python_impl,
    configure = True,
    local = True,
    environ = ["PATH", "MEMKV_PYTHON"],
)
