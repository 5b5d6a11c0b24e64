"""Carries log lines of the C library to Python's logger ``memkv_sglang``.

The library's threads put lines into a bounded ring and never take the GIL; one daemon thread here
sleeps until there are some.
"""

import logging
import os
import threading

from . import _memkv

_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
_lock = threading.Lock()
_pid = None


def _drain() -> None:
    logger = logging.getLogger("memkv_sglang")
    while True:
        for level, line in _memkv.take_log(60.0):
            logger.log(_LEVELS[level], "%s", line)


def start() -> None:
    """Start the thread, once per process (threads do not survive a fork)."""
    global _pid
    with _lock:
        if _pid != os.getpid():
            threading.Thread(target=_drain, name="memkv-log", daemon=True).start()
            _pid = os.getpid()
