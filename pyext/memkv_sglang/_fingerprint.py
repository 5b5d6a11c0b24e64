"""What a page's bytes depend on, beside its tokens: the namespace of the keys.

sglang's page keys are hashes of token ids. The same tokens give other bytes under other weights,
dtypes, layouts, page sizes and ranks, so all of these go into the namespace. No path does: hosts
share pages.

Weights can change while the engine runs. Three rules keep their pages apart:

* What the engine says of its model is looked at on every call; when it changes, so does the
  namespace.
* Pages that were computed before lie in the host cache until it is flushed, and sglang's flush begins
  new storage threads. So a thread stores only under the namespace that it began with.
* A new thread looks at the model's files. Where they have changed and the engine says nothing of
  it, nobody can tell whether they are loaded: then every page is a miss and none is stored.
"""

import hashlib
import json
import logging
import os
import threading
import uuid
import weakref
from typing import Any, Dict, Optional, Tuple

from . import _weights

logger = logging.getLogger("memkv_sglang")

VERSION = 2
DIGEST_HEX = 40
NAMESPACE_MAX = 255
MODEL_FIELDS = (
    "model_path",
    "revision",
    "dtype",
    "kv_cache_dtype",
    "quantization",
    "quantization_param_path",
    "modelopt_quant",
    "rl_quant_profile",
    "json_model_override_args",
    "load_format",
    "download_dir",
)
# Part of the identity of weights, or paths: not in the namespace as they are.
NOT_FIELDS = frozenset(
    "model_path revision quantization_param_path load_format download_dir".split()
)
_nobody_else = uuid.uuid4().hex


def _runtime() -> Dict[str, Any]:
    """What the engine says of its model now; empty where it cannot be asked (old versions, tests)."""
    try:
        from sglang.srt import runtime_context  # type: ignore[import-not-found]

        model = runtime_context.get_model()
        out = {name: getattr(model, name, None) for name in MODEL_FIELDS}
        out["weight_version"] = getattr(runtime_context.get_serving(), "weight_version", None)
        return out
    except Exception:  # noqa: BLE001 - whatever another version does, a page is not worth a crash
        return {}


