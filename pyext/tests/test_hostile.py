"""Client in the hands of somebody who means it ill, or is in a hurry."""

import array
import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import memkv_sglang
import pytest
from memkv_sglang import Client, ClosedError

MIB = 1 << 20


def where(buffer):
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def python(code, *args, timeout=60):
    """Another interpreter; returns what it printed."""
    r = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
    )
    assert r.returncode == 0, r.stdout.decode()
    return r.stdout.decode()


# Nothing is kept ------------------------------------------------------------------------------


class Bad:
    """Claims to be a sequence, and is none."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        if i == 1:
            raise RuntimeError("in the middle")
        return "k%d" % i


def wrong_calls(c, objects):
    """Each ends with an exception, some of them after buffers were taken."""
    key, value, into = objects
    return (
        (BufferError, lambda: c.get([key, key], [into, value])),
        (TypeError, lambda: c.get([key, key], [into, "text"])),
        (TypeError, lambda: c.get([key, key], [[into, into], [into, None]])),
        (ValueError, lambda: c.get([key, key], [into, (0, 5)])),
        (OverflowError, lambda: c.get([key], [(1 << 64, 5)])),
        (OverflowError, lambda: c.get([key], [(4096, -5)])),
        (ValueError, lambda: c.get([key], [((1 << 64) - 1, 5)])),
        (ValueError, lambda: c.set([key, key], [value])),
        (ValueError, lambda: c.set([key], [[value] * 4097])),
        (ValueError, lambda: c.set([key], [(4096, 64 * MIB + 1)])),
        (ValueError, lambda: c.set([key], [value], timeout=-1)),
        (ValueError, lambda: c.set([key], [value], timeout=float("nan"))),
        (TypeError, lambda: c.set([key], [value], timeout="1")),
        (TypeError, lambda: c.set([key], [value], namespace=5)),
        (ValueError, lambda: c.set([key], [value], namespace=b"n" * 256)),
        (TypeError, lambda: c.set([key], [value], nothing=1)),
        (RuntimeError, lambda: c.exists(Bad())),
        (RuntimeError, lambda: c.set(Bad(), [value] * 3)),
        (RuntimeError, lambda: c.set([key] * 3, Bad())),
        (RuntimeError, lambda: c.get_pages([key], Bad(), [5], 1)),
        (TypeError, lambda: c.exists([key, 5])),
        (TypeError, lambda: c.exists(5)),
        (TypeError, lambda: c.exists(key)),
        (ValueError, lambda: c.exists(["\ud800"])),
        (ValueError, lambda: c.set_pages([key], [where(into)], [5, 5], 1)),
        (ValueError, lambda: c.set_pages([key], [where(into)], [5], 0)),
        (ValueError, lambda: c.set_pages([key], [where(into)], [5], 4097)),
        (ValueError, lambda: c.set_pages([key], [0], [5], 1)),
        (TypeError, lambda: c.set_pages([key], array.array("d", [1.0]), [5], 1)),
        (TypeError, lambda: c.set_pages([key], array.array("I", [1, 2]), [5], 1)),
        (TypeError, lambda: c.set_pages([key], [1.5], [5], 1)),
        (OverflowError, lambda: c.set_pages([key], [-1], [5], 1)),
        (ValueError, lambda: c.set_pages([key], array.array("q", [-1]), [5], 1)),
        (
            BufferError,
            lambda: c.set_pages([key], memoryview(array.array("Q", [1] * 4))[::2], [5], 1),
        ),
        (OverflowError, lambda: c.get_value(key, max_length=-1)),
        (OverflowError, lambda: c.register(-1, 5)),
        (TypeError, lambda: c.register("a", 5)),
        (ValueError, lambda: c.register(0, 5)),
        (ValueError, lambda: c.register(4096, 0)),
        (KeyError, lambda: c.unregister(77)),
        (OverflowError, lambda: c.unregister(-1)),
        (TypeError, lambda: c.unregister(None)),
        (memkv_sglang.ConfigError, lambda: c.set_servers("a:b:c:d")),
        (memkv_sglang.ConfigError, lambda: c.set_servers("127.0.0.1\0,x")),
        (memkv_sglang.ConfigError, lambda: c.set_servers([])),
        (memkv_sglang.ConfigError, lambda: Client(None)),
        (memkv_sglang.ConfigError, lambda: Client("h", options={"get_timeout": "a\0b"})),
        (TypeError, lambda: Client("h", options={5: 1})),
        (TypeError, lambda: Client("h", options=[])),
        (TypeError, lambda: Client(["h", 5])),
    )


def good_calls(c, objects):
    key, value, into = objects
    pages = [where(into)]
    return (
        lambda: c.set([key, b"other"], [value, [value, value]]),
        lambda: c.get([key, "none"], [into, [bytearray(2)]]),
        lambda: c.exists((key, "none")),
        lambda: c.exists_prefix([key, "none"], namespace=b"another", timeout=0.5),
        lambda: c.set_pages([key], pages, [5], 1),
        lambda: c.get_pages([key], array.array("Q", pages), [5], 1),
        lambda: c.get_value(key),
        lambda: c.lengths([key, "none"]),
        lambda: c.unregister(c.register(where(into), 5)),
        c.stats,
        lambda: c.closed or c.namespace,
    )


def test_nothing_leaks_on_any_path(client):
    """Over 70,000 calls, wrong ones and good ones: no reference, no block of memory is left."""
    objects = ("leak-%d" % os.getpid(), b"12345", bytearray(5))
    wrong, good = wrong_calls(client, objects), good_calls(client, objects)

    def each():
        for error, call in wrong:
            with pytest.raises(error):
                call()
        for call in good:
            call()

    def counts():
        gc.collect()
        return [sys.getrefcount(o) for o in (*objects, client, type(client), None.__class__)]

    def repeat(n):
        for _ in range(n):
            each()

    repeat(3)
    before = counts()
    repeat(20)
    # Not through pytest.raises, whose own memory would drown ours.
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(2):
            for _ in range(600):
                for error, call in wrong:
                    with contextlib.suppress(error):
                        call()
                for call in good:
                    call()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert counts() == before
    # Less than the smallest object for each round. Python's own free lists (80 dicts) take half.
    assert sizes[1] - sizes[0] < 600 * 16, sizes
    objects[2].extend(b"no buffer of it is held any more")


@pytest.mark.parametrize("i", range(50))
def test_a_wrong_call_sends_nothing(client, i):
    """And the next call works."""
    calls = wrong_calls(client, ("k", b"12345", bytearray(5)))
    assert len(calls) == 50
    before = client.stats()
    error, call = calls[i]
    with pytest.raises(error):
        call()
    after = client.stats()
    assert after["batches"] == before["batches"] and after["requests"] == before["requests"]
    assert client.set(["after"], [b"x"]) == [True]


def test_buffers_are_held_until_the_call_ends(server):
    with Client(server.address, options={"get_timeout": "500ms"}) as c:
        c.set(["k"], [b"12345"])
        server.freeze()
        into = bytearray(5)
        t = threading.Thread(target=c.get, args=(["k"], [into]))
        requests = c.stats()["requests"]
        t.start()
        while c.stats()["requests"] == requests:
            time.sleep(0.001)
        with pytest.raises(BufferError):  # it cannot move while a server may write to it
            into.append(1)
        t.join()
        into.append(1)


# What changes under a call --------------------------------------------------------------------


def test_lists_that_other_threads_change(client):
    keys, values, stop = [], [], threading.Event()

    def change():
        while not stop.is_set():
            keys[:] = ["m-%d" % i for i in range(50)]
            values[:] = [[bytearray(8), bytearray(8)] for _ in range(50)]
            del keys[10:], values[10:]
            for parts in values:
                del parts[1:]

    t = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    t.start()
    try:
        for _ in range(300):
            for call in (client.get, client.set):
                # ValueError: caught in between, so many keys, so many values.
                with contextlib.suppress(ValueError):
                    assert len(call(keys, values)) in (0, 10, 50)
    finally:
        stop.set()
        t.join()
        sys.setswitchinterval(interval)


def test_a_sequence_that_changes_the_others(client):
    """The values go away while the keys are read; the client is closed while it is called."""
    values = [bytearray(4) for _ in range(3)]

    class Keys(list):
        def __iter__(self):
            values.clear()
            gc.collect()
            return iter(["a", "b", "c"])

    with pytest.raises(ValueError):
        client.get(Keys(), values)

    class Closes:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            if i:
                raise IndexError
            c.close()
            return "k"

    c = Client("127.0.0.1:1")
    with pytest.raises(ClosedError):
        c.exists(Closes())


def test_options_that_change_while_they_are_read():
    class Grows:
        def __str__(self):
            for i in range(1000):
                options["x%d" % i] = "1"
            return "2s"

    options = {"get_timeout": Grows(), "set_timeout": Grows()}
    with Client("127.0.0.1:1", options=options):
        assert len(options) == 1002


# Sizes, keys and memory ------------------------------------------------------------------------


def test_the_largest_value_and_one_more(client):
    big = bytearray(os.urandom(MIB)) * 64
    assert client.set(["big"], [big], timeout=8, replace=True) == [True]
    into = bytearray(len(big))
    assert client.get(["big"], [into], timeout=8) == [True] and into == big
    assert client.get_value("big", timeout=8) == big
    with pytest.raises(ValueError, match="64 MiB"):
        client.set(["big"], [bytes(64 * MIB + 1)])
    with pytest.raises(ValueError, match="64 MiB"):
        client.get(["big"], [[into, bytearray(1)]])


def test_keys(client):
    keys = ["ключ", "鍵" * 85, b"\x00\xff", "a\0b", "k" * 255, "0" * 64, b"same"]
    values = [b"%d" % i for i in range(len(keys))]
    assert client.set(keys, values, replace=True) == [True] * len(keys)
    assert [client.get_value(k) for k in keys] == values
    assert client.get_value("ключ".encode()) == b"0"  # str is UTF-8
    assert client.get_value("same") == client.get_value(b"same") == b"6"
    for wrong in ("", b"", "k" * 256, "鍵" * 86):
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            client.exists([wrong])


def test_duplicates(client):
    # While the first is being written the others are told that somebody is at it.
    assert client.set(["d", "d", "d"], [b"1", b"1", b"1"])[0] is True
    assert client.set(["d", "d", "d"], [b"1", b"1", b"1"]) == [True] * 3
    into = [bytearray(1) for _ in range(3)]
    assert client.get(["d"] * 3, into) == [True] * 3 and into == [b"1"] * 3
    assert client.exists(["d", "no", "d"]) == [True, False, True]


def test_overlapping_targets_harm_nobody_else(client):
    client.set(["o1", "o2"], [b"1" * 1000, b"2" * 1000])
    into = bytearray(b"." * 1600)
    view = memoryview(into)
    got = client.get(["o1", "o2"], [view[100:1100], view[300:1300]])
    assert len(got) == 2 and into[:100] == b"." * 100 and into[1300:] == b"." * 300


def test_buffers_of_every_kind(client):
    shaped = memoryview(bytearray(range(24))).cast("B", (2, 3, 4))
    assert client.set(["shaped"], [shaped], replace=True) == [True]
    assert client.get_value("shaped") == bytes(range(24))
    doubles = array.array("d", [0.0] * 3)
    assert client.get(["shaped"], [doubles]) == [True] and doubles.tobytes() == bytes(range(24))
    into = (ctypes.c_uint32 * 6)()
    assert client.get(["shaped"], [into]) == [True] and bytes(into) == bytes(range(24))
    assert client.get(["shaped"], [[bytearray(0), bytearray(24), bytearray(0)]]) == [True]
    assert client.set(["nothing"], [[]]) == [True] and client.get_value("nothing") == b""
    assert client.get(["nothing"], [(0, 0)]) == [True]
    transposed = memoryview(bytearray(16))[::-1]
    for call in (client.get, client.set):
        with pytest.raises(BufferError):
            call(["k"], [transposed])


# Closing ----------------------------------------------------------------------------------------

METHODS = (
    lambda c: c.get(["k"], [bytearray(1)]),
    lambda c: c.set(["k"], [b"1"]),
    lambda c: c.exists(["k"]),
    lambda c: c.exists_prefix(["k"]),
    lambda c: c.get_pages(["k"], [4096], [5], 1),
    lambda c: c.set_pages(["k"], [4096], [5], 1),
    lambda c: c.get_value("k"),
    lambda c: c.lengths(["k"]),
    lambda c: c.register(4096, 4096),
    lambda c: c.unregister(1),
    lambda c: c.set_servers("127.0.0.1:1"),
    lambda c: c.stats(),
    lambda c: c.namespace,
)


def test_every_method_of_a_closed_client(address):
    with Client(address) as c:
        c.register(4096, 4096)  # left to close
    assert c.closed
    for method in METHODS:
        with pytest.raises(ClosedError):
            method(c)
    with c:  # not opened again by this
        assert c.closed


def test_close_waits_for_calls_of_other_threads(server):
    c = Client(server.address, options={"get_timeout": "500ms"})
    c.set(["k"], [b"1"])
    server.freeze()
    requests = c.stats()["requests"]
    answers = []
    callers = [
        threading.Thread(target=lambda: answers.append(c.get(["k"], [bytearray(1)])))
        for _ in range(3)
    ]
    for t in callers:
        t.start()
    while c.stats()["requests"] < requests + 3:
        time.sleep(0.001)
    closers = [threading.Thread(target=c.close) for _ in range(2)]
    for t in closers:
        t.start()
    c.close()
    assert answers == [[False]] * 3  # close came back after them
    for t in callers + closers:
        t.join()
    with pytest.raises(ClosedError):
        c.exists(["k"])


def test_every_method_beside_close(address):
    memory = bytearray(4096)
    into = where(memory)
    stop = []

    def work(c, method):
        try:
            while True:
                method(c)
        except ClosedError:
            stop.append(method)
        except KeyError:
            pass

    methods = (
        lambda c: c.get(["k"], [bytearray(1)]),
        lambda c: c.exists(["k"]),
        lambda c: c.unregister(c.register(into, 4096)),
        lambda c: c.register(into, 4096),
        lambda c: c.set_servers([address]),
        lambda c: c.stats() and c.namespace,
    )
    for _ in range(10):
        c = Client(address)
        threads = [threading.Thread(target=work, args=(c, m)) for m in methods]
        for t in threads:
            t.start()
        time.sleep(0.01)
        c.close()
        for t in threads:
            t.join()
    assert len(stop) == 10 * len(methods)


def test_two_threads_end_one_registration(client):
    memory = bytearray(4096)
    for _ in range(50):
        handle = client.register(where(memory), 4096)
        results = []

        def end(handle=handle, results=results):
            try:
                results.append(client.unregister(handle))
            except KeyError:
                results.append("gone")

        threads = [threading.Thread(target=end) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(map(str, results)) == ["None", "gone"]


# Forks, interpreters, signals --------------------------------------------------------------------


def in_child(work):
    """work() in a fork; its value is the exit status. Fails when the child hangs."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            signal.alarm(20)
            code = work()
        except BaseException:  # noqa: BLE001
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


