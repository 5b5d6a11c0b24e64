"""Servers for the tests. MEMKV_COMMAND names the program (default out/bin/memkv)."""

import os
import pathlib
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMKV = os.environ.get("MEMKV_COMMAND", str(ROOT / "out" / "bin" / "memkv"))


class Server:
    """A server that can be stopped in its tracks: what it is asked then blocks."""

    def __init__(self, *args):
        self.process = subprocess.Popen(
            [MEMKV, "serve", "--listen", "127.0.0.1:0", *args], stdout=subprocess.PIPE
        )
        self.address = self.process.stdout.readline().decode().split()[1]

    def freeze(self):
        os.kill(self.process.pid, signal.SIGSTOP)
        # Sent is not stopped yet.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)  # also from a fork, which Popen does not allow

    def close(self):
        self.thaw()
        self.process.terminate()
        self.process.wait(timeout=15)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def shared_server():
    server = Server("--memory", "512M")
    yield server
    server.close()
    assert server.process.returncode == 0


@pytest.fixture
def address(shared_server):
    return shared_server.address


@pytest.fixture
def server():
    """One of this test's own."""
    one = Server("--memory", "64M")
    yield one
    one.close()


@pytest.fixture
def client(address):
    from memkv_sglang import Client

    with Client(address) as c:
        yield c
