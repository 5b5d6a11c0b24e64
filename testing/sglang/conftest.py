"""What the tests share: sglang's real classes in this process, servers, backends."""

import types

import lives
import pytest
import real_sglang


@pytest.fixture(scope="session")
def rs():
    """sglang's storage machinery, importable and running on a CPU."""
    real_sglang.install()
    return real_sglang


@pytest.fixture(scope="module")
def shared_servers():
    """Two servers for all tests of a module. No test may stop them."""
    both = [lives.Server(), lives.Server()]
    yield both
    for s in both:
        s.resume()
        assert s.stop() == 0


@pytest.fixture
def servers():
    """Two servers of the test's own, to kill."""
    both = [lives.Server(), lives.Server()]
    yield both
    for s in both:
        s.resume()
        if s.process.poll() is None:
            assert s.stop() == 0


def storage_config(**fields):
    """What sglang hands to a backend's constructor."""
    from sglang.srt.mem_cache.hicache_storage import HiCacheStorageConfig

    values = {
        "tp_rank": 0,
        "tp_size": 1,
        "pp_rank": 0,
        "pp_size": 1,
        "attn_cp_rank": 0,
        "attn_cp_size": 1,
        "is_mla_model": False,
        "enable_storage_metrics": False,
        "is_page_first_layout": True,
        "model_name": "org/model",
    }
    values.update(fields)
    return HiCacheStorageConfig(**values)


@pytest.fixture
def backend_of(rs):
    """backend_of(servers, extra=…, **fields of the storage config); all are closed at the end."""
    from memkv_sglang.backend import MemKVHiCacheStorage

    made = []

    def make(servers, extra=None, **fields):
        where = ",".join(s.address for s in servers)
        config = storage_config(
            extra_config={"servers": where, **lives.PATIENT, **(extra or {})}, **fields
        )
        made.append(MemKVHiCacheStorage(config, {}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


class Pool:
    """A host pool with pages of two parts, whose bytes are easy to tell apart."""

    page_size, layout, size_per_token, dtype = 4, "page_first", 1024, "float16"

    def __init__(self, pages=16, canary=0xEE):
        import torch

        self.page_bytes = self.page_size * self.size_per_token
        self.size = pages * self.page_size
        self.kv_buffer = torch.full((2, pages, self.page_bytes // 2), canary, dtype=torch.uint8)

    def get_page_buffer_meta(self, indices):
        base, half = self.kv_buffer.data_ptr(), self.kv_buffer[0].numel()
        pages = [int(i) // self.page_size for i in indices[:: self.page_size]]
        at = [base + p * self.page_bytes // 2 + part * half for p in pages for part in (0, 1)]
        return at, [self.page_bytes // 2] * len(at)

    def indices(self, pages):
        import torch

        firsts = torch.as_tensor(list(pages), dtype=torch.int64) * self.page_size
        return (firsts[:, None] + torch.arange(self.page_size)).flatten()

    def fill(self, seed=0):
        import torch

        g = torch.Generator().manual_seed(seed)
        self.kv_buffer.copy_(
            torch.randint(0, 256, self.kv_buffer.shape, generator=g, dtype=torch.uint8)
        )
        return self.kv_buffer.clone()


@pytest.fixture
def helpers():
    """Names for tests that need the classes above."""
    return types.SimpleNamespace(Pool=Pool, storage_config=storage_config)
