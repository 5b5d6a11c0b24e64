"""sglang's real HiCacheController and host pool over rdma; runs in the guest (guest.sh).

Pages go up, the pool is scribbled over, and they come back into the pool's own tensors. MEMKV_SERVERS
and MEMKV_AUTH_KEY say where to. Each check is a line "PASS: NAME" or "FAIL: NAME".
"""

import logging
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import real_sglang as rs

START = time.monotonic()
OURS, THEIRS = "rxe0", "rxe2"  # the ends of the wire
PAGE, PAGES, LAYERS = 64, 16, 4
MISSING = 4  # pages that nobody has stored
CANARY = 0xA5
MESSAGES = 1 << 20  # more than a session registers for messages

# Emulated, Python takes forty times as long, and imports are nearly all of it. These are compilers,
# kernels, and front ends of torch and sglang: here they are names only.
LIGHT = """
torch._decomp torch._dynamo torch._higher_order_ops torch._inductor torch._meta_registrations
torch._native torch._subclasses torch.backends torch.compiler torch.cuda
torch.distributed._meta_registrations torch.distributions torch.export torch.hub torch.masked
torch.nested torch.nn.intrinsic torch.nn.parallel torch.nn.qat torch.nn.quantized torch.optim
torch.package torch.profiler torch.utils.data
PIL pydantic pydantic_core requests starlette sympy tvm_ffi zmq
sglang.kernels sglang.srt.arg_groups sglang.srt.disaggregation sglang.srt.distributed
sglang.srt.layers.attention sglang.srt.layers.dp_attention sglang.srt.model_executor
sglang.srt.observability sglang.srt.server_args
""".split()
sys.meta_path.insert(0, rs._Finder("", tuple(LIGHT)))
rs.install()

import lives  # noqa: E402
import torch  # noqa: E402
from memkv_sglang.backend import MemKVHiCacheStorage  # noqa: E402
from sglang.srt.mem_cache.pool_host import base  # noqa: E402

base.HICACHE_HOST_MEMORY_RESERVE_BYTES = 0  # 10 GiB are more than the guest has
failed: List[str] = []


def check(name: str, ok: bool, *told: Any) -> None:
    """One line of the suite."""
    print("%s: sglang %s" % ("PASS" if ok else "FAIL", name), flush=True)
    if not ok:
        failed.append(name)
        print(*told, *lines.lines, sep="\n", flush=True)


class Lines(logging.Handler):
    """What memkv's logger says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: List[str] = []
        logger = logging.getLogger("memkv_sglang")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def has(self, text: str) -> bool:
        """Lines of the library come a little later, from a thread."""
        return wait_for(lambda: any(text in line for line in list(self.lines)))


class Calls:
    """The backend's methods, and for how many keys each was called."""

    def __init__(self) -> None:
        self.keys: Dict[str, int] = {}
        for name in ("batch_set_v1", "batch_get_v1", "batch_set", "batch_get"):
            self._count(name, getattr(MemKVHiCacheStorage, name))

    def _count(self, name: str, real: Any) -> None:
        def method(backend: Any, keys: List[str], *args: Any, **kwargs: Any) -> Any:
            self.keys[name] = self.keys.get(name, 0) + len(keys)
            return real(backend, keys, *args, **kwargs)

        setattr(MemKVHiCacheStorage, name, method)


def wait_for(what: Any, timeout: float = 8) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + timeout
    while not (ok := what()) and time.monotonic() < end:
        time.sleep(0.1)
    return bool(ok)


