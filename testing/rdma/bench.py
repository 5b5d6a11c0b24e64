"""What bench.sh has measured, as a table or as JSON: memkv beside perftest, and the bars.

Reads the guest's lines "@ WHAT ROUND VALUE..." from stdin. Exit status: 0 all bars are met, 1 not all,
2 the guest did not come to its end.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
MIB = 1 << 20
PACKET = 4096
BENCH = ("bytes_per_s", "keys_per_s", "p50_us", "p99_us", "p999_us", "cpu_cores")
# row: its name among the samples, what it is beside, the bar, what else tells it from others
THROUGHPUT = (
    ("get", "write_bw", 0.95, {"rails": 1, "checksum": False}),
    ("set", "read_bw", 0.95, {"rails": 1, "checksum": False}),
    ("get_checked", "write_bw_checked", None, {"rails": 1, "checksum": True}),
    ("set_checked", "read_bw_checked", None, {"rails": 1, "checksum": True}),
    ("get_rails", "two_write_bw", None, {"rails": 2, "checksum": False}),
)
LATENCY_BAR = 2.5
CALLS_BATCH = 128  # of 1 MiB: what calls are told for
FEW = 0.002  # system calls of a lone get, while the server polls: a ping of the session's is one
RAILS_BAR = 1.8


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


class Samples:
    """What came, by name and round."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[int, float]] = {}
        self.rows: dict[str, dict[int, Row]] = {}
        self.traced: dict[str, str] = {}
        self.stats: dict[str, Row] = {}
        self.again: list[str] = []
        self.ended = False

    def take(self, name: str, number: int, value: str) -> None:
        if name == "end":
            self.ended = True
        elif name == "again":
            self.again.append(value)
        elif name.startswith("traced_"):
            self.traced[name.removeprefix("traced_")] = value
        elif name.startswith("stat_"):
            self.stats[name.removeprefix("stat_")] = json.loads(value)
        elif "{" in value:
            packets, text = value.split(" ", 1)
            row = json.loads(text)
            if (
                row["transport"] != "rdma"
                or int(packets) * PACKET < row["batch"] * row["value_bytes"]
            ):
                raise SystemExit(f"bench: {name} did not go over rdma: {value}")
            self.rows.setdefault(name, {})[number] = row
        else:
            self.numbers.setdefault(name, {})[number] = float(value)

    def pairs(self, ours: str, beside: str) -> list[tuple[Row, float]]:
        """The rounds that have both."""
        there = self.numbers.get(beside, {})
        return [(row, there[n]) for n, row in self.rows.get(ours, {}).items() if n in there]


def row_of(pairs: list[tuple[Row, float]], ratios: list[float], more: Row) -> Row:
    first = pairs[0][0]
    low, ratio, high = quartiles(ratios)
    row: Row = {name: first[name] for name in ("op", "value_bytes", "batch")}
    row |= {name: statistics.median(r[name] for r, _ in pairs) for name in BENCH}
    row |= {"ceiling_bytes_per_s": None, "ratio": ratio}
    row |= {"transport": first["transport"], "seed": first["seed"]}
    row |= {"ratio_q1": low, "ratio_q3": high, "pairs": len(pairs)}
    return row | more


def throughput(samples: Samples) -> Iterable[Row]:
    for ours, beside, bar, more in THROUGHPUT:
        pairs = samples.pairs(ours, beside)
        if not pairs:
            continue
        row = row_of(pairs, [r["bytes_per_s"] / (c * MIB) for r, c in pairs], more)
        row["ceiling"] = beside.removesuffix("_checked")
        row["ceiling_bytes_per_s"] = MIB * statistics.median(c for _, c in pairs)
        row["bar"] = bar
        row["met"] = None if bar is None else row["ratio"] >= bar
        if ours == "get_rails":
            scale(samples, row)
        yield row


