"""memkv bench: its rows, and that nothing of it stays behind."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from cli_support import DEAD, alive, children, memkv, serving, start, until

FIELDS = {
    "op": str,
    "value_bytes": int,
    "batch": int,
    "bytes_per_s": float,
    "keys_per_s": float,
    "p50_us": float,
    "p99_us": float,
    "p999_us": float,
    "max_us": float,
    "cpu_cores": float,
    "ceiling_bytes_per_s": float,
    "ratio": float,
    "transport": str,
    "servers": type(None),
    "seed": int,
}


def check_row(row):
    assert {name: type(value) for name, value in row.items()} == FIELDS
    assert row["bytes_per_s"] > 0 and row["keys_per_s"] > 0 and row["cpu_cores"] > 0
    assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"] <= row["max_us"]
    assert row["ceiling_bytes_per_s"] > 0 and row["transport"] == "tcp"
    assert row["ratio"] == pytest.approx(row["bytes_per_s"] / row["ceiling_bytes_per_s"], rel=1e-3)
    if row["op"] != "exists":
        assert row["bytes_per_s"] == pytest.approx(row["keys_per_s"] * row["value_bytes"], rel=1e-3)


def test_rows_and_its_own_server():
    bench = start(
        *("bench", "--size", "4K,64K", "--batch", "16", "--threads", "2", "--seconds", "0.2"),
        *("--seed", "7", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"MEMKV_SERVERS": "127.0.0.1:1"},  # without --servers: one of its own
    )
    until(lambda: children(bench.pid))
    servers = children(bench.pid)
    until(lambda: b"serve" in pathlib.Path(f"/proc/{servers[0]}/cmdline").read_bytes().split(b"\0"))
    out, err = bench.communicate(timeout=120)
    assert bench.returncode == 0
    assert b"the servers of env MEMKV_SERVERS are not measured, but one of its own" in err
    assert len(err.splitlines()) == 1
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["op"], r["value_bytes"]) for r in rows] == [
        ("get", 4096),
        ("get", 65536),
        ("set", 4096),
        ("set", 65536),
        ("exists", 0),
    ]
    for row in rows:
        check_row(row)
        assert row["batch"] == 16 and row["seed"] == 7
    assert not any(alive(pid) for pid in servers)


def test_a_table():
    out = memkv("bench", "--op", "get,exists", "--size", "1M", "--seconds", "0.1")
    lines = out.stdout.decode().splitlines()
    assert out.returncode == 0 and len(lines) == 5 and lines[1] == ""
    assert lines[0].startswith("a server of its own on this machine, over tcp: 2 rows, less than")
    lines = lines[2:]
    assert lines[0].split() == (
        "op value batch keys/s GB/s p50 p99 p99.9 cores ceiling ratio".split()
    )
    assert lines[1].split()[:3] == ["get", "1M", "128"] and lines[2].split()[:2] == ["exists", "-"]
    assert {len(line) for line in lines} == {len(lines[0])} and len(lines[0]) <= 80


def test_without_a_ceiling():
    quick = ("bench", "--op", "get", "--size", "64K", "--seconds", "0.1", "--ceiling", "none")
    row = json.loads(memkv(*quick, "--json").stdout)
    assert row["ceiling_bytes_per_s"] is None and row["ratio"] is None and row["bytes_per_s"] > 0
    lines = memkv(*quick).stdout.decode().splitlines()[2:]
    assert lines[1].split()[-2:] == ["-", "-"] and {len(line) for line in lines} == {len(lines[0])}


def test_servers_that_are_named():
    """Sets of each run are new to them: a value that is there already would move no bytes."""
    with serving() as s:
        for _ in range(2):
            before = json.loads(memkv("stat", "--json", "-s", s.address).stdout)
            out = memkv(
                *("bench", "-s", s.address, "--op", "set", "--size", "64K", "--batch", "4"),
                *("--seconds", "0.1", "--json"),
            )
            assert out.returncode == 0
            row = json.loads(out.stdout)
            assert row["servers"] == s.address
            check_row(row | {"servers": None})
            after = json.loads(memkv("stat", "--json", "-s", s.address).stdout)
            assert after["kept"] == 0 and after["bytes_in"] - before["bytes_in"] >= 4 * 65536


def test_a_server_with_a_key(tmp_path):
    key = tmp_path / "key"
    memkv("keygen", key)
    quick = ("bench", "--op", "exists", "--seconds", "0.1", "--json")
    assert memkv(*quick, "--auth-key-file", key).returncode == 0
    assert memkv(*quick, env={"MEMKV_AUTH_KEY": "ab" * 32}).returncode == 0
    out = memkv(*quick, "-s", "127.0.0.1:1")
    assert out.returncode == 3
    assert json.loads(out.stderr.splitlines()[-1])["exit"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_it(number):
    bench = start("bench", "--seconds", "60", stdout=subprocess.PIPE)
    assert bench.stdout.readline().startswith(b"a server of its own")
    servers = children(bench.pid)
    assert len(servers) == 1 and alive(servers[0])
    bench.send_signal(number)
    assert bench.wait(timeout=30) == -number
    until(lambda: not alive(servers[0]))
    bench.stdout.close()


@pytest.mark.parametrize(
    "args, told",
    [
        (("--op", "fly"), '"fly"'),
        (("--op", ","), "nothing"),
        (("--size", "many"), '"many"'),
        (("--size", "0"), "1 byte to 64 MiB"),
        (("--size", "65M"), "1 byte to 64 MiB"),
        (("--op", "get", "--size", ","), "nothing"),
        (("--size", ",".join(["4K"] * 100)), "rows"),
        (("--batch", "0"), "1 to 100000"),
        (("--batch", "x"), "--batch"),
        (("--threads", "65"), "1 to 64"),
        (("--seconds", "nan"), "--seconds"),
        (("--seconds", "-1"), "--seconds"),
        (("--ceiling", "high"), "neither sockets nor none"),
        (("word",), "--help"),
    ],
)
def test_what_it_refuses(args, told):
    out = memkv("bench", *args)
    assert out.returncode == 2 and told in out.stderr.decode() and out.stdout == b""


def test_it_is_not_the_callers_memory_that_is_measured():
    """What moves goes through more memory than a cache holds, on our side and on the ceiling's."""
    bench = start("bench", "--op", "get", "--size", "4K", "--seconds", "30", "--json")
    pages = os.sysconf("SC_PAGE_SIZE")
    statm = pathlib.Path(f"/proc/{bench.pid}/statm")
    until(lambda: int(statm.read_text().split()[1]) * pages > 3 * (128 << 20))
    bench.kill()
    bench.wait()


def test_nothing_that_came_is_no_figure():
    """Servers that are away: said for each row, at once, and no row of latencies of failures."""
    for more in ((), ("--json",)):
        out = memkv("bench", "--op", "set", "--size", "4K", "--seconds", "60", "-s", DEAD, *more)
        assert out.returncode == 3 and b"no batch came whole" in out.stderr
        assert out.stdout.count(b"\n") == (0 if more else 3)
