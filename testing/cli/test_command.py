"""The command, tested as a user types it. MEMKV_COMMAND names the program (default out/bin/memkv)."""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMKV = os.environ.get("MEMKV_COMMAND", str(ROOT / "out" / "bin" / "memkv"))
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("MEMKV_")}


def memkv(*args, data=None, env=None, timeout=30):
    return subprocess.run(
        [MEMKV, *map(str, args)],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**CLEAN, **(env or {})},
        timeout=timeout,
    )


class Server:
    def __init__(self, *args, listen="127.0.0.1:0", env=None):
        self.process = subprocess.Popen(
            [MEMKV, "serve", "--listen", listen, *args],
            stdout=subprocess.PIPE,
            env={**CLEAN, **(env or {})},
        )
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening "), line
        self.address = line.split()[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)


@pytest.fixture(scope="module")
def server():
    s = Server("--memory", "256M")
    yield s
    assert s.stop() == 0


def test_put_get_exists(server, tmp_path):
    at = ("-s", server.address)
    assert memkv("put", "k1", *at, data=b"hello").stdout == b"k1 stored\n"
    again = memkv("put", "k1", *at, data=b"hello")
    assert again.stdout == b"k1 kept (already there)\n" and again.stderr == b""
    other = memkv("put", "k1", *at, data=b"HELLO")
    assert other.returncode == 0 and b"differs" in other.stderr
    assert memkv("get", "k1", *at).stdout == b"hello"
    assert memkv("put", "k1", "--replace", *at, data=b"HELLO!").stdout == b"k1 stored\n"
    assert memkv("get", "k1", *at).stdout == b"HELLO!"
    out = memkv("exists", "k1", "nope", *at)
    assert out.stdout == b"k1 hit\nnope miss\n" and out.returncode == 1
    target = tmp_path / "value"
    assert memkv("get", "k1", target, *at).returncode == 0
    assert target.read_bytes() == b"HELLO!"


def test_a_miss_leaves_no_file(server, tmp_path):
    target = tmp_path / "value"
    out = memkv("get", "never stored", target, "-s", server.address)
    assert out.returncode == 1 and b"not there" in out.stderr
    assert list(tmp_path.iterdir()) == []


def test_values_at_the_limits(server, tmp_path):
    at = ("-s", server.address)
    assert memkv("put", "empty", *at, data=b"").returncode == 0
    assert memkv("get", "empty", *at).stdout == b""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1 << 20) * 64)
    assert memkv("put", "big", big, *at).returncode == 0
    assert memkv("get", "big", tmp_path / "back", *at).returncode == 0
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    with open(big, "ab") as f:
        f.write(b"x")
    out = memkv("put", "too big", big, *at)
    assert out.returncode == 2 and b"64 MiB" in out.stderr
    assert memkv("put", "k" * 256, *at, data=b"x").returncode == 2
    assert memkv("put", "", *at, data=b"x").returncode == 2
    assert memkv("put", "k" * 255, *at, data=b"x").returncode == 0


def test_directories(server, tmp_path):
    source, back = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    values = {"page-%03d" % i: os.urandom(1000 + i) for i in range(150)}
    for name, value in values.items():
        (source / name).write_bytes(value)
    (source / "with%2Fslash").write_bytes(b"s")
    assert memkv("put", "--from", source, "-s", server.address).returncode == 0
    out = memkv("get", "--to", back, *values, "with/slash", "-s", server.address)
    assert out.returncode == 0, out.stderr
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {
        **values,
        "with%2Fslash": b"s",
    }


def test_binary_is_not_written_to_a_terminal(server):
    memkv("put", "binary", "-s", server.address, data=bytes(range(256)))
    master, slave = pty.openpty()
    out = subprocess.run(
        [MEMKV, "get", "binary", "-s", server.address],
        stdout=slave,
        stderr=subprocess.PIPE,
        env=CLEAN,
        timeout=30,
    )
    os.close(slave)
    os.close(master)
    assert out.returncode == 2 and b"redirect" in out.stderr


def test_stat(server):
    out = memkv("stat", "-s", server.address, "--json")
    assert out.returncode == 0, out.stderr
    row = json.loads(out.stdout.splitlines()[0])
    assert row["objects"] > 0 and row["bytes_used"] > 0 and row["connections"] >= 1
    text = memkv("stat", "-s", server.address).stdout.decode()
    assert server.address in text and "objects" in text


