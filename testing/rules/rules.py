"""Rules of this project that no compiler and no linter checks. Prints each breach as FILE:LINE.

Rule names stand in RULES. A line that has to break one says so: /* rule: NAME, because ... */.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

Breach = tuple[int, str]
Rule = Callable[[str, str], Iterator[Breach]]

# Functions that overflow, cannot report an error, or are not safe beside threads.
BANNED = """
    alloca asctime atof atoi atol atoll ctime gmtime localtime mktemp rand sprintf srand strcat
    strcpy strncat strncpy strtok system tmpnam vfork vsprintf
""".split()
BANNED_CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
ROOMS = ("core/", "transport/", "router/", "server/")
# A file of the lower room may include these rooms' headers.
ARROWS = {
    "core/": ("core/",),
    "transport/": ("transport/", "core/"),
    "router/": ("router/", "transport/", "core/"),
    "server/": ("server/", "transport/", "core/"),
    "pyext/": ("pyext/", "router/", "core/"),
    "cli/": ("cli/", "router/", "server/", "transport/", "core/"),
}
FUNCTION = re.compile(r"^(?!static\b|typedef\b|extern\b|return\b|else\b)[a-z][\w *]*?\b(\w+)\(")
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]')


def code_of(text: str) -> str:
    """The text with comments and strings blanked, line for line."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group(0))

    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.DOTALL)


def is_test(path: str) -> bool:
    return path.startswith("testing/") or path.endswith(("_test.c", "_fuzz.c"))


def banned_functions(path: str, text: str) -> Iterator[Breach]:
    """Banned functions are not called."""
    if path.endswith((".c", ".h", ".cc")):
        for number, line in enumerate(code_of(text).splitlines(), 1):
            for match in BANNED_CALL.finditer(line):
                if match.group(1).startswith("ato") and is_test(path):
                    continue  # its own arguments
                yield number, f"{match.group(1)}() is banned"


def prefix(path: str, text: str) -> Iterator[Breach]:
    """A function that another file can call is named mkv_ (public) or mkv__ (internal)."""
    if not path.startswith(ROOMS) or not path.endswith((".c", ".h")):
        return
    public = path.startswith("router/include/")
    for number, line in enumerate(code_of(text).splitlines(), 1):
        match = FUNCTION.match(line)
        if not match or match.group(1) in ("main", "LLVMFuzzerTestOneInput"):
            continue
        name = match.group(1)
        if name.startswith("__tsan"):  # the sanitizer's own
            continue
        if public and not re.match(r"mkv_[a-z]", name):
            yield number, f"{name}: public names begin with mkv_"
        elif path.endswith(".h") and not public and not name.startswith("mkv__"):
            yield number, f"{name}: names shared between files begin with mkv__"


def only_rcu_includes_urcu(path: str, text: str) -> Iterator[Breach]:
    """core/rcu.h alone includes liburcu, since it carries the ThreadSanitizer annotations."""
    if path.endswith((".c", ".h")) and not re.match(r"core/rcu\w*\.[ch]$", path):
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            if match and match.group(1).startswith("urcu"):
                yield number, f"includes <{match.group(1)}>: include core/rcu.h"


def arrows(path: str, text: str) -> Iterator[Breach]:
    """Includes follow the arrows between rooms, and go by path from the root."""
    room = next((r for r in ARROWS if path.startswith(r)), None)
    if room is None or not path.endswith((".c", ".h")):
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target = match.group(1)
        test_only = re.search(r"_(test|fuzz)\.c$", path) and target.startswith("testing/")
        if not target.startswith(ARROWS[room]) and not test_only:
            yield number, f'"{target}" may not be included from {room}'


def no_flags_in_build_files(path: str, text: str) -> Iterator[Breach]:
    """Warnings, sanitizers and optimisation stand in .bazelrc, not in BUILD files."""
    if Path(path).name == "BUILD" or path.endswith(".bzl"):
        for number, line in enumerate(text.splitlines(), 1):
            if (
                re.search(r'"-(W[a-z]|O[0-3s]|fsanitize|march=|Werror)', line)
                and "-Wl," not in line
            ):
                yield number, "a compiler flag; only .bazelrc has them"


def workplace(path: str, text: str) -> Iterator[Breach]:
    """No path of one machine, no address of a package registry, no talk of how this was made."""
    words = r"/(work|root|farm)/|\bpypi\.(org|python)|pythonhosted|deb\.debian\.org"
    words += r"|\b(AI|coding) (agent|assistant|session)s?\b|\bissue \d+\b"
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(words, line) and "rule: workplace" not in line:
            yield number, "names a machine's path, a registry, or how the project is made"


def bare_name(path: str, text: str) -> Iterator[Breach]:
    """Another vendor's product is called memkv-sglang: nothing installs ours by bare name."""
    for number, line in enumerate(text.splitlines(), 1):
        install = r"pip3?\s+install\s+(-\S+\s+)*[\"'`]?memkv[-_]?\w*(?![\w/.-])"
        if re.search(install, line) and "rule: bare_name" not in line:
            yield number, "installs memkv by bare name; name a path"


def length(path: str, text: str) -> Iterator[Breach]:
    """Files stay readable: at most 720 lines (500 is the aim)."""
    if path.endswith((".c", ".h", ".py", ".sh", ".bzl")) and text.count("\n") > 720:
        yield 720, f"{text.count(chr(10))} lines"


RULES: tuple[Rule, ...] = (
    banned_functions,
    prefix,
    only_rcu_includes_urcu,
    arrows,
    no_flags_in_build_files,
    workplace,
    bare_name,
    length,
)


def breaches(path: str, text: str) -> Iterator[Breach]:
    lines = text.splitlines()
    for rule in RULES:
        for number, what in rule(path, text):
            excused = number <= len(lines) and f"rule: {rule.__name__}" in lines[number - 1]
            if not excused:
                yield number, f"{what} [{rule.__name__}]"


def main() -> int:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = 0
    for path in listing.stdout.splitlines():
        # This file and its test have to spell out what they forbid; the licence is not ours.
        if path.startswith("testing/rules/") or path == "LICENSE" or not Path(path).is_file():
            continue
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, what in breaches(path, text):
            print(f"{path}:{number}: {what}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
