"""MemKVHiCacheStorage: the storage backend for sglang's hierarchical cache.

Loaded by sglang's "dynamic" factory. Whatever happens, no method raises: exceptions end sglang's
storage threads for good in many versions, so they are counted, logged (at most one line every ten
seconds) and answered as a miss or False of the right shape and length.
"""

import contextlib
import functools
import logging
import os
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

try:
    from sglang.srt.mem_cache.hicache_storage import HiCacheStorage
except ImportError as e:
    raise ImportError(
        "memkv_sglang.backend is loaded by sglang and needs it: pip install sglang "
        "(memkv_sglang.Client works without)"
    ) from e

from . import Client, ClosedError, __version__, _fingerprint, _options, _pages, _startup, _stats

logger = logging.getLogger("memkv_sglang")

__all__ = ["MemKVHiCacheStorage"]

KV = "kv"
# Pages that were refused are tried again after these pauses, while others write or evict.
RETRY_PAUSES_S = (0.0, 0.005, 0.05)
RETRY_WITHIN_S = 0.2
LENGTHS_WITHIN_S = 1.0


def _name(pool_name: Any) -> str:
    return str(getattr(pool_name, "value", pool_name))


def _length(keys: Any) -> int:
    try:
        return len(keys)
    except Exception:  # noqa: BLE001 - code of the caller's, and no list
        return 0


def _all_false(keys: Any = None, *_: Any, **__: Any) -> List[bool]:
    return [False] * _length(keys)


def _all_none(keys: Any = None, *_: Any, **__: Any) -> List[Any]:
    return [None] * _length(keys)


def _false_for_each(transfers: Any = None, *_: Any, **__: Any) -> Dict[Any, List[bool]]:
    """For each transfer as many False as it has keys, whatever else is wrong with it."""
    out: Dict[Any, List[bool]] = {}
    for t in transfers if isinstance(transfers, (list, tuple)) else ():
        with contextlib.suppress(Exception):  # no transfer
            out[t.name] = _all_false(getattr(t, "keys", None))
    return out


def _no_hit(*_: Any, **__: Any) -> Any:
    from sglang.srt.mem_cache import hicache_storage

    return hicache_storage.PoolTransferResult(0, {})


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _answers(otherwise: Callable[..., Any]) -> Callable[[Any], Any]:
    """Decorator: what goes wrong in the method is told and answered by ``otherwise``.

    Only the wish to end the process passes. Extensions raise others that are no Exception either.
    In the child of a fork nothing is done: a thread that is not there may hold the locks for ever.
    """

    def decorate(method: Any) -> Any:
        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self._pid != os.getpid():
                return otherwise(*args, **kwargs)
            try:
                return method(self, *args, **kwargs)
            except (KeyboardInterrupt, SystemExit):
                raise
            except ClosedError:
                pass
            except BaseException as e:  # noqa: BLE001
                self._fault(method.__name__, e)
            return otherwise(*args, **kwargs)

        return call

    return decorate


