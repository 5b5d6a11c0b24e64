"""MemKV: a context-memory store for LLM inference, from Python.

``Client`` talks to MemKV servers. ``memkv_sglang.backend`` is the storage backend for sglang's
hierarchical cache. Importing this package needs neither torch nor sglang.
"""

from ._memkv import Client, ClosedError, ConfigError, Error, TransportError, __version__

__all__ = ["Client", "ClosedError", "ConfigError", "Error", "TransportError", "__version__"]
