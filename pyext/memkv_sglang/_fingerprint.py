"""What a page's bytes depend on, beside its tokens: the namespace of the keys.

sglang's page keys are hashes of token ids. The same tokens give other bytes under other weights,
dtypes, layouts, page sizes and ranks, so all of these go into the namespace. No paths do: hosts
share pages. Weights are named by what they are (config.json, sizes and sampled content of the weight
files), since the served name of a model does not change when its weights do.
"""

import hashlib
import json
import logging
import os
import re
from typing import Any, Dict, Optional, Tuple

logger = logging.getLogger("memkv_sglang")

VERSION = 1
SAMPLES = 16
SAMPLE_BYTES = 4096
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def _sample(path: str, digest: Any) -> None:
    size = os.path.getsize(path)
    digest.update(b"%d" % size)
    with open(path, "rb") as f:
        for i in range(SAMPLES):
            f.seek(size * i // SAMPLES)
            digest.update(f.read(SAMPLE_BYTES))
        f.seek(max(0, size - SAMPLE_BYTES))
        digest.update(f.read(SAMPLE_BYTES))


def _commit(path: str) -> Optional[str]:
    """The commit of a hub's snapshot folder: .../snapshots/<40 hex digits>."""
    found = re.search(r"/snapshots/([0-9a-f]{40})(?:/|$)", os.path.realpath(path))
    return found.group(1) if found else None


def weights_identity(path: Optional[str], revision: Optional[str] = None) -> str:
    """A short text that differs when the files of a model differ."""
    if not path:
        return "unknown"
    if not os.path.isdir(path):
        return "name:%s@%s" % (path, revision or "main")
    commit = _commit(path)
    if commit:
        return "commit:" + commit
    digest = hashlib.sha256()
    config = os.path.join(path, "config.json")
    if os.path.exists(config):
        with open(config, "rb") as f:
            digest.update(f.read())
    for name in sorted(os.listdir(path)):
        if name.endswith(WEIGHTS):
            digest.update(name.encode())
            _sample(os.path.join(path, name), digest)
    return "files:" + digest.hexdigest()[:32]


def _runtime() -> Dict[str, Any]:
    """What the engine says of its model now; empty where it cannot be asked (old versions, tests)."""
    try:
        from sglang.srt import runtime_context  # type: ignore[import-not-found]

        model = runtime_context.get_model()
        out = {
            name: getattr(model, name, None)
            for name in ("model_path", "revision", "dtype", "kv_cache_dtype", "quantization")
        }
        serving = getattr(runtime_context, "get_serving", None)
        out["weight_version"] = getattr(serving(), "weight_version", None) if serving else None
        return out
    except Exception:  # noqa: BLE001 - whatever another version does, a page is not worth a crash
        return {}


class Fingerprint:
    """The namespace of a rank's pages; looked at on every call, recomputed when something changed."""

    def __init__(self, config: Any, own: Dict[str, Any], namespace: str) -> None:
        self._config = config
        self._own = own
        self._namespace = namespace
        self._pool: Dict[str, Any] = {}
        self._seen: Optional[Tuple[Any, ...]] = None
        self._identities: Dict[Tuple[Any, ...], str] = {}
        self._text = b""
        self.fields: Dict[str, Any] = {}

    def pool(self, fields: Dict[str, Any]) -> None:
        """Set what the host pool says of its pages."""
        self._pool = fields
        self._seen = None

    def current(self) -> bytes:
        """The namespace, as bytes."""
        runtime = _runtime()
        path = runtime.get("model_path")
        seen = (self._changes(path), *runtime.values())
        if seen != self._seen:
            self._text = self._compute(runtime, seen)
            self._seen = seen
        return self._text

    @staticmethod
    def _changes(path: Any) -> Any:
        """Cheap signs of other weights under one path."""
        try:
            return os.stat(path).st_mtime_ns if path and os.path.isdir(path) else None
        except OSError:
            return None

    def _rank(self, config: Any) -> Dict[str, Any]:
        def of(name: str, default: int) -> Any:
            return getattr(config, name, default)

        replicated = bool(of("is_mla_model", False))
        rank = {
            "pp": [of("pp_rank", 0), of("pp_size", 1)],
            "cp": [of("attn_cp_rank", 0), of("attn_cp_size", 1)],
        }
        if not replicated:
            rank["tp"] = [of("tp_rank", 0), of("tp_size", 1)]
        return rank

    def _compute(self, runtime: Dict[str, Any], seen: Tuple[Any, ...]) -> bytes:
        identity = self._identities.get(seen)
        if identity is None:
            identity = weights_identity(runtime.get("model_path"), runtime.get("revision"))
            self._identities = {seen: identity}
        self.fields = {
            "v": VERSION,
            "model": getattr(self._config, "model_name", None),
            "weights": identity,
            "model_revision": self._own.get("model_revision"),
            "tenant": self._own.get("tenant"),
            "kv_cache_dtype": self._own.get("kv_cache_dtype") or str(runtime.get("kv_cache_dtype")),
            "dtype": str(runtime.get("dtype")),
            "quantization": runtime.get("quantization"),
            "weight_version": runtime.get("weight_version"),
            "pool": self._pool,
            "rank": self._rank(self._config),
        }
        text = json.dumps(self.fields, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:40]
        logger.debug("namespace %s: %s", digest, text)
        return (self._namespace + "/" if self._namespace else "").encode() + digest.encode()
