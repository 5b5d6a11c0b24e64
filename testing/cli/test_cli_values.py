"""put, get, exists: what they say, what they return, what they leave behind."""

import contextlib
import json
import os
import pty
import resource
import signal
import stat
import subprocess

import pytest
from cli_support import DEAD, memkv, serving, start


def test_put_says_what_became_of_it(at):
    first = memkv("put", "k", *at, data=b"hello")
    assert (first.returncode, first.stdout, first.stderr) == (0, b"k stored\n", b"")
    same = memkv("put", "k", "-", *at, data=b"hello")
    assert (same.returncode, same.stdout, same.stderr) == (0, b"k kept (already there)\n", b"")
    for other in (b"HELLO", b"of another length"):
        kept = memkv("put", "k", *at, data=other)
        assert (kept.returncode, kept.stdout) == (0, b"k kept (already there)\n")
        assert b"warning: k: what is there" in kept.stderr and b"--replace" in kept.stderr
        assert memkv("get", "k", *at).stdout == b"hello"
    assert memkv("put", "k", "--replace", *at, data=b"HELLO!").stdout == b"k stored\n"
    assert memkv("get", "k", *at).stdout == b"HELLO!"


def test_put_as_json(at):
    rows = [json.loads(memkv("put", "j", "--json", *at, data=d).stdout) for d in (b"1", b"1", b"2")]
    assert [r["result"] for r in rows] == ["stored", "kept", "kept"]
    assert [r["differs"] for r in rows] == [False, False, True]
    assert all(r["key"] == "j" and r["bytes"] == 1 for r in rows)


def test_what_cannot_be_put(at, tmp_path):
    for path in (tmp_path, tmp_path / "not there", "/proc/self/mem"):
        out = memkv("put", "unputtable", path, *at)
        assert out.returncode == 2 and str(path).encode() in out.stderr, path
    assert memkv("exists", "unputtable", *at).returncode == 1


def test_sizes_of_values(at, tmp_path):
    assert memkv("put", "empty", *at).stdout == b"empty stored\n"
    assert memkv("get", "empty", tmp_path / "empty", *at).returncode == 0
    assert (tmp_path / "empty").read_bytes() == b""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1 << 20) * 64)
    assert memkv("put", "big", big, *at).returncode == 0
    assert memkv("get", "big", tmp_path / "back", *at).returncode == 0
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    with open(big, "ab") as f:
        f.write(b"x")
    for source in ((big,), ("-",)):
        data = big.read_bytes() if source == ("-",) else b""
        out = memkv("put", "too big", *source, *at, data=data)
        assert out.returncode == 2 and b"64 MiB" in out.stderr
    assert memkv("exists", "too big", *at).stdout == b"too big miss\n"


@pytest.mark.parametrize("command", ["put", "get", "exists"])
def test_sizes_of_keys(at, command):
    for key in ("", "k" * 256):
        out = memkv(command, key, *at)
        assert out.returncode == 2 and b"1 to 255 bytes" in out.stderr
    longest = "k" * 254 + command[0]
    assert memkv(command, longest, *at).returncode == (0 if command == "put" else 1)


def test_exists_is_one_line_a_key_and_one_message(at):
    memkv("put", "there", *at, data=b"1")

    def messages():
        return json.loads(memkv("stat", "--json", *at).stdout)["requests"]["exists"]

    before = messages()
    out = memkv("exists", "there", "nope", "there", *(f"x{i}" for i in range(300)), *at)
    assert messages() == before + 1
    lines = out.stdout.decode().splitlines()
    assert lines[:3] == ["there hit", "nope miss", "there hit"] and len(lines) == 303
    assert out.returncode == 1
    assert memkv("exists", "there", *at).returncode == 0
    assert memkv("exists", *at).returncode == 2


def test_exists_says_unknown_when_nobody_answers():
    out = memkv("exists", "a", "b", "-s", DEAD, "--timeout", "300ms")
    assert out.returncode == 3 and out.stdout == b"a unknown\nb unknown\n"
    out = memkv("exists", "a", "-s", DEAD, "--timeout", "300ms", "--json")
    assert json.loads(out.stdout) == {"key": "a", "result": "unknown"}
    assert json.loads(out.stderr.splitlines()[-1])["exit"] == 3


def test_keys_that_are_no_text(at):
    memkv("put", b"\xff\xfe", *at, data=b"1")
    row = json.loads(memkv("exists", b"\xff\xfe", "--json", *at).stdout)
    assert row == {"key_hex": "fffe", "result": "hit"}
    out = memkv("exists", "a\nb hit\x1b[2J", *at)
    assert out.stdout == b"a\\x0ab hit\\x1b[2J miss\n"
    out = memkv("get", "a\nb\x1b", *at)
    assert b"\x1b" not in out.stderr and out.stderr.count(b"\n") == 1


# ---- get ------------------------------------------------------------------------------------


