"""What a user installs: the wheel, ./pyext and the sdist, each in a clean environment without
torch, sglang, Bazel or a package index."""

import email
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "out" / "wheel"
# Parts of every Linux that runs glibc.
LIBC = re.compile(r"^(ld-linux.*|lib(c|m|dl|rt|pthread|gcc_s))\.so\.\d+$")
USE = """
import sys
from memkv_sglang import Client, __version__
with Client(sys.argv[1]) as c:
    assert c.set(["a", "b"], [b"1234", bytearray(100000)]) == [True, True]
    into = bytearray(4)
    assert c.get(["a", "none"], [into, bytearray(1)]) == [True, False] and into == b"1234"
    assert c.exists(["b", "none"]) == [True, False]
assert "torch" not in sys.modules and "sglang" not in sys.modules
print(__version__)
"""


def only(pattern):
    found = list(OUT.glob(pattern))
    assert len(found) == 1, "%s: %s; run ./dev build before" % (pattern, found)
    return found[0]


@pytest.fixture(scope="module")
def wheel():
    return only("*.whl")


@pytest.fixture(scope="module")
def sdist():
    return only("*.tar.gz")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """An environment without Bazel, and without anything that was set for us."""
    tools = tmp_path_factory.mktemp("bin")
    for tool in pathlib.Path("/usr/bin").iterdir():
        if not tool.name.startswith("bazel"):
            (tools / tool.name).symlink_to(tool)
    assert not (tools / "bazel").exists() and (tools / "cc").exists()
    return {"PATH": str(tools), "HOME": str(tools), "LANG": "C.UTF-8", "PIP_NO_INDEX": "1"}


def run(command, env, ok=True, **more):
    r = subprocess.run(
        list(map(str, command)),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        **more,
    )
    text = r.stdout.decode(errors="replace")
    assert (r.returncode == 0) == ok, text
    return text


def environment(tmp_path_factory, clean, what):
    where = tmp_path_factory.mktemp("venv")
    run([sys.executable, "-m", "venv", where], clean)
    listed = run([where / "bin/pip", "list"], clean)
    assert "torch" not in listed and "sglang" not in listed
    run([where / "bin/pip", "install", "--no-index", what], clean)
    return where


@pytest.fixture(scope="module")
def from_wheel(tmp_path_factory, clean, wheel):
    return environment(tmp_path_factory, clean, wheel)


@pytest.fixture(scope="module")
def from_folder(tmp_path_factory, clean):
    def files():
        found = ROOT.glob("pyext/**/*")
        return {p for p in found if "__pycache__" not in p.parts and ".pytest_cache" not in p.parts}

    before = files()
    where = environment(tmp_path_factory, clean, ROOT / "pyext")
    assert files() == before, "pip install ./pyext leaves files behind"
    return where


@pytest.fixture(scope="module")
def from_sdist(tmp_path_factory, clean, sdist):
    return environment(tmp_path_factory, clean, sdist)


@pytest.mark.parametrize("installed", ["from_wheel", "from_folder", "from_sdist"])
def test_client_server_and_command(installed, request, clean, tmp_path):
    venv = request.getfixturevalue(installed)
    memkv = venv / "bin" / "memkv"
    server = subprocess.Popen(
        [memkv, "serve", "--listen", "127.0.0.1:0", "--memory", "64M"],
        env=clean,
        stdout=subprocess.PIPE,
    )
    try:
        word, address = server.stdout.readline().decode().split()
        assert word == "listening"
        version = run([venv / "bin/python", "-c", USE, address], clean, cwd=tmp_path).strip()
        assert run([memkv, "--version"], clean).split()[-1] == version
        (tmp_path / "v").write_bytes(b"from a file")
        assert "stored" in run([memkv, "put", "k", tmp_path / "v", "-s", address], clean)
        assert run([memkv, "get", "k", "-s", address], clean) == "from a file"
        assert address in run([memkv, "doctor", "-s", address], clean)
        if installed == "from_wheel":
            maps = pathlib.Path("/proc/%d/maps" % server.pid).read_text()
            mapped = {line.split()[-1] for line in maps.splitlines() if ".so" in line}
            assert any("libcrypto" in m for m in mapped)
            for path in mapped:
                assert path.startswith(str(venv)) or LIBC.match(os.path.basename(path)), path
        server.terminate()
        assert server.wait(timeout=15) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("installed", ["from_wheel", "from_folder"])
