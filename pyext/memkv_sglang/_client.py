"""Client, with the library's log lines going to the logger ``memkv_sglang``."""

from . import _log, _memkv


def Client(servers=None, *, config=None, options=None):
    """Open a client. Servers are connected to lazily: that they are away is no error."""
    _log.start()
    return _memkv.Client(servers, config=config, options=options)
