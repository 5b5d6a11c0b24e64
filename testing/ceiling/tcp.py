"""memkv over tcp beside raw sockets that move the same bytes, in turns: a table or JSON, and the bars.

Each turn of a row runs ceiling over one and over two connections, and memkv bench as it is shipped: with
checksums, a key, and a server that is a process of its own. A row's figure is the ratio of the medians, that
of the better ceiling; the quartiles are those of the turns' own ratios. Exit status: 0 all bars are met, 1
not all.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
KEY_BYTES, HEAD_BYTES, REPLY_BYTES = 32, 128, 96  # on the wire, as memkv bench counts
ALONE = {"MEMKV_SERVERS": "", "MEMKV_CONFIG": ""}


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    op: str
    size: int  # bytes of a value
    batch: int
    bar: float | None
    threads: int = 1
    best: str = ">="  # or "<=" of a latency
    placement: str = ""  # CPUs of client and server: "one", "two"; "": wherever they like
    more: tuple[str, ...] = ()  # options of memkv bench
    beside: tuple[str, ...] | None = None  # instead of sockets: memkv bench with these

    @property
    def latency(self) -> bool:
        return self.best == "<="

    def up(self) -> int:
        values = self.size * self.batch if self.op == "set" else 0
        return HEAD_BYTES + KEY_BYTES * self.batch + values

    def down(self) -> int:
        values = self.size * self.batch if self.op == "get" else 0
        return REPLY_BYTES + self.batch // 8 + values


K, M = 1 << 10, 1 << 20
CASES = (
    Case("get_4M", "get", 4 * M, 32, 0.95),
    Case("get_1M", "get", M, 128, 0.95),
    Case("get_64K", "get", 64 * K, 128, 0.90),
    Case("get_4K", "get", 4 * K, 128, 0.70),
    Case("set_4M", "set", 4 * M, 32, 0.90),
    Case("set_1M", "set", M, 128, 0.90),
    Case("set_64K", "set", 64 * K, 128, None),
    Case("set_4K", "set", 4 * K, 128, None),
    Case("exists", "exists", 0, 128, 0.50),
    Case("lone_two", "get", 4 * K, 1, 1.5, best="<=", placement="two"),
    Case("lone_one", "get", 4 * K, 1, 2.0, best="<=", placement="one"),
    Case("sums_get", "get", M, 128, 0.95, beside=("--checksum", "no")),
)


class Bench:
    """Runs one thing after the other; nothing beside."""

    def __init__(self, memkv: str, ceiling: str, seconds: float, key: pathlib.Path) -> None:
        self.memkv, self.ceiling, self.seconds, self.key = memkv, ceiling, seconds, key
        doctor = subprocess.run(
            [memkv, "doctor", "--json", "--transport", "tcp"],
            capture_output=True,
            env=os.environ | ALONE,
            check=False,
        )
        self.congestion = json.loads(doctor.stdout.splitlines()[0])["tcp"]["congestion_control"]

    def raw(self, case: Case, connections: int) -> tuple[float, float]:
        """Bytes a second of the larger direction, and the median of an exchange in us."""
        cpus = {"": [], "one": ["0", "0"], "two": ["0", "1"]}[case.placement]
        numbers = (case.up(), case.down(), connections, self.seconds)
        command = [self.ceiling, *map(str, numbers), self.congestion, *cpus]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return float(out[0]), float(out[1])

    def ours(self, case: Case, more: tuple[str, ...] = ()) -> Row:
        command = [self.memkv, "bench", "--op", case.op, "--batch", str(case.batch), "--json"]
        command += ["--seconds", str(self.seconds), "--ceiling", "none", "--transport", "tcp"]
        command += ["--auth-key-file", str(self.key), "--threads", str(case.threads), *case.more]
        command += ["--size", str(case.size)] if case.size else []
        with self.placed(case, command) as placed:
            out = subprocess.run(
                [*placed, *more], capture_output=True, env=os.environ | ALONE, check=False
            )
        if out.returncode != 0:
            raise SystemExit(f"bench: {' '.join(command)}: {out.stderr.decode()}")
        row: Row = json.loads(out.stdout)
        return row

    def placed(self, case: Case, command: list[str]) -> "Placed":
        return Placed(self, case.placement, command)


class Placed:
    """A command on the CPUs of its placement; where it is to be another than its server's, with one."""

    def __init__(self, bench: Bench, placement: str, command: list[str]) -> None:
        self.bench, self.placement, self.command = bench, placement, command
        self.server: subprocess.Popen[str] | None = None

    def __enter__(self) -> list[str]:
        if self.placement == "":
            return self.command
        if self.placement == "one":
            return ["taskset", "-c", "0", *self.command]
        serve = ["taskset", "-c", "1", self.bench.memkv, "serve", "--listen", "127.0.0.1:0"]
        serve += ["--auth-key-file", str(self.bench.key), "--transport", "tcp"]
        self.server = subprocess.Popen(
            serve, stdout=subprocess.PIPE, text=True, env=os.environ | ALONE
        )
        assert self.server.stdout is not None
        found = re.match(r"listening (\S+)", self.server.stdout.readline())
        if not found:
            self.__exit__()
            raise SystemExit("bench: the server does not listen")
        return ["taskset", "-c", "0", *self.command, "--servers", found.group(1)]

    def __exit__(self, *_: object) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait()


