"""Makes a wheel of a tree of files: deterministic, standard library only."""

import argparse
import base64
import hashlib
import os
import re
import zipfile

METADATA = """Metadata-Version: 2.1
Name: memkv-sglang
Version: {version}
Summary: MemKV: a context-memory store for LLM inference; client, sglang backend and command
License: Apache-2.0
Requires-Python: >=3.8
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: C
"""
WHEEL = """Wheel-Version: 1.0
Generator: memkv
Root-Is-Purelib: false
Tag: cp311-abi3-linux_{machine}
"""
ENTRY_POINTS = """[console_scripts]
memkv = memkv_sglang._cli:main
"""


def version() -> str:
    """The version that the public header states."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "..", "router", "include", "memkv", "memkv.h")) as f:
        text = f.read()
    parts = [re.search(r"MKV_VERSION_%s (\d+)" % p, text) for p in ("MAJOR", "MINOR", "PATCH")]
    return ".".join(m.group(1) for m in parts if m)


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("--tree", required=True)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    v, machine = version(), os.uname().machine
    info = "memkv_sglang-%s.dist-info" % v
    members = {}
    for folder, _, names in os.walk(a.tree):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                members[os.path.relpath(path, a.tree)] = (f.read(), os.access(path, os.X_OK))
    for name, text in (
        ("METADATA", METADATA.format(version=v)),
        ("WHEEL", WHEEL.format(machine=machine)),
        ("entry_points.txt", ENTRY_POINTS),
        ("top_level.txt", "memkv_sglang\n"),
    ):
        members["%s/%s" % (info, name)] = (text.encode(), False)
    record = ""
    path = os.path.join(a.out, "memkv_sglang-%s-cp311-abi3-linux_%s.whl" % (v, machine))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:

        def add(name: str, data: bytes, executable: bool) -> None:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, data)

        for name, (data, executable) in sorted(members.items()):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += "%s,sha256=%s,%d\n" % (name, digest, len(data))
            add(name, data, executable)
        add(info + "/RECORD", (record + info + "/RECORD,,\n").encode(), False)


main()
