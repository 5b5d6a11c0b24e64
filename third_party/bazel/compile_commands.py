"""Writes compile_commands.json from `bazel aquery`, for clangd and clang-tidy.

    bazel run //third_party/bazel:compile_commands [-- TARGETS AND OPTIONS]

The environment names the command (BAZEL) and its start-up options (MKV_BAZEL_STARTUP).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

# Options of gcc that clang's tools do not know; warnings are the compiler's business here.
DROPPED = {"-fno-canonical-system-headers", "-Werror", "-Wno-free-nonheap-object"}


def bazel(workspace: str, *args: str) -> bytes:
    command = [os.environ.get("BAZEL", "bazel"), *os.environ.get("MKV_BAZEL_STARTUP", "").split()]
    return subprocess.run(
        [*command, *args], cwd=workspace, check=True, stdout=subprocess.PIPE
    ).stdout


def absolute(argument: str, root: str) -> str:
    """Bazel's own directories by their full path; sources stay relative to the workspace."""
    for option in ("", "-I"):
        if argument.startswith((option + "bazel-out/", option + "external/")):
            return option + os.path.join(root, argument[len(option) :])
    return argument


def commands(workspace: str, targets: list[str], options: list[str]) -> list[dict[str, object]]:
    """One entry for each source file of ours, in the form that the tools read."""
    root = bazel(workspace, "info", "execution_root").decode().strip()
    query = f'mnemonic("CppCompile", {" + ".join(targets)})'
    answer = bazel(workspace, "aquery", query, "--output=jsonproto", "--noshow_progress", *options)
    entries: dict[str, dict[str, object]] = {}
    for action in json.loads(answer).get("actions", []):
        arguments = [absolute(a, root) for a in action["arguments"] if a not in DROPPED]
        source = arguments[arguments.index("-c") + 1]
        if not source.startswith(root):
            path = os.path.join(workspace, source)
            entry: dict[str, object] = {
                "directory": workspace,
                "file": path,
                "arguments": arguments,
            }
            entries.setdefault(source, entry)
    return list(entries.values())


def main() -> None:
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY") or os.getcwd()
    options = [a for a in sys.argv[1:] if a.startswith("-")]
    targets = [a for a in sys.argv[1:] if not a.startswith("-")] or ["//..."]
    entries = commands(workspace, targets, options)
    with open(os.path.join(workspace, "compile_commands.json"), "w", encoding="utf-8") as out:
        json.dump(entries, out, indent=1)
        out.write("\n")
    print(f"compile_commands.json: {len(entries)} files")


if __name__ == "__main__":
    main()