class Fingerprint:
    """The namespace of a rank's pages."""

    def __init__(self, config: Any, own: Dict[str, Any], namespace: bytes) -> None:
        if len(namespace) + 1 + DIGEST_HEX > NAMESPACE_MAX:
            raise ValueError(
                "namespace: at most %d bytes, so that the model's part fits behind it"
                % (NAMESPACE_MAX - 1 - DIGEST_HEX)
            )
        self._config = config
        self._own = own
        self._prefix = namespace + b"/" if namespace else b""
        self._pool: Optional[Dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._now: Tuple[Any, bytes] = (None, b"")  # (what the engine said, namespace)
        self._signature: Tuple[Any, ...] = ()
        self._identity: Optional[str] = None
        self._in_doubt = False
        self._began: Any = weakref.WeakKeyDictionary()  # thread -> namespace
        self._said: set = set()
        self.fields: Dict[str, Any] = {}

    def pool(self, fields: Optional[Dict[str, Any]]) -> None:
        """Set what the host pool says of its pages. Comes before the storage threads.

        None: there is a pool that could not be asked, so that every page is a miss.
        """
        with self._lock:
            self._pool = fields
            self._now = (None, b"")
            self._began.clear()

    def begun(self) -> None:
        """Storage threads may have begun: they belong to the weights of now."""
        self.reading()
        with self._lock:
            self._mark()

    def reading(self) -> Optional[bytes]:
        """The namespace to look pages up in. None: every page is a miss."""
        said = tuple(_runtime().values())
        if threading.current_thread() not in self._began or said != self._now[0]:
            with self._lock:
                self._look()
        return None if self._in_doubt or self._pool is None else self._now[1]

    def writing(self) -> Optional[bytes]:
        """The namespace to store pages under. None: their weights cannot be told."""
        namespace = self.reading()
        if namespace is None or self._began.get(threading.current_thread()) == namespace:
            return namespace
        self._say(
            "the weights have changed; what the host cache holds may be older, so nothing is "
            "stored until the cache is flushed"
        )
        return None

    def _say(self, text: str) -> None:
        key = (text, self._now[1])
        if key not in self._said:
            self._said = {key}
            logger.warning("%s", text)

    def _mark(self) -> None:
        for thread in threading.enumerate():
            self._began.setdefault(thread, self._now[1])
        self._began.setdefault(threading.current_thread(), self._now[1])

    def _part(self) -> None:
        """Threads that began under another namespace store no more, even if it comes back."""
        for thread, namespace in list(self._began.items()):
            if namespace != self._now[1]:
                self._began[thread] = b""

    def _look(self) -> None:
        runtime = _runtime()  # asked again under the lock: an older answer must not come back
        said = tuple(runtime.values())
        signature = _weights.signature(runtime.get("model_path"))
        if said != self._now[0]:
            self._identity = self._identify(runtime)
            self._signature, self._in_doubt = signature, False
            self._now = (said, self._compute(runtime))
            self._part()
        elif signature != self._signature and not self._in_doubt:
            if self._identify(runtime) == self._identity:
                self._signature = signature  # touched, or written as it was
            else:
                self._in_doubt = True
                self._say(
                    "the model's files have changed and the engine does not say whether they are "
                    "loaded: no page is stored or read until it names a weight_version, or starts "
                    "again"
                )
        self._mark()

    @staticmethod
    def _identify(runtime: Dict[str, Any]) -> Optional[str]:
        if str(runtime.get("load_format")) in ("dummy", "LoadFormat.DUMMY"):
            return None
        return _weights.identity(
            runtime.get("model_path"), runtime.get("revision"), runtime.get("download_dir")
        )

    def _rank(self, config: Any) -> Dict[str, Any]:
        def of(name: str, default: int) -> Any:
            return getattr(config, name, default)

        rank = {
            "pp": [of("pp_rank", 0), of("pp_size", 1)],
            "cp": [of("attn_cp_rank", 0), of("attn_cp_size", 1)],
            "dcp": [of("dcp_rank", 0), of("dcp_size", 1)],
        }
        if not of("is_mla_model", False):  # every rank of MLA holds the same pages
            rank["tp"] = [of("tp_rank", 0), of("tp_size", 1)]
        return rank

    def _weights_fields(self) -> Dict[str, Any]:
        revision = self._own.get("model_revision")
        out = {"weights": self._identity, "model_revision": revision}
        if self._identity is None and revision is None:
            out["weights"] = self._private()
            self._say(
                "which weights the engine runs cannot be told, so its pages are not shared with "
                "other processes; model_revision in the extra config names them"
            )
        elif self._identity is None:
            out["model"] = os.path.basename(str(getattr(self._config, "model_name", "")))
        return out

    def _flavour(self, runtime: Dict[str, Any]) -> Any:
        """Both kinds of fp8 are bytes to some pools: where nobody says which, nobody shares."""
        told = self._own.get("kv_cache_dtype")
        if told or runtime.get("kv_cache_dtype") or "uint8" not in self._real_dtype():
            return told
        self._say(
            "the pool holds bytes and nobody says of which kind of fp8, so its pages are not "
            "shared with other processes; kv_cache_dtype in the extra config names it"
        )
        return self._private()

    def _real_dtype(self) -> str:
        return str((self._pool or {}).get("real_dtype"))

    @staticmethod
    def _private() -> str:
        return "private:%s:%d" % (_nobody_else, os.getpid())

    def _compute(self, runtime: Dict[str, Any]) -> bytes:
        self.fields = {
            "v": VERSION,
            **self._weights_fields(),
            **{k: str(v) for k, v in runtime.items() if k not in NOT_FIELDS},
            "quantization_param": _weights.content(runtime.get("quantization_param_path")),
            "kv_cache_dtype_told": self._flavour(runtime),
            "pool": self._pool,
            "rank": self._rank(self._config),
        }
        text = json.dumps(self.fields, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_HEX]
        logger.debug("namespace %s: %s", digest, text)
        return self._prefix + digest.encode()
