"""The backend in the hands of somebody in a hurry: what is wrong is a miss, and harms nothing else."""

import logging
import os
import signal
import time

import numpy as np
import pytest
from test_contract import keys_of


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


# Targets and sources --------------------------------------------------------------------------


def test_addresses_of_numpy_are_addresses(backend, torch):
    """And not buffers of eight bytes."""
    source = torch.arange(1000, dtype=torch.int32)
    assert backend.set("numpy", None, np.int64(source.data_ptr()), np.int64(4000)) is True
    assert torch.equal(backend.get("numpy").view(torch.int32), source)
    target = torch.zeros(1000, dtype=torch.int32)
    address = np.uint64(target.data_ptr())
    assert backend.get("numpy", address, 4000) is address
    assert torch.equal(target, source)
    one = np.zeros(1, dtype=np.uint8)  # an array is a buffer, however small
    assert backend.set("one", np.full(1, 7, dtype=np.uint8)) and backend.get("one", one) is one
    assert one[0] == 7
    assert backend.get("one", True, 1) is None  # no address


def test_a_source_of_another_size_is_not_stored(backend, torch):
    tensor = torch.zeros(100, dtype=torch.uint8)
    for i, (value, place) in enumerate([(tensor, None), (None, tensor), (bytes(100), None)]):
        assert backend.set("size-%d" % i, value, place, 99) is False
        assert backend.exists("size-%d" % i) is False
        assert backend.set("size-%d" % i, value, place, 100) is True


def test_a_bad_target_does_not_spoil_the_others(backend, torch):
    value = torch.arange(100, dtype=torch.uint8)
    assert backend.set("v", value)
    for bad, size in (
        (np.zeros((100, 2), dtype=np.uint8)[:, 0], None),
        (torch.zeros(1, dtype=torch.uint8).expand(100), None),
        (torch.empty((64 << 20) + 1, dtype=torch.uint8), None),
        (0, 100),
        (-5, 100),
        (1 << 64, 100),
        (4096, -1),
        (4096, (64 << 20) + 1),
    ):
        good = torch.zeros(100, dtype=torch.uint8)
        got = backend.batch_get(["v", "v"], [bad, good], [size, None])
        assert got[0] is None and got[1] is good, bad
        assert torch.equal(good, value)


def test_new_tensors_take_two_requests_a_server(backend, torch):
    keys = keys_of(64, "n")
    values = [torch.full((100 + i,), i, dtype=torch.uint8) for i in range(64)]
    assert backend.batch_set(keys, values) is True
    before = backend._client.stats()["requests"]
    target = torch.zeros(103, dtype=torch.uint8)
    got = backend.batch_get([*keys, "nobody"], [None] * 3 + [target] + [None] * 61)
    assert backend._client.stats()["requests"] - before <= 8  # with a second round for the misses
    assert got[-1] is None and got[3] is target
    assert all(torch.equal(g, v) and g.dtype == torch.uint8 for g, v in zip(got, values))


def test_new_tensors_from_silent_servers_take_one_deadline(backend_of, servers, pool):
    backend = backend_of(servers, {"get_timeout": "300ms", "breaker.failures": 1000})
    backend.register_mem_pool_host(pool)
    end = time.monotonic() + 60
    while not all(backend.batch_set_v1(keys_of(16), pool.indices(range(16)))):
        assert time.monotonic() < end
    for s in servers:
        s.pause()
    start = time.monotonic()
    assert backend.batch_get(keys_of(64)) == [None] * 64
    assert time.monotonic() - start < 5


# Pools ----------------------------------------------------------------------------------------


def test_indices_outside_of_the_pool_are_a_miss(backend, pool, torch):
    """sglang makes an address of any index; what lies there is somebody else's."""
    before = pool.fill()
    for page in (16, 1 << 40, -1):
        for call in (backend.batch_set_v1, backend.batch_get_v1):
            assert call(keys_of(2), pool.indices([0, page])) == [False] * 2
    assert backend.batch_exists(keys_of(2)) == 0
    assert pool.kv_buffer.equal(before)
    assert backend.batch_set_v1(keys_of(2), pool.indices([0, 15])) == [True] * 2


