"""The main job, on this machine: real sglang engines keep their KV pages in memkv servers.

a. An engine answers a prompt and ends; another one answers it again, from storage. Once with pages
   of 64 tokens, as recommended, and once with sglang's own default, pages of 1.
b. sglang's HiCacheController backs up 1 GiB, the host pool is wiped, everything comes back.
c. A server is killed; a prompt computed meanwhile hits whole in a new engine, also when the server
   is back.

Engines spend most of their time beginning, so a and c run beside each other. b is alone, since it is
timed.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sglang"))

import lives  # noqa: E402
from tqdm import tqdm  # noqa: E402

TOKENS, PAGES = 600, 9  # of a prompt; its whole pages of 64 tokens
LIMIT_S = 8.0  # no call may take longer, whatever timeouts are set
STEPS = 10
FRESH, LOADED = 1, 2  # seeds of two prompts


class Wrong(Exception):
    """A demo that is wrong says so, and ends."""


def check(what, ok):
    if not ok:
        raise Wrong("%s: NOT as it should be" % what)


def same(a, b):
    check("same tokens", a["output_ids"] == b["output_ids"])
    near = [abs(x - y) < 1e-4 for x, y in zip(a["logprobs"], b["logprobs"])]
    check("same log-probabilities", all(near))


def came_from_storage(answer, tokens):
    found = (answer["cached"], answer["device"], answer["host"])
    check("cached, device, host tokens are %s" % (found,), found == (tokens, 0, 0))


class Steps:
    """How far it is: a bar on a terminal, else a line each."""

    def __init__(self):
        self._bar = None
        if sys.stderr.isatty():
            form = "{l_bar}{bar}| {n_fmt}/{total_fmt} {elapsed}{postfix}"
            self._bar = tqdm(
                total=STEPS, desc="demo", bar_format=form, dynamic_ncols=True, leave=False
            )

    def done(self, what):
        if self._bar is None:
            print("demo: " + what, file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(what, refresh=False)
            self._bar.update()

    def until(self, futures):
        while wait(futures, timeout=0.5).not_done and not any(
            f.done() and f.exception() for f in futures
        ):
            if self._bar is not None:
                self._bar.refresh()
        return [f.result() for f in futures if f.done()]

    def close(self):
        if self._bar is not None:
            self._bar.close()


class Demo:
    """What has been begun, so that it can be ended."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.steps = Steps()
        self._lock = threading.Lock()
        self._begun = []

    def _keep(self, thing):
        with self._lock:
            self._begun.append(thing)
        return thing

    def server(self, *args, **kwargs):
        return self._keep(lives.Server(*args, **kwargs))

    def engine(self, *args, **kwargs):
        return self._keep(lives.Engine(*args, **kwargs))

    def end(self):
        for thing in self._begun:
            if thing.process.poll() is None:
                thing.kill()
        self.steps.close()

    def faultless(self, engine):
        """End an engine; nothing in it may have raised."""
        engine.end()
        check("no fault in the backend", "counts as a miss" not in engine.log_text())

    def pages_of_64_and_a_killed_server(self, model):
        """Part a as recommended, and part c. Returns lines of the table."""
        servers = [self.server("256M"), self.server("256M")]
        first = self.engine(model, servers, page_size=64)
        computed = first.ask(FRESH, TOKENS)
        came_from_storage(computed, 0)
        lives.wait_for_objects(servers, PAGES)
        self.steps.done("an engine has answered a prompt")
        second = self.engine(model, servers, page_size=64)
        self.faultless(first)
        again = second.ask(FRESH, TOKENS)
        came_from_storage(again, PAGES * 64)
        same(computed, again)
        self.steps.done("another one had it from storage")

        third = self.engine(model, servers, page_size=64)
        servers[0].kill()
        left = lives.objects(servers)
        computed = second.ask(LOADED, TOKENS)
        check(
            "an answer within %.0f s while a server is dead" % LIMIT_S,
            computed["seconds"] < LIMIT_S,
        )
        lives.wait_for_objects(servers, left + PAGES)
        self.faultless(second)
        self.steps.done("a server was killed, a prompt was answered")
        again = third.ask(LOADED, TOKENS)
        came_from_storage(again, PAGES * 64)
        same(computed, again)
        self.steps.done("a new engine had it whole")
        servers[0] = self.server("256M", servers[0].address)
        third.flush()
        again = third.ask(LOADED, TOKENS)
        came_from_storage(again, PAGES * 64)
        same(computed, again)
        self.faultless(third)
        self.steps.done("and again when the server was back")
        return [
            ("two engines, page size 64", "%d of %d tokens" % (PAGES * 64, TOKENS)),
            ("computed while a server is dead", "%d of %d tokens" % (PAGES * 64, TOKENS)),
            ("the server is back", "%d of %d tokens" % (PAGES * 64, TOKENS)),
        ]

    def pages_of_1(self, model):
        """Part a with sglang's own default."""
        servers = [self.server("256M"), self.server("256M")]
        first = self.engine(model, servers)
        computed = first.ask(FRESH, TOKENS)
        came_from_storage(computed, 0)
        lives.wait_for_objects(servers, TOKENS - 1)
        second = self.engine(model, servers)
        self.faultless(first)
        self.steps.done("page size 1: an engine has answered")
        again = second.ask(FRESH, TOKENS)
        came_from_storage(again, TOKENS - 1)
        same(computed, again)
        self.faultless(second)
        self.steps.done("page size 1: another one had it from storage")
        return [("two engines, page size 1", "%d of %d tokens" % (TOKENS - 1, TOKENS))]

    def controller(self, zero_copy):
        """Part b, in a process of its own, since it replaces parts of sglang. Returns its figures."""
        servers = [self.server("1G"), self.server("1G")]
        for s in servers:
            s.wait_until_ready()
        name = "zero copy" if zero_copy else "plain"
        result, log = self.folder / (name + ".json"), self.folder / (name + ".log")
        env = {
            **os.environ,
            "MEMKV_SERVERS": ",".join(s.address for s in servers),
            "PYTHONPATH": str(HERE.parent / "sglang"),
        }
        command = [sys.executable, HERE / "controller.py", str(int(zero_copy)), result]
        with open(log, "wb") as out:
            code = subprocess.run(command, env=env, stdout=out, stderr=out, timeout=300).returncode
        if code != 0:
            raise Wrong("the controller ended with %d:\n%s" % (code, log.read_text()[-3000:]))
        for s in servers:
            check("servers end well", s.stop() == 0)
        self.steps.done("1 GiB up and down, %s" % name)
        return {"name": name, **json.loads(result.read_text())}


