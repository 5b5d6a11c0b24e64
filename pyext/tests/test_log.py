"""Lines of the library's threads at Python's logger memkv_sglang."""

import logging
import os
import re
import subprocess
import sys
import threading
import time

import pytest
from memkv_sglang import Client

DEAD = "127.0.0.1:1"
LINES = 256  # of the ring


class Keep(logging.Handler):
    """Keeps lines; can be made to block, and to raise."""

    def __init__(self):
        super().__init__()
        self.lines, self.arrived = [], threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.blocked = threading.Event()
        self.raises = 0

    def emit(self, record):
        if not self.gate.is_set():
            self.blocked.set()
            self.gate.wait(30)
        with self.arrived:
            self.lines.append((record.levelname, record.getMessage(), record.threadName))
            self.arrived.notify_all()
        if self.raises:
            self.raises -= 1
            raise OSError("no space left for log lines")

    def wait_for(self, pattern):
        def found():
            return [line for line in self.lines if re.search(pattern, line[1])]

        with self.arrived:
            assert self.arrived.wait_for(found, timeout=20), (pattern, self.lines[-5:])
            return found()[0]


@pytest.fixture
def keep():
    logger = logging.getLogger("memkv_sglang")
    handler, level = Keep(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    handler.gate.set()
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_lines_come_with_level_and_from_one_thread(keep):
    with Client(DEAD, options={"log_level": "debug"}) as c:
        c.exists(["k"])
    level, _, thread = keep.wait_for("127.0.0.1:1: not used")
    assert level == "WARNING" and thread == "memkv-log"
    assert keep.wait_for("no server answers")[0] == "ERROR"
    assert [t.name for t in threading.enumerate()].count("memkv-log") == 1


def test_a_full_ring_drops_and_says_how_many(keep):
    keep.gate.clear()
    with Client(DEAD) as c:
        c.exists(["k"])
        assert keep.blocked.wait(20)  # the reader is in a handler: nobody takes lines now
        # Many dead servers, one line each; the library's threads do not wait for the reader.
        many = ["127.0.0.1:%d" % (i + 1) for i in range(600)]
        with Client(many, options={"exists_timeout": "8s"}) as fleet:
            keys = ["k%d" % i for i in range(20000)]
            begun = time.monotonic()
            fleet.exists(keys)
            assert time.monotonic() - begun < 10
        keep.gate.set()
        _, text, _ = keep.wait_for(r"lines were dropped")
        dropped = int(re.search(r"(\d+) lines", text).group(1))
        before = len([line for line in keep.lines if "not used" in line[1]])
        assert dropped > 0 and before >= LINES - 2
        # The ring works as before.
        c.set_servers("127.0.0.2:1")
        c.exists(["k"])
        keep.wait_for("127.0.0.2:1")


def test_a_handler_that_raises_does_not_end_it(keep):
    keep.raises = 1
    with Client(DEAD) as c:
        c.exists(["k"])
        keep.wait_for("127.0.0.1:1")
        c.set_servers("127.0.0.3:1")
        c.exists(["k"])
        keep.wait_for("127.0.0.3:1")


def test_the_reader_costs_nothing_while_there_are_no_lines(address):
    with Client(address) as c:
        c.exists(["k"])
        (reader,) = [t for t in threading.enumerate() if t.name == "memkv-log"]

        def state():
            with open("/proc/self/task/%d/status" % reader.native_id) as f:
                text = f.read()
            return re.findall(r"ctxt_switches:\s+(\d+)", text)

        before = state()
        for _ in range(200):
            c.exists(["k"])
        assert state() == before  # it was not woken once


def test_a_fork_has_a_reader_of_its_own(keep):
    with Client(DEAD) as c:
        c.exists(["k"])
        keep.wait_for("127.0.0.1:1")
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                keep.__init__()  # its lock was copied too
                with Client("127.0.0.4:1") as anew:
                    anew.exists(["k"])
                level, text, thread = keep.wait_for("127.0.0.4:1")
                os.write(write, ("%s %s %s" % (level, thread, text)).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            assert pipe.read().startswith("WARNING memkv-log 127.0.0.4:1")
        os.waitpid(pid, 0)


def test_the_last_lines_come_out_before_the_end():
    """And the interpreter ends at once, though the reader sleeps."""
    code = (
        "import logging, memkv_sglang\n"
        "logging.basicConfig(level=logging.INFO, format='%(levelname)s:%(message)s')\n"
        "c = memkv_sglang.Client('127.0.0.1:1')\n"
        "c.exists(['k'])\n"
    )
    r = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], stderr=subprocess.PIPE, timeout=60
    )
    assert r.returncode == 0
    assert b"ERROR:no server answers" in r.stderr and b"Traceback" not in r.stderr
