"""sglang's real controllers over its real pools, in every layout."""

import contextlib
import logging
import threading
import time

import lives
import pytest

MODULE, CLASS = lives.THREE_KEYS["module_path"], lives.THREE_KEYS["class_name"]
PAGES = 150  # more than one batch of sglang's
MHA = ("layer_first", "page_first", "page_first_direct", "page_head")
MLA = ("layer_first", "page_first", "page_first_direct")
POOLS = [("mha", layout) for layout in MHA] + [("mla", layout) for layout in MLA]
POOLS += [("fp8", "page_first")]
POOLS = [(*pool, how) for pool in POOLS for how in ("three keys", "plain")]
# K and V of different sizes: sglang has no flat pages of these, so there is no plain way.
POOLS += [("asymmetric", layout, "three keys") for layout in ("page_first", "page_first_direct")]


def pools_of(rs, kind, layout):
    device = {
        "mha": lambda: rs.mha_pool(dtype="bfloat16"),
        "mla": lambda: rs.mla_pool(dtype="bfloat16"),
        "asymmetric": lambda: rs.mha_pool(v_head_dim=4),
        "fp8": lambda: rs.mha_pool(dtype="float8_e4m3fn"),
    }[kind]()
    return device, rs.host_pool(device, layout)


def buffers(host):
    whole = host.kv_buffer
    return list(whole) if isinstance(whole, (tuple, list)) else [whole]


@pytest.fixture
def counted(rs, monkeypatch):
    """Calls of the backend, by method."""
    from memkv_sglang.backend import MemKVHiCacheStorage

    calls = {}

    def count(name):
        real = getattr(MemKVHiCacheStorage, name)

        def method(self, keys, *args, **kwargs):
            calls.setdefault(name, []).append(len(keys))
            return real(self, keys, *args, **kwargs)

        monkeypatch.setattr(MemKVHiCacheStorage, name, method)

    for (
        name
    ) in "batch_get_v1 batch_set_v1 batch_get batch_set batch_exists batch_exists_v2".split():
        count(name)
    return calls


@pytest.fixture
def controller(rs, shared_servers, monkeypatch, request):
    """controller(device, host, extra): with the three keys of the documentation; ends by itself."""
    monkeypatch.setenv("MEMKV_SERVERS", ",".join(s.address for s in shared_servers))
    monkeypatch.setenv("MEMKV_NAMESPACE", request.node.name[:100])
    for name, value in lives.PATIENT_ENV.items():
        monkeypatch.setenv(name, value)
    made = []

    def make(device, host, extra=None, **kwargs):
        config = {**lives.THREE_KEYS, **(extra or {})}
        made.append(rs.controller(device, host, (MODULE, CLASS), extra=config, **kwargs))
        return made[-1]

    yield make
    for c in made:
        c.detach_storage_backend()


def there_and_back(rs, ctl, host, pages=PAGES, first_token=0):
    """Back up, wipe, prefetch: the pages have their bytes again, and nothing else has any."""
    import torch

    size = host.page_size
    tokens = list(range(first_token, first_token + pages * size))
    hashes = rs.page_hashes(tokens, size)
    idx = host.alloc(pages * size)
    raw = [b.view(torch.uint8).flatten() for b in buffers(host)]
    for b in raw:
        b.copy_(torch.randint(0, 256, b.shape, dtype=torch.uint8))
    expected = [torch.zeros_like(b) for b in raw]
    for address, length in zip(*type(host).get_page_buffer_meta(host, idx)):
        for b, e in zip(raw, expected):
            at = address - b.data_ptr()
            if 0 <= at < b.numel():
                e[at : at + length] = b[at : at + length]
    assert rs.backup(ctl, idx, tokens, hashes) == pages * size
    for b in raw:
        b.zero_()
    result = rs.prefetch(ctl, "r1", tokens, idx)
    assert (result.hit, result.done) == (pages * size, pages * size)
    host.free(idx)
    for b, e in zip(raw, expected):
        assert torch.equal(b, e)


@pytest.mark.parametrize("kind,layout,how", POOLS)
def test_pools_and_layouts(rs, controller, counted, caplog, kind, layout, how):
    caplog.set_level(logging.INFO, "memkv_sglang")
    device, host = pools_of(rs, kind, layout)
    ctl = controller(device, host, {} if how == "three keys" else {"interface_v1": 0})
    there_and_back(rs, ctl, host)
    v1, generic = ("batch_get_v1", "batch_set_v1"), ("batch_get", "batch_set")
    used, unused = (v1, generic) if how == "three keys" else (generic, v1)
    assert [counted.get(name) for name in used] == [[128, PAGES - 128]] * 2
    assert not any(name in counted for name in unused)
    assert caplog.text.count("memkv 0.") == 1
    switched = "zero copy on (interface_v1 was not set)"
    assert (switched if how == "three keys" else "zero copy off") in caplog.text


def test_an_explicit_interface_v1_is_respected(rs, controller, counted):
    device, host = pools_of(rs, "mha", "page_first")
    for value, name in ((1, "batch_set_v1"), (0, "batch_set"), (False, "batch_set")):
        counted.clear()
        ctl = controller(device, host, {"interface_v1": value, "namespace": "v%s" % value})
        there_and_back(rs, ctl, host, 4)
        assert name in counted and len([n for n in counted if "set" in n]) == 1
        ctl.detach_storage_backend()


