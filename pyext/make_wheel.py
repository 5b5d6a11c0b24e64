"""Makes a wheel: deterministic, standard library only.

As a program, of what Bazel has built:  make_wheel.py --extension SO --command PROGRAM --out DIR
With --bundled the licences of the libraries that auditwheel will put into it go along.
"""

import argparse
import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from typing import Dict, List, Tuple

import native

METADATA = """Metadata-Version: 2.1
Name: memkv-sglang
Version: {version}
Summary: MemKV: a context-memory store for LLM inference; client, sglang backend and command
License: Apache-2.0
Requires-Python: >=3.8
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: C
Classifier: Programming Language :: Python :: 3
Description-Content-Type: text/markdown

{readme}"""
WHEEL = """Wheel-Version: 1.0
Generator: memkv
Root-Is-Purelib: false
Tag: {tag}
"""
ENTRY_POINTS = """[console_scripts]
memkv = memkv_sglang._cli:main
"""
TIME = 315532800  # of all members: 1980-01-01
# Parts of every system, which a wheel does not carry.
SYSTEM = re.compile(r"(linux-vdso|ld-linux.*|lib(c|m|dl|rt|pthread|gcc_s))\.so")

Members = Dict[str, Tuple[bytes, bool]]  # name -> contents, executable


def _read(path: str) -> bytes:
    with open(os.path.join(native.ROOT, path), "rb") as f:
        return f.read()


def version() -> str:
    """The version that the public header states."""
    text = _read("router/include/memkv/memkv.h").decode()
    parts = [re.search(r"MKV_VERSION_%s (\d+)" % p, text) for p in ("MAJOR", "MINOR", "PATCH")]
    return ".".join(m.group(1) for m in parts if m)


def metadata() -> str:
    return METADATA.format(version=version(), readme=_read("pyext/README.md").decode())


def info_name() -> str:
    return "memkv_sglang-%s.dist-info" % version()


def info_members(tag: str) -> Members:
    """The files of .dist-info, but RECORD."""
    texts = {
        "METADATA": metadata().encode(),
        "WHEEL": WHEEL.format(tag=tag).encode(),
        "entry_points.txt": ENTRY_POINTS.encode(),
        "top_level.txt": b"memkv_sglang\n",
        "licenses/LICENSE": _read("LICENSE"),
    }
    return {"%s/%s" % (info_name(), name): (text, False) for name, text in texts.items()}


# Licences of bundled libraries ----------------------------------------------------------------


def _libraries(binaries: List[str]) -> List[str]:
    """Paths of the shared libraries that the binaries need, directly or not."""
    found = set()
    for binary in binaries:
        out = subprocess.run(["ldd", binary], check=True, stdout=subprocess.PIPE, text=True).stdout
        for name, path in re.findall(r"^\s*(\S+) => (/\S+)", out, re.MULTILINE):
            if not SYSTEM.match(name):
                found.add(path)
    return sorted(found)


def _package(library: str) -> Tuple[str, str, str]:
    """Debian's names of the package and its source, and the version, of a library's file."""
    real = os.path.realpath(library)
    for path in (real, real.replace("/usr/lib/", "/lib/", 1)):
        owner = subprocess.run(["dpkg", "-S", path], stdout=subprocess.PIPE, text=True).stdout
        if owner:
            query = ["dpkg-query", "-W", "-f=${Package} ${source:Package} ${Version}"]
            out = subprocess.run(
                [*query, owner.split(": ")[0]], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            package, source, number = out.split()
            return package, source, number
    sys.exit("make_wheel: no package owns %s, so its licence is not known" % library)


def licences(binaries: List[str]) -> Members:
    """What the wheel says of each library that auditwheel puts into it."""
    notice = [
        "This wheel carries shared libraries in memkv_sglang.libs/, unmodified but for their names",
        "and the paths by which they find each other. They are linked dynamically: a changed build of",
        "one can be put in its place. Their sources are those of the Debian source packages named.",
        "",
    ]
    members: Members = {}
    common = set()
    for library in _libraries(binaries):
        package, source, number = _package(library)
        with open("/usr/share/doc/%s/copyright" % package, "rb") as f:
            text = f.read()
        members["licenses/%s/copyright" % package] = (text, False)
        common.update(re.findall(rb"/usr/share/common-licenses/([A-Za-z0-9.-]*[A-Za-z0-9])", text))
        notice.append(
            "%s: Debian package %s, source %s, version %s; licenses/%s/copyright"
            % (os.path.basename(library), package, source, number, package)
        )
    for name in sorted(c.decode() for c in common):
        with open("/usr/share/common-licenses/" + name, "rb") as f:
            members["licenses/common-licenses/" + name] = (f.read(), False)
    members["licenses/THIRD-PARTY.txt"] = (("\n".join(notice) + "\n").encode(), False)
    return {"%s/%s" % (info_name(), name): value for name, value in members.items()}


# The archive ----------------------------------------------------------------------------------


def write(directory: str, tag: str, extension: str, command: str, more: Members = {}) -> str:  # noqa: B006
    """Write the wheel; its file name."""
    members: Members = {**info_members(tag), **more}
    for path, users in native.sources().files.items():
        if "python" in users:
            members[path[len("pyext/") :]] = (_read(path), False)
    for path, name in ((extension, native.extension_name()), (command, "bin/memkv")):
        members["memkv_sglang/" + name] = (_read(os.path.abspath(path)), True)
    record = ""
    name = "memkv_sglang-%s-%s.whl" % (version(), tag)
    with zipfile.ZipFile(os.path.join(directory, name), "w", zipfile.ZIP_DEFLATED) as z:

        def add(member: str, data: bytes, executable: bool) -> None:
            entry = zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, data)

        for member, (data, executable) in sorted(members.items()):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += "%s,sha256=%s,%d\n" % (member, digest, len(data))
            add(member, data, executable)
        own = info_name() + "/RECORD"
        add(own, (record + own + ",,\n").encode(), False)
    return name


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("--extension", required=True)
    p.add_argument("--command", required=True)
    p.add_argument("--bundled", action="store_true")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    more = licences([a.extension, a.command]) if a.bundled else {}
    print(write(a.out, native.tag(), a.extension, a.command, more))


if __name__ == "__main__":
    main()
