from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

__version__: str

class Error(Exception): ...
class ConfigError(Error, ValueError): ...
class ClosedError(Error): ...
class TransportError(Error, ConnectionError): ...

Key = Union[str, bytes]
Buffer = Any
Part = Union[Buffer, Tuple[int, int]]
Value = Union[Part, List[Part]]

class Client:
    closed: bool
    namespace: bytes
    def __init__(
        self,
        servers: Union[None, str, Sequence[str]] = None,
        *,
        config: Optional[str] = None,
        options: Optional[Dict[str, Any]] = None,
    ) -> None: ...
    def get(
        self,
        keys: Sequence[Key],
        values: Sequence[Value],
        *,
        timeout: Optional[float] = None,
        namespace: Optional[Key] = None,
    ) -> List[bool]: ...
    def set(
        self,
        keys: Sequence[Key],
        values: Sequence[Value],
        *,
        timeout: Optional[float] = None,
        replace: bool = False,
        namespace: Optional[Key] = None,
    ) -> List[bool]: ...
    def exists(
        self,
        keys: Sequence[Key],
        *,
        timeout: Optional[float] = None,
        namespace: Optional[Key] = None,
    ) -> List[Optional[bool]]: ...
    def exists_prefix(
        self,
        keys: Sequence[Key],
        *,
        timeout: Optional[float] = None,
        namespace: Optional[Key] = None,
    ) -> int: ...
    def get_pages(
        self,
        keys: Sequence[Key],
        addresses: Any,
        sizes: Any,
        parts: int,
        *,
        timeout: Optional[float] = None,
        namespace: Optional[Key] = None,
    ) -> List[bool]: ...
    def set_pages(
        self,
        keys: Sequence[Key],
        addresses: Any,
        sizes: Any,
        parts: int,
        *,
        timeout: Optional[float] = None,
        namespace: Optional[Key] = None,
    ) -> List[bool]: ...
    def get_value(
        self,
        key: Key,
        *,
        max_length: int = ...,
        timeout: Optional[float] = None,
        namespace: Optional[Key] = None,
    ) -> Optional[bytes]: ...
    def register(self, address: int, length: int) -> int: ...
    def unregister(self, handle: int) -> None: ...
    def set_servers(self, servers: str) -> None: ...
    def stats(self) -> Dict[str, int]: ...
    def close(self) -> None: ...
    def __enter__(self) -> "Client": ...
    def __exit__(self, *exc: Any) -> None: ...

def take_log(timeout: float) -> List[Tuple[int, str]]: ...
