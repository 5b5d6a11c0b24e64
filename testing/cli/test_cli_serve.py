"""memkv serve: its line, its addresses, its end."""

import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess

import pytest
from cli_support import Server, memkv, serving, start, until


def test_the_first_line_tells_where():
    with serving() as s:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", s.address)
        assert memkv("put", "k", "-s", s.address, data=b"1").returncode == 0
    with serving("--json", "-v") as s:  # the line is for scripts: it does not change
        assert s.address.startswith("127.0.0.1:")
    with serving(listen="[::1]:0") as s:
        assert memkv("put", "k", "-s", s.address, data=b"1").returncode == 0


def test_the_default_address():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9900))
            taken.listen()
        except OSError:
            pass  # somebody else has it: that will be told as well
        out = memkv("serve")
    assert out.returncode == 2 and out.stdout == b""
    assert b"127.0.0.1:9900" in out.stderr and b"in use" in out.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_an_open_address_needs_a_key(address, tmp_path):
    out = memkv("serve", "--listen", address)
    assert out.returncode == 2 and b"memkv keygen" in out.stderr and out.stdout == b""
    command = re.search(rb"'memkv (keygen [^']*)'", out.stderr)[1].decode()  # as it tells
    assert memkv(*command.split(), cwd=tmp_path).returncode == 0
    with serving("--auth-key-file", str(tmp_path / "memkv.key"), listen=address):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number):
    assert Server().stop(number) == 0


def test_hangup_does_not_end_it():
    with serving() as s:
        s.process.send_signal(signal.SIGHUP)
        assert memkv("put", "k", "-s", s.address, data=b"1").returncode == 0


def test_requests_in_flight_end_well():
    """It is told to end while a value is on its way: the value is stored and the client told."""
    with serving() as s, socket.create_connection(s.address.split(":")):
        clients = [
            start(
                *("put", f"k{i}", "-s", s.address),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for i in range(4)
        ]
        s.process.send_signal(signal.SIGTERM)
        for c in clients:
            out, err = c.communicate(os.urandom(8 << 20), timeout=30)
            assert c.returncode in (0, 3), (out, err)
            assert (b"stored" in out) == (c.returncode == 0)
        assert s.process.wait(timeout=30) == 0


def test_a_second_signal_ends_it_at_once():
    """Stopped, so that both signals are there before it looks."""
    s = Server()
    s.process.send_signal(signal.SIGSTOP)
    s.process.send_signal(signal.SIGTERM)
    s.process.send_signal(signal.SIGINT)
    s.process.send_signal(signal.SIGCONT)
    assert s.process.wait(timeout=30) in (0, -signal.SIGINT, -signal.SIGTERM)
    s.process.stdout.close()


@pytest.mark.parametrize(
    "args, told",
    [
        (("--memory", "nonsense"), "is not a size"),
        (("--memory", "1K"), "1M to 16T"),
        (("--memory", "200T"), "1M to 16T"),
        (("--workers", "0"), "1 to 64"),
        (("--workers", "many"), "number"),
        (("--workers-cpus", "a-b"), "workers-cpus"),
        (("--listen", "nowhere"), "nowhere"),
        (("--listen", "192.0.2.1:0", "--auth-key", "ab" * 32), "192.0.2.1"),
        (("--listen", "some.host:0", "--auth-key", "ab" * 32), "not an address"),
        (("--lease", "5"), "without a unit"),
        (("--admin", "root"), "none|loopback|all"),
        (("--transport", "rdma"), "rdma does not work here"),
        (("an argument",), "--help"),
    ],
)
def test_what_it_refuses(args, told):
    out = memkv("serve", "--listen", "127.0.0.1:0", *args)
    assert out.returncode == 2 and told in out.stderr.decode() and out.stdout == b""
    out = memkv("serve", "--listen", "127.0.0.1:0", *args, "--json")
    error = [json.loads(line) for line in out.stderr.splitlines()][-1]
    assert error["exit"] == 2 and told in error["error"]


def test_workers_are_threads():
    def names(s):
        tasks = os.listdir(f"/proc/{s.process.pid}/task")
        return [open(f"/proc/{s.process.pid}/task/{t}/comm").read().strip() for t in tasks]

    with serving("--workers", "1") as one, serving("--workers", "3") as three:
        until(lambda: len(names(three)) == len(names(one)) + 2)
        assert memkv("put", "k", "-s", three.address, data=b"1").returncode == 0
        row = json.loads(memkv("stat", "--json", "-s", three.address).stdout)
        assert row["workers"] == 3


def test_what_a_client_option_does_to_it():
    s = start(
        *("serve", "--listen", "127.0.0.1:0", "--servers", "a:1", "--timeout", "1s"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert s.stdout.readline().startswith(b"listening ")
    s.send_signal(signal.SIGTERM)
    told = s.communicate(timeout=30)[1]
    assert s.returncode == 0
    assert told.count(b"is an option of the client and is ignored here") == 2


def test_signals_while_memory_is_taken():
    """Before it listens; much memory takes minutes."""
    slow = ("serve", "--listen", "127.0.0.1:0", "--memory", "2G", "--prefault", "wait")
    s = start(*slow, stdout=subprocess.PIPE)
    until(lambda: any(t.read_text() == "memkv\n" for t in threads_of(s.pid)[1:]))
    s.send_signal(signal.SIGHUP)
    s.send_signal(signal.SIGTERM)
    assert s.communicate(timeout=30)[0] == b"" and s.returncode == 0
    s = start(*slow[:-3], "64M", *slow[-2:], stdout=subprocess.PIPE)
    assert s.stdout.readline().startswith(b"listening ")
    s.send_signal(signal.SIGTERM)
    assert s.wait(timeout=30) == 0
    s.stdout.close()


def threads_of(pid):
    return sorted(pathlib.Path(f"/proc/{pid}/task").glob("*/comm"), key=str)


def test_silent_strangers_do_not_keep_clients_out():
    """As many as there are descriptors, and they say nothing."""

    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    s = start(
        *("serve", "--listen", "127.0.0.1:0", "--memory", "16M"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=few_descriptors,
    )
    address = s.stdout.readline().decode().split()[1]
    host, port = address.split(":")
    strangers = [socket.create_connection((host, int(port))) for _ in range(100)]
    assert memkv("put", "k", "-s", address, data=b"1").returncode == 0
    for stranger in strangers:
        stranger.close()
    s.send_signal(signal.SIGTERM)
    told = s.communicate(timeout=30)[1]
    assert s.returncode == 0
    assert b"who does not speak" in told and len(told.splitlines()) < 20