def test_a_miss_leaves_no_file_and_what_is_there(at, tmp_path):
    target = tmp_path / "value"
    out = memkv("get", "never stored", target, *at)
    assert out.returncode == 1 and b"not there" in out.stderr and out.stdout == b""
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"old")
    assert memkv("get", "never stored", target, *at).returncode == 1
    assert target.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_file_is_replaced_whole_with_its_mode(at, tmp_path):
    memkv("put", "mode", *at, data=b"new")
    target, link = tmp_path / "value", tmp_path / "link"
    target.write_bytes(b"old and longer")
    target.chmod(0o640)
    link.symlink_to(target)
    with open(target, "rb") as reader:
        assert memkv("get", "mode", link, *at).returncode == 0
        assert reader.read() == b"old and longer"  # who reads it already reads on
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "value"]
    fresh = tmp_path / ("f" * 255)  # as long as a name may be
    assert memkv("get", "mode", fresh, *at, umask=0o027).returncode == 0
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o640


def test_where_a_file_cannot_be(at, tmp_path):
    memkv("put", "nowhere", *at, data=b"1")
    for path in ("/proc/x", tmp_path / "no" / "such", tmp_path, "/dev/full", "x" * 300, "y" * 5000):
        out = memkv("get", "nowhere", path, *at, cwd=tmp_path)
        assert out.returncode == 2 and str(path)[:900].encode() in out.stderr, path
    assert list(tmp_path.iterdir()) == []
    with open("/dev/full", "wb") as full:
        assert memkv("get", "nowhere", *at, stdout=full).returncode == 2
        assert memkv("exists", "nowhere", *at, stdout=full).returncode == 2
        assert memkv("stat", *at, stdout=full).returncode == 2


def test_a_pipe_is_written_and_stays(at, tmp_path):
    memkv("put", "pipe", *at, data=b"through")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert memkv("get", "pipe", pipe, *at).returncode == 0
        assert reader.communicate(timeout=20)[0] == b"through"
    assert stat.S_ISFIFO(pipe.stat().st_mode) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "value, written",
    [
        (bytes(range(256)), False),
        (b"\xff\xfe\xfd", False),
        (b"\x1b[2J", False),
        (b"\xc2\x9b2J", False),
        ("plain text, caf\u00e9\n".encode(), True),
        (b"", True),
    ],
)
def test_binary_is_not_written_to_a_terminal(at, value, written):
    key = "tty-" + value.hex()[:100]
    assert memkv("put", key, *at, data=value).returncode == 0
    master, slave = pty.openpty()
    out = memkv("get", key, *at, stdout=slave)
    os.close(slave)
    os.set_blocking(master, False)
    shown = b""
    with contextlib.suppress(OSError):  # nothing was written
        shown = os.read(master, 4096)
    os.close(master)
    assert out.returncode == (0 if written else 2)
    assert shown.replace(b"\r\n", b"\n") == (value if written else b"")
    assert written or b"redirect" in out.stderr


def caught_writing(directory, *args):
    """A run stopped (SIGSTOP) while its temporary file is there."""
    for _ in range(100):
        process = start(*args, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if any(p.name.startswith(".memkv-") for p in directory.iterdir()):
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                if any(p.name.startswith(".memkv-") for p in directory.iterdir()):
                    return process
                process.send_signal(signal.SIGCONT)
                break
        process.wait(timeout=30)
    raise AssertionError("no run was caught while it wrote")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE])
def test_a_signal_leaves_no_trace(at, tmp_path, number):
    memkv("put", "large", *at, data=b"x" * (32 << 20))
    target = tmp_path / "value"
    target.write_bytes(b"old")
    process = caught_writing(tmp_path, "get", "large", target, *at)
    target.write_bytes(b"old")  # earlier runs may have come to their end
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=30) == -number
    assert [p.name for p in tmp_path.iterdir()] == ["value"] and target.read_bytes() == b"old"


