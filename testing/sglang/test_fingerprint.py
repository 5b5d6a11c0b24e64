"""Keys name the weights, and all else that a page's bytes depend on."""

import json
import os
import shutil
import struct
import threading
import time
import types

import pytest


@pytest.fixture
def fp(rs):
    from memkv_sglang import _fingerprint

    return _fingerprint


@pytest.fixture
def weights(rs):
    from memkv_sglang import _weights

    return _weights


def safetensors(path, tensors):
    """A file of tensors of bytes."""
    header, at = {}, 0
    for name, data in tensors.items():
        header[name] = {
            "dtype": "U8",
            "shape": [len(data)],
            "data_offsets": [at, at + len(data)],
        }
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensors.values()))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"layers": 2}')
    safetensors(folder / "a.safetensors", {"t%d" % i: bytes([i]) * 5000 for i in range(200)})
    return folder


RUNTIME = {
    "revision": None,
    "dtype": "bfloat16",
    "kv_cache_dtype": "auto",
    "quantization": None,
    "quantization_param_path": None,
    "json_model_override_args": "{}",
    "load_format": "auto",
    "download_dir": None,
    "weight_version": "default",
}


@pytest.fixture
def engine(fp, model, monkeypatch):
    """What the engine says of its model; tests change it."""
    says = {"model_path": str(model), **RUNTIME}
    monkeypatch.setattr(fp, "_runtime", lambda: dict(says))
    return says


def namespace(fp, pool=None, own=None, prefix=b"", **config):
    f = fp.Fingerprint(types.SimpleNamespace(**config), own or {}, prefix)
    f.pool({"page_size": 64, "store_dtype": "bfloat16", **(pool or {})})
    return f.reading()


def in_a_thread(work):
    out = []
    thread = threading.Thread(target=lambda: out.append(work()))
    thread.start()
    thread.join()
    return out[0]


# Fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float16"},
        {"kv_cache_dtype": "fp8_e4m3"},
        {"kv_cache_dtype": "fp8_e5m2"},
        {"quantization": "fp8"},
        {"json_model_override_args": '{"rope_theta": 1}'},
        {"weight_version": "2"},
    ],
)
def test_what_the_engine_says_counts(fp, engine, change):
    before = namespace(fp)
    engine.update(change)
    assert namespace(fp) != before
    engine.update({**RUNTIME, "kv_cache_dtype": "fp8_e4m3"})
    first = namespace(fp)
    engine["kv_cache_dtype"] = "fp8_e5m2"  # pools of both are uint8
    assert namespace(fp) != first


@pytest.mark.parametrize(
    "config",
    [
        {"tp_rank": 1, "tp_size": 2},
        {"tp_size": 2},
        {"pp_rank": 1, "pp_size": 2},
        {"attn_cp_rank": 1, "attn_cp_size": 2},
        {"dcp_rank": 1, "dcp_size": 2},
    ],
)
def test_ranks_hold_other_pages(fp, engine, config):
    assert namespace(fp, **config) != namespace(fp)


def test_ranks_of_mla_share_and_replicas_share(fp, engine):
    ranks = [namespace(fp, is_mla_model=True, tp_rank=i, tp_size=4) for i in range(4)]
    assert len(set(ranks)) == 1
    assert namespace(fp, is_mla_model=True, tp_rank=1, tp_size=4, pp_rank=1, pp_size=2) != ranks[0]
    assert namespace(fp, dp_rank=1) == namespace(fp)


def test_pool_and_own_options_count(fp, engine):
    ours = [
        namespace(fp),
        namespace(fp, pool={"page_size": 32}),
        namespace(fp, pool={"layout": "page_head"}),
        namespace(fp, own={"model_revision": "1"}),
        namespace(fp, own={"kv_cache_dtype": "fp8_e5m2"}),
        namespace(fp, prefix=b"team"),
    ]
    assert len(set(ours)) == len(ours)
    assert ours[-1] == b"team/" + ours[0]


def test_real_pools_differ_by_what_they_hold(rs):
    from memkv_sglang import _pages

    pools = [
        rs.host_pool(rs.mha_pool(size=64, dtype=dtype), layout, ratio=1.5)
        for dtype in ("float16", "bfloat16")
        for layout in ("layer_first", "page_first", "page_first_direct", "page_head")
    ]
    pools += [
        rs.host_pool(rs.mha_pool(size=64, **kw), ratio=1.5)
        for kw in ({"heads": 4, "head_dim": 4}, {"layers": 4}, {"page_size": 32})
    ]
    pools += [rs.host_pool(rs.mla_pool(size=64, **kw), ratio=1.5) for kw in ({}, {"rope": 16})]
    texts = {json.dumps(_pages.describe(p), sort_keys=True) for p in pools}
    assert len(texts) == len(pools)
    assert "/" not in "".join(texts)


