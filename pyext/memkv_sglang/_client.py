"""Client, with the library's log lines going to the logger ``memkv_sglang``."""

from typing import Any, Dict, Optional, Sequence, Union

from . import _log, _memkv


def Client(
    servers: Union[None, str, Sequence[str]] = None,
    *,
    config: Optional[str] = None,
    options: Optional[Dict[str, Any]] = None,
) -> _memkv.Client:
    """Open a client. Servers are connected to lazily: that they are away is no error."""
    _log.start()
    return _memkv.Client(servers, config=config, options=options)