def test_fork_beside_calls(server):
    """The child gets ClosedError from all methods, can close, drop and open anew; the parent goes on."""
    c = Client(server.address, options={"get_timeout": "700ms"})
    c.set(["k"], [b"1"])
    c.register(4096, 4096)
    other = Client(server.address)
    other.exists(["k"])
    server.freeze()
    requests = c.stats()["requests"]
    answers = []
    t = threading.Thread(target=lambda: answers.append(c.get(["k"], [bytearray(1)])))
    t.start()
    while c.stats()["requests"] == requests:
        time.sleep(0.001)

    def child():
        nonlocal other
        for method in METHODS:
            with pytest.raises(ClosedError):
                method(c)
        assert c.closed
        c.close()  # a call of the parent's is in progress for ever here
        c.close()
        other = None  # dropped without close
        gc.collect()
        server.thaw()
        with Client(server.address, options={"get_timeout": "8s"}) as anew:
            assert anew.get_value("k") == b"1"
        return 0

    assert in_child(child) == 0
    t.join()
    assert len(answers) == 1
    assert c.get_value("k", timeout=8) == b"1"
    c.close()
    other.close()


def test_fork_while_others_open_close_and_call(address):
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            with Client(address) as one:
                one.exists(["k"])

    def child():
        with Client(address) as anew:
            return 0 if anew.set(["child"], [b"1"]) == [True] else 1

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(20):
            assert in_child(child) == 0
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_open_at_the_end_of_the_interpreter(address):
    assert "end" in python(
        "import sys, memkv_sglang\n"
        "kept = memkv_sglang.Client(sys.argv[1])\n"
        "assert kept.set(['x'], [b'1']) == [True]\n"
        "loop = [kept]; loop.append(loop)\n"
        "sys.kept_even_longer = memkv_sglang.Client(sys.argv[1])\n"
        "class Late:\n"
        "    def __del__(self):\n"
        "        try: kept.exists(['x'])\n"
        "        except Exception as e: print(type(e))\n"
        "late = Late()\n"
        "print('end')",
        address,
    )


