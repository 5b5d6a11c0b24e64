"""The backend's contract, with sglang's real classes and without an engine."""

import logging
import re
import threading
import time
import types

import lives
import pytest

MANY = (0, 1, 127, 128, 129, 5000)


def keys_of(n, text="k"):
    return ["%s%063x" % (text[0], i) for i in range(n)]


@pytest.fixture
def pool(helpers):
    return helpers.Pool()


@pytest.fixture
def backend(backend_of, shared_servers, pool, request):
    made = backend_of(shared_servers, {"namespace": request.node.name[:100]})
    made.register_mem_pool_host(pool)
    return made


@pytest.fixture
def torch(rs):
    import torch

    return torch


# Lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", MANY)
def test_v1_answers_one_bool_per_key(backend_of, shared_servers, helpers, n):
    pool = helpers.Pool(pages=max(n, 1))
    backend = backend_of(shared_servers, {"namespace": "v1-%d" % n})
    backend.register_mem_pool_host(pool)
    keys, indices = keys_of(n), pool.indices(range(n))
    before = pool.fill()
    assert backend.batch_exists(keys) == 0
    assert backend.batch_get_v1(keys, indices) == [False] * n
    stored = backend.batch_set_v1(keys, indices)
    assert stored == [True] * n and all(type(x) is bool for x in stored)
    assert backend.batch_exists(keys) == n
    pool.kv_buffer.zero_()
    assert backend.batch_get_v1(keys, indices, extra_info=None) == [True] * n
    if n:
        assert pool.kv_buffer.equal(before)


def test_exists_takes_the_keys_of_a_very_long_prompt(backend):
    keys = keys_of(131072, "l")
    assert backend.batch_exists(keys) == 0
    assert backend.batch_exists_v2(keys).kv_hit_pages == 0


def test_exists_counts_the_leading_run(backend, pool):
    keys = keys_of(6, "h")
    assert backend.batch_set_v1([keys[i] for i in (0, 1, 3)], pool.indices([0, 1, 3])) == [True] * 3
    assert backend.batch_exists(keys) == 2
    assert backend.batch_exists(keys[3:]) == 1
    assert backend.batch_exists(keys[2:]) == 0
    # get: the good prefix counts, the hole is a miss
    assert backend.batch_get_v1(keys[:3], pool.indices(range(3))) == [True, True, False]


def test_a_key_twice_in_a_batch(backend, pool, torch):
    pool.fill()
    keys = ["t" * 64, "t" * 64, "u" * 64]
    assert backend.batch_set_v1(keys, pool.indices([1, 1, 2])) == [True] * 3
    assert backend.batch_get_v1(keys, pool.indices([5, 6, 7])) == [True] * 3
    for page, of in ((5, 1), (6, 1), (7, 2)):
        assert torch.equal(pool.kv_buffer[:, page], pool.kv_buffer[:, of])


def test_indices_that_do_not_fit_are_a_miss(backend, pool):
    assert backend.batch_get_v1(keys_of(3), pool.indices([0, 1])) == [False] * 3
    assert backend.batch_set_v1(keys_of(3), None) == [False] * 3


def test_pages_computed_twice_keep_the_first(backend, pool, torch):
    first = pool.fill(1)
    assert backend.batch_set_v1(keys_of(1, "a"), pool.indices([0])) == [True]
    pool.fill(2)
    assert backend.batch_set_v1(keys_of(1, "a"), pool.indices([0])) == [True]
    assert backend.batch_get_v1(keys_of(1, "a"), pool.indices([3])) == [True]
    assert torch.equal(pool.kv_buffer[:, 3], first[:, 0])


# Generic --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", "uint8 int64 float16 bfloat16 float32 float8_e4m3fn float8_e5m2 bool".split()
)
def test_generic_tensors_of_any_type(backend, torch, dtype):
    dtype = getattr(torch, dtype)
    raw = torch.randint(0, 2, (4096,), dtype=torch.uint8)
    value = raw.view(dtype) if dtype != torch.bool else raw.bool()
    key = "%s.draft" % str(dtype)
    assert backend.set(key, value) is True
    assert backend.exists(key) is True
    target = torch.zeros_like(value)
    assert backend.get(key, target) is target
    assert torch.equal(target.view(torch.uint8), value.view(torch.uint8))
    fresh = backend.get(key)
    assert fresh.dtype == torch.uint8 and fresh.dim() == 1
    assert torch.equal(fresh, value.view(torch.uint8))
    fresh.fill_(0)  # its own memory
    assert torch.equal(backend.get(key), value.view(torch.uint8))


