"""A real sglang engine on the CPU. Steps come on stdin, one JSON list a line; so go the answers.

["ask", SEED, TOKENS]   ["flush"]   ["update", MODEL, WEIGHT_VERSION]
"""

import argparse
import json
import os
import random
import sys
import time

from sglang.srt.entrypoints.engine import Engine


def options(a):
    """The engine's arguments: CPU, no graphs, hierarchical cache with the dynamic backend."""
    out = dict(
        model_path=a.model,
        served_model_name="demo",
        skip_tokenizer_init=True,
        device="cpu",
        attention_backend="torch_native",
        sampling_backend="pytorch",
        dtype="float32",
        max_total_tokens=4096,
        context_length=2048,
        disable_overlap_schedule=True,
        disable_cuda_graph=True,
        grammar_backend="none",
        log_level="info",
        random_seed=1,
        mem_fraction_static=0.3,
        max_running_requests=4,
        chunked_prefill_size=1024,
        enable_cache_report=True,
    )
    if a.page_size:
        out["page_size"] = a.page_size
    if a.extra != "none":
        out.update(
            enable_hierarchical_cache=True,
            hicache_ratio=2.0,
            hicache_mem_layout=a.layout,
            hicache_write_policy="write_through",
            hicache_storage_prefetch_policy="wait_complete",
            hicache_storage_backend="dynamic",
            hicache_storage_backend_extra_config=a.extra,
        )
    return out


def answer(engine, seed, tokens):
    """The answer to a prompt of random tokens, and where its prefix came from."""
    rng = random.Random(seed)
    ids = [rng.randrange(3, 500) for _ in range(tokens)]
    start = time.perf_counter()
    out = engine.generate(
        input_ids=[ids],
        sampling_params={"max_new_tokens": 8, "temperature": 0, "ignore_eos": True},
        return_logprob=True,
    )[0]
    meta = out["meta_info"]
    details = meta.get("cached_tokens_details") or {}
    return {
        "output_ids": out["output_ids"],
        "logprobs": [x[0] for x in meta["output_token_logprobs"]],
        "cached": meta["cached_tokens"],
        "device": details.get("device", 0),
        "host": details.get("host", 0),
        "seconds": time.perf_counter() - start,
    }


def update(engine, model, weight_version):
    """update_weights_from_disk; the engine's own method cannot name a version."""
    from sglang.srt.managers.io_struct import UpdateWeightFromDiskReqInput

    request = UpdateWeightFromDiskReqInput(model_path=model, weight_version=weight_version)
    manager = engine.tokenizer_manager
    success, message, _ = engine.loop.run_until_complete(
        manager.update_weights_from_disk(request, None)
    )
    return {"success": success, "message": message}


STEPS = {
    "ask": answer,
    "flush": lambda engine: {"success": engine.flush_cache().success},
    "update": update,
}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("extra", help="the extra config, or none: without storage")
    p.add_argument("--page-size", type=int)
    p.add_argument("--layout", default="page_first")
    p.add_argument("--answers", type=int, required=True, help="descriptor for the answers")
    a = p.parse_args()
    engine = Engine(**options(a))
    with os.fdopen(a.answers, "w") as answers:
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(STEPS[name](engine, *arguments)), file=answers, flush=True)
    engine.shutdown()


if __name__ == "__main__":
    main()