def test_an_end_in_the_middle_of_calls(address):
    """Daemon threads are in calls when the interpreter ends."""
    python(
        "import sys, threading, memkv_sglang\n"
        "c = memkv_sglang.Client(sys.argv[1])\n"
        "def work():\n"
        "    while True: c.exists(['x'])\n"
        "for _ in range(4): threading.Thread(target=work, daemon=True).start()\n",
        address,
    )


@pytest.mark.parametrize("isolated", [False, True])
def test_sub_interpreters(address, isolated):
    """Each has a module and exceptions of its own, and ends clean."""
    inner = (
        "import memkv_sglang\n"
        "c = memkv_sglang.Client(%r)\n"
        "assert c.set(['sub'], [b'1'], replace=True) == [True]\n"
        "try: c.exists(5)\n"
        "except TypeError: pass\n"
        "c.close()\n"
        "try: c.stats()\n"
        "except memkv_sglang.ClosedError: pass\n"
        "kept = memkv_sglang.Client(%r)\n" % (address, address)
    )
    said = python(
        "import _xxsubinterpreters as s, memkv_sglang, sys\n"
        "outer = memkv_sglang.Client(%r)\n"
        "for _ in range(3):\n"
        "    i = s.create(isolated=%r); s.run_string(i, %r); s.destroy(i)\n"
        "assert outer.get_value('sub') == b'1'\n"
        "try: outer.exists([''])\n"
        "except ValueError: print('whole')" % (address, isolated, inner)
    )
    assert "whole" in said
    assert said.count("log lines are not shown in a sub-interpreter") == 6