def test_draft_pages_go_the_generic_way(backend, torch):
    keys = [k + ".draft" for k in keys_of(3, "d")]
    values = [torch.full((100,), i, dtype=torch.bfloat16) for i in range(3)]
    assert backend.batch_set(keys, values) is True
    targets = [torch.zeros(100, dtype=torch.bfloat16) for _ in range(4)]
    got = backend.batch_get([*keys, "nobody"], targets)
    assert [g is t for g, t in zip(got, targets)] == [True, True, True, False]
    assert got[3] is None
    assert all(torch.equal(g, v) for g, v in zip(got, values))
    assert backend.batch_get(keys)[2].numel() == 200
    assert backend.batch_exists([*keys, "nobody"]) == 3
    assert backend.batch_get([]) == [] and backend.batch_set([], []) is True


def test_addresses_with_sizes(backend, torch):
    source = torch.arange(1000, dtype=torch.int32)
    assert backend.set("address", None, source.data_ptr(), 4000) is True
    target = torch.zeros(1000, dtype=torch.int32)
    assert backend.get("address", target.data_ptr(), 4000) == target.data_ptr()
    assert torch.equal(target, source)
    assert backend.batch_get(["address"], [target.data_ptr()], [4000]) == [target.data_ptr()]
    assert backend.get("address", target.data_ptr()) is None  # of no size
    assert backend.get("address", 0, 4000) is None


def test_targets_that_are_not_contiguous_get_a_copy(backend, torch):
    value = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    assert backend.set("strided", value.t())  # a source too
    wide = torch.zeros(8, 16)
    target = wide[:, ::2]
    assert backend.get("strided", target) is target
    assert torch.equal(target, value.t())
    assert not wide[:, 1::2].any()


def test_bad_targets_are_a_miss_and_the_others_are_filled(backend, torch):
    value = torch.arange(100, dtype=torch.uint8)
    assert backend.set("bad", value)
    good = torch.zeros(100, dtype=torch.uint8)
    targets = [
        torch.empty(100, dtype=torch.uint8, device="meta"),
        torch.zeros(99, dtype=torch.uint8),
        bytes(100),
        memoryview(bytearray(101)),
        "text",
        torch.zeros(10, 10).to_sparse(),
        good,
    ]
    got = backend.batch_get(["bad"] * len(targets), targets)
    assert got[:-1] == [None] * (len(targets) - 1) and got[-1] is good
    assert torch.equal(good, value)
    buffer = bytearray(100)
    assert backend.get("bad", buffer) is buffer and bytes(buffer) == bytes(range(100))
    assert backend.get("bad", good, 99) is None  # size and tensor disagree
    assert backend.set("bad2", torch.empty(5, device="meta")) is False
    assert backend.set("bad2") is False
    assert backend.batch_set(["a", "b"], [value]) is False
    assert backend.batch_get(["a", "b"], [good]) == [None, None]
    assert backend.set("large", torch.empty((64 << 20) + 1, dtype=torch.uint8)) is False
    assert backend.set("k" * 256, value) is False and backend.exists("k" * 256) is False
    assert backend.set("", value) is False and backend.exists("") is False


def test_an_empty_value(backend, torch):
    stored = backend.set("empty", torch.empty(0))
    got = backend.get("empty")
    assert (got is not None and got.numel() == 0) if stored else got is None


# Nothing is ever raised -----------------------------------------------------------------------