def test_the_backend_says_that_it_needs_sglang(installed, request, clean):
    venv = request.getfixturevalue(installed)
    said = run([venv / "bin/python", "-c", "import memkv_sglang.backend"], clean, ok=False)
    assert re.search(r"^ImportError: .*pip install sglang", said, re.MULTILINE)


# The wheel itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, wheel):
    where = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(wheel) as z:
        z.extractall(where)
    return where


def info(unpacked):
    (found,) = unpacked.glob("*.dist-info")
    return found


def test_size_and_tag(wheel):
    assert wheel.stat().st_size < 10e6
    m = re.match(r"memkv_sglang-[\d.]+-cp311-abi3-manylinux_2_(\d+)_\w+\.whl$", wheel.name)
    assert m and int(m.group(1)) <= 34
    said = run([sys.executable, "-m", "auditwheel", "show", wheel], dict(os.environ))
    m = re.search(r'tag:\s+"manylinux_2_(\d+)_', said)
    assert m and int(m.group(1)) <= 34, said


def test_metadata(unpacked, clean, from_wheel):
    text = (info(unpacked) / "METADATA").read_text()
    fields = email.message_from_string(text)
    assert fields["Name"] == "memkv-sglang" and fields["Requires-Python"] == ">=3.8"
    assert fields.get_all("Requires-Dist") is None
    assert fields["License"] == "Apache-2.0" and "Client" in fields.get_payload()
    assert "Tag: cp311-abi3-manylinux" in (info(unpacked) / "WHEEL").read_text()
    assert "No broken requirements" in run([from_wheel / "bin/pip", "check"], clean)


def elf_files(unpacked):
    found = [p for p in unpacked.rglob("*") if p.is_file() and p.read_bytes()[:4] == b"\x7fELF"]
    assert len(found) > 2
    return found


def test_one_symbol_is_exported(unpacked):
    (so,) = unpacked.rglob("_memkv.abi3.so")
    out = run(["nm", "-D", "--defined-only", so], dict(os.environ))
    assert [line.split()[-1] for line in out.splitlines()] == ["PyInit__memkv"]


def test_nothing_of_the_host_beyond_libc(unpacked):
    carried = {p.name for p in unpacked.glob("*.libs/*")}
    for path in elf_files(unpacked):
        out = run(["readelf", "-d", path], dict(os.environ))
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", out):
            assert name in carried or LIBC.match(name), "%s needs %s" % (path.name, name)
        for where in re.findall(r"\(R(?:UN)?PATH\).*\[(.*)\]", out):
            assert all(w.startswith("$ORIGIN") for w in where.split(":")), where


