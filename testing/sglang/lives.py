"""Lives of real engines and servers, for the tests and the demo."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MEMKV = os.environ.get("MEMKV_COMMAND", str(ROOT / "out" / "bin" / "memkv"))
# Exactly what the documentation names.
THREE_KEYS = {
    "backend_name": "memkv",
    "module_path": "memkv_sglang.backend",
    "class_name": "MemKVHiCacheStorage",
}

# A busy machine is no reason to miss. Tests of deadlines set their own.
PATIENT = {
    "connect_timeout": "8s",
    "exists_timeout": "8s",
    "get_timeout": "8s",
    "set_timeout": "8s",
}
PATIENT_ENV = {"MEMKV_" + name.upper(): value for name, value in PATIENT.items()}


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

    def stat(self):
        """What `memkv stat` says of it."""
        command = [MEMKV, "stat", "--servers", self.address, "--json", "--timeout", "8s"]
        env = {**os.environ, **PATIENT_ENV}  # engines that begin take all CPUs
        out = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, timeout=20)
        return json.loads(out.stdout)

    def wait_until_ready(self, timeout=60):
        """Until it has taken all its memory from the kernel."""
        end = time.monotonic() + timeout
        while (now := self.stat())["bytes_ready"] < now["bytes_total"]:
            if time.monotonic() > end:
                raise RuntimeError("the server has taken %d bytes" % now["bytes_ready"])
            time.sleep(0.1)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def pause(self):
        """SIGSTOP: it is there and says nothing. Returns when it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def resume(self):
        """SIGCONT."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def objects(servers):
    """Objects that the servers hold, all together; dead ones hold none."""
    return sum(s.stat()["objects"] for s in servers if s.process.poll() is None)


def wait_for_objects(servers, n, timeout=60):
    """Until the servers hold n objects: sglang writes behind its answers."""
    end = time.monotonic() + timeout
    while objects(servers) < n:
        if time.monotonic() > end:
            raise RuntimeError("%d of %d objects were stored" % (objects(servers), n))
        time.sleep(0.1)


def make_model(where, seed=0):
    """Write a tiny Llama with random weights; returns the folder."""
    subprocess.run(
        [sys.executable, str(HERE / "engine" / "tiny_model.py"), str(where), str(seed)], check=True
    )
    return str(where)


class Engine:
    """A real engine in a process of its own. It begins at once; ask() waits for it."""

    def __init__(self, model, servers, page_size=None, layout="page_first", extra=None, env=None):
        self.folder = tempfile.mkdtemp(prefix="memkv-engine-")
        config = "none" if servers is None else json.dumps({**THREE_KEYS, **(extra or {})})
        command = [sys.executable, str(HERE / "engine" / "one_life.py"), model, config]
        command += ["--layout", layout]
        command += ["--page-size", str(page_size)] if page_size else []
        env = {
            **os.environ,
            "CPU_E2E": "1",
            "SGLANG_USE_CPU_ENGINE": "1",
            "PYTHONPATH": "%s:%s" % (HERE / "engine", HERE),
            "MEMKV_SERVERS": ",".join(s.address for s in servers or []),
            **(env or {}),
        }
        self.log = self.folder + "/log"
        answers, theirs = os.pipe()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, "--answers", str(theirs)],
                env=env,
                stdout=log,
                stderr=log,
                stdin=subprocess.PIPE,
                pass_fds=[theirs],
            )
        os.close(theirs)
        self._answers = os.fdopen(answers)

    def log_text(self):
        """What it has logged."""
        with open(self.log, errors="replace") as f:
            return f.read()

    def _do(self, *step):
        try:
            self.process.stdin.write(json.dumps(step).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._answers.readline()
        if not line:
            lines = [line[:500] for line in self.log_text().splitlines()[-30:]]
            raise RuntimeError("the engine ended without an answer:\n" + "\n".join(lines))
        return json.loads(line)

    def ask(self, seed=7, tokens=600):
        """Answer the prompt of this seed."""
        return self._do("ask", seed, tokens)

    def flush(self, timeout=30):
        """Forget what device and host hold; sglang refuses while it still writes to storage."""
        end = time.monotonic() + timeout
        while not self._do("flush")["success"]:
            if time.monotonic() > end:
                raise RuntimeError("the cache could not be flushed")
            time.sleep(0.1)

    def update(self, model, weight_version=None):
        """Load other weights into the running engine; flushes, as sglang does by itself."""
        answer = self._do("update", model, weight_version)
        if "not flushed" in answer["message"]:
            self.flush()
        elif not answer["success"]:
            raise RuntimeError(answer["message"])

    def end(self):
        """End it; no thread of it may have raised anything."""
        self.process.stdin.close()
        if self.process.wait(timeout=60) != 0:
            raise RuntimeError("the engine ended with %d" % self.process.returncode)
        self._answers.close()
        faults = [
            line[:300]
            for line in self.log_text().splitlines()
            if line.startswith("Traceback") or "Exception in thread" in line
        ]
        if faults:
            raise RuntimeError("the engine's log %s has %s" % (self.log, faults))

    def kill(self):
        """For a test that failed: end it whatever it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()


def prompt(engine, seed=7, tokens=600):
    """One life: answer one prompt and end."""
    answer = engine.ask(seed, tokens)
    engine.end()
    return answer