CALLS = {
    "batch_exists": (lambda b, p: b.batch_exists(keys_of(2)), 0),
    "batch_get_v1": (lambda b, p: b.batch_get_v1(keys_of(2), p.indices([0, 1])), [False, False]),
    "batch_set_v1": (lambda b, p: b.batch_set_v1(keys_of(2), p.indices([0, 1])), [False, False]),
    "batch_get_v2": (
        lambda b, p: list(b.batch_get_v2([kv_transfer(p)]).values()),
        [[False, False]],
    ),
    "batch_set_v2": (
        lambda b, p: list(b.batch_set_v2([kv_transfer(p)]).values()),
        [[False, False]],
    ),
    "batch_exists_v2": (lambda b, p: b.batch_exists_v2(keys_of(2)).kv_hit_pages, 0),
    "exists": (lambda b, p: b.exists("x"), False),
    "get": (lambda b, p: b.get("x"), None),
    "get into": (lambda b, p: b.get("x", bytearray(5)), None),
    "set": (lambda b, p: b.set("x", p.kv_buffer[0, 0]), False),
    "batch_get": (lambda b, p: b.batch_get(["x", "y"]), [None, None]),
    "batch_set": (lambda b, p: b.batch_set(["x"], [p.kv_buffer[0, 0]]), False),
    "register": (lambda b, p: b.register_mem_pool_host(p), None),
    "register v2": (lambda b, p: b.register_mem_host_pool_v2(p, "kv"), None),
    "side pool": (lambda b, p: b.register_mem_host_pool_v2(p, "mamba"), None),
    "registered": (lambda b, p: b.on_host_pools_registered(), None),
    "clear": (lambda b, p: b.clear(), None),
    "get_stats": (lambda b, p: b.get_stats(), None),
    "close": (lambda b, p: b.close(), None),
}


def kv_transfer(pool):
    from sglang.srt.mem_cache.hicache_storage import PoolName, PoolTransfer

    return PoolTransfer(name=PoolName.KV, keys=keys_of(2), host_indices=pool.indices([0, 1]))


class Panic(BaseException):
    """What some extensions raise: no Exception."""


class Raising:
    """A client of which every method raises."""

    def __init__(self, client, error):
        self._client, self._error = client, error

    def __getattr__(self, name):
        def method(*args, **kwargs):
            raise self._error

        return method


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(5, "x"), MemoryError(), Panic("x")])
def test_whatever_the_client_raises_is_a_miss(backend, pool, error, caplog):
    client = backend._client
    backend._client = Raising(client, error)
    try:
        for name, (call, expected) in CALLS.items():
            assert call(backend, pool) == expected, name
            assert call(backend, pool) == expected, name
        assert backend._faults >= 10
        said = [r.getMessage() for r in caplog.records if "counts as a miss" in r.getMessage()]
        assert said and len(said) == len(set(said))  # each once, not each time
    finally:
        backend._client = client


