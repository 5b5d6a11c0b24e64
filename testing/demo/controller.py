"""sglang's real HiCacheController backs up 1 GiB of KV pages, the host pool is wiped, all comes back.

usage: controller.py ZERO_COPY RESULT_FILE
"""

import json
import sys
import time

import real_sglang as rs

rs.install()

import lives  # noqa: E402
import torch  # noqa: E402

PAGE, PAGES = 64, 512


def main(zero_copy, result):
    torch.manual_seed(1)
    dev = rs.mha_pool(size=PAGE * 16, page_size=PAGE, layers=8, heads=8, head_dim=128)
    host = rs.host_pool(dev, "page_first", ratio=PAGES / 16 + 1)
    extra = dict(lives.THREE_KEYS) if zero_copy else {**lives.THREE_KEYS, "interface_v1": 0}
    ctl = rs.controller(
        dev, host, (lives.THREE_KEYS["module_path"], lives.THREE_KEYS["class_name"]), extra=extra
    )
    tokens = list(range(PAGE * PAGES))
    hashes = rs.page_hashes(tokens, PAGE)
    idx = host.alloc(PAGE * PAGES)
    raw = host.kv_buffer.view(torch.uint8)
    raw.copy_(
        torch.randint(0, 256, (1 << 20,), dtype=torch.uint8)
        .repeat(raw.numel() // (1 << 20) + 1)[: raw.numel()]
        .view(raw.shape)
    )
    # Pages that are alike would hide pages in each other's place: number them.
    host.kv_buffer[:, idx[::PAGE], 0, 0, 0] = torch.arange(PAGES, dtype=host.kv_buffer.dtype)
    reference = host.kv_buffer.clone()
    start = time.perf_counter()
    done = rs.backup(ctl, idx, tokens, hashes, timeout=200)
    up = time.perf_counter() - start
    assert done == PAGE * PAGES, done
    host.kv_buffer.zero_()
    start = time.perf_counter()
    r = rs.prefetch(ctl, "r1", tokens, idx, timeout=200)
    down = time.perf_counter() - start
    assert r.done == PAGE * PAGES, r.done
    assert torch.equal(
        reference[:, idx].view(torch.uint8), host.kv_buffer[:, idx].view(torch.uint8)
    )
    size = PAGES * PAGE * host.size_per_token
    with open(result, "w") as f:
        json.dump({"pages": PAGES, "bytes": size, "up_s": up, "down_s": down}, f)
    ctl.detach_storage_backend()


main(sys.argv[1] == "1", sys.argv[2])
