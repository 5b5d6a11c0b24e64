"""The one line that the backend says when it starts: what it found, and what would be better."""

import logging
import os
import sys
from typing import Any, List, Optional

logger = logging.getLogger("memkv_sglang")

SGLANG_THRESHOLD = 256  # tokens, where nothing else is said
SMALL_PAGE_TOKENS = 64
SMALL_OBJECT = 1 << 20
LARGEST_OBJECT = 64 << 20
MANY_PARTS = 8


def servers_text(servers: Any, config_file: Any) -> str:
    """The servers as they were told, or where they were."""
    if servers:
        return servers if isinstance(servers, str) else ",".join(map(str, servers))
    told = os.environ.get("MEMKV_SERVERS")
    return told or "of " + str(config_file or os.environ.get("MEMKV_CONFIG"))


def _threshold(extra: Any, page: int) -> int:
    """Tokens below which sglang never asks storage.

    sglang takes prefetch_threshold out of the extra config before the backend sees it. It is known
    where the backend is attached, and this is called from there.
    """
    told = extra.get("prefetch_threshold") if isinstance(extra, dict) else None
    frame = sys._getframe(1)
    while told is None and frame is not None:
        if frame.f_code.co_name == "attach_storage_backend":
            told = frame.f_locals.get("prefetch_threshold")
        frame = frame.f_back  # type: ignore[assignment]
    return max(told if isinstance(told, int) else SGLANG_THRESHOLD, page)


def _advice(page: int, probe: Any, zero_copy: bool) -> List[str]:
    out = []
    size, parts = probe or (0, 0)
    if size > LARGEST_OBJECT:
        out.append(
            "objects are over %d bytes and none can be stored: use a smaller --page-size"
            % LARGEST_OBJECT
        )
    if page < SMALL_PAGE_TOKENS and size < SMALL_OBJECT:
        out.append("many small objects: --page-size 64 is faster")
    if not probe:
        out.append("no zero copy with this layout: --hicache-mem-layout page_first")
    elif not zero_copy:
        out.append("pages are copied: take interface_v1 out of the extra config")
    elif parts > MANY_PARTS:
        out.append("%d parts an object: --hicache-mem-layout page_first has fewer" % parts)
    return out


def tell(
    *,
    version: str,
    pages: Any,
    probe: Any,
    zero_copy: bool,
    switched: bool,
    extra: Any,
    transport: str,
    servers: str,
    namespace: Optional[bytes],
) -> None:
    """Log the line."""
    size = probe[0] if probe else pages.bytes_of_page()
    advice = _advice(pages.page_size, probe, zero_copy)
    logger.info(
        "memkv %s: page of %d tokens, %d bytes an object, layout %s, zero copy %s, prefetch from "
        "%d tokens, transport %s, servers %s, namespace %s%s",
        version,
        pages.page_size,
        size,
        pages.layout,
        "on (interface_v1 was not set)" if switched else "on" if zero_copy else "off",
        _threshold(extra, pages.page_size),
        transport,
        servers,
        (namespace or b"none").decode("utf-8", "replace")[-12:],
        "; better: " + "; ".join(advice) if advice else "",
    )