def ceilings():
    """Raw sockets of this machine now, one for each server: bytes a second, up and down."""
    command = [lives.MEMKV, *"bench --op get,set --size 2M --batch 32 --threads 2".split()]
    command += ["--seconds", "1", "--json"]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    rows = {r["op"]: r["ceiling_bytes_per_s"] for r in map(json.loads, out.splitlines())}
    return rows["set"], rows["get"]


def show(facts, controllers, ceiling):
    print("\nthe same tokens and log-probabilities, none from device or host:\n")
    for name, text in facts:
        print("  %-34s%s from storage" % (name, text))
    print(
        "\nsglang's HiCacheController, all bytes compared; GB/s, and raw sockets in the same run:\n"
    )
    print(
        "  %-10s%6s%12s%8s%7s%7s%8s%7s%7s"
        % tuple("controller pages bytes up raw ratio down raw ratio".split())
    )
    for r in controllers:
        up, down = r["bytes"] / r["up_s"], r["bytes"] / r["down_s"]
        print(
            "  %-10s%6d%12d%8.2f%7.2f%7.2f%8.2f%7.2f%7.2f"
            % (
                *(r["name"], r["pages"], r["bytes"]),
                *(up / 1e9, ceiling[0] / 1e9, up / ceiling[0]),
                *(down / 1e9, ceiling[1] / 1e9, down / ceiling[1]),
            )
        )


def run(demo):
    model = lives.make_model(demo.folder / "model")
    demo.steps.done("a tiny model is made, engines begin")
    pool = ThreadPoolExecutor(2)
    try:
        parts = [demo.pages_of_64_and_a_killed_server, demo.pages_of_1]
        facts = demo.steps.until([pool.submit(part, model) for part in parts])
        timed = pool.submit(lambda: (demo.controller(True), ceilings(), demo.controller(False)))
        zero, ceiling, plain = demo.steps.until([timed])[0]
    except BaseException:
        demo.end()  # so that the other part ends too
        raise
    finally:
        pool.shutdown()
    demo.steps.close()
    show([fact for part in facts for fact in part], [zero, plain], ceiling)


def stop(number, frame):
    """SIGTERM, or the terminal is gone: end what was begun."""
    raise KeyboardInterrupt


def main():
    started = time.monotonic()
    folder = tempfile.mkdtemp(prefix="memkv-demo-")
    tempfile.tempdir = folder  # the engines' logs
    demo = Demo(folder)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        run(demo)
    except (Wrong, RuntimeError, subprocess.SubprocessError, OSError) as e:
        demo.end()
        sys.exit("demo: %s\ndemo: logs are in %s" % (e, folder))
    except KeyboardInterrupt:
        demo.end()
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(130)
    demo.end()
    shutil.rmtree(folder, ignore_errors=True)
    print("\ndone in %.0f s" % (time.monotonic() - started))


main()
