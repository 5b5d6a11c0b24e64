"""Changes our code in small ways, and demands that a unit test notices each change.

    ./dev check mutants [--count N] [--seconds S] [--seed SEED] [--file FILE]...

The tree is copied first, so that nobody sees the changes. A mutant that no test notices (a
"survivor") is printed as FILE:LINE with both texts; the exit status is then 1. A change that does
not compile is no mutant. Survivors that cannot matter are listed in equivalent.txt, with a reason.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What is changed into what. A pattern matches in code, never in comments or strings.
OPERATORS: list[tuple[str, str]] = [
    (r"(?<![<>=!+\-*/&|^])<=(?!=)", "<"),
    (r"(?<![<>=!+\-*/&|^-])>=(?!=)", ">"),
    (r" < ", " <= "),
    (r" > (?!0\b)", " >= "),
    (r" > 0\b", " > 1"),  # of an unsigned number ">= 0" is always true
    (r"==", "!="),
    (r"!=", "=="),
    (r"&&", "||"),
    (r"\|\|", "&&"),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r"\+\+", "--"),
    (r" \+= ", " -= "),
    (r" -= ", " += "),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
    (r"(?<=return )-E[A-Z]+(?=;)", "0"),
    (r"(?<=return )0(?=;)", "-EINVAL"),
    (r"(?<![\w.])([2-9]|[1-9]\d+)(?![\w.])", "+1"),
    (r"(?<=\()!(?=\w)", ""),
]
SKIPPED_LINE = re.compile(r"^\s*#|\bassert\(|mkv__log|_Static_assert|__attribute__")


@dataclass(frozen=True)
class Mutant:
    path: str
    line: int  # from 1
    before: str
    after: str

    def describe(self) -> str:
        return f"{self.path}:{self.line}: {self.before.strip()}  =>  {self.after.strip()}"


def blanked(text: str) -> str:
    """The text with comments and strings replaced by blanks, so that positions stay."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.DOTALL)


def mutants_of(path: str, text: str) -> list[Mutant]:
    """Every change that can be made to the text of one file."""
    found = []
    lines = text.splitlines()
    for number, code in enumerate(blanked(text).splitlines(), 1):
        if SKIPPED_LINE.search(lines[number - 1]):
            continue
        for pattern, replacement in OPERATORS:
            for match in re.finditer(pattern, code):
                new = str(int(match.group(0)) + 1) if replacement == "+1" else replacement
                line = lines[number - 1]
                after = line[: match.start()] + new + line[match.end() :]
                found.append(Mutant(path, number, line, after))
    return found


def equivalent(mutant: Mutant, known: list[str]) -> bool:
    """Is it listed? A list line is "FILE: BEFORE => AFTER", blanks at the ends not counted."""
    key = f"{mutant.path}: {mutant.before.strip()} => {mutant.after.strip()}"
    return key in known


def choose(files: list[str], root: Path, seed: str, known: list[str]) -> list[Mutant]:
    """All mutants in an order given by the seed, files taking turns."""
    generator = random.Random(seed)
    per_file = []
    for path in sorted(files):
        mutants = mutants_of(path, (root / path).read_text(encoding="utf-8"))
        mutants = [m for m in mutants if not equivalent(m, known)]
        generator.shuffle(mutants)
        per_file.append(mutants)
    generator.shuffle(per_file)
    order = []
    while any(per_file):
        order += [mutants.pop() for mutants in per_file if mutants]
    return order


class Workspace:
    """A copy of the tree, with a Bazel of its own."""

    def __init__(self, root: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="memkv-mutants-"))
        self.tree = self.directory / "tree"
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout.split(b"\0")
        for name in filter(None, names):
            source = root / os.fsdecode(name)
            target = self.tree / os.fsdecode(name)
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def bazel(self, *args: str, timeout: float = 300) -> int:
        command = ["bazel", f"--output_user_root={self.directory / 'bazel'}", *args]
        log = self.directory / "log"
        with log.open("wb") as out:
            try:
                return subprocess.run(
                    command,
                    cwd=self.tree,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    timeout=timeout,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                return 3  # what hangs is noticed

    def run(self, mutant: Mutant, target: str) -> str:
        """Says what became of the mutant: "killed", "survived" or "not compiled"."""
        path = self.tree / mutant.path
        original = path.read_text(encoding="utf-8")
        lines = original.splitlines(keepends=True)
        lines[mutant.line - 1] = mutant.after + "\n"
        path.write_text("".join(lines), encoding="utf-8")
        try:
            status = self.bazel("test", *OPTIONS, target)
        finally:
            path.write_text(original, encoding="utf-8")
        # Bazel: 0 all passed, 3 built but a test failed, 1 did not build.
        return {0: "survived", 1: "not compiled"}.get(status, "killed")

    def close(self) -> None:
        self.bazel("shutdown")
        # What Bazel unpacks is read-only.
        subprocess.run(["chmod", "-R", "u+w", str(self.directory)], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


OPTIONS = [
    "--config=ci",
    "--config=asan",  # a loop that runs one too far is noticed
    "--test_timeout=60",
    "--test_tag_filters=-slow",
    "--build_tests_only",
    "--test_env=MKV_SEEDS=200",
    "--per_file_copt=.*[.]c$@-Wno-error",
]


def read_list(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def room_tests(path: str) -> str:
    return "//" + path.split("/", 1)[0] + "/..."


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="mutants at most")
    parser.add_argument("--seconds", type=float, default=3000, help="begin no new one after these")
    parser.add_argument("--seed", default=time.strftime("%Y-%m-%d"), help="default: the date")
    parser.add_argument("--file", action="append", help="instead of those in files.txt")
    return parser.parse_args()


def unchanged_passes(workspace: Workspace, files: list[str]) -> bool:
    rooms = sorted({room_tests(path) for path in files})
    if workspace.bazel("test", *OPTIONS, *rooms, timeout=1200) == 0:
        return True
    print((workspace.directory / "log").read_text(encoding="utf-8", errors="replace")[-4000:])
    print("the tests fail already without a change")
    return False


def main() -> int:
    options = arguments()
    root = HERE.parent.parent
    files = options.file or read_list(HERE / "files.txt")
    order = choose(files, root, options.seed, read_list(HERE / "equivalent.txt"))
    print(f"{len(order)} possible mutants in {len(files)} files, seed {options.seed}", flush=True)
    tally = {"killed": 0, "survived": 0, "not compiled": 0}
    workspace = Workspace(root)
    try:
        if not unchanged_passes(workspace, files):
            return 1
        started = time.monotonic()
        for mutant in order:
            done = tally["killed"] + tally["survived"]
            if done >= options.count or time.monotonic() - started > options.seconds:
                break
            outcome = workspace.run(mutant, room_tests(mutant.path))
            tally[outcome] += 1
            if outcome == "survived":
                print(f"SURVIVED {mutant.describe()}", flush=True)
    finally:
        workspace.close()
    print(", ".join(f"{count} {outcome}" for outcome, count in tally.items()))
    return 1 if tally["survived"] or not tally["killed"] else 0


if __name__ == "__main__":
    sys.exit(main())