class Counting:
    """A client that tells what is registered with it."""

    def __init__(self, client):
        self._client, self.registered = client, {}

    def __getattr__(self, name):
        return getattr(self._client, name)

    def register(self, address, length):
        handle = self._client.register(address, length)
        self.registered[handle] = address
        return handle

    def unregister(self, handle):
        self._client.unregister(handle)
        del self.registered[handle]


def test_memory_is_registered_once(backend_of, shared_servers, pool, helpers):
    backend = backend_of(shared_servers, {"namespace": "twice"})
    backend._client = counting = Counting(backend._client)
    for _ in range(3):
        backend.register_mem_pool_host(pool)
        backend.register_mem_host_pool_v2(pool, "kv")
        assert list(counting.registered.values()) == [pool.kv_buffer.data_ptr()]
    assert backend.batch_set_v1(keys_of(2), pool.indices([0, 1])) == [True] * 2
    other = helpers.Pool()  # the old one may be unmapped now
    backend.register_mem_pool_host(other)
    assert list(counting.registered.values()) == [other.kv_buffer.data_ptr()]
    assert backend.batch_get_v1(keys_of(2), other.indices([3, 4])) == [True] * 2


def test_a_pool_that_cannot_be_asked_has_no_pages(backend, helpers, torch):
    """Its layout is not known, so that nothing may be stored under a name without it."""
    assert backend.set("before", torch.zeros(5))

    class Strange(helpers.Pool):
        @property
        def device_pool(self):
            raise RuntimeError("not yet")

    pool = Strange()
    backend.register_mem_pool_host(pool)
    assert backend.set("k", torch.zeros(5)) is False and backend.get("k") is None
    assert backend.exists("before") is False
    assert backend.batch_set_v1(keys_of(1), pool.indices([0])) == [False]
    backend.register_mem_pool_host(helpers.Pool())
    assert backend.exists("before") is True


# Around it ------------------------------------------------------------------------------------


def test_a_log_filter_that_raises_is_its_own_affair(backend_of, shared_servers, pool):
    class Raises(logging.Filter):
        def filter(self, record):
            raise RuntimeError("a filter of the engine's")

    logger, raises = logging.getLogger("memkv_sglang"), Raises()
    logger.addFilter(raises)
    try:
        backend = backend_of(shared_servers, {"namespace": "filter", "model_revision": "1"})
        backend.register_mem_pool_host(pool)
        assert backend.batch_set_v1(keys_of(1), pool.indices([0])) == [True]
        assert backend.batch_exists([None]) == 0
        assert backend.clear() is None
        assert backend.register_mem_host_pool_v2(pool, "mamba") is None
    finally:
        logger.removeFilter(raises)


def test_lists_that_raise(backend, pool):
    class List(list):
        def __len__(self):
            raise RuntimeError("no length")

        def __bool__(self):
            return True

    assert backend.batch_exists(List()) == 0
    assert backend.batch_set(List()) is False
    for answer in (
        backend.batch_get(List()),
        backend.batch_get_v1(List(), pool.indices([])),
        backend.batch_set_v1(List(), pool.indices([])),
    ):
        assert answer == []


def test_a_fork_answers_misses_whatever_the_parent_was_at(backend, pool):
    assert backend.batch_set_v1(keys_of(2), pool.indices([0, 1])) == [True] * 2
    with backend._fingerprint._lock:  # held in the child for ever
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.alarm(20)
                backend._fingerprint._began.clear()  # as in a thread of the child's own
                assert backend.batch_exists(keys_of(2)) == 0
                assert backend.batch_get_v1(keys_of(2), pool.indices([0, 1])) == [False] * 2
                assert backend.batch_set_v1(keys_of(2), pool.indices([0, 1])) == [False] * 2
                assert backend.get("x") is None and backend.get_stats() is None
                backend.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
    assert backend.batch_exists(keys_of(2)) == 2
