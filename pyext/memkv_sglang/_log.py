"""Carries log lines of the C library to Python's logger ``memkv_sglang``.

The library's threads put lines into a bounded ring and never take the GIL; one thread here sleeps
until there are some. It ends with the interpreter, after the last line.
"""

import atexit
import contextlib
import logging
import os
import threading
from typing import Optional

from . import _memkv

_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
logger = logging.getLogger("memkv_sglang")
_lock = threading.Lock()
_thread: Optional[threading.Thread] = None


def _drain() -> None:
    more = True
    while more:
        lines, more = _memkv.take_log()
        for level, line in lines:
            with contextlib.suppress(Exception):  # a filter or handler that raises: its own affair
                logger.log(_LEVELS[level], "%s", line)


def start() -> None:
    """Start the thread, once; opening a client calls this."""
    global _thread
    with _lock:
        if _thread is None:
            if not _memkv.MAIN_INTERPRETER:  # others cannot be ended while they have a thread
                logger.warning("the library's log lines are not shown in a sub-interpreter")
                return
            _thread = threading.Thread(target=_drain, name="memkv-log", daemon=True)
            _thread.start()
            atexit.register(_stop)


def _stop() -> None:
    if _thread is not None:
        _memkv.stop_log()
        _thread.join()


def _after_fork() -> None:
    """Threads do not survive a fork, and the lock may have been held by one."""
    global _lock, _thread
    _lock = threading.Lock()
    if _thread is not None:
        atexit.unregister(_stop)
        _thread = None


os.register_at_fork(after_in_child=_after_fork)
