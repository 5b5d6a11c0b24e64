"""From a host pool and page indices to addresses and sizes of the pages' parts."""

import logging
import numbers
from typing import Any, Dict, Iterator, List, Optional, Tuple

logger = logging.getLogger("memkv_sglang")
LARGEST = 64 << 20  # bytes of a value


def anchor_of(pool: Any) -> Any:
    """The KV pool itself, also where a group of pools is handed over."""
    entry = getattr(pool, "anchor_entry", None)
    return getattr(entry, "host_pool", pool) if entry is not None else pool


def describe(pool: Any) -> Dict[str, Any]:
    """What the bytes of a page depend on, as far as the pool can tell."""
    pool = anchor_of(pool)
    store = getattr(pool, "dtype", None)
    told = [getattr(pool, name, None) for name in ("device_pool", "buffer_info")]
    real = [getattr(t, "dtype", None) for t in told]
    out: Dict[str, Any] = {
        "kind": type(pool).__name__,
        "layout": getattr(pool, "layout", None),
        "page_size": getattr(pool, "page_size", None),
        "store_dtype": str(store),
        "real_dtype": str(real[0] or real[1] or store),
        "size_per_token": getattr(pool, "size_per_token", None),
        "format": getattr(pool, "storage_format_tag", None),
    }
    for name in (
        "layer_num",
        "target_layer_num",
        "start_layer",
        "end_layer",
        "head_num",
        "head_dim",
        "v_head_dim",
        "kv_lora_rank",
        "qk_rope_head_dim",
        "kv_cache_dim",
        "head_group_num",
        "dsa_kv_cache_store_fp8",
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
        self.layout = str(getattr(pool, "layout", None))
        size = getattr(pool, "size", None)  # in tokens
        self.size = size if isinstance(size, int) else None

    def _inside(self, host_indices: Any) -> bool:
        """sglang computes an address for any index; behind the pool it is somebody else's memory."""
        if self.size is None or host_indices.numel() == 0:
            return True
        first, last = host_indices.aminmax()
        return int(first) >= 0 and int(last) < self.size

    def locate(self, host_indices: Any, n: int) -> Optional[Tuple[List[int], List[int], int]]:
        """(addresses, sizes, parts per page), or None where the pool has no bytes or no addresses."""
        if host_indices.numel() != n * self.page_size or not self._inside(host_indices):
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

    def bytes_of_page(self) -> int:
        """Of a page without addresses: what the pool says."""
        return self.page_size * int(getattr(self.pool, "size_per_token", 0) or 0)


def memory_of(pool: Any) -> Iterator[Tuple[int, int]]:
    """(address, bytes) of each tensor that holds the pool's pages."""
    buffer = getattr(anchor_of(pool), "kv_buffer", None)
    for tensor in buffer if isinstance(buffer, (tuple, list)) else [buffer]:
        if tensor is not None and tensor.numel():
            yield tensor.data_ptr(), tensor.numel() * tensor.element_size()


# Single values: where they go to and come from -----------------------------------------------

NEW = object()  # no target: a new tensor is wanted


def _is_address(place: Any) -> bool:
    """An integer of any kind; a numpy one has a buffer too, which is not what is meant."""
    return isinstance(place, numbers.Integral) and not isinstance(place, bool)


def _address(place: Any, size: Any) -> Tuple[int, int]:
    address, length = int(place), int(size)
    if not (0 < address < 1 << 63 and 0 <= length <= LARGEST):
        raise ValueError("no memory of %d bytes lies at address %d" % (length, address))
    return address, length


class Target:
    """Where a value goes: straight there, or through a copy where it cannot."""

    def __init__(self, place: Any, size: Any) -> None:
        import torch

        self.place = place
        self._staging: Any = None
        if isinstance(place, torch.Tensor):
            length = place.numel() * place.element_size()
            if place.device.type == "meta" or (size is not None and int(size) != length):
                raise ValueError("a tensor without memory, or of another size")
            if length > LARGEST:
                raise ValueError("a tensor of more than %d bytes" % LARGEST)
            into = place
            if place.device.type != "cpu" or not place.is_contiguous():
                into = self._staging = torch.empty(place.shape, dtype=place.dtype)
            self.value: Any = (into.data_ptr(), length)
        elif _is_address(place):
            self.value = _address(place, size)
        else:  # the buffer protocol
            view = memoryview(place)
            if view.readonly or not view.c_contiguous:
                raise ValueError("a read-only buffer, or one in pieces")
            if size is not None and int(size) != view.nbytes:
                raise ValueError("a buffer of another size")
            self.value = place

    def filled(self) -> Any:
        """The target, when the value has come; None where it takes none (one element expanded)."""
        try:
            if self._staging is not None:
                self.place.detach().copy_(self._staging)
            return self.place
        except RuntimeError as e:
            logger.debug("a target that is no good: %s", e)
            return None


def _same_length(keys: List[str], given: Any) -> List[Any]:
    if given is None:
        return [None] * len(keys)
    if len(given) != len(keys):
        raise ValueError("%d keys and %d targets, sizes or values" % (len(keys), len(given)))
    return list(given)


def targets_of(keys: List[str], places: Any, sizes: Any) -> List[Any]:
    """For each key a Target, NEW, or None where the target is no good: a miss for this key alone."""
    out: List[Any] = []
    for place, size in zip(_same_length(keys, places), _same_length(keys, sizes)):
        if place is None:
            out.append(NEW)
            continue
        try:
            out.append(Target(place, size))
        except (ValueError, TypeError, RuntimeError) as e:
            logger.debug("a target that is no good: %s", e)
            out.append(None)
    return out


def new_target(length: int) -> Target:
    """A one-dimensional uint8 tensor of its own memory."""
    import torch

    return Target(torch.empty(length, dtype=torch.uint8), None)


def _source(source: Any, size: Any, kept: List[Any]) -> Any:
    import torch

    if isinstance(source, torch.Tensor):
        tensor = source.detach().to("cpu").contiguous()
        kept.append(tensor)
        length = tensor.numel() * tensor.element_size()
        source = (tensor.data_ptr(), length)
    elif _is_address(source):
        source = _address(source, size)
        length = source[1]
    elif size is not None:
        length = memoryview(source).nbytes
    if size is not None and int(size) != length:
        raise ValueError("a value of %d bytes, where %s were told" % (length, size))
    return source


def sources_of(
    keys: List[str], values: Any, places: Any, sizes: Any
) -> Tuple[List[Any], List[Any]]:
    """(what the client takes for each key, copies that have to live until it is done)."""
    out: List[Any] = []
    kept: List[Any] = []
    for value, place, size in zip(
        _same_length(keys, values), _same_length(keys, places), _same_length(keys, sizes)
    ):
        out.append(_source(place if value is None else value, size, kept))
    return out, kept