class MemKVHiCacheStorage(HiCacheStorage):
    """Pages of the KV pool in MemKV servers. Side pools answer a clean miss."""

    def __init__(self, storage_config: Any, kwargs: Any = None, *_: Any, **__: Any) -> None:
        self._extra = getattr(storage_config, "extra_config", None)
        own, options = _options.split(self._extra)
        config_file = options.pop("config", None)
        servers = options.pop("servers", None)
        self._client = Client(servers, config=config_file, options=options)
        self._pid = os.getpid()
        try:
            self._fingerprint = _fingerprint.Fingerprint(
                storage_config, own, self._client.namespace
            )
        except BaseException:
            self._client.close()
            raise
        self._servers = _startup.servers_text(servers, config_file)
        self._pages: Optional[_pages.Pages] = None
        self._regions: Dict[Tuple[int, int], int] = {}  # (address, bytes) -> the client's handle
        self._said: Dict[str, float] = {}
        self._faults = 0
        metrics = bool(getattr(storage_config, "enable_storage_metrics", False))
        self._stats = _stats.Stats() if metrics else None

    # What goes wrong ------------------------------------------------------------------------

    def _fault(self, what: str, e: BaseException) -> None:
        self._faults += 1
        kind = type(e).__name__
        with contextlib.suppress(Exception):  # of a filter or handler of the engine's
            self._once_in_a_while(what, "%s failed and counts as a miss: %s: %s", what, kind, e)

    def _once_in_a_while(self, topic: str, text: str, *args: Any) -> None:
        now = time.monotonic()
        if now - self._said.get(topic, -1e9) > 10.0:
            self._said[topic] = now
            logger.warning(text, *args)

    # Registration ---------------------------------------------------------------------------

    @_answers(_constant(None))
    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        """Take the host pool: fingerprint, registered memory, zero copy where it works."""
        self._pages = None
        self._fingerprint.pool(None)  # until it is known, nothing is stored or read
        self.mem_pool_host = mem_pool_host
        pages = _pages.Pages(mem_pool_host)
        probe = pages.probe()
        self._fingerprint.pool({**_pages.describe(mem_pool_host), "object": probe})
        self._pages = pages
        self._register_memory(mem_pool_host)
        switched = False
        if isinstance(self._extra, dict) and "interface_v1" not in self._extra and probe:
            self._extra["interface_v1"] = 1  # read by the controller after this call
            switched = True
        _startup.tell(
            version=__version__,
            pages=pages,
            probe=probe,
            zero_copy=bool(isinstance(self._extra, dict) and self._extra.get("interface_v1")),
            switched=switched,
            extra=self._extra,
            transport=self._client.transport,
            servers="%s (%d)" % (self._servers, self._client.stats()["servers"]),
            namespace=self._fingerprint.reading(),
        )

    @_answers(_constant(None))
    def _register_memory(self, pool: Any) -> None:
        """The same memory again is no registration more; other memory takes the place of it."""
        memory = set(_pages.memory_of(pool))
        for piece in set(self._regions) - memory:
            self._client.unregister(self._regions.pop(piece))
        for piece in memory - set(self._regions):
            self._regions[piece] = self._client.register(*piece)

    @_answers(_constant(None))
    def register_mem_host_pool_v2(self, host_pool: Any, host_pool_name: Any) -> None:
        """Take a named pool. "kv" is known already; side pools are not supported yet."""
        name = _name(host_pool_name)
        if name != KV:
            text = "the side pool %s is not supported yet: its pages are misses"
            self._once_in_a_while("pool " + name, text, name)
        elif self._pages is None:
            self.register_mem_pool_host(host_pool)

    @_answers(_constant(None))
    def on_host_pools_registered(self) -> None:
        """The storage threads of a hybrid controller have begun."""
        self._fingerprint.begun()

    # Zero copy ------------------------------------------------------------------------------

    @_answers(_constant(0))
    def batch_exists(self, keys: List[str], extra_info: Any = None, **_: Any) -> int:
        """Length of the leading run of pages that are there."""
        namespace = self._fingerprint.reading()
        if not keys or namespace is None:
            return 0
        return self._client.exists_prefix(keys, namespace=namespace)

    def _locate(self, keys: List[str], host_indices: Any) -> Tuple[List[int], List[int], int]:
        if self._pages is None:
            raise RuntimeError("no host pool is registered")
        found = self._pages.locate(host_indices, len(keys))
        if found is None:
            raise ValueError("pages without addresses, or indices that do not fit the keys")
        return found

    @_answers(_all_false)
    def batch_get_v1(
        self, keys: List[str], host_indices: Any, extra_info: Any = None, **_: Any
    ) -> List[bool]:
        """Fetch pages straight into the host pool; one bool per key."""
        namespace = self._fingerprint.reading()
        if not keys or namespace is None:
            return _all_false(keys)
        addresses, sizes, parts = self._locate(keys, host_indices)
        start = time.perf_counter()
        done = self._client.get_pages(keys, addresses, sizes, parts, namespace=namespace)
        if self._stats is not None:
            self._stats.prefetched(done, sizes, time.perf_counter() - start)
        return done

    @_answers(_all_false)
    def batch_set_v1(
        self, keys: List[str], host_indices: Any, extra_info: Any = None, **_: Any
    ) -> List[bool]:
        """Store pages straight from the host pool; one bool per key. True: it is there now."""
        namespace = self._fingerprint.writing()
        if not keys or namespace is None:
            return _all_false(keys)
        addresses, sizes, parts = self._locate(keys, host_indices)

        def store(which: List[int], **timeout: Any) -> List[bool]:
            at = [i * parts + j for i in which for j in range(parts)]
            return self._client.set_pages(
                [keys[i] for i in which],
                [addresses[i] for i in at],
                [sizes[i] for i in at],
                parts,
                namespace=namespace,
                **timeout,
            )

        start = time.perf_counter()
        done = self._client.set_pages(keys, addresses, sizes, parts, namespace=namespace)
        done = self._again(done, store, start)
        if self._stats is not None:
            self._stats.backed_up(done, sizes, time.perf_counter() - start)
        return done

    def _again(
        self, done: List[bool], store: Callable[..., List[bool]], start: float
    ) -> List[bool]:
        """Try what was refused once more: sglang never does, and all behind it is out of reach.

        A page is refused while another engine writes it, or memory is being made free. Nothing is
        tried when the first attempt was slow or no server is up: the caller's time is limited.
        """
        for pause in RETRY_PAUSES_S:
            missing = [i for i, ok in enumerate(done) if not ok]
            if (
                not missing
                or time.perf_counter() - start > RETRY_WITHIN_S
                or self._client.stats()["servers_up"] == 0
            ):
                break
            time.sleep(pause)
            for i, ok in zip(missing, store(missing, timeout=RETRY_WITHIN_S)):
                done[i] = ok
        return done

    # Named pools ----------------------------------------------------------------------------

    @_answers(_no_hit)
    def batch_exists_v2(
        self, keys: List[str], pool_transfers: Any = None, extra_info: Any = None, **_: Any
    ) -> Any:
        """KV's leading run; with side pools asked for, nothing is usable."""
        from sglang.srt.mem_cache import hicache_storage

        others = [t for t in pool_transfers or () if _name(t.name) != KV]
        kv = self.batch_exists(keys)
        hits: Dict[Any, int] = {hicache_storage.PoolName.KV: kv} if kv else {}
        hits.update((t.name, 0) for t in others)
        result = hicache_storage.PoolTransferResult(0 if others else kv, hits)
        if others and hasattr(result, "restorable_prefix_pages"):
            result.restorable_prefix_pages = []
        return result

    @_answers(_false_for_each)
    def batch_get_v2(
        self, transfers: Any, extra_info: Any = None, **_: Any
    ) -> Dict[Any, List[bool]]:
        """One list of bools per transfer."""
        return self._each(transfers, self.batch_get_v1)

    @_answers(_false_for_each)
    def batch_set_v2(
        self, transfers: Any, extra_info: Any = None, **_: Any
    ) -> Dict[Any, List[bool]]:
        """One list of bools per transfer."""
        return self._each(transfers, self.batch_set_v1)

    def _each(self, transfers: Any, kv_pages: Callable[..., Any]) -> Dict[Any, List[bool]]:
        out = _false_for_each(transfers)
        for t in transfers or ():
            if _name(t.name) == KV and t.keys and t.host_indices is not None:
                out[t.name] = kv_pages(list(t.keys), t.host_indices)
        return out

    # Generic --------------------------------------------------------------------------------

    @_answers(_constant(None))
    def get(self, key: str, target_location: Any = None, target_sizes: Any = None) -> Any:
        """The target, filled, or a new uint8 tensor; None is a miss."""
        return self.batch_get([key], [target_location], [target_sizes])[0]

    @_answers(_all_none)
    def batch_get(
        self, keys: List[str], target_locations: Any = None, target_sizes: Any = None
    ) -> Any:
        """A tensor or None per key."""
        namespace = self._fingerprint.reading()
        if not keys or namespace is None:
            return _all_none(keys)
        targets = _pages.targets_of(keys, target_locations, target_sizes)
        out = _all_none(keys)
        self._make_targets(keys, targets, namespace)
        asked = [i for i, t in enumerate(targets) if t is not None]
        if asked:
            values = [targets[i].value for i in asked]
            done = self._client.get([keys[i] for i in asked], values, namespace=namespace)
            for i, ok in zip(asked, done):
                out[i] = targets[i].filled() if ok else None
        return out

    def _make_targets(self, keys: List[str], targets: List[Any], namespace: bytes) -> None:
        """Where a new tensor is wanted: one of the value's length, or None where there is none.

        One question for all of them. When the answer was late there is no time for the values.
        """
        new = [i for i, t in enumerate(targets) if t is _pages.NEW]
        if not new:
            return
        start = time.perf_counter()
        lengths = self._client.lengths([keys[i] for i in new], namespace=namespace)
        if time.perf_counter() - start > LENGTHS_WITHIN_S:
            targets[:] = [None] * len(targets)
            return
        for i, length in zip(new, lengths):
            targets[i] = None if length is None else _pages.new_target(length)

    @_answers(_constant(False))
    def set(
        self, key: str, value: Any = None, target_location: Any = None, target_sizes: Any = None
    ) -> bool:
        """Store a tensor, or bytes at an address. True: it is there now."""
        return self.batch_set([key], [value], [target_location], [target_sizes])

    @_answers(_constant(False))
    def batch_set(
        self,
        keys: List[str],
        values: Any = None,
        target_locations: Any = None,
        target_sizes: Any = None,
    ) -> bool:
        """Store all; one answer for all of them."""
        namespace = self._fingerprint.writing()
        if not keys or namespace is None:
            return not keys
        sources, kept = _pages.sources_of(keys, values, target_locations, target_sizes)

        def store(which: List[int], **timeout: Any) -> List[bool]:
            return self._client.set(
                [keys[i] for i in which],
                [sources[i] for i in which],
                namespace=namespace,
                **timeout,
            )

        start = time.perf_counter()
        done = self._again(store(list(range(len(keys)))), store, start)
        del kept  # copies that had to live until here
        return all(done)

    @_answers(_constant(False))
    def exists(self, key: str) -> bool:
        """Whether one page is there."""
        return self.batch_exists([key]) == 1

    # The rest -------------------------------------------------------------------------------

    @_answers(_constant(None))
    def clear(self) -> None:
        """Delete nothing: what is kept is the servers' decision, and others use it."""
        if "clear" not in self._said:
            self._said["clear"] = time.monotonic()
            logger.info(
                "clear: nothing is deleted; retention is the servers', and other engines share pages"
            )

    @_answers(_constant(None))
    def get_stats(self) -> Any:
        """sglang's StorageMetrics since the last call, or None."""
        return self._stats.take() if self._stats is not None else None

    @_answers(_constant(None))
    def close(self) -> None:
        """End the client, and with it what is registered; idempotent. Waits for calls in flight."""
        self._client.close()
