"""What pip calls (PEP 517): compiles the extension and the command with cc and pkg-config.

Nothing is needed but Python itself, a C compiler and the libraries' headers; what to compile stands
in sources.txt, which is made from Bazel's graph. Works in the repository (pip install ./pyext) and
in an unpacked sdist.
"""

import gzip
import io
import os
import shutil
import tarfile
import tempfile
from typing import Any, Dict, Optional

import make_wheel
import native

ROOT = native.ROOT
# Beside what sources.txt names: what an sdist needs to build itself.
OWN = (
    "pyext/README.md",
    "pyext/build_backend.py",
    "pyext/make_wheel.py",
    "pyext/native.py",
    "pyext/pyproject.toml",
    "pyext/sources.txt",
    "LICENSE",
)


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: Optional[Dict[str, Any]] = None
) -> str:
    info = make_wheel.info_name()
    os.makedirs(os.path.join(metadata_directory, info))
    for name, (data, _) in make_wheel.info_members(native.tag()).items():
        if name.count("/") == 1:
            with open(os.path.join(metadata_directory, name), "wb") as out:
                out.write(data)
    return info


def build_wheel(
    wheel_directory: str,
    config_settings: Optional[Dict[str, Any]] = None,
    metadata_directory: Optional[str] = None,
) -> str:
    work = tempfile.mkdtemp(prefix="memkv-build-")
    try:
        extension, command = native.build(work)
        return make_wheel.write(wheel_directory, native.tag(), extension, command)
    finally:
        shutil.rmtree(work)


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, Any]] = None) -> str:
    top = "memkv_sglang-%s" % make_wheel.version()
    name = top + ".tar.gz"
    members = {}
    for path in sorted([*OWN, *native.sources().files]):
        with open(os.path.join(ROOT, path), "rb") as f:
            members[path] = f.read()
    members["PKG-INFO"] = make_wheel.metadata().encode()
    here = members["pyext/pyproject.toml"]
    members["pyproject.toml"] = here.replace(b'backend-path = ["."]', b'backend-path = ["pyext"]')
    with open(os.path.join(sdist_directory, name), "wb") as out, gzip.GzipFile(
        "", "wb", fileobj=out, mtime=0
    ) as packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, data in sorted(members.items()):
            entry = tarfile.TarInfo("%s/%s" % (top, path))
            entry.size, entry.mtime, entry.mode = len(data), make_wheel.TIME, 0o644
            tar.addfile(entry, io.BytesIO(data))
    return name