def test_a_limit_on_files_leaves_no_trace(at, tmp_path):
    memkv("put", "limited", *at, data=b"x" * 100000)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))

    out = memkv("get", "limited", tmp_path / "value", *at, preexec_fn=limit)
    assert out.returncode == -signal.SIGXFSZ
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves(at):
    memkv("put", "pipeline", *at, data=b"a line of text\n" * 100000)
    process = start("get", "pipeline", *at, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(10) == b"a line of "
    process.stdout.close()
    assert process.wait(timeout=30) == -signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()


# ---- many -----------------------------------------------------------------------------------

ODD_KEYS = [
    b"a/b/c",
    b"../../escape",
    b"..",
    b".",
    b".hidden",
    b"%41",
    b"100%",
    b"%",
    b"with space\nand line",
    b"\xff\xfe\x01",
    b"/" * 255,
    b"n" * 255,
    b"a" * 197 + b".." + b"b" * 56,
    "caf\u00e9".encode(),
    b"-n",
]


def test_directories_there_and_back(at, tmp_path):
    """Keys -> files -> keys: nothing leaves the directory, nothing is lost."""
    first, second = tmp_path / "root" / "first", tmp_path / "root" / "second"
    first.parent.mkdir()
    for i, key in enumerate(ODD_KEYS):
        assert memkv("put", "--namespace", "one", *at, "--", key, data=b"%d" % i).returncode == 0
    out = memkv("get", "--to", first, "--namespace", "one", *at, "--", *ODD_KEYS)
    assert (out.returncode, out.stderr) == (0, b"")
    assert [p.name for p in tmp_path.iterdir()] == ["root"]
    assert [p.name for p in first.parent.iterdir()] == ["first"]
    files = [p for p in first.rglob("*") if p.is_file()]
    assert len(files) == len(ODD_KEYS)
    out = memkv("put", "--from", first, "--namespace", "two", *at)
    assert out.returncode == 0 and out.stdout.count(b" stored\n") == len(ODD_KEYS)
    for i, key in enumerate(ODD_KEYS):
        assert memkv("get", "--namespace", "two", *at, "--", key).stdout == b"%d" % i
    out = memkv("get", "--to", second, "--namespace", "two", *at, "--", *ODD_KEYS)
    assert out.returncode == 0
    assert {p.relative_to(second): p.read_bytes() for p in second.rglob("*") if p.is_file()} == {
        p.relative_to(first): p.read_bytes() for p in files
    }


def test_many_values_of_many_sizes(at, tmp_path):
    source, back = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    values = {"page-%03d" % i: os.urandom(i * 1000) for i in range(150)}
    values["huge-1"] = os.urandom(20 << 20)
    values["huge-2"] = os.urandom(20 << 20)
    for name, value in values.items():
        (source / name).write_bytes(value)
    (source / ".hidden").write_bytes(b"left out")
    (source / "folder").mkdir()
    out = memkv("put", "--from", source, *at)
    assert out.returncode == 0 and out.stdout.count(b"\n") == len(values)
    assert b"folder: left out" in out.stderr
    out = memkv("get", "--to", back, *values, "not there", *at)
    assert out.returncode == 1 and b"not there: not there" in out.stderr
    assert {p.name: p.read_bytes() for p in back.iterdir()} == values


def test_one_bad_file_does_not_stop_the_others(at, tmp_path):
    (tmp_path / "good").write_bytes(b"1")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    out = memkv("put", "--from", tmp_path, *at)
    assert out.returncode == 2 and out.stdout == b"good stored\n" and b"dangling" in out.stderr
    assert memkv("put", "--from", tmp_path / "none", *at).returncode == 2
    assert memkv("put", "--from", tmp_path / "good", *at).returncode == 2


def test_a_bar_only_on_a_terminal(at, tmp_path):
    for i in range(3):
        (tmp_path / str(i)).write_bytes(b"1")
    assert memkv("put", "--from", tmp_path, *at).stderr == b""
    for args in (("--seconds", "2"), ("--seconds", "2", "--json")):
        master, slave = pty.openpty()
        process = start("bench", "--op", "exists", *args, stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 4096):
                shown += chunk
        except OSError:
            pass  # the last writer has closed it
        os.close(master)
        assert process.wait(timeout=60) == 0
        assert (b"bench [##" in shown) == ("--json" not in args)


def test_a_full_server_and_one_without_rights():
    with serving("--memory", "8M", "--admin", "none") as s:
        out = memkv("put", "k", "-s", s.address, data=os.urandom(32 << 20))
        assert out.returncode == 3 and b"no room" in out.stderr and out.stdout == b"k full\n"
        memkv("put", "small", "-s", s.address, data=b"1")
        out = memkv("put", "small", "--replace", "-s", s.address, data=b"2")
        assert out.returncode == 4 and b"admin" in out.stderr
        assert out.stdout == b"small refused\n"


def test_exit_codes_of_a_dead_server(tmp_path):
    at = ("-s", DEAD, "--timeout", "300ms")
    for args in (["get", "k"], ["put", "k"], ["exists", "k"], ["stat"], ["doctor"]):
        assert memkv(*args, *at).returncode == 3, args
        out = memkv(*args, *at, "--json")
        lines = [json.loads(line) for line in out.stderr.splitlines()]
        assert (
            out.returncode == 3
            and any(line.get("exit") == 3 for line in lines)
            or args == ["doctor"]
        )
    assert memkv("get", "k", tmp_path / "f", *at).returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_closed_streams_are_not_our_sockets(at):
    """What the caller has closed stays closed: nothing is read from or written to a connection."""
    for fd, args, told in (
        (0, ("put", "closed-0"), b"standard input: Bad file descriptor"),
        (1, ("get", "closed-1"), b"standard output: Bad file descriptor"),
    ):
        assert memkv("put", "closed-1", *at, data=b"text").returncode == 0
        out = memkv(*args, *at, preexec_fn=lambda fd=fd: os.close(fd))
        assert out.returncode == 2 and told in out.stderr and out.stdout == b""
    out = memkv("get", "closed-1", *at, preexec_fn=lambda: os.close(2))
    assert out.returncode == 0 and out.stdout == b"text"