def scale(samples: Samples, row: Row) -> None:
    """Two rails: how much more than one, here and there."""
    one = {n: r["bytes_per_s"] for n, r in samples.rows["get_rail"].items()}
    two = {n: r["bytes_per_s"] for n, r in samples.rows["get_rails"].items()}
    below, above = samples.numbers["one_write_bw"], samples.numbers["two_write_bw"]
    ours = quartiles([two[n] / one[n] for n in two if n in one])
    theirs = quartiles([above[n] / below[n] for n in above if n in below])
    row |= {"scale_q1": ours[0], "scale": ours[1], "scale_q3": ours[2], "ceiling_scale": theirs[1]}
    row["bar"] = min(RAILS_BAR, theirs[1])
    row["met"] = ours[1] >= row["bar"]


def latency(samples: Samples) -> Iterable[Row]:
    writes = samples.numbers.get("write_lat", {})
    pairs = [
        (row, us + writes[n])
        for n, us in samples.numbers.get("send_lat", {}).items()
        if n in writes and (row := samples.rows.get("small", {}).get(n))
    ]
    if pairs:
        row = row_of(pairs, [r["p50_us"] / us for r, us in pairs], {"rails": 1, "checksum": False})
        row["ceiling"] = "send_lat+write_lat"
        row["ceiling_us"] = statistics.median(us for _, us in pairs)
        row["bar"] = LATENCY_BAR
        row["met"] = row["ratio"] <= LATENCY_BAR
        yield row


def copies(before: Row, after: Row) -> float:
    """Bytes that the server has copied, of messages, for each byte of values that it has moved."""
    moved = copied = 0
    for stat, sign in ((before, -1), (after, 1)):
        for rail in stat["transport"]["rails"]:
            moved += sign * rail["moved_bytes"]
            copied += sign * rail["copied_bytes"]
    return copied / moved if moved else 0.0


def calls(samples: Samples, name: str, batch: int) -> Iterable[Row]:
    """Of the server's worker, which posts all that moves values; for each batch of so many."""
    before, after = samples.stats.get(f"{name}_before"), samples.stats.get(f"{name}_after")
    if before is None or after is None or name not in samples.rows:
        return
    first = samples.rows[name][0]
    gets = after["requests"]["get"] - before["requests"]["get"]
    polling = name == "polls"  # of these each rings once, and the second half is counted
    batches = samples.numbers["polls_doorbell"][0] if polling else gets * first["batch"] / batch
    found = {
        n.removeprefix(f"{name}_"): v[0] / batches
        for n, v in samples.numbers.items()
        if n.startswith(f"{name}_")
    }
    pauses = found.pop("pauses", 0) * batches
    row: Row = {
        "op": "get",
        "value_bytes": first["value_bytes"],
        "batch": batch,
        "transport": first["transport"],
        "seed": first["seed"],
        "batches": batches,
        "polling": polling,
        "pauses": round(pauses) if polling else None,
        "doorbell_calls_per_batch": found.pop("doorbell", 0),
        "other_calls_per_batch": {n: round(v, 3) for n, v in sorted(found.items())},
        "copies_per_byte": copies(before, after),
    }
    counted = re.match(r"(\d+) .* (\d+) doorbells, (\d+) signaled", samples.traced.get(name, ""))
    if counted:
        traced, doorbells, signals = map(int, counted.groups())
        row |= {"doorbells": doorbells, "doorbell_calls": traced, "signals": signals}
        row["met"] = doorbells == traced and (not polling or sum(found.values()) < FEW)
    yield row


def rate(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f}"


