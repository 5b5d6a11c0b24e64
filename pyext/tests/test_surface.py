"""What is promised in words: the stubs and the README."""

import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys

import memkv_sglang
from memkv_sglang import _memkv

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parent / "README.md"


def test_the_stubs_agree_with_the_module(tmp_path):
    """mypy's stubtest imports the module and compares each name and argument."""
    site = pathlib.Path(memkv_sglang.__file__).parents[1]
    for name in ("memkv_sglang", "memkv_sglang.libs"):  # mypy does not look into site-packages
        shutil.copytree(site / name, tmp_path / name)

    def stubtest():
        return subprocess.run(
            [sys.executable, "-m", "mypy.stubtest", "memkv_sglang._memkv"],
            cwd=tmp_path,
            env={**os.environ, "MYPYPATH": str(tmp_path), "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )

    r = stubtest()
    assert r.returncode == 0, r.stdout.decode()
    # And it would notice.
    stub = tmp_path / "memkv_sglang" / "_memkv.pyi"
    stub.write_text(stub.read_text().replace("replace: bool", "overwrite: bool"))
    assert b"overwrite" in stubtest().stdout


def test_every_method_has_a_signature_and_a_text():
    names = [n for n in vars(memkv_sglang.Client) if not n.startswith("_")]
    assert {"get", "set", "exists", "close"} <= set(names)
    for name in names:
        member = getattr(memkv_sglang.Client, name)
        assert member.__doc__, name
        if callable(member):
            assert "self" in inspect.signature(member).parameters, name
    assert list(inspect.signature(memkv_sglang.Client).parameters) == [
        "servers",
        "config",
        "options",
    ]


def test_all_that_is_public_is_exported():
    assert sorted(memkv_sglang.__all__) == sorted(
        n for n in vars(_memkv) if n[0].isupper() and not n.isupper() or n == "__version__"
    )


def test_the_example_of_the_readme(address):
    """Runs as it stands, and each line gives what its comment says."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    lines, checked = [], 0
    for line in code.replace("127.0.0.1:9900", address).splitlines():
        said = re.match(r"( +)(client\..*?) +# ([^;:]+)(?:; (\w+) is (.*))?", line)
        if not said:
            lines.append(line)
            continue
        indent, call, value, name, holds = said.groups()
        lines.append("%sassert %s == %s" % (indent, call, value))
        if name:
            lines.append("%sassert %s == %s" % (indent, name, holds))
        checked += 1
    exec("\n".join(lines), {})  # noqa: S102
    assert checked == 5