# Weights --------------------------------------------------------------------------------------


def test_no_path_is_in_it(fp, engine, model, tmp_path):
    first = namespace(fp, model_name=str(model))
    copy = shutil.copytree(model, tmp_path / "elsewhere")
    engine["model_path"] = str(copy)
    assert namespace(fp, model_name=str(copy)) == first
    assert namespace(fp, model_name="a name") == first


def test_every_file_and_every_tensor_counts(weights, model):
    seen = [weights.identity(str(model))]
    whole = {"t%d" % i: bytes([i]) * 5000 for i in range(200)}
    for i in (0, 100, 199):  # training that changes one tensor only; sizes stay
        safetensors(model / "a.safetensors", {**whole, "t%d" % i: b"x" * 5000})
        seen.append(weights.identity(str(model)))
    safetensors(model / "a.safetensors", {("u%d" % i): v for i, v in enumerate(whole.values())})
    seen.append(weights.identity(str(model)))
    safetensors(model / "b.safetensors", {"more": b"y" * 10})
    seen.append(weights.identity(str(model)))
    for name in ("config.json", "hf_quant_config.json", "modeling_own.py"):
        (model / name).write_text('{"layers": 3}')
        seen.append(weights.identity(str(model)))
    assert len(set(seen)) == len(seen) and all(seen)
    (model / "README.md").write_text("x")
    assert weights.identity(str(model)) == seen[-1]


def test_files_that_are_not_what_they_say(weights, model):
    for content in (b"", b"x", b"\xff" * 100, struct.pack("<Q", 2) + b"[]", b"\0" * 3_000_000):
        (model / "a.safetensors").write_bytes(content)
        assert weights.identity(str(model)).startswith("files:")
    os.remove(model / "a.safetensors")
    for path in (None, "", str(model), "/nowhere", "s3://bucket/model", "no/such-model"):
        assert weights.identity(path) is None


def test_the_hubs_commit(weights, tmp_path):
    commit, other = "a" * 40, "b" * 40
    refs = tmp_path / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(commit)
    (refs / "v2").write_text(other)
    hub = str(tmp_path)
    assert weights.identity("org/model", None, hub) == "commit:" + commit
    assert weights.identity("org/model", "v2", hub) == "commit:" + other
    assert weights.identity("org/model", other, hub) == "commit:" + other
    assert weights.identity("org/model", "v3", hub) is None
    snapshot = tmp_path / "models--org--model" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    assert weights.identity(str(snapshot)) == "commit:" + commit


def test_variants_and_edited_configurations_of_one_commit(weights, tmp_path):
    """Folders of a snapshot hold other weights; people edit config.json where it lies."""
    commit = "a" * 40
    refs = tmp_path / "models--org--model" / "refs"
    snapshot = tmp_path / "models--org--model" / "snapshots" / commit
    for folder in (refs, snapshot / "fp8", snapshot / "bf16"):
        folder.mkdir(parents=True)
    (refs / "main").write_text(commit)
    seen = {weights.identity(str(p)) for p in (snapshot, snapshot / "fp8", snapshot / "bf16")}
    assert len(seen) == 3 and all(commit in s for s in seen)
    (snapshot / "config.json").write_text('{"rope_theta": 1}')
    whole = weights.identity(str(snapshot))
    assert whole not in seen
    for revision in (None, commit):  # by name, and as another host has it
        assert weights.identity("org/model", revision, str(tmp_path)) == whole
    (snapshot / "config.json").write_text('{"rope_theta": 2}')
    assert weights.identity(str(snapshot)) != whole
    assert weights.identity("org/model", None, str(tmp_path)) != whole


def test_a_kind_of_fp8_that_nobody_names_is_shared_with_nobody(rs, fp, engine, caplog, monkeypatch):
    from memkv_sglang import _pages

    real = [rs.host_pool(rs.mha_pool(size=64, dtype="float8_" + k)) for k in ("e4m3fn", "e5m2")]
    pool, same = [_pages.describe(p) for p in real]
    assert pool == same  # this is why
    told = {"model_revision": "1"}
    del engine["kv_cache_dtype"]
    ours = namespace(fp, pool, told)
    assert ours == namespace(fp, pool, told)
    assert "kv_cache_dtype in the extra config names it" in caplog.text
    monkeypatch.setattr(fp, "_nobody_else", "another process")
    assert namespace(fp, pool, told) != ours
    named = [namespace(fp, pool, {**told, "kv_cache_dtype": k}) for k in ("fp8_e4m3", "fp8_e5m2")]
    monkeypatch.setattr(fp, "_nobody_else", "a third process")
    assert named[0] == namespace(fp, pool, {**told, "kv_cache_dtype": "fp8_e4m3"}) != named[1]
    other = {"real_dtype": "torch.float8_e5m2"}  # older pools say it
    assert namespace(fp, other, told) == namespace(fp, other, told)