def table(rows: list[Row]) -> Iterable[str]:
    yield (
        f"{'op':<5}{'value':>6}{'batch':>6}{'rails':>6}{'sums':>5}{'MB/s':>8}{'p50 ms':>8}"
        f"  {'beside':<19}{'is':>9}{'ratio':>7}{'quartiles':>13}  {'bar':<7}  met"
    )
    for r in rows:
        if "ratio" not in r:
            continue
        value = (
            f"{r['value_bytes'] >> 20}M"
            if r["value_bytes"] >= MIB
            else f"{r['value_bytes'] >> 10}K"
        )
        small = "ceiling_us" in r
        beside = f"{r['ceiling_us'] / 1e3:.2f} ms" if small else rate(r["ceiling_bytes_per_s"])
        bar = "" if r["bar"] is None or "scale" in r else f"{'<=' if small else '>='} {r['bar']:g}"
        spread = f"{r['ratio_q1']:.2f}-{r['ratio_q3']:.2f}"
        met = "" if r["met"] is None or "scale" in r else "yes" if r["met"] else "NO"
        yield (
            f"{r['op']:<5}{value:>6}{r['batch']:>6}{r['rails']:>6}{'on' if r['checksum'] else 'off':>5}"
            f"{rate(r['bytes_per_s']):>8}{r['p50_us'] / 1e3:>8.2f}  {r['ceiling']:<19}{beside:>9}"
            f"{r['ratio']:>7.2f}{spread:>13}  {bar:<7}  {met}".rstrip()
        )
    for r in rows:
        if "scale" in r:
            yield (
                f"two rails: {r['scale']:.2f} of one ({r['scale_q1']:.2f}-{r['scale_q3']:.2f}), "
                f"perftest {r['ceiling_scale']:.2f}, bar >= {r['bar']:.2f}: {'yes' if r['met'] else 'NO'}"
            )
        if "batches" in r:
            yield from table_of_calls(r)


def table_of_calls(r: Row) -> Iterable[str]:
    what = "a get of 4K while it polls" if r["polling"] else f"a batch of {r['batch']} x 1M"
    yield f"{what}, the server's worker, over {r['batches']:.1f}:"
    yield f"  doorbells (writes on uverbs)   {r['doorbell_calls_per_batch']:.2f}"
    others = ", ".join(f"{n} {v:g}" for n, v in r["other_calls_per_batch"].items())
    yield f"  other system calls             {others or 'none'}"
    if r["polling"]:
        yield f"  pauses of more than 1 ms       {r['pauses']} (left out, with 8 gets each)"
    if "met" in r:
        yield f"  signaled completions of each   {r['signals'] / r['doorbells']:.2f}"
        yield (
            f"  doorbells of the whole run     {r['doorbells']}, strace {r['doorbell_calls']}: "
            f"{'yes' if r['met'] else 'NO'}"
        )
    if not r["polling"]:
        yield f"  bytes copied, a byte of values {r['copies_per_byte']:.6f} (messages)"


def read(samples: Samples, rounds: int) -> None:
    shown = sys.stderr.isatty()
    for line in sys.stdin:
        words = line.rstrip("\n").split(" ", 3)
        if words[0] != "@" or len(words) < 4:
            print(line, end="", file=sys.stderr)
            continue
        if shown:
            at = f"round {min(int(words[2]) + 1, rounds)} of {rounds}: {words[1]}"
            print(f"\r\033[Kbench rdma: {at}", end="", file=sys.stderr, flush=True)
        samples.take(words[1], int(words[2]), words[3])
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pairs", type=int, required=True)
    options = parser.parse_args()
    samples = Samples()
    read(samples, options.pairs)
    rows = [*throughput(samples), *latency(samples)]
    rows += [*calls(samples, "calls", CALLS_BATCH), *calls(samples, "polls", 1)]
    for line in (json.dumps(r) for r in rows) if options.json else table(rows) if rows else ():
        print(line)
    for what in samples.again:
        print(f"bench rdma: run again: {what}", file=sys.stderr)
    if not samples.ended:
        print("bench rdma: the guest did not come to its end", file=sys.stderr)
        return 2
    return int(any(r.get("met") is False for r in rows))


if __name__ == "__main__":
    sys.exit(main())
