"""The main job, on this machine: real sglang engines keep their KV pages in memkv servers.

a. An engine answers a prompt and ends; another one answers it again, from storage.
b. sglang's HiCacheController backs up 1 GiB, the host pool is wiped, everything comes back.
c. A server is killed; a prompt computed meanwhile hits whole in a new engine, also when the server
   is back.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sglang"))

import lives  # noqa: E402
from tqdm import tqdm  # noqa: E402

TOKENS = 600


def check(what, ok):
    """A demo that is wrong says so, and ends."""
    if not ok:
        sys.exit("demo: %s: NOT as it should be" % what)


def storage_tokens(answer):
    details = answer["details"] or {}
    check("tokens from storage only", details.get("device", 0) == 0 and details.get("host", 0) == 0)
    return answer["cached"]


def same(a, b):
    check("same tokens", a["output_ids"] == b["output_ids"])
    check(
        "same log-probabilities",
        all(abs(x - y) < 1e-4 for x, y in zip(a["logprobs"], b["logprobs"])),
    )


def two_engines(model, servers, page_size, bar):
    """Part a, for one page size. Returns a line of the table."""
    where = [s.address for s in servers]
    first = lives.Engine(model, where, tokens=TOKENS, page_size=page_size).result()
    bar.update()
    second = lives.Engine(model, where, tokens=TOKENS, page_size=page_size).result()
    bar.update()
    same(first, second)
    page = page_size or 1
    whole = (TOKENS - 1) // page * page
    check("all whole pages from storage", storage_tokens(second) == whole)
    return ("page size %d" % page, "%d of %d tokens from storage, same answer" % (whole, TOKENS))


def killed_server(model, servers, bar):
    """Part c."""
    where = [s.address for s in servers]
    servers[0].kill()
    first = lives.Engine(model, where, tokens=TOKENS, seed=9, page_size=64).result()
    bar.update()
    second = lives.Engine(model, where, tokens=TOKENS, seed=9, page_size=64).result()
    bar.update()
    same(first, second)
    check("whole while a server is dead", storage_tokens(second) == 576)
    servers[0] = lives.Server(listen=where[0])
    third = lives.Engine(model, where, tokens=TOKENS, seed=9, page_size=64).result()
    bar.update()
    same(first, third)
    check("whole when it is back", storage_tokens(third) == 576)
    return ("kill -9 of a server", "576 of 600 tokens from storage, dead and back, same answer")


def controller(servers, zero_copy):
    """Part b, in a process of its own, since it replaces parts of sglang. Returns its figures."""
    env = {
        **os.environ,
        "MEMKV_SERVERS": ",".join(s.address for s in servers),
        "PYTHONPATH": str(HERE.parent / "sglang"),
    }
    out = tempfile.NamedTemporaryFile(suffix=".json")
    log = tempfile.NamedTemporaryFile(suffix=".log", delete=False)
    command = [sys.executable, str(HERE / "controller.py"), "1" if zero_copy else "0", out.name]
    code = subprocess.run(command, env=env, stdout=log, stderr=log, timeout=300).returncode
    if code != 0:
        with open(log.name, errors="replace") as f:
            sys.exit("demo: the controller ended with %d:\n%s" % (code, f.read()[-3000:]))
    return json.load(out)


def ceilings():
    """The raw sockets of this machine now, bytes a second, up and down."""
    command = [lives.MEMKV, "bench", "--op", "get,set", "--size", "2M", "--seconds", "1", "--json"]
    rows = [
        json.loads(r)
        for r in subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    ]
    by = {r["op"]: r["ceiling_bytes_per_s"] for r in rows}
    return by["set"], by["get"]


def main():
    started = time.monotonic()
    folder = tempfile.mkdtemp(prefix="memkv-demo-")
    bar = tqdm(total=12, desc="demo", unit="step", disable=not sys.stderr.isatty())
    model = lives.make_model(pathlib.Path(folder) / "model")
    bar.update()
    small = [lives.Server(), lives.Server()]
    facts = [
        two_engines(model, small, 64, bar),
        two_engines(model, small, None, bar),
        killed_server(model, small, bar),
    ]
    for s in small:
        s.stop()
    large = [lives.Server("1G"), lives.Server("1G")]
    zero = controller(large, True)
    bar.update()
    for s in large:
        s.stop()
    large = [lives.Server("1G"), lives.Server("1G")]
    plain = controller(large, False)
    bar.update()
    up, down = ceilings()
    bar.update()
    for s in large:
        s.stop()
    bar.update(bar.total - bar.n)
    bar.close()
    for name, text in facts:
        print("%-22s%s" % (name, text))
    print()
    print(
        "%-12s%8s%10s%12s%12s%8s%14s%14s%8s"
        % (
            "controller",
            "pages",
            "MiB",
            "up GB/s",
            "ceiling",
            "ratio",
            "down GB/s",
            "ceiling",
            "ratio",
        )
    )
    for name, r in (("zero copy", zero), ("plain", plain)):
        u, d = r["bytes"] / r["up_s"], r["bytes"] / r["down_s"]
        print(
            "%-12s%8d%10d%12.2f%12.2f%8.2f%14.2f%14.2f%8.2f"
            % (
                name,
                r["pages"],
                r["bytes"] >> 20,
                u / 1e9,
                up / 1e9,
                u / up,
                d / 1e9,
                down / 1e9,
                d / down,
            )
        )
    print("\nall bytes compared equal; %.0f s" % (time.monotonic() - started))


main()
