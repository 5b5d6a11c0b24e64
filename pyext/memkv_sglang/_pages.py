"""From a host pool and page indices to addresses and sizes of the pages' parts."""

from typing import Any, Dict, List, Optional, Tuple


def anchor_of(pool: Any) -> Any:
    """The KV pool itself, also where a group of pools is handed over."""
    entry = getattr(pool, "anchor_entry", None)
    return getattr(entry, "host_pool", pool) if entry is not None else pool


def describe(pool: Any) -> Dict[str, Any]:
    """What the bytes of a page depend on, as far as the pool can tell."""
    pool = anchor_of(pool)
    device = getattr(pool, "device_pool", None)
    info = getattr(pool, "buffer_info", None)
    out: Dict[str, Any] = {
        "kind": type(pool).__name__,
        "layout": getattr(pool, "layout", None),
        "page_size": getattr(pool, "page_size", None),
        "store_dtype": str(getattr(pool, "dtype", None)),
        "real_dtype": str(getattr(device, "dtype", None) or getattr(info, "dtype", None)),
        "size_per_token": getattr(pool, "size_per_token", None),
    }
    for name in (
        "layer_num",
        "start_layer",
        "end_layer",
        "head_num",
        "head_dim",
        "v_head_dim",
        "kv_lora_rank",
        "qk_rope_head_dim",
        "kv_cache_dim",
    ):
        value = getattr(pool, name, None)
        if isinstance(value, (int, str)):
            out[name] = value
    return out


class Pages:
    """The parts of pages. ``parts`` of each, every page alike."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.page_size = int(getattr(pool, "page_size", 1) or 1)

    def locate(self, host_indices: Any, n: int) -> Optional[Tuple[List[int], List[int], int]]:
        """(addresses, sizes, parts per page), or None where the pool has no bytes or no addresses."""
        if host_indices.numel() != n * self.page_size:
            return None
        meta = self.pool.get_page_buffer_meta(host_indices)
        if meta is None:
            return None
        addresses, sizes = meta
        if n == 0 or len(addresses) % n or len(addresses) != len(sizes) or not addresses:
            return None
        return addresses, sizes, len(addresses) // n

    def probe(self) -> Optional[Tuple[int, int]]:
        """(bytes of an object, parts) of the first page, or None without zero copy."""
        import torch

        try:
            found = self.locate(torch.arange(self.page_size, dtype=torch.int64), 1)
        except Exception:  # noqa: BLE001 - a layout without addresses says so in many ways
            return None
        return (sum(found[1]), found[2]) if found else None


def tensors_of(pool: Any) -> List[Any]:
    """The tensors that hold the pool's pages."""
    buffer = getattr(anchor_of(pool), "kv_buffer", None)
    if buffer is None:
        return []
    return list(buffer) if isinstance(buffer, (tuple, list)) else [buffer]
