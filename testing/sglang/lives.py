"""Lives of real engines and servers, for the tests and the demo."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MEMKV = os.environ.get("MEMKV_COMMAND", str(ROOT / "out" / "bin" / "memkv"))
# Exactly what the documentation names.
THREE_KEYS = {
    "backend_name": "memkv",
    "module_path": "memkv_sglang.backend",
    "class_name": "MemKVHiCacheStorage",
}


class Server:
    """A `memkv serve` of our own."""

    def __init__(self, memory="256M", listen="127.0.0.1:0"):
        self.process = subprocess.Popen(
            [MEMKV, "serve", "--listen", listen, "--memory", memory], stdout=subprocess.PIPE
        )
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening "):
            raise RuntimeError("memkv serve said %r" % line)
        self.address = line.split()[1]

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def make_model(where, seed=0):
    """Write a tiny Llama with random weights; returns the folder."""
    subprocess.run(
        [sys.executable, str(HERE / "engine" / "tiny_model.py"), str(where), str(seed)], check=True
    )
    return str(where)


class Engine:
    """One engine process that answers one prompt and ends."""

    def __init__(
        self, model, servers, tokens=300, seed=7, page_size=None, layout="page_first", extra=None
    ):
        self.folder = tempfile.mkdtemp(prefix="memkv-engine-")
        config = "none" if servers is None else json.dumps({**THREE_KEYS, **(extra or {})})
        command = [
            sys.executable,
            str(HERE / "engine" / "one_life.py"),
            model,
            config,
            str(tokens),
            str(seed),
        ]
        command += ["--layout", layout, "--result", self.folder + "/result"]
        command += ["--page-size", str(page_size)] if page_size else []
        env = {
            **os.environ,
            "CPU_E2E": "1",
            "SGLANG_USE_CPU_ENGINE": "1",
            "PYTHONPATH": "%s:%s" % (HERE / "engine", HERE),
            "MEMKV_SERVERS": ",".join(servers or []),
        }
        self.log = self.folder + "/log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def result(self, timeout=240):
        """What it answered."""
        code = self.process.wait(timeout=timeout)
        if not os.path.exists(self.folder + "/result"):
            with open(self.log, errors="replace") as f:
                tail = "".join(line[:500] + "\n" for line in f.read().splitlines()[-30:])
            raise RuntimeError("the engine ended with %d and no answer:\n%s" % (code, tail))
        with open(self.folder + "/result") as f:
            return json.load(f)
