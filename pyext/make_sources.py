"""Writes sources.txt of what Bazel says: what pip compiles and carries. See BUILD.

    make_sources.py OPTION... --library NAME PACKAGES DEBIAN ... --labels USER FILE ...

FILE has labels, one a line: source files of ours, and libraries of the system (@NAME//:NAME).
"""

from __future__ import annotations

import sys

HEAD = """# What pip compiles and carries, from Bazel's own graph. Written by ./dev sources; a test compares.
# file PATH USER...; library NAME PKG-CONFIG-NAMES DEBIAN-PACKAGE USER...
"""


def main() -> None:
    args = sys.argv[1:]
    options: list[str] = []
    libraries: list[list[str]] = []
    users: dict[str, set[str]] = {}
    while args:
        word = args.pop(0)
        if word == "--library":
            libraries.append([args.pop(0) for _ in range(3)])
        elif word == "--labels":
            user, path = args.pop(0), args.pop(0)
            with open(path, encoding="utf-8") as f:
                for label in f.read().split():
                    users.setdefault(label, set()).add(user)
        else:
            options.append(word)
    out = [HEAD, *("option %s\n" % o for o in options)]
    for name, packages, debian in libraries:
        label = "@%s//:%s" % (name, name)
        if label in users:
            out.append(
                "library %s %s %s %s\n" % (name, packages, debian, " ".join(sorted(users[label])))
            )
    paths = {label[2:].lstrip(":").replace(":", "/"): label for label in users if label[0] == "/"}
    for path, label in sorted(paths.items()):
        out.append("file %s %s\n" % (path, " ".join(sorted(users[label]))))
    sys.stdout.write("".join(out))


main()
