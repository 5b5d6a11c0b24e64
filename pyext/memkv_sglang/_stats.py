"""Figures for sglang's metrics, drained by get_stats and bounded when nobody drains them."""

import threading
from typing import Any, List

LIMIT = 1000  # calls


def _metrics_type() -> Any:
    try:
        from sglang.srt.observability.metrics_collector import StorageMetrics
    except ImportError:
        try:
            from sglang.srt.metrics.collector import StorageMetrics  # type: ignore[import-not-found,no-redef]
        except ImportError:
            return None
    return StorageMetrics


class Stats:
    """Pages and GB/s of each call, up and down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: List[List[Any]] = [[], [], [], []]

    def _add(self, done: List[bool], sizes: List[int], seconds: float, at: int) -> None:
        pages = sum(done)
        page_bytes = sum(sizes) // max(1, len(done))
        with self._lock:
            if pages and len(self._lists[at]) < LIMIT:
                self._lists[at].append(pages)
                self._lists[at + 2].append(pages * page_bytes / max(seconds, 1e-9) / 1e9)

    def prefetched(self, done: List[bool], sizes: List[int], seconds: float) -> None:
        """Count a call of get."""
        self._add(done, sizes, seconds, 0)

    def backed_up(self, done: List[bool], sizes: List[int], seconds: float) -> None:
        """Count a call of set."""
        self._add(done, sizes, seconds, 1)

    def take(self) -> Any:
        """sglang's StorageMetrics since the last call; None where this sglang has none."""
        kind = _metrics_type()
        if kind is None:
            return None
        with self._lock:
            lists, self._lists = self._lists, [[], [], [], []]
        metrics = kind()
        metrics.prefetch_pgs.extend(lists[0])
        metrics.backup_pgs.extend(lists[1])
        metrics.prefetch_bandwidth.extend(lists[2])
        metrics.backup_bandwidth.extend(lists[3])
        return metrics
