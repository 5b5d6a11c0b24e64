"""Compiles what sources.txt names, without Bazel: the extension and the command."""

import concurrent.futures
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from typing import Dict, List, NamedTuple, Set, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
FLAGS = ["-O2", "-g0", "-DNDEBUG", "-fPIC", "-pthread", "-ffunction-sections", "-fdata-sections"]
LINK = ["-pthread", "-Wl,--as-needed", "-Wl,--gc-sections"]
# A header of each library, and of the C library, to see whether it is there.
PROBES = {
    "jansson": "jansson.h",
    "libc": "stdio.h",
    "libcrypto": "openssl/evp.h",
    "libibverbs": "infiniband/verbs.h",
    "libisal": "isa-l.h",
    "librdmacm": "rdma/rdma_cma.h",
    "liburcu": "urcu/urcu-bp.h",
    "libyaml": "yaml.h",
    "popt": "popt.h",
}


class Library(NamedTuple):
    name: str
    packages: List[str]  # pkg-config's names
    debian: str
    users: Set[str]


class Sources(NamedTuple):
    options: List[str]
    libraries: List[Library]
    files: Dict[str, Set[str]]  # path -> who needs it: extension, command, python


def sources() -> Sources:
    """Read sources.txt."""
    found = Sources([], [], {})
    with open(os.path.join(HERE, "sources.txt"), encoding="utf-8") as f:
        for line in f:
            kind, *words = line.split() or [""]
            if kind == "option":
                found.options.extend(words)
            elif kind == "library":
                name, packages, debian, *users = words
                found.libraries.append(Library(name, packages.split(","), debian, set(users)))
            elif kind == "file":
                found.files[words[0]] = set(words[1:])
    return found


def stable_abi() -> bool:
    """Buffers are in the stable ABI from 3.11 on; a build without the GIL has no stable ABI."""
    return sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")


def tag() -> str:
    """The wheel's tag."""
    own = "cp%d%d" % sys.version_info[:2]
    python, abi = ("cp311", "abi3") if stable_abi() else (own, own + sys.abiflags)
    return "%s-%s-linux_%s" % (python, abi, os.uname().machine)


def extension_name() -> str:
    return "_memkv" + (".abi3.so" if stable_abi() else sysconfig.get_config_var("EXT_SUFFIX"))


def _cc() -> List[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def _pkg_config(*args: str) -> "subprocess.CompletedProcess[str]":
    command = shlex.split(os.environ.get("PKG_CONFIG", "pkg-config"))
    return subprocess.run(
        [*command, *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _has_header(header: str, flags: List[str]) -> bool:
    run = subprocess.run(
        [*_cc(), *shlex.split(os.environ.get("CFLAGS", "")), *flags, "-E", "-x", "c", "-"],
        input="#include <%s>\n" % header,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return run.returncode == 0


def _python_include() -> str:
    return sysconfig.get_paths()["include"]


def missing(libraries: List[Library]) -> List[Tuple[str, str]]:
    """Pairs of what is missing and the Debian package that has it."""
    tools = [
        (_cc()[0], "gcc"),
        (shlex.split(os.environ.get("PKG_CONFIG", "pkg-config"))[0], "pkg-config"),
    ]
    lack = [("the program " + tool, debian) for tool, debian in tools if not shutil.which(tool)]
    if lack:
        return lack
    if not _has_header(PROBES["libc"], []):
        lack.append(("the header stdio.h", "libc6-dev"))
    if not _has_header("Python.h", ["-I" + _python_include()]):
        lack.append(("the header Python.h", "python3-dev"))
    for library in libraries:
        flags = _pkg_config("--cflags", *library.packages)
        if flags.returncode != 0:
            names = " ".join(library.packages)
            lack.append(("what pkg-config calls " + names, library.debian))
        elif not _has_header(PROBES[library.name], flags.stdout.split()):
            lack.append(("the header " + PROBES[library.name], library.debian))
    return lack


def check(libraries: List[Library]) -> None:
    """End with words that say what to install."""
    if not sys.platform.startswith("linux"):
        sys.exit("memkv: only Linux is supported")
    if not os.path.isdir(os.path.join(ROOT, "core")):
        sys.exit(
            "memkv: the C sources do not lie beside pyext/: pip before 21.3 copies the folder that "
            "it is given; use a newer pip, or the sdist"
        )
    lack = missing(libraries)
    if lack:
        what = "\n".join("  %s (Debian: %s)" % pair for pair in lack)
        packages = " ".join(sorted({debian for _, debian in lack}))
        sys.exit("memkv: this is missing:\n%s\non Debian: apt-get install %s" % (what, packages))


def _run(command: List[str]) -> None:
    run = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if run.returncode != 0:
        sys.exit("%s\n%s\nmemkv: %s failed" % (" ".join(command), run.stdout, command[0]))


def _includes(files: Dict[str, Set[str]]) -> List[str]:
    """The root, and each directory of public headers."""
    public = {re.sub(r"/include/.*", "/include", f) for f in files if "/include/" in f}
    return ["-I" + d for d in [".", *sorted(public)]]


def build(work: str) -> Tuple[str, str]:
    """Compile into the directory `work`; the paths of the extension and of the command."""
    all_of = sources()
    check(all_of.libraries)
    flags = _cc() + all_of.options + FLAGS + _includes(all_of.files)
    for library in all_of.libraries:
        flags += _pkg_config("--cflags", *library.packages).stdout.split()
    flags += shlex.split(os.environ.get("CFLAGS", ""))
    python = ["-isystem", _python_include()]
    python += ["-DPy_LIMITED_API=0x030b0000"] if stable_abi() else []

    def compile_one(source: str) -> str:
        target = os.path.join(work, source.replace("/", "_") + ".o")
        own = python if source.startswith("pyext/") else []
        _run([*flags, *own, "-c", source, "-o", target])
        return target

    files = [f for f in sorted(all_of.files) if f.endswith(".c")]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = dict(zip(files, pool.map(compile_one, files)))

    def link(user: str, target: str, *more: str) -> str:
        libraries = [
            p for library in all_of.libraries if user in library.users for p in library.packages
        ]
        _run(
            [*_cc(), *more, "-o", target]
            + [objects[f] for f in files if user in all_of.files[f]]
            + LINK
            + shlex.split(os.environ.get("LDFLAGS", ""))
            + _pkg_config("--libs", *libraries).stdout.split()
        )
        return target

    exports = "-Wl,--version-script=" + os.path.join(HERE, "exports.lds")
    return (
        link("extension", os.path.join(work, extension_name()), "-shared", exports),
        link("command", os.path.join(work, "memkv")),
    )
