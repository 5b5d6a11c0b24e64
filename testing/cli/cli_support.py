"""Runs the command as a user types it. MEMKV_COMMAND names the program (default out/bin/memkv)."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMKV = os.environ.get("MEMKV_COMMAND", str(ROOT / "out" / "bin" / "memkv"))
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("MEMKV_")}
COMMANDS = "serve put get exists stat bench doctor keygen completion".split()
DEAD = "127.0.0.1:1"  # nobody listens there
# A busy machine is slower than what the defaults wait for, and that is not what is tested.
PATIENT = {f"MEMKV_{what}_TIMEOUT": "8s" for what in ("CONNECT", "EXISTS", "GET", "SET")}


def environment(args, more):
    patient = PATIENT if args and args[0] in ("put", "get", "exists", "stat") else {}
    return {**CLEAN, **patient, **(more or {})}


def memkv(*args, data=b"", env=None, timeout=60, **more):
    """One run; its standard input is `data`."""
    return subprocess.run(
        [MEMKV, *(a if isinstance(a, bytes) else str(a) for a in args)],
        input=data,
        stdout=more.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env=environment(args, env),
        timeout=timeout,
        **more,
    )


def start(*args, env=None, **more):
    """A run that is still going on; the caller ends it."""
    return subprocess.Popen([MEMKV, *map(str, args)], env=environment(args, env), **more)


class Server:
    """memkv serve on a free port of loopback."""

    def __init__(self, *args, listen="127.0.0.1:0", env=None):
        self.process = start(
            "serve", "--listen", listen, "--memory", "256M", *args, env=env, stdout=subprocess.PIPE
        )
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening "), line
        self.address = line.split()[1]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def serving(*args, **more):
    server = Server(*args, **more)
    try:
        yield server
    finally:
        assert server.stop() == 0


def until(condition, seconds=20):
    """Waits for a condition that another process makes true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def children(pid):
    """The processes that `pid` has started."""
    try:
        tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except OSError:
        return []


def alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