def test_ctrl_c_during_a_long_wait(server):
    """It comes when the call ends, by its deadline; the memory is the caller's own again."""
    c = Client(server.address)
    c.set(["k"], [b"12345"])
    server.freeze()
    into = bytearray(5)
    main = threading.main_thread().ident
    requests = c.stats()["requests"]

    def interrupt():
        while c.stats()["requests"] == requests:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)

    t = threading.Thread(target=interrupt)
    t.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        c.get(["k"], [into], timeout=0.7)
        time.sleep(60)
    assert time.monotonic() - begun < 20
    t.join()
    into.clear()
    server.thaw()
    assert c.get_value("k", timeout=8) == b"12345"
    c.close()


# The type itself ---------------------------------------------------------------------------------


def test_the_type_is_a_type(address):
    with Client(address) as c:
        assert isinstance(c, Client)
        assert gc.is_tracked(c)
    assert "Client" in repr(c)
    with pytest.raises(TypeError):
        type("Sub", (Client,), {})
    with pytest.raises(TypeError):
        Client.get = None
    with pytest.raises(AttributeError):
        c.closed = False


def test_errors_are_grouped_by_what_a_caller_can_do():
    for error in (memkv_sglang.ConfigError, ClosedError, memkv_sglang.TransportError):
        assert issubclass(error, memkv_sglang.Error)
    assert issubclass(memkv_sglang.TransportError, ConnectionError)
    with pytest.raises(memkv_sglang.TransportError):
        Client("127.0.0.1:1", options={"fail_open": False})
