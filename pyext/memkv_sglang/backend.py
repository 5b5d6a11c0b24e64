"""MemKVHiCacheStorage: the storage backend for sglang's hierarchical cache.

Loaded by sglang's "dynamic" factory. Whatever happens, no method raises: exceptions end sglang's
storage threads for good in many versions, so they are counted, logged (at most one line every ten
seconds) and answered as a miss or False of the right shape and length.
"""

import functools
import logging
import threading
import time
from typing import Any, Callable, Dict, List, Optional

try:
    from sglang.srt.mem_cache.hicache_storage import HiCacheStorage
except ImportError as e:
    raise ImportError(
        "memkv_sglang.backend is loaded by sglang and needs it: pip install sglang "
        "(memkv_sglang.Client works without)"
    ) from e

from . import Client, ClosedError, __version__, _fingerprint, _options, _pages

logger = logging.getLogger("memkv_sglang")

__all__ = ["MemKVHiCacheStorage"]

KV = "kv"


def _name(pool_name: Any) -> str:
    return str(getattr(pool_name, "value", pool_name))


class MemKVHiCacheStorage(HiCacheStorage):
    """Pages of the KV pool in MemKV servers. Side pools answer a clean miss."""

    def __init__(self, storage_config: Any, kwargs: Any = None, *_: Any, **__: Any) -> None:
        self._config = storage_config
        self._extra = getattr(storage_config, "extra_config", None)
        own, options = _options.split(self._extra)
        config_file = options.pop("config", None)
        servers = options.pop("servers", None)
        namespace = str(options.pop("namespace", "") or "")
        self._client = Client(servers, config=config_file, options=options)
        self._fingerprint = _fingerprint.Fingerprint(storage_config, own, namespace)
        self._pages: Optional[_pages.Pages] = None
        self._regions: Dict[int, int] = {}
        self._lock = threading.Lock()
        self._said: Dict[str, float] = {}
        self._faults = 0
        self._pool_names_missed: set = set()
        self._metrics = bool(getattr(storage_config, "enable_storage_metrics", False))
        self._stats = _Stats()
        self._closed = False

    # Never a fault in the engine ------------------------------------------------------------

    def _guard(self, what: str, work: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return work()
        except ClosedError:
            return otherwise
        except Exception as e:  # noqa: BLE001
            self._faults += 1
            self._once_in_a_while(
                what, "%s failed and counts as a miss: %s: %s", what, type(e).__name__, e
            )
            return otherwise

    def _once_in_a_while(self, topic: str, text: str, *args: Any) -> None:
        now = time.monotonic()
        if now - self._said.get(topic, -1e9) > 10.0:
            self._said[topic] = now
            logger.warning(text, *args)

    # Registration ---------------------------------------------------------------------------

    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        """Take the host pool: fingerprint, registered memory, zero copy where it works."""
        self.mem_pool_host = mem_pool_host
        self._guard("register_mem_pool_host", lambda: self._register(mem_pool_host), None)

    def _register(self, pool: Any) -> None:
        self._pages = _pages.Pages(pool)
        self._fingerprint.pool(_pages.describe(pool))
        for tensor in _pages.tensors_of(pool):
            start, length = tensor.data_ptr(), tensor.numel() * tensor.element_size()
            if length and start not in self._regions:
                self._regions[start] = self._client.register(start, length)
        probe = self._pages.probe()
        extra = self._extra
        asked = extra.get("interface_v1") if isinstance(extra, dict) else None
        if probe and isinstance(extra, dict) and "interface_v1" not in extra:
            extra["interface_v1"] = 1  # read by the controller after this call
            asked = 1
        self._start_up_line(pool, probe, bool(asked))

    def _start_up_line(self, pool: Any, probe: Any, zero_copy: bool) -> None:
        page = self._pages.page_size if self._pages else 1
        size = probe[0] if probe else page * int(getattr(pool, "size_per_token", 0) or 0)
        threshold = 256
        advice = []
        if size and size < 65536:
            advice.append("objects are small: --page-size 64 or more is faster")
        if not zero_copy:
            advice.append(
                "pages are copied: remove interface_v1 from the extra config"
                if probe
                else "this layout has no zero copy: use --hicache-mem-layout page_first"
            )
        elif probe and probe[1] > 8:
            advice.append("%d parts a page: --hicache-mem-layout page_first has fewer" % probe[1])
        servers = self._client.stats()["servers"]
        logger.info(
            "memkv %s: page of %d tokens, %d bytes an object, zero copy %s, prefetch from %d tokens, "
            "transport tcp, %d server%s, namespace %s%s",
            __version__,
            page,
            size,
            "on" if zero_copy else "off",
            max(threshold, page),
            servers,
            "" if servers == 1 else "s",
            self._fingerprint.current().decode()[-12:],
            "; better: " + "; ".join(advice) if advice else "",
        )

    def register_mem_host_pool_v2(self, host_pool: Any, host_pool_name: Any) -> None:
        """Take a named pool. "kv" is known already; side pools are not supported yet."""
        if _name(host_pool_name) != KV:
            self._once_in_a_while(
                "pool " + _name(host_pool_name),
                "the side pool %s is not supported yet: its pages are misses",
                _name(host_pool_name),
            )
        elif self._pages is None:
            self.register_mem_pool_host(host_pool)

    def on_host_pools_registered(self) -> None:
        """Nothing is left to do."""

    # Zero copy ------------------------------------------------------------------------------

    def batch_exists(self, keys: List[str], extra_info: Any = None, **_: Any) -> int:
        """Length of the leading run of pages that are there."""
        return self._guard("batch_exists", lambda: self._exists(keys), 0)

    def _exists(self, keys: List[str]) -> int:
        return (
            self._client.exists_prefix(keys, namespace=self._fingerprint.current()) if keys else 0
        )

    def _locate(self, keys: List[str], host_indices: Any) -> Any:
        if self._pages is None:
            raise RuntimeError("no host pool is registered")
        found = self._pages.locate(host_indices, len(keys))
        if found is None:
            raise ValueError("pages without addresses, or indices that do not fit the keys")
        return found

    def batch_get_v1(
        self, keys: List[str], host_indices: Any, extra_info: Any = None, **_: Any
    ) -> List[bool]:
        """Fetch pages straight into the host pool; one bool per key."""
        return self._guard(
            "batch_get_v1", lambda: self._get_pages(keys, host_indices), [False] * len(keys)
        )

    def _get_pages(self, keys: List[str], host_indices: Any) -> List[bool]:
        if not keys:
            return []
        addresses, sizes, parts = self._locate(keys, host_indices)
        start = time.perf_counter()
        done = self._client.get_pages(
            keys, addresses, sizes, parts, namespace=self._fingerprint.current()
        )
        self._stats.prefetched(sum(done), sum(sizes) // len(keys), time.perf_counter() - start)
        return done

    def batch_set_v1(
        self, keys: List[str], host_indices: Any, extra_info: Any = None, **_: Any
    ) -> List[bool]:
        """Store pages straight from the host pool; one bool per key. True: it is there now."""
        return self._guard(
            "batch_set_v1", lambda: self._set_pages(keys, host_indices), [False] * len(keys)
        )

    def _set_pages(self, keys: List[str], host_indices: Any) -> List[bool]:
        if not keys:
            return []
        addresses, sizes, parts = self._locate(keys, host_indices)
        start = time.perf_counter()
        namespace = self._fingerprint.current()
        done = self._client.set_pages(keys, addresses, sizes, parts, namespace=namespace)
        if not all(done):
            # A page that is refused makes a hole that sglang never mends: one more try for each.
            again = [i for i, ok in enumerate(done) if not ok]
            pick = [i * parts + j for i in again for j in range(parts)]
            second = self._client.set_pages(
                [keys[i] for i in again],
                [addresses[i] for i in pick],
                [sizes[i] for i in pick],
                parts,
                namespace=namespace,
            )
            for i, ok in zip(again, second):
                done[i] = ok
        self._stats.backed_up(sum(done), sum(sizes) // len(keys), time.perf_counter() - start)
        return done

    # Named pools ----------------------------------------------------------------------------

    def batch_exists_v2(
        self, keys: List[str], pool_transfers: Any = None, extra_info: Any = None, **_: Any
    ) -> Any:
        """KV's leading run; with side pools asked for, nothing is usable."""
        from sglang.srt.mem_cache import hicache_storage

        transfers = list(pool_transfers or [])
        others = [t for t in transfers if _name(t.name) != KV]
        kv = self._guard("batch_exists_v2", lambda: self._exists(keys), 0) if keys else 0
        hits: Dict[Any, int] = {hicache_storage.PoolName.KV: kv} if kv else {}
        for t in others:
            hits[t.name] = 0
        usable = 0 if others else kv
        result = hicache_storage.PoolTransferResult(usable, hits)
        if hasattr(result, "restorable_prefix_pages"):
            result.restorable_prefix_pages = list(range(1, usable + 1))
        return result

    def _v2(
        self, what: str, transfers: Any, pages: Callable[[List[str], Any], List[bool]]
    ) -> Dict[Any, List[bool]]:
        out: Dict[Any, List[bool]] = {}
        for t in transfers or []:
            keys = list(t.keys or [])
            out[t.name] = [False] * len(keys)
            if _name(t.name) == KV and keys and t.host_indices is not None:
                work = functools.partial(pages, keys, t.host_indices)
                out[t.name] = self._guard(what, work, [False] * len(keys))
        return out

    def batch_get_v2(
        self, transfers: Any, extra_info: Any = None, **_: Any
    ) -> Dict[Any, List[bool]]:
        """One list of bools per transfer."""
        return self._v2("batch_get_v2", transfers, self._get_pages)

    def batch_set_v2(
        self, transfers: Any, extra_info: Any = None, **_: Any
    ) -> Dict[Any, List[bool]]:
        """One list of bools per transfer."""
        return self._v2("batch_set_v2", transfers, self._set_pages)

    # Generic --------------------------------------------------------------------------------

    def get(self, key: str, target_location: Any = None, target_sizes: Any = None) -> Any:
        """The target filled (a tensor), or a new uint8 tensor; None is a miss."""
        return self._guard(
            "get", lambda: self._get_many([key], [target_location], [target_sizes])[0], None
        )

    def batch_get(
        self, keys: List[str], target_locations: Any = None, target_sizes: Any = None
    ) -> Any:
        """A tensor or None per key."""
        none = [None] * len(keys)
        return self._guard(
            "batch_get",
            lambda: self._get_many(keys, target_locations or none, target_sizes or none),
            none,
        )

    def _get_many(self, keys: List[str], targets: Any, sizes: Any) -> List[Any]:
        import torch

        namespace = self._fingerprint.current()
        into: List[Any] = []
        values: List[Any] = []
        asked: List[int] = []
        out: List[Any] = [None] * len(keys)
        for i, (target, size) in enumerate(zip(targets, sizes)):
            if target is None:
                data = self._client.get_value(keys[i], namespace=namespace)
                if data is not None:
                    out[i] = (
                        torch.frombuffer(bytearray(data), dtype=torch.uint8)
                        if data
                        else torch.empty(0, dtype=torch.uint8)
                    )
                continue
            if isinstance(target, torch.Tensor):
                length = target.numel() * target.element_size()
                direct = target.device.type == "cpu" and target.is_contiguous()
                staging = target if direct else torch.empty(target.shape, dtype=target.dtype)
                if size is not None and int(size) != length:
                    continue  # a wrong size is a miss
                values.append((staging.data_ptr(), length))
                into.append((target, None if direct else staging))
            else:
                values.append((int(target), int(size)))
                into.append((target, None))
            asked.append(i)
        done = (
            self._client.get([keys[i] for i in asked], values, namespace=namespace) if asked else []
        )
        for i, ok, (target, staging) in zip(asked, done, into):
            if ok:
                if staging is not None:
                    target.copy_(staging)
                out[i] = target
        return out

    def set(
        self, key: str, value: Any = None, target_location: Any = None, target_sizes: Any = None
    ) -> bool:
        """Store a tensor, or bytes at an address. True: it is there now."""
        return self._guard(
            "set", lambda: self._set_many([key], [value], [target_location], [target_sizes]), False
        )

    def batch_set(
        self,
        keys: List[str],
        values: Any = None,
        target_locations: Any = None,
        target_sizes: Any = None,
    ) -> bool:
        """Store all; one answer for all of them."""
        none = [None] * len(keys)
        return self._guard(
            "batch_set",
            lambda: self._set_many(
                keys, values or none, target_locations or none, target_sizes or none
            ),
            False,
        )

    def _set_many(self, keys: List[str], values: Any, locations: Any, sizes: Any) -> bool:
        if not keys:
            return True
        pieces, kept = [], []
        for value, location, size in zip(values, locations, sizes):
            source = value if value is not None else location
            if hasattr(source, "data_ptr"):
                tensor = source.detach().to("cpu").contiguous()
                kept.append(tensor)
                pieces.append((tensor.data_ptr(), tensor.numel() * tensor.element_size()))
            elif source is not None and size is not None:
                pieces.append((int(source), int(size)))
            else:
                return False
        return all(self._client.set(keys, pieces, namespace=self._fingerprint.current()))

    def exists(self, key: str) -> bool:
        """Whether one page is there."""
        return self._guard("exists", lambda: self._exists([key]) == 1, False)

    # The rest -------------------------------------------------------------------------------

    def clear(self) -> None:
        """Delete nothing: what is kept is the servers' decision, and others use it."""
        if "clear" not in self._said:
            self._said["clear"] = time.monotonic()
            logger.info(
                "clear: nothing is deleted; retention is the servers', and other engines share pages"
            )

    def get_stats(self) -> Any:
        """sglang's StorageMetrics since the last call, or None."""
        return self._guard("get_stats", self._stats.take, None) if self._metrics else None

    def close(self) -> None:
        """End the client; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._guard("close", self._close, None)

    def _close(self) -> None:
        for handle in self._regions.values():
            self._client.unregister(handle)
        self._regions.clear()
        self._client.close()


class _Stats:
    """Figures for sglang's metrics, drained by get_stats and bounded when nobody drains them."""

    LIMIT = 1000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: List[List[Any]] = [[], [], [], []]

    def _add(self, pages: int, bytes_of_page: int, seconds: float, at: int) -> None:
        with self._lock:
            if pages and len(self._lists[at]) < self.LIMIT:
                self._lists[at].append(pages)
                self._lists[at + 2].append(pages * bytes_of_page / max(seconds, 1e-9) / 1e9)

    def prefetched(self, pages: int, bytes_of_page: int, seconds: float) -> None:
        self._add(pages, bytes_of_page, seconds, 0)

    def backed_up(self, pages: int, bytes_of_page: int, seconds: float) -> None:
        self._add(pages, bytes_of_page, seconds, 1)

    def take(self) -> Any:
        try:
            from sglang.srt.observability.metrics_collector import StorageMetrics
        except ImportError:
            try:
                from sglang.srt.metrics.collector import StorageMetrics  # type: ignore[import-not-found,no-redef]
            except ImportError:
                return None
        with self._lock:
            lists, self._lists = self._lists, [[], [], [], []]
        metrics = StorageMetrics()
        metrics.prefetch_pgs.extend(lists[0])
        metrics.backup_pgs.extend(lists[1])
        metrics.prefetch_bandwidth.extend(lists[2])
        metrics.backup_bandwidth.extend(lists[3])
        return metrics