def output(*command: str) -> str:
    """What it prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def packets(device: str) -> int:
    """How many it has sent."""
    counter = "/sys/class/infiniband/%s/ports/1/hw_counters/sent_pkts" % device
    return int(Path(counter).read_text())


def mtu() -> int:
    """Of our port, as the link has it now."""
    return int(re.findall(r"active_mtu:\s*(\d+)", output("ibv_devinfo", "-d", OURS))[0])


def resources() -> str:
    """Counts of queue pairs, memory regions and the like."""
    return output("rdma", "resource", "show")


def regions() -> List[int]:
    """Lengths of the memory regions on our device. Nobody else is at this end of the wire."""
    told = output("rdma", "resource", "show", "mr")
    return [int(n) for n in re.findall(r"^dev %s .*\bmrlen (\d+)" % OURS, told, re.MULTILINE)]


def no_copies_registered(size: int) -> bool:
    """The pool is registered as it is, and beside it no room for pages."""
    now = regions()
    return now.count(size) == 1 and sum(now) - size < MESSAGES


def fill(host: Any, idx: Any) -> None:
    """Random bytes; pages that are alike would hide pages in each other's place: number them."""
    raw = host.kv_buffer.view(torch.uint8)
    some = torch.randint(0, 256, (1 << 20,), dtype=torch.uint8)
    raw.copy_(some.repeat(raw.numel() // len(some) + 1)[: raw.numel()].view(raw.shape))
    host.kv_buffer[:, idx[::PAGE], 0, 0, 0] = torch.arange(PAGES, dtype=host.kv_buffer.dtype)


def round_trip(ctl: Any, host: Any, idx: Any) -> Any:
    """Returns the pages as they were, and how long they took."""
    raw = host.kv_buffer.view(torch.uint8)
    tokens = list(range(PAGE * PAGES))
    fill(host, idx)
    reference = raw[:, idx].clone()
    least = reference.numel() // mtu()

    sent, start = packets(OURS), time.monotonic()
    done = rs.backup(ctl, idx, tokens, rs.page_hashes(tokens, PAGE), timeout=60)
    up = time.monotonic() - start
    check("all pages are stored", done == PAGE * PAGES, done)
    sent = packets(OURS) - sent
    check("by packets of our device", sent >= least, sent, least)

    raw.fill_(CANARY)
    sent, start = packets(THEIRS), time.monotonic()
    r = rs.prefetch(ctl, "all", tokens, idx, timeout=60)
    down = time.monotonic() - start
    check("all pages are fetched", r.done == PAGE * PAGES, r.done)
    sent = packets(THEIRS) - sent
    check("by packets of theirs", sent >= least, sent, least)
    check("pages are byte-equal", torch.equal(reference, raw[:, idx]))
    others = torch.ones(raw.shape[1], dtype=torch.bool)
    others[idx] = False
    check("no byte beside them is written", bool((raw[:, others] == CANARY).all()))
    return reference, up, down


def misses(ctl: Any, host: Any, idx: Any, reference: Any) -> None:
    """Through the controller, and behind a page that is there."""
    raw = host.kv_buffer.view(torch.uint8)
    raw.fill_(CANARY)
    unknown = list(range(1 << 20, (1 << 20) + PAGE * MISSING))
    free = host.alloc(len(unknown))
    r = rs.prefetch(ctl, "none", unknown, free)
    keys = [*rs.page_hashes(range(PAGE), PAGE), *rs.page_hashes(unknown, PAGE)]
    got = ctl.storage_backend.batch_get_v1(keys, torch.cat([idx[:PAGE], free]))
    check("a miss is a miss", r.done == 0 and got == [True] + [False] * MISSING, r.done, got)
    hit = torch.equal(reference[:, :PAGE], raw[:, idx[:PAGE]])
    raw[:, idx[:PAGE]] = CANARY
    check("a miss leaves the pool as it is", hit and bool((raw == CANARY).all()), hit)


def main() -> int:
    """Returns the exit status."""
    calls = Calls()
    torch.manual_seed(1)
    dev = rs.mha_pool(size=PAGE * 4, page_size=PAGE, layers=LAYERS, heads=8, head_dim=64)
    host = rs.host_pool(dev, "page_first", ratio=(PAGES + MISSING) / 4 + 1)
    size = host.kv_buffer.numel() * host.kv_buffer.element_size()
    imports = time.monotonic() - START

    before = resources()
    own = {"transport": "rdma", "rdma_devices": OURS, "log_level": "info"}
    names = (lives.THREE_KEYS["module_path"], lives.THREE_KEYS["class_name"])
    ctl = rs.controller(dev, host, names, extra={**lives.THREE_KEYS, **lives.PATIENT, **own})
    check("the pool's own memory is registered", no_copies_registered(size), size, regions())
    idx = host.alloc(PAGE * PAGES)
    reference, up, down = round_trip(ctl, host, idx)
    check("by zero copy", calls.keys == {"batch_set_v1": PAGES, "batch_get_v1": PAGES}, calls.keys)
    client = ctl.storage_backend._client
    said = client.transport == "rdma" and lines.has("over rdma: " + OURS)
    check("the client says rdma", said, client.transport)
    misses(ctl, host, idx, reference)
    check("registered once for all of it", no_copies_registered(size), size, regions())
    told = client.stats()
    check("over one session", told["connects"] == 1 and told["timeouts"] == 0, told)

    ctl.detach_storage_backend()
    ended = wait_for(lambda: resources() == before and not regions())
    check("nothing is left after close", ended, before, resources(), regions())
    moved = "%d pages of %d bytes up %.1f s, down %.1f s" % (
        PAGES,
        reference.numel() // PAGES,
        up,
        down,
    )
    print("took: imports %.1f s, %s, all %.1f s" % (imports, moved, time.monotonic() - START))
    return int(bool(failed))


lines = Lines()
sys.exit(main())
