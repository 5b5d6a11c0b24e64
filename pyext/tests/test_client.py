"""Client against a real server: what it is for."""

import array
import gc
import os
import subprocess
import sys
import threading
import time

import memkv_sglang
import pytest
from memkv_sglang import Client


def test_importing_needs_neither_torch_nor_sglang():
    code = "import memkv_sglang, sys; sys.exit('torch' in sys.modules or 'sglang' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_buffers_and_addresses(client):
    values = [bytes([i]) * (100 + i) for i in range(10)]
    keys = ["buffer-%d" % i for i in range(10)]
    assert client.set(keys, values) == [True] * 10
    into = [bytearray(100 + i) for i in range(10)]
    assert client.get(keys, into) == [True] * 10
    assert [bytes(b) for b in into] == values
    a = array.array("B", bytes(100))
    where, n = a.buffer_info()
    assert client.get([keys[0]], [(where, n)]) == [True]
    assert a.tobytes() == values[0]
    parts = [bytearray(60), bytearray(40)]
    assert client.get([keys[0].encode()], [list(parts)]) == [True]
    assert bytes(parts[0] + parts[1]) == values[0]


def test_misses_and_wrong_lengths(client):
    client.set(["len"], [b"12345"])
    assert client.get(["len", "none"], [bytearray(4), bytearray(4)]) == [False, False]
    assert client.exists(["len", "none"]) == [True, False]
    assert client.exists_prefix(["len", "none", "len"]) == 1
    assert client.get_value("len") == b"12345"
    assert client.get_value("none") is None
    assert client.get_value("len", max_length=4) is None


def test_lengths(client):
    client.set(["l1", "l2", "l0"], [b"1", b"22", b""])
    assert client.lengths(["l2", "none", "l0", "l1"]) == [2, None, 0, 1]
    assert client.lengths([]) == []
    assert client.lengths(["l1"], namespace="another") == [None]


def test_empty_values_and_batches(client):
    assert client.set(["empty"], [b""]) == [True]
    assert client.get_value("empty") == b""
    assert client.get([], []) == [] and client.exists([]) == [] and client.exists_prefix([]) == 0


def test_pages(client):
    n, parts, size = 64, 3, 4096
    source = bytearray(os.urandom(n * parts * size))
    target = bytearray(len(source))

    def addresses(buffer):
        base = (memoryview(buffer).obj, array.array("Q"))[1]
        import ctypes

        where = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        for i in range(n * parts):
            base.append(where + i * size)
        return base

    sizes = [size] * (n * parts)
    keys = ["%064x" % (i + 1000) for i in range(n)]
    assert client.set_pages(keys, addresses(source), sizes, parts) == [True] * n
    assert client.get_pages(keys, addresses(target), array.array("Q", sizes), parts) == [True] * n
    assert source == target
    with pytest.raises(ValueError):
        client.set_pages(keys, [1], [1], parts)


def test_namespaces_do_not_meet(client):
    client.set(["same"], [b"one"], namespace="a")
    assert client.exists(["same"], namespace="b") == [False]
    client.set(["same"], [b"two"], namespace="b")
    assert client.get_value("same", namespace="a") == b"one"
    assert client.get_value("same", namespace="b") == b"two"


@pytest.mark.parametrize(
    "keys, values, error",
    [
        ("abc", [b""], TypeError),
        ([1], [bytearray(1)], TypeError),
        (["k"], [b"read-only"], BufferError),
        (["k"], ["text"], TypeError),
        (["k"], [], ValueError),
        ([""], [bytearray(1)], ValueError),
        (["k" * 256], [bytearray(1)], ValueError),
        (["k"], [memoryview(bytearray(10))[::2]], BufferError),
        (["k"], [(0, 10)], ValueError),
        (["k"], [(-1, 10)], OverflowError),
    ],
)
def test_wrong_arguments(client, keys, values, error):
    with pytest.raises(error):
        client.get(keys, values)
    assert client.set(["after"], [b"x"]) == [True]


def test_too_large(client):
    with pytest.raises(ValueError):
        client.set(["large"], [(1 << 40, (64 << 20) + 1)])


def test_closed(address):
    c = Client(address)
    c.close()
    c.close()
    assert c.closed
    for call in (
        lambda: c.get(["k"], [bytearray(1)]),
        lambda: c.exists(["k"]),
        c.stats,
        lambda: c.register(4096, 4096),
    ):
        with pytest.raises(memkv_sglang.ClosedError):
            call()


def test_configuration_errors():
    for servers, options in ((None, {}), ("a:b:c:d", {}), ("h", {"get_timeout": "2 parsecs"})):
        with pytest.raises(memkv_sglang.ConfigError):
            Client(servers, options=options)
    assert issubclass(memkv_sglang.ConfigError, ValueError)


def test_dead_servers_are_answers():
    with Client("127.0.0.1:1", options={"get_timeout": "300ms", "exists_timeout": "300ms"}) as c:
        assert c.exists(["k"]) == [None]
        assert c.get(["k"], [bytearray(1)]) == [False]
        assert c.set(["k"], [b"1"]) == [False]
        assert c.lengths(["k"]) == [None] and c.get_value("k") is None


def test_the_gil_is_released(server):
    with Client(server.address, options={"get_timeout": "700ms"}) as c:
        assert c.set(["k"], [b"1"]) == [True]
        server.freeze()
        ticks = 0
        done = threading.Event()

        def call():
            c.get(["k"], [bytearray(1)])
            done.set()

        t = threading.Thread(target=call)
        t.start()
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)
        t.join()
        assert ticks > 20


def test_threads(client):
    failed = []

    def work(n):
        for i in range(50):
            keys = ["t-%d-%d-%d" % (n, i, j) for j in range(8)]
            value = b"%d" % n * 500
            into = [bytearray(len(value)) for _ in keys]
            if client.set(keys, [value] * 8) != [True] * 8 or client.get(keys, into) != [True] * 8:
                failed.append((n, i))
            if any(bytes(b) != value for b in into):
                failed.append((n, i, "bytes"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_regions(client):
    b = bytearray(1 << 20)
    import ctypes

    where = ctypes.addressof(ctypes.c_char.from_buffer(b))
    handle = client.register(where, len(b))
    client.unregister(handle)
    with pytest.raises(KeyError):
        client.unregister(handle)


def test_fork(address):
    c = Client(address)
    c.set(["k"], [b"1"])
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            try:
                c.exists(["k"])
            except memkv_sglang.ClosedError:
                with Client(address) as anew:
                    code = 0 if anew.get_value("k") == b"1" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert c.get_value("k") == b"1"
    c.close()


def test_open_and_close_leak_nothing(address):
    def usage():
        """Descriptors and threads; one that was joined may be listed for a moment more."""
        gc.collect()
        now, last = None, ()
        while now != last:
            now, last = (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))), now
            time.sleep(0.1)
        return now

    for _ in range(3):
        with Client(address) as c:
            c.exists(["k"])
    before = usage()
    for _ in range(50):
        with Client(address) as c:
            c.exists(["k"])
    assert usage() == before


def test_log_lines_reach_python(caplog):
    with caplog.at_level("DEBUG", logger="memkv_sglang"):
        with Client("127.0.0.1:1", options={"exists_timeout": "200ms"}) as c:
            c.exists(["k"])
        end = time.monotonic() + 5
        while time.monotonic() < end and "127.0.0.1:1" not in caplog.text:
            time.sleep(0.01)
    assert "127.0.0.1:1" in caplog.text