def test_errors_and_exit_codes(server):
    assert memkv("get", "k").returncode == 2  # no servers
    dead = memkv("get", "k", "-s", "127.0.0.1:1", "--timeout", "300ms")
    assert dead.returncode == 3
    as_json = memkv("get", "k", "-s", "127.0.0.1:1", "--timeout", "300ms", "--json")
    assert json.loads(as_json.stderr.splitlines()[-1])["exit"] == 3
    out = memkv("exists", "k", "-s", "127.0.0.1:1", "--timeout", "300ms")
    assert out.returncode == 3 and out.stdout == b"k unknown\n"
    out = memkv("get", "k", "-s", server.address, "--timeout", "2 parsecs")
    assert out.returncode == 2 and b"parsecs" in out.stderr
    assert memkv("frobnicate").returncode == 2
    assert memkv("get", "--frobnicate", "k").returncode == 2
    assert re.match(rb"memkv \d+\.\d+\.\d+\n", memkv("--version").stdout)
    for command in "serve put get exists stat bench doctor keygen completion".split():
        out = memkv(command, "--help")
        assert out.returncode == 0 and b"--servers" in out.stdout, command


def test_keys(tmp_path):
    key = memkv("keygen").stdout
    assert re.fullmatch(rb"[0-9a-f]{64}\n", key)
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(key)
    bad.write_bytes(memkv("keygen").stdout)
    s = Server("--auth-key-file", str(good))
    try:
        at = ("-s", s.address)
        assert memkv("put", "k", *at, "--auth-key-file", good, data=b"v").returncode == 0
        for options in ((), ("--auth-key-file", bad)):
            out = memkv("get", "k", *at, "--timeout", "2s", *options)
            assert out.returncode == 4, (options, out.stderr)
            assert b"key" in out.stderr
    finally:
        assert s.stop() == 0


def test_an_open_address_needs_a_key():
    out = memkv("serve", "--listen", "0.0.0.0:0", timeout=10)
    assert out.returncode == 2 and b"keygen" in out.stderr


def test_doctor(server):
    out = memkv("doctor", "-s", server.address, env={"MEMKV_GET_TIMEOUT": "1500ms"})
    text = out.stdout.decode()
    assert out.returncode == 0, text + out.stderr.decode()
    assert (
        server.address in text and "MEMKV_GET_TIMEOUT" in text and "1500" in text.replace(".", "")
    )
    secret = "ab" * 32
    out = memkv("doctor", "-s", server.address, env={"MEMKV_AUTH_KEY": secret})
    assert secret.encode() not in out.stdout + out.stderr
    assert out.returncode == 4
    assert memkv("doctor", "-s", "127.0.0.1:1").returncode == 3


def test_serve_keeps_a_port_and_says_when_it_is_taken(server):
    out = memkv("serve", "--listen", server.address, timeout=10)
    assert out.returncode == 2 and server.address.encode() in out.stderr


def test_interrupted_get_leaves_nothing(server, tmp_path):
    memkv("put", "large", "-s", server.address, data=os.urandom(32 << 20))
    for delay in (0.0, 0.005, 0.02, 0.05):
        p = subprocess.Popen(
            [MEMKV, "get", "large", str(tmp_path / "v"), "-s", server.address], env=CLEAN
        )
        time.sleep(delay)  # anywhere in its life
        p.send_signal(signal.SIGINT)
        p.wait(timeout=20)
        left = [x.name for x in tmp_path.iterdir()]
        assert left in ([], ["v"]), left
        for x in tmp_path.iterdir():
            assert x.stat().st_size == 32 << 20
            x.unlink()


def test_bench_prints_its_ceiling():
    out = memkv(
        "bench",
        "--op",
        "get,set,exists",
        "--size",
        "64K",
        "--batch",
        "16",
        "--seconds",
        "0.3",
        "--json",
        timeout=120,
    )
    assert out.returncode == 0, out.stderr
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    assert [r["op"] for r in rows] == ["get", "set", "exists"]
    for row in rows:
        assert row["ceiling_bytes_per_s"] > 0 and row["keys_per_s"] > 0 and row["ratio"] > 0
        for name in "value_bytes batch p50_us p99_us p999_us cpu_cores transport seed".split():
            assert name in row


def test_completion():
    out = memkv("completion", "bash")
    assert out.returncode == 0
    check = subprocess.run(["bash", "-n"], input=out.stdout)
    assert check.returncode == 0 and b"complete -F" in out.stdout