def test_whatever_the_fingerprint_and_the_pool_raise_is_a_miss(backend, pool, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("x")

    monkeypatch.setattr(pool, "get_page_buffer_meta", fail)
    assert backend.batch_get_v1(keys_of(2), pool.indices([0, 1])) == [False] * 2
    assert backend.batch_set_v1(keys_of(2), pool.indices([0, 1])) == [False] * 2
    monkeypatch.setattr(backend._fingerprint, "reading", fail)
    monkeypatch.setattr(backend._fingerprint, "writing", fail)
    for name, (call, expected) in CALLS.items():
        assert call(backend, pool) == expected, name


def test_the_wish_to_end_the_process_passes(backend, pool):
    client = backend._client
    for wish in (KeyboardInterrupt, SystemExit):
        backend._client = Raising(client, wish)
        with pytest.raises(wish):
            backend.batch_exists(keys_of(1))
    backend._client = client


@pytest.mark.parametrize(
    "nonsense", [None, 5, object(), [None], [5], [object()], "text", [b"\xff"]]
)
def test_nonsense_is_a_miss(backend, pool, nonsense):
    assert backend.batch_exists(nonsense) == 0
    assert not any(backend.batch_get_v1(nonsense, pool.indices([0])))
    assert isinstance(backend.batch_set_v1(nonsense, pool.indices([0])), list)
    backend.batch_get(nonsense)
    backend.batch_set(nonsense, nonsense)
    assert isinstance(backend.batch_get_v2(nonsense), dict)
    assert isinstance(backend.batch_set_v2(nonsense), dict)
    assert backend.batch_exists_v2(nonsense, nonsense).kv_hit_pages == 0
    backend.register_mem_host_pool_v2(nonsense, nonsense)
    backend.register_mem_pool_host(nonsense)
    assert backend.get(nonsense) is None and backend.exists(nonsense) is False


def test_before_a_pool_and_after_closing(backend_of, shared_servers, pool):
    backend = backend_of(shared_servers)
    assert backend.batch_get_v1(keys_of(2), pool.indices([0, 1])) == [False] * 2
    backend.register_mem_pool_host(pool)
    assert backend.batch_set_v1(keys_of(2), pool.indices([0, 1])) == [True] * 2
    backend.close()
    backend.close()
    for name, (call, expected) in CALLS.items():
        assert call(backend, pool) == expected, name


# Named pools ----------------------------------------------------------------------------------


def test_empty_lists_and_pools_that_are_not_supported(backend, pool):
    from sglang.srt.mem_cache.hicache_storage import PoolHitPolicy, PoolName, PoolTransfer

    keys = keys_of(3, "p")
    assert backend.batch_get_v2([]) == {} and backend.batch_set_v2([]) == {}
    assert backend.batch_set_v1(keys, pool.indices(range(3))) == [True] * 3
    assert backend.batch_exists_v2([], []).kv_hit_pages == 0
    alone = backend.batch_exists_v2(keys, [])
    assert alone.kv_hit_pages == 3 and alone.restorable_prefix_pages is None
    window = PoolTransfer(
        name=PoolName.SWA, keys=["__placeholder__"] * 2, hit_policy=PoolHitPolicy.TRAILING_PAGES
    )
    derived = PoolTransfer(name=PoolName.INDEXER, indices_from_pool=PoolName.KV)
    new_one = types.SimpleNamespace(name="of a later version", keys=None, host_indices=None)
    both = backend.batch_exists_v2(keys, [window, derived, new_one])
    assert both.kv_hit_pages == 0 and both.restorable_prefix_pages == []
    assert both.extra_pool_hit_pages == {"kv": 3, "swa": 0, "indexer": 0, "of a later version": 0}
    window.host_indices = derived.host_indices = pool.indices([4, 5])
    derived.keys = keys[:2]
    for call in (backend.batch_set_v2, backend.batch_get_v2):
        answer = call([window, derived, new_one])
        assert answer == {
            "swa": [False] * 2,
            "indexer": [False] * 2,
            "of a later version": [],
        }
    assert backend.batch_get_v2([kv_transfer(pool)])["kv"] == [False] * 2
    assert backend.batch_set_v2([kv_transfer(pool)])["kv"] == [True] * 2
    assert backend.batch_get_v2([kv_transfer(pool)], extra_info=None)["kv"] == [True] * 2


# Configuration --------------------------------------------------------------------------------


def test_sglangs_own_keys_never_warn_and_unknown_ones_do(backend_of, shared_servers, caplog):
    extra = {
        **lives.THREE_KEYS,
        "interface_v1": 1,
        "prefetch_threshold": 100,
        "prefetch_timeout_base": 1,
        "prefetch_timeout_per_ki_token": 0.25,
        "prefetch_timeout_max": 30,
        "hicache_storage_pass_prefix_keys": True,
        "tp_lcm_size": 8,
        "allocator": "shm",
        "get_timeout": "1s",
        "memkv": {"exists-timeout": "100ms", "breaker.failures": 5, "model_revision": "r"},
    }
    backend_of(shared_servers, dict(extra))
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    backend_of(shared_servers, {**extra, "get_timout": "1s", "memkv": {"spni": 5}})
    text = caplog.text
    assert 'unknown option get_timout; did you mean "get_timeout"?' in text
    assert 'unknown option memkv.spni; did you mean "spin"?' in text


def test_every_option_of_the_client_is_known(rs):
    from memkv_sglang import _options

    text = (lives.ROOT / "docs" / "configuration.md").read_text()
    for block in re.split(r"\n#### ", text)[1:]:
        name = block.split("\n", 1)[0]
        if "client" in re.search(r"^- for: (.*)$", block, re.M).group(1):
            assert name in _options.CLIENT_KEYS, name


def test_a_bad_value_and_missing_servers_stop_the_engine(rs, helpers, monkeypatch):
    from memkv_sglang import ConfigError
    from memkv_sglang.backend import MemKVHiCacheStorage

    monkeypatch.delenv("MEMKV_SERVERS", raising=False)
    for extra in (
        None,
        {},
        {"servers": "127.0.0.1:1", "get_timeout": "two"},
        {"servers": "127.0.0.1:1", "memkv": 5},
        {"servers": "127.0.0.1:1", "namespace": "n" * 230},
    ):
        with pytest.raises((ConfigError, ValueError)):
            MemKVHiCacheStorage(helpers.storage_config(extra_config=extra), {})


def test_the_constructor_takes_what_callers_hand_over(rs, helpers, pool, monkeypatch):
    from memkv_sglang.backend import MemKVHiCacheStorage

    monkeypatch.setenv("MEMKV_SERVERS", "127.0.0.1:1")
    for arguments in (({},), (pool,), (), (None, 1, 2)):
        MemKVHiCacheStorage(helpers.storage_config(), *arguments, later="x").close()
    MemKVHiCacheStorage(types.SimpleNamespace(extra_config={}, tp_rank=0)).close()


def test_a_secret_warns_and_is_never_told(backend_of, shared_servers, pool, caplog):
    secret = "5ec2e7" * 10 + "abcd"
    caplog.set_level(logging.DEBUG, "memkv_sglang")
    backend = backend_of(shared_servers, {"auth_key": secret})
    backend.register_mem_pool_host(pool)
    backend.batch_get_v1(keys_of(1), pool.indices([0]))
    assert "auth_key: a secret here is seen" in caplog.text
    assert secret not in caplog.text and secret[:16] not in caplog.text


def test_the_namespace_of_the_environment_counts(backend_of, shared_servers, pool, monkeypatch):
    monkeypatch.setenv("MEMKV_NAMESPACE", "tenant")
    ours = backend_of(shared_servers)
    ours.register_mem_pool_host(pool)
    assert ours._fingerprint.reading().startswith(b"tenant/")
    assert ours.batch_set_v1(keys_of(1, "n"), pool.indices([0])) == [True]
    monkeypatch.delenv("MEMKV_NAMESPACE")
    theirs = backend_of(shared_servers)
    theirs.register_mem_pool_host(pool)
    assert theirs.batch_exists(keys_of(1, "n")) == 0
    assert ours.batch_exists(keys_of(1, "n")) == 1


# The rest -------------------------------------------------------------------------------------


def test_clear_deletes_nothing_and_says_so_once(backend, pool, caplog):
    caplog.set_level(logging.INFO, "memkv_sglang")
    assert backend.batch_set_v1(keys_of(2, "c"), pool.indices([0, 1])) == [True] * 2
    for _ in range(3):
        assert backend.clear() is None
    assert backend.batch_exists(keys_of(2, "c")) == 2
    assert caplog.text.count("clear: nothing is deleted") == 1


def test_statistics_are_sglangs_drained_and_bounded(backend_of, shared_servers, pool, backend):
    from memkv_sglang import _stats
    from sglang.srt.observability.metrics_collector import StorageMetrics

    assert backend.get_stats() is None  # without --enable-metrics
    counted = backend_of(shared_servers, {"namespace": "stats"}, enable_storage_metrics=True)
    counted.register_mem_pool_host(pool)
    for _ in range(_stats.LIMIT + 10):
        assert counted.batch_set_v1(keys_of(1), pool.indices([0])) == [True]
    counted.batch_get_v1(keys_of(2), pool.indices([0, 1]))
    stats = counted.get_stats()
    assert isinstance(stats, StorageMetrics)
    assert stats.backup_pgs == [1] * _stats.LIMIT and stats.prefetch_pgs == [1]
    assert len(stats.backup_bandwidth) == _stats.LIMIT and stats.backup_bandwidth[0] > 0
    empty = counted.get_stats()
    assert isinstance(empty, StorageMetrics) and empty.backup_pgs == []


# Servers that die or are silent ---------------------------------------------------------------


def in_time(limit, call):
    start = time.monotonic()
    result = call()
    took = time.monotonic() - start
    assert took < limit, took
    return result


def until(done, limit=60):
    """Servers begin, and breakers close, in their own time."""
    end = time.monotonic() + limit
    while not done():
        assert time.monotonic() < end


def test_dead_servers_cost_misses_and_heal(backend_of, servers, pool):
    before = pool.fill()
    backend = backend_of(
        servers, {"get_timeout": "500ms", "set_timeout": "500ms", "breaker.probe": "50ms"}
    )
    backend.register_mem_pool_host(pool)
    keys, indices = keys_of(16), pool.indices(range(16))
    until(lambda: all(backend.batch_set_v1(keys, indices)))
    addresses = [s.address for s in servers]
    for s in servers:
        s.kill()
    for _ in range(5):
        for name, (call, expected) in CALLS.items():
            if name not in ("close", "register"):
                assert in_time(9, lambda call=call: call(backend, pool)) == expected, name
    servers[:] = [lives.Server(listen=a) for a in addresses]
    until(lambda: all(backend.batch_set_v1(keys, indices)))
    pool.kv_buffer.zero_()
    until(lambda: all(backend.batch_get_v1(keys, indices)))
    assert pool.kv_buffer.equal(before)


def test_nothing_lands_in_pages_after_the_deadline(backend_of, servers, helpers):
    pool = helpers.Pool(pages=256)
    pool.fill()
    backend = backend_of(servers, {"get_timeout": "300ms"})
    backend.register_mem_pool_host(pool)
    keys, indices = keys_of(128), pool.indices(range(128))
    assert all(backend.batch_set_v1(keys, indices))
    for _ in range(3):
        for s in servers:
            s.pause()
        assert in_time(9, lambda: backend.batch_get_v1(keys, indices)) == [False] * 128
        pool.kv_buffer.fill_(0x5A)  # the pages are someone else's now
        for s in servers:
            s.resume()
        # An answer to something else says that the servers have worked off what was before it.
        until(lambda: backend.batch_exists(keys) == 128)
        assert (pool.kv_buffer == 0x5A).all()
    until(lambda: all(backend.batch_get_v1(keys, indices)))


def test_a_late_write_is_never_published(backend_of, servers, helpers, torch):
    pool = helpers.Pool(pages=64)
    first = pool.fill(1)
    backend = backend_of(servers, {"set_timeout": "300ms", "namespace": "late"})
    backend.register_mem_pool_host(pool)
    keys, indices = keys_of(64), pool.indices(range(64))
    for s in servers:
        s.pause()
    assert not all(in_time(9, lambda: backend.batch_set_v1(keys, indices)))
    pool.fill(2)  # overwritten: what is read from now on is not these keys' content
    for s in servers:
        s.resume()
    until(lambda: backend.set("ping", torch.zeros(1)))
    pool.kv_buffer.zero_()
    got = backend.batch_get_v1(keys, indices)
    for i, ok in enumerate(got):
        assert not ok or torch.equal(pool.kv_buffer[:, i], first[:, i])


def test_closing_while_calls_are_in_flight(backend_of, servers, pool):
    backend = backend_of(
        servers, {"set_timeout": "2s", "get_timeout": "2s", "exists_timeout": "1s"}
    )
    backend.register_mem_pool_host(pool)
    until(lambda: all(backend.batch_set_v1(keys_of(1), pool.indices([0]))))
    for s in servers:
        s.pause()
    answers = []
    began = threading.Barrier(4)

    def call(work):
        began.wait()
        answers.append(work())

    threads = [
        threading.Thread(target=call, args=[lambda: backend.batch_exists(keys_of(5000))]),
        threading.Thread(
            target=call, args=[lambda: backend.batch_get_v1(keys_of(2), pool.indices([0, 1]))]
        ),
        threading.Thread(
            target=call, args=[lambda: backend.batch_set_v1(keys_of(2), pool.indices([2, 3]))]
        ),
    ]
    for t in threads:
        t.start()
    began.wait()
    in_time(10, backend.close)
    in_time(1, backend.close)
    for t in threads:
        t.join(10)
        assert not t.is_alive()
    assert sorted(answers, key=str) == sorted([0, [False] * 2, [False] * 2], key=str)


def test_waiting_calls_leave_the_interpreter_to_others(backend_of, servers, pool):
    backend = backend_of(servers, {"get_timeout": "1s"})
    backend.register_mem_pool_host(pool)
    assert backend.batch_set_v1(keys_of(1), pool.indices([0])) == [True]
    for s in servers:
        s.pause()
    ticks = 0
    thread = threading.Thread(target=backend.batch_get_v1, args=(keys_of(1), pool.indices([0])))
    thread.start()
    while thread.is_alive():
        ticks += 1
    assert ticks > 100