def test_a_layout_without_addresses_goes_the_generic_way(rs, controller, counted, monkeypatch):
    """As sglang's page_first_kv_split does, which only NPUs have."""
    device, host = pools_of(rs, "mha", "page_first")

    def none(indices):
        raise ValueError("Unsupported layout: page_first_kv_split")

    monkeypatch.setattr(host, "get_page_buffer_meta", none)
    ctl = controller(device, host)
    there_and_back(rs, ctl, host)
    assert "batch_set" in counted and "batch_set_v1" not in counted


def test_the_hybrid_controller_of_a_real_engine(rs, controller, counted):
    from sglang.srt.mem_cache.hicache_storage import PoolName

    device, host = pools_of(rs, "mha", "page_first")
    ctl = controller(device, rs.group((PoolName.KV, host, device)))
    there_and_back(rs, ctl, host)
    assert counted["batch_set_v1"] == [128, PAGES - 128] == counted["batch_get_v1"]
    assert counted["batch_exists"] == [PAGES]
    ctl.reset()  # flush_cache: the storage threads begin anew
    there_and_back(rs, ctl, host, 20, first_token=100)


def test_a_side_pool_is_a_clean_miss(rs, controller, caplog):
    import torch
    from sglang.srt.mem_cache.hicache_storage import PoolName, PoolTransfer

    device = rs.dsa_pool()
    host = rs.host_pool(device, "page_first")
    side = rs.indexer_host_pool(device, host)
    group = rs.group((PoolName.KV, host, device), (PoolName.INDEXER, side, device))
    ctl = controller(device, group)
    assert "the side pool indexer is not supported yet" in caplog.text
    pages, size = 8, device.page_size
    tokens = list(range(pages * size))
    hashes, idx = rs.page_hashes(tokens, size), host.alloc(pages * size)
    transfers = [PoolTransfer(name=PoolName.INDEXER, indices_from_pool=PoolName.KV)]
    rs.backup(ctl, idx, tokens, hashes, extra_pools=transfers)
    host.kv_buffer.zero_()
    transfers = [PoolTransfer(name=PoolName.INDEXER, indices_from_pool=PoolName.KV)]
    result = rs.prefetch(ctl, "r1", tokens, idx, extra_pools=transfers)
    assert (result.hit, result.done) == (0, 0)
    assert not host.kv_buffer.view(torch.uint8).any()
    for thread in (ctl.prefetch_thread, ctl.prefetch_io_aux_thread, ctl.backup_thread):
        assert thread.is_alive()


def test_mla_is_written_by_one_rank_and_read_by_all(rs, shared_servers, controller, monkeypatch):
    import torch

    device, host = pools_of(rs, "mla", "page_first")
    there_and_back(rs, controller(device, host), host, 8)
    try:
        rs.set_parallel(tp_rank=3, tp_size=4)
        other, other_host = pools_of(rs, "mla", "page_first")
        # Pages of a fleet of tp 1 and of tp 4 are the same ones.
        ctl = controller(other, other_host)
        tokens = list(range(8 * other.page_size))
        idx = other_host.alloc(len(tokens))
        other_host.kv_buffer.zero_()
        assert rs.prefetch(ctl, "r1", tokens, idx).done == len(tokens)
        assert other_host.kv_buffer.view(torch.uint8).any()
        device, host = pools_of(rs, "mha", "page_first")
        assert rs.prefetch(controller(device, host), "r2", tokens, host.alloc(len(tokens))).hit == 0
    finally:
        rs.set_parallel(tp_rank=0, tp_size=1)


def open_files():
    import os

    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def test_attach_and_detach_leave_nothing_behind(rs, controller):
    device, host = pools_of(rs, "mha", "page_first")
    ctl = controller(device, host)
    there_and_back(rs, ctl, host, 4)
    ctl.detach_storage_backend()
    before = open_files()
    for _ in range(20):
        config = dict(lives.THREE_KEYS)
        ctl.attach_storage_backend("dynamic", model_name="m", storage_backend_extra_config=config)
        assert config["interface_v1"] == 1
        start = time.monotonic()
        ctl.detach_storage_backend()
        assert time.monotonic() - start < 10
    end = time.monotonic() + 10
    while any(now > then for now, then in zip(open_files(), before)):  # fewer: one ended late
        assert time.monotonic() < end, (open_files(), before)
        with contextlib.suppress(RuntimeError):
            threading.Event().wait(0.05)


def test_one_line_says_what_it_found_and_what_would_be_better(rs, controller, caplog):
    caplog.set_level(logging.INFO, "memkv_sglang")
    device = rs.mha_pool(page_size=1, layers=40)
    host = rs.host_pool(device, "layer_first")
    controller(device, host, threshold=1000)
    (line,) = [r.getMessage() for r in caplog.records if "memkv 0." in r.getMessage()]
    for part in (
        "page of 1 tokens, %d bytes an object" % host.size_per_token,
        "layout layer_first, zero copy on",
        "prefetch from 1000 tokens, transport tcp, servers 127.0.0.1:",
        "(2), namespace ",
        "better: many small objects: --page-size 64 is faster; 80 parts an object: "
        "--hicache-mem-layout page_first has fewer",
    ):
        assert part in line, line
    caplog.clear()
    device = rs.mha_pool(page_size=64)
    controller(device, rs.host_pool(device, "page_first"))
    (line,) = [r.getMessage() for r in caplog.records if "memkv 0." in r.getMessage()]
    assert "better" not in line
    assert "prefetch from 64 tokens" in line  # never less than a page