@dataclasses.dataclass
class Samples:
    case: Case
    ours: list[float]
    beside: dict[str, list[float]]  # by what it was: "1", "2" connections, "off"

    def row(self, congestion: str) -> Row:
        best = min if self.case.latency else max
        name = best(self.beside, key=lambda n: statistics.median(self.beside[n]))
        ratios = sorted(a / b for a, b in zip(self.ours, self.beside[name], strict=True))
        quarters = (
            statistics.quantiles(ratios, n=4, method="inclusive") if ratios[1:] else ratios * 3
        )
        ratio = statistics.median(self.ours) / statistics.median(self.beside[name])
        bar = self.case.bar
        met = None if bar is None else (ratio <= bar if self.case.latency else ratio >= bar)
        return {
            "row": self.case.name,
            "op": self.case.op,
            "value_bytes": self.case.size,
            "batch": self.case.batch,
            "placement": self.case.placement or None,
            "unit": "us" if self.case.latency else "bytes_per_s",
            "ours": statistics.median(self.ours),
            "beside": statistics.median(self.beside[name]),
            "ceiling": "checksums off" if name == "off" else f"{name} connection(s)",
            "ratio": ratio,
            "ratio_q1": quarters[0],
            "ratio_q3": quarters[2],
            "pairs": len(self.ours),
            "congestion_control": congestion,
            "bar": bar,
            "met": met,
        }


def figure(case: Case, row: Row) -> float:
    """Of ours, in the unit of the ceiling."""
    if case.latency:
        return float(row["p50_us"])
    if case.op == "exists":
        return float(row["keys_per_s"]) / case.batch * max(case.up(), case.down())
    return float(row["bytes_per_s"])


def measure(bench: Bench, case: Case, turns: int, say: Any) -> Samples:
    samples = Samples(case, [], {})
    for turn in range(turns):
        say(f"{case.name}: {turn + 1} of {turns}")
        if case.beside is not None:
            samples.beside.setdefault("off", []).append(figure(case, bench.ours(case, case.beside)))
        else:
            for n in (1,) if case.latency or case.op == "exists" else (1, 2):
                rate, median_us = bench.raw(case, n)
                samples.beside.setdefault(str(n), []).append(median_us if case.latency else rate)
        samples.ours.append(figure(case, bench.ours(case)))
    return samples


def size_text(size: int) -> str:
    return "-" if size == 0 else f"{size >> 20}M" if size >= M else f"{size >> 10}K"


def value_text(row: Row, name: str) -> str:
    return f"{row[name]:.1f} us" if row["unit"] == "us" else f"{row[name] / 1e9:.3f}"


def lines(rows: list[Row]) -> Iterator[str]:
    yield (
        f"{'row':<10}{'op':<7}{'value':>6}{'batch':>6}{'ours':>10}{'beside':>10}  {'of':<16}"
        f"{'ratio':>6}{'quartiles':>12}  {'bar':<8}met"
    )
    for r in rows:
        bar = "" if r["bar"] is None else f"{'<=' if r['unit'] == 'us' else '>='} {r['bar']:g}"
        met = "" if r["met"] is None else "yes" if r["met"] else "NO"
        yield (
            f"{r['row']:<10}{r['op']:<7}{size_text(r['value_bytes']):>6}{r['batch']:>6}"
            f"{value_text(r, 'ours'):>10}{value_text(r, 'beside'):>10}  {r['ceiling']:<16}"
            f"{r['ratio']:>6.2f}{r['ratio_q1']:>7.2f}-{r['ratio_q3']:.2f}  {bar:<8}{met}"
        ).rstrip()


def iperf(bench: Bench, seconds: float) -> float | None:
    """Debian's iperf3 over one connection, bytes a second."""
    server = subprocess.Popen(
        ["iperf3", "-s", "-1", "-p", "9917"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.3)
        client = [
            "iperf3",
            "-c",
            "127.0.0.1",
            "-p",
            "9917",
            "-J",
            "-t",
            str(max(1, round(seconds))),
        ]
        out = subprocess.run([*client, "-C", bench.congestion], capture_output=True, check=False)
        text: Row = json.loads(out.stdout)
        return float(text["end"]["sum_received"]["bits_per_second"]) / 8
    finally:
        server.terminate()
        server.wait()


def check_ceiling(bench: Bench, turns: int) -> Row:
    """Whether our ceiling is one: the same as iperf3's, which sends one buffer again and again."""
    case = Case("ceiling", "get", M, 128, 0.9)
    samples = Samples(case, [], {})
    for _ in range(turns):
        samples.beside.setdefault("iperf3", []).append(iperf(bench, bench.seconds) or 0.0)
        samples.ours.append(max(bench.raw(case, 1)[0], bench.raw(case, 2)[0]))
    row = samples.row(bench.congestion)
    row["ceiling"] = "iperf3"
    return row


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench tcp", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--memkv", default="out/bin/memkv", help=argparse.SUPPRESS)
    parser.add_argument("--program", default="out/bin/ceiling", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, default=7, help="turns of each row (7)")
    parser.add_argument("--seconds", type=float, default=2, help="of each run (2)")
    parser.add_argument("--only", help="rows, separated by commas (all)")
    parser.add_argument("--json", action="store_true", help="an object a line")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else [c.name for c in CASES] + ["ceiling"]
    unknown = set(wanted) - {c.name for c in CASES} - {"ceiling"}
    if unknown:
        parser.error(
            f"--only: {', '.join(sorted(unknown))}? There is {', '.join(c.name for c in CASES)}"
        )

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        key = pathlib.Path(folder) / "key"
        subprocess.run([args.memkv, "keygen", key], check=True, capture_output=True)
        bench = Bench(args.memkv, args.program, args.seconds, key)
        rows = []
        if "ceiling" in wanted:
            say("iperf3")
            rows.append(check_ceiling(bench, args.pairs))
        for case in CASES:
            if case.name in wanted:
                rows.append(measure(bench, case, args.pairs, say).row(bench.congestion))
        say("")
    for line in map(json.dumps, rows) if args.json else lines(rows):
        print(line)
    return 0 if all(r["met"] is not False for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
