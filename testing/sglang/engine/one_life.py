"""A real sglang engine on the CPU, one life: answers one prompt and prints what came, as JSON.

usage: one_life.py MODEL EXTRA_JSON PROMPT_TOKENS SEED [--page-size N] [--layout L]
"""

import argparse
import json
import random
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


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("extra", help="the extra config, or none: without storage")
    p.add_argument("tokens", type=int)
    p.add_argument("seed", type=int)
    p.add_argument("--page-size", type=int)
    p.add_argument("--layout", default="page_first")
    p.add_argument("--result", required=True)
    a = p.parse_args()
    engine = Engine(**options(a))
    rng = random.Random(a.seed)
    ids = [rng.randrange(3, 500) for _ in range(a.tokens)]
    out = engine.generate(
        input_ids=[ids],
        sampling_params={"max_new_tokens": 8, "temperature": 0, "ignore_eos": True},
        return_logprob=True,
    )[0]
    meta = out["meta_info"]
    time.sleep(2)  # the backup of the prompt goes on behind the answer
    with open(a.result, "w") as f:
        json.dump(
            {
                "output_ids": out["output_ids"],
                "logprobs": [x[0] for x in meta["output_token_logprobs"]],
                "cached": meta["cached_tokens"],
                "details": meta.get("cached_tokens_details"),
            },
            f,
        )
    engine.shutdown()


if __name__ == "__main__":
    main()
