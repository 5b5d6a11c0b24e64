"""Which weights a model's folder holds: a short text without any path in it.

The served name of a model does not change when its weights do, so the weights are named by what they
are: the hub's commit, or config.json with the size and sampled content of each weight file.
"""

import hashlib
import json
import os
import re
import struct
from typing import Any, Iterator, List, Optional, Tuple

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
CONFIGS = ("config.json", "hf_quant_config.json", "quantize_config.json")
CODE = ".py"  # models that bring code of their own
SAMPLES = 512  # of each file, at most
SAMPLE_BYTES = 512
HEADER_MAX = 100 << 20
COMMIT = re.compile(r"[0-9a-f]{40}")


def _hub_folders(download_dir: Optional[str]) -> Iterator[str]:
    """Where snapshots of a hub may be on this host."""
    if download_dir:
        yield download_dir
    try:
        from huggingface_hub import constants  # type: ignore[import-not-found]

        yield str(constants.HF_HUB_CACHE)
    except Exception:  # noqa: BLE001 - not installed, or of another shape
        pass


def _commit(
    path: str, revision: Optional[str], download_dir: Optional[str]
) -> Tuple[Optional[str], str]:
    """(the hub's commit, folder) of a snapshot's folder, or of a model's name as it was fetched here.

    With the folder inside of the snapshot, where it is not the whole: there other variants lie.
    """
    if os.path.isdir(path):
        found = re.search(r"/snapshots/([0-9a-f]{40}(?:/.+)?)$", os.path.realpath(path))
        return (found.group(1) if found else None), path
    if not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)?", path):
        return None, ""
    named = revision if revision and COMMIT.fullmatch(revision) else None
    for hub in _hub_folders(download_dir):
        model = os.path.join(hub, "models--" + path.replace("/", "--"))
        commit = named or _ref(os.path.join(model, "refs", revision or "main"))
        folder = os.path.join(model, "snapshots", commit or "")
        if commit and (not named or os.path.isdir(folder)):
            return commit, folder
    return named, ""


def _ref(name: str) -> Optional[str]:
    try:
        with open(name) as f:
            commit = f.read(100).strip()
    except OSError:
        return None
    return commit if COMMIT.fullmatch(commit) else None


def _files(path: str) -> List[str]:
    """The files that decide what a model computes."""
    if os.path.isfile(path):
        return [path]
    names = sorted(os.listdir(path))
    return [
        os.path.join(path, name)
        for name in names
        if name.endswith(WEIGHTS) or name in CONFIGS or name.endswith(CODE)
    ]


def signature(path: Optional[str]) -> Tuple[Any, ...]:
    """Changes when a file of the model is written to. For this host only, and cheap."""
    try:
        stats = [(name, os.stat(name)) for name in _files(path or "")]
    except OSError:
        return ()
    return tuple((n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for n, s in stats)


def _tensors(f: Any, size: int) -> Tuple[bytes, List[int]]:
    """Of a safetensors file: its header, and an offset inside of each tensor."""
    (length,) = struct.unpack("<Q", f.read(8))
    if length > min(HEADER_MAX, size):
        raise ValueError("not a safetensors file")
    text = f.read(length)
    header = json.loads(text)
    spans = [t["data_offsets"] for name, t in header.items() if name != "__metadata__"]
    return text, sorted(8 + length + (int(a) + int(b)) // 2 for a, b in spans)


def _sample(name: str, digest: Any) -> None:
    """The size and some of the content: a part of each tensor where the file says where they are.

    Training that leaves most layers as they were has to be seen too, so that samples at even
    distances would not do.
    """
    size = os.path.getsize(name)
    digest.update(b"%s %d\n" % (os.path.basename(name).encode(), size))
    offsets = [size * i // SAMPLES for i in range(SAMPLES)] + [max(0, size - SAMPLE_BYTES)]
    with open(name, "rb") as f:
        if name.endswith(".safetensors"):
            try:
                header, inside = _tensors(f, size)
                digest.update(header)
                step = max(1, -(-len(inside) // SAMPLES))
                offsets = inside[::step] + inside[-1:]
            except (ValueError, KeyError, TypeError, AttributeError, struct.error):
                pass  # damaged: sampled like any other file
        if size <= SAMPLES * SAMPLE_BYTES:
            offsets = list(range(0, size, SAMPLE_BYTES))
        for offset in offsets:
            f.seek(offset)
            digest.update(f.read(SAMPLE_BYTES))


def identity(
    path: Optional[str], revision: Optional[str] = None, download_dir: Optional[str] = None
) -> Optional[str]:
    """A text that differs when the weights differ; None where it cannot be told."""
    if not path:
        return None
    commit, folder = _commit(path, revision, download_dir)
    if commit:
        return "commit:" + commit + _edited(folder)
    digest = hashlib.sha256()
    try:
        files = _files(path)
        if not any(name.endswith(WEIGHTS) for name in files):
            return None
        for name in files:
            if name.endswith(WEIGHTS):
                _sample(name, digest)
            else:
                _whole(name, digest)
    except OSError:
        return None
    return "files:" + digest.hexdigest()[:32]


def _whole(name: str, digest: Any) -> None:
    digest.update(os.path.basename(name).encode())
    with open(name, "rb") as f:
        digest.update(f.read())


def _edited(folder: str) -> str:
    """The configuration of a snapshot, which people edit in place, under the same commit."""
    told = content(os.path.join(folder, CONFIGS[0]))
    return ":" + told[:16] if told else ""


def content(path: Optional[str]) -> Optional[str]:
    """The hash of a small file, or None."""
    try:
        with open(path or "", "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()[:32]
    except OSError:
        return None