def test_weights_that_cannot_be_told_are_shared_with_nobody(fp, engine, caplog, monkeypatch):
    engine["model_path"] = "s3://bucket/model"
    ours = namespace(fp)
    assert ours == namespace(fp)  # of this process: detach and attach find it again
    assert "model_revision in the extra config names them" in caplog.text
    monkeypatch.setattr(fp, "_nobody_else", "another process")
    assert namespace(fp) != ours
    named = namespace(fp, own={"model_revision": "r1"}, model_name="org/model")
    monkeypatch.setattr(fp, "_nobody_else", "a third process")
    assert namespace(fp, own={"model_revision": "r1"}, model_name="/mnt/model") == named
    assert namespace(fp, own={"model_revision": "r1"}, model_name="other") != named
    engine["load_format"] = "dummy"
    assert namespace(fp) != ours


# Changes while it runs ------------------------------------------------------------------------


def fingerprint(fp):
    f = fp.Fingerprint(types.SimpleNamespace(), {}, b"")
    f.pool({})
    f.reading()
    return f


def test_after_an_update_only_new_threads_store(fp, engine, caplog):
    """The flush begins new storage threads; what older ones hold was computed before."""
    f = fingerprint(fp)
    go, results = threading.Semaphore(0), []
    done = threading.Semaphore(0)

    def storage_thread():
        while True:
            go.acquire()
            results.append((f.reading(), f.writing()))
            done.release()
            if len(results) == 2:
                return

    thread = threading.Thread(target=storage_thread)
    thread.start()
    f.begun()  # it has asked nothing yet, and belongs to the old weights all the same
    before = f.reading()
    go.release()
    done.acquire()
    engine["weight_version"] = "2"
    go.release()
    thread.join()
    after = f.reading()
    assert results == [(before, before), (after, None)] and before != after
    assert "nothing is stored until the cache is flushed" in caplog.text
    assert in_a_thread(f.writing) == after
    engine["weight_version"] = "default"
    assert in_a_thread(f.writing) == before  # back again


def test_weights_that_come_back_without_a_flush_bring_no_right_to_store(fp, engine):
    """What the host cache holds was computed in between, by the other weights."""
    f = fingerprint(fp)
    before = f.writing()
    engine["weight_version"] = "2"
    assert f.writing() is None
    engine["weight_version"] = "default"
    assert f.reading() == before and f.writing() is None
    assert in_a_thread(f.writing) == before


def test_files_written_over_in_place_are_in_doubt(fp, engine, model, caplog):
    f = fingerprint(fp)
    before = f.reading()
    file = model / "a.safetensors"
    stat, content = os.stat(file), file.read_bytes()
    assert in_a_thread(f.writing) == before
    file.write_bytes(content)  # the same again
    assert in_a_thread(f.writing) == before
    file.write_bytes(content.replace(bytes([7]) * 5000, b"!" * 5000))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and times as they were
    assert f.reading() == before  # this thread began before: so did its weights
    assert in_a_thread(f.reading) is None and in_a_thread(f.writing) is None
    assert f.reading() is None
    assert caplog.text.count("the model's files have changed") == 1
    engine["weight_version"] = "2"
    after = in_a_thread(f.writing)
    assert after is not None and after != before


def test_two_threads_never_bring_an_older_answer_back(fp, engine):
    f = fingerprint(fp)
    stop = threading.Event()
    wrong = []

    def look():
        last = 0
        while not stop.is_set():
            f.reading()
            now = int(engine["weight_version"])
            seen = f._now[0][-1]
            if int(seen) < last:
                wrong.append((seen, last))
            last = max(last, int(seen))
            assert now >= last

    engine["weight_version"] = "0"
    f.reading()
    threads = [threading.Thread(target=look) for _ in range(3)]
    for t in threads:
        t.start()
    for i in range(1, 200):
        engine["weight_version"] = str(i)
    stop.set()
    for t in threads:
        t.join()
    assert not wrong


def test_looking_on_every_call_costs_little(fp, engine, record_property):
    """No file is looked at by a thread that has looked before: counted, and the time is told."""
    f = fingerprint(fp)
    calls = []
    real_signature, real_identity = fp._weights.signature, fp._weights.identity
    fp._weights.signature = lambda *a: calls.append(a) or real_signature(*a)
    fp._weights.identity = lambda *a: calls.append(a) or real_identity(*a)
    try:
        start = time.perf_counter()
        for _ in range(1000):
            f.writing()
        record_property("us_per_call", (time.perf_counter() - start) * 1e3)
        assert calls == []
    finally:
        fp._weights.signature, fp._weights.identity = real_signature, real_identity