def test_licences_of_what_is_carried(unpacked):
    licences = info(unpacked) / "licenses"
    notice = (licences / "THIRD-PARTY.txt").read_text()
    told = dict(re.findall(r"^(lib[\w-]+)\.so[\d.]*: .*; licenses/(\S+)$", notice, re.MULTILINE))
    carried = list(unpacked.glob("*.libs/*"))
    assert carried
    for library in carried:
        name = re.sub(r"-[0-9a-f]{8}\.so.*", "", library.name)
        assert name in told, "%s is carried without its licence" % library.name
        assert (licences / told[name]).stat().st_size > 100
    for text in licences.rglob("copyright"):
        for common in re.findall(r"common-licenses/([\w.-]*\w)", text.read_text()):
            assert (licences / "common-licenses" / common).exists(), common
    assert (
        "GNU LESSER GENERAL PUBLIC LICENSE"
        in (licences / "common-licenses" / "LGPL-2.1").read_text()
    ), "liburcu's"
    assert (licences / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_is_typed_and_whole(unpacked, wheel):
    package = unpacked / "memkv_sglang"
    for path in (ROOT / "pyext" / "memkv_sglang").iterdir():
        if path.is_file():
            assert (package / path.name).read_bytes() == path.read_bytes(), path.name
    assert (package / "py.typed").exists()
    with zipfile.ZipFile(wheel) as z:
        assert z.getinfo("memkv_sglang/bin/memkv").external_attr >> 16 & 0o111 == 0o111


# Building from source -------------------------------------------------------------------------


def test_the_sdist_carries_its_licence_and_metadata(sdist):
    with tarfile.open(sdist) as tar:
        (top,) = {m.name.split("/")[0] for m in tar.getmembers()}
        assert sdist.name == top + ".tar.gz"
        assert tar.extractfile(top + "/LICENSE").read() == (ROOT / "LICENSE").read_bytes()
        assert b"Requires-Python: >=3.8" in tar.extractfile(top + "/PKG-INFO").read()
        assert b"[build-system]" in tar.extractfile(top + "/pyproject.toml").read()


def test_pip_says_which_packages_are_missing(clean, from_wheel, tmp_path):
    env = {**clean, "PKG_CONFIG_LIBDIR": str(tmp_path)}
    said = run([from_wheel / "bin/pip", "wheel", "-w", tmp_path, ROOT / "pyext"], env, ok=False)
    assert re.search(
        r"apt-get install libibverbs-dev libisal-dev libjansson-dev libpopt-dev librdmacm-dev libssl-dev liburcu-dev libyaml-dev",
        said,
    ), said
    assert "Traceback" not in said


CHECK = "import sys; sys.path.insert(0, %r); import native; " % str(ROOT / "pyext")


def check(env, before=""):
    return run(
        [sys.executable, "-B", "-c", CHECK + before + "native.check(native.sources().libraries)"],
        env,
        ok=False,
    )


# liburcu's pkg-config file names its directory, so that its headers cannot be hidden like this.
@pytest.mark.parametrize(
    "header, package",
    [
        ("isa-l.h", "libisal-dev"),
        ("jansson.h", "libjansson-dev"),
        ("openssl", "libssl-dev"),
        ("popt.h", "libpopt-dev"),
        ("stdio.h", "libc6-dev"),
        ("yaml.h", "libyaml-dev"),
    ],
)
def test_a_missing_header_names_its_package(clean, tmp_path, header, package):
    # All of /usr/include but one; pkg-config says that all is well.
    for path in pathlib.Path("/usr/include").iterdir():
        if path.name != header:
            (tmp_path / path.name).symlink_to(path)
    machine = run(["cc", "-print-multiarch"], clean).strip()
    own = run(["cc", "-print-file-name=include"], clean).strip()
    flags = "-nostdinc -isystem %s -isystem %s -isystem %s/%s" % (own, tmp_path, tmp_path, machine)
    said = check({**clean, "CFLAGS": flags})
    assert "apt-get install" in said and package in said.split("apt-get install")[1].split()
    if package != "libc6-dev":  # without it nothing else can be read
        assert said.split("apt-get install")[1].split() == [package], said


def test_missing_tools_and_python_headers(clean):
    assert "apt-get install gcc\n" in check({**clean, "CC": "no-such-compiler"})
    assert "apt-get install pkg-config\n" in check({**clean, "PKG_CONFIG": "no-such-program"})
    said = check(clean, "native._python_include = lambda: '/nonexistent'; ")
    assert "apt-get install python3-dev\n" in said


def test_each_library_has_a_header_to_look_for():
    said = run(
        [
            sys.executable,
            "-B",
            "-c",
            CHECK + "print({l.name for l in native.sources().libraries} - set(native.PROBES))",
        ],
        dict(os.environ),
    )
    assert said == "set()\n"


def test_what_does_not_compile_is_said(clean, tmp_path):
    code = "import build_backend; build_backend.build_wheel(%r)" % str(tmp_path)
    said = run(
        [sys.executable, "-B", "-c", CHECK + code],
        {**clean, "CFLAGS": "-Dstruct=+"},
        ok=False,
    )
    assert "memkv: cc failed" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())
