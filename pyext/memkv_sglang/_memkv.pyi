from typing import Any, Dict, List, Optional, Sequence, Tuple, Union, final

__version__: str
MAIN_INTERPRETER: bool

class Error(Exception): ...
class ConfigError(Error, ValueError): ...
class ClosedError(Error): ...
class TransportError(Error, ConnectionError): ...

# Any object with the buffer protocol. typing has no name for these before Python 3.12.
_Buffer = Any
_Key = Union[str, bytes]
_Part = Union[_Buffer, Tuple[int, int]]
_Value = Union[_Part, List[_Part]]
# A sequence of int, or a buffer of 8-byte integers.
_Integers = Any

@final
class Client:
    def __new__(
        cls,
        servers: Union[None, str, Sequence[str]] = None,
        *,
        config: Optional[str] = None,
        options: Optional[Dict[str, Any]] = None,
    ) -> Client: ...
    @property
    def closed(self) -> bool: ...
    @property
    def namespace(self) -> bytes: ...
    @property
    def transport(self) -> str: ...
    def get(
        self,
        keys: Sequence[_Key],
        values: Sequence[_Value],
        *,
        timeout: Optional[float] = None,
        namespace: Optional[_Key] = None,
    ) -> List[bool]: ...
    def set(
        self,
        keys: Sequence[_Key],
        values: Sequence[_Value],
        *,
        timeout: Optional[float] = None,
        replace: bool = False,
        namespace: Optional[_Key] = None,
    ) -> List[bool]: ...
    def exists(
        self,
        keys: Sequence[_Key],
        *,
        timeout: Optional[float] = None,
        namespace: Optional[_Key] = None,
    ) -> List[Optional[bool]]: ...
    def exists_prefix(
        self,
        keys: Sequence[_Key],
        *,
        timeout: Optional[float] = None,
        namespace: Optional[_Key] = None,
    ) -> int: ...
    def lengths(
        self,
        keys: Sequence[_Key],
        *,
        timeout: Optional[float] = None,
        namespace: Optional[_Key] = None,
    ) -> List[Optional[int]]: ...
    def get_pages(
        self,
        keys: Sequence[_Key],
        addresses: _Integers,
        sizes: _Integers,
        parts: int,
        *,
        timeout: Optional[float] = None,
        namespace: Optional[_Key] = None,
    ) -> List[bool]: ...
    def set_pages(
        self,
        keys: Sequence[_Key],
        addresses: _Integers,
        sizes: _Integers,
        parts: int,
        *,
        timeout: Optional[float] = None,
        namespace: Optional[_Key] = None,
    ) -> List[bool]: ...
    def get_value(
        self,
        key: _Key,
        *,
        max_length: int = 67108864,
        timeout: Optional[float] = None,
        namespace: Optional[_Key] = None,
    ) -> Optional[bytes]: ...
    def register(self, address: int, length: int, /) -> int: ...
    def unregister(self, handle: int, /) -> None: ...
    def set_servers(self, servers: Union[str, Sequence[str]], /) -> None: ...
    def stats(self) -> Dict[str, int]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Client: ...
    def __exit__(self, *exc: object) -> None: ...

def take_log() -> Tuple[List[Tuple[int, str]], bool]: ...
def stop_log() -> None: ...
