#!/usr/bin/env python3
"""Stand-in for Bazel's CoverageOutputGenerator (lcov_merger and the combined report).

Reads gcov JSON (*.gcov.json.gz, gcc >= 9), *.gcov JSON and lcov tracefiles (*.dat)
and writes one lcov tracefile.
"""

import argparse
import glob
import gzip
import json
import os
import re
import shutil
import sys


class Cov:
    def __init__(self):
        self.files = {}  # name -> (lines: {n: hits}, functions: {name: [line, hits]})

    def file(self, name):
        return self.files.setdefault(name, ({}, {}))

    def gcov_json(self, path):
        op = gzip.open if path.endswith(".gz") else open
        with op(path, "rt") as f:
            text = f.read()
        for line in text.splitlines():  # gcov -i may put several documents in a file
            if not line.strip():
                continue
            for fl in json.loads(line)["files"]:
                lines, funcs = self.file(fl["file"])
                for fn in fl.get("functions", ()):
                    e = funcs.setdefault(fn["name"], [fn["start_line"], 0])
                    e[1] += fn["execution_count"]
                for ln in fl["lines"]:
                    n = ln["line_number"]
                    lines[n] = lines.get(n, 0) + ln["count"]

    def lcov(self, path):
        lines = funcs = None
        with open(path, errors="replace") as f:
            for row in map(str.rstrip, f):
                tag, _, val = row.partition(":")
                if tag == "SF":
                    lines, funcs = self.file(val)
                elif tag == "DA" and lines is not None:
                    n, hits = val.split(",")[:2]
                    lines[int(n)] = lines.get(int(n), 0) + int(hits)
                elif tag == "FN" and funcs is not None:
                    n, name = val.split(",")[0], val.split(",")[-1]
                    funcs.setdefault(name, [int(n), 0])
                elif tag == "FNDA" and funcs is not None:
                    hits, name = val.split(",", 1)
                    if name in funcs:
                        funcs[name][1] += int(hits)

    def write(self, path):
        with open(path, "w") as o:
            for name in sorted(self.files):
                lines, funcs = self.files[name]
                o.write(f"SF:{name}\n")
                for fn, (n, hits) in sorted(funcs.items()):
                    o.write(f"FN:{n},{fn}\nFNDA:{hits},{fn}\n")
                o.write(f"FNF:{len(funcs)}\nFNH:{sum(1 for _, hits in funcs.values() if hits)}\n")
                for n in sorted(lines):
                    o.write(f"DA:{n},{lines[n]}\n")
                hit = sum(1 for hits in lines.values() if hits)
                o.write(f"LH:{hit}\nLF:{len(lines)}\nend_of_record\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--coverage_dir")
    p.add_argument("--reports_file")
    p.add_argument("--output_file", required=True)
    p.add_argument("--filter_sources", action="append", default=[])
    p.add_argument("--source_file_manifest")
    p.add_argument("--sources_to_replace_file")
    p.add_argument("--parse_parallelism")
    a, _ = p.parse_known_args()
    cov = Cov()
    if a.reports_file:
        with open(a.reports_file) as f:
            for r in f.read().split():
                if os.path.exists(r):
                    cov.lcov(r)
    if a.coverage_dir:
        prof = glob.glob(os.path.join(a.coverage_dir, "**", "*.profdata"), recursive=True)
        if prof and len(prof) == 1:
            shutil.copyfile(prof[0], a.output_file)
            return 0
        for r, _, names in os.walk(a.coverage_dir):
            for n in names:
                f = os.path.join(r, n)
                if n.endswith(".gcov.json.gz"):
                    cov.gcov_json(f)
                elif n.endswith(".dat") and os.path.abspath(f) != os.path.abspath(a.output_file):
                    cov.lcov(f)
    pats = [re.compile(x) for x in a.filter_sources]
    cov.files = {k: v for k, v in cov.files.items() if not any(r.fullmatch(k) for r in pats)}
    if a.source_file_manifest and os.path.exists(a.source_file_manifest):
        with open(a.source_file_manifest) as f:
            keep = {x.strip() for x in f if x.strip()}
        srcs = {k: v for k, v in cov.files.items() if k in keep}
        cov.files = srcs or cov.files
    cov.write(a.output_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
