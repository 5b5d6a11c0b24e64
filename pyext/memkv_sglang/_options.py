"""The backend's options: sglang's extra config, plain or under "memkv"."""

import difflib
import logging
from typing import Any, Dict, Tuple

logger = logging.getLogger("memkv_sglang")

# Keys of the same dict that belong to sglang.
SGLANG_KEYS = frozenset(
    "backend_name module_path class_name interface_v1 prefetch_threshold prefetch_timeout_base "
    "prefetch_timeout_per_ki_token prefetch_timeout_max hicache_storage_pass_prefix_keys "
    "tp_lcm_size allocator memkv".split()
)
# Options of the backend itself; everything else goes to the client.
OWN_KEYS = frozenset(("model_revision", "kv_cache_dtype"))
CLIENT_KEYS = (
    "servers namespace fail_open placement_grace connect_timeout exists_timeout get_timeout "
    "set_timeout breaker.failures breaker.probe breaker.probe_max transport rdma_devices rdma_gid "
    "lanes congestion_control checksum auth_key auth_key_file auth_key_id workers workers.cpus spin "
    "log_level config"
).split()
SECRETS = frozenset(("auth_key",))


def _canonical(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


_CLIENT = {_canonical(k): k for k in CLIENT_KEYS}


def split(extra: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Return (options of the backend, options of the client) of an extra config."""
    own: Dict[str, Any] = {}
    client: Dict[str, Any] = {}
    extra = dict(extra or {})
    nested = extra.get("memkv") or {}
    if not isinstance(nested, dict):
        raise ValueError('extra config: "memkv" is a mapping of options')
    flat = [(k, v, False) for k, v in extra.items() if k not in SGLANG_KEYS]
    for name, value, inside in flat + [(k, v, True) for k, v in nested.items()]:
        known = _CLIENT.get(_canonical(str(name)))
        if name in OWN_KEYS:
            own[name] = value
        elif known:
            client[known] = value
            if known in SECRETS:
                logger.warning(
                    "extra config: %s: a secret here is seen in process lists and logs; use "
                    "MEMKV_AUTH_KEY or auth_key_file",
                    name,
                )
        else:
            near = difflib.get_close_matches(str(name), [*CLIENT_KEYS, *sorted(OWN_KEYS)], 1)
            hint = '; did you mean "%s"?' % near[0] if near else ""
            logger.warning(
                "extra config: unknown option %s%s%s", "memkv." if inside else "", name, hint
            )
    return own, client
