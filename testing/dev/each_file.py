"""Prints the files that a compile_commands.json names, one a line."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as commands:
    print("\n".join(sorted({entry["file"] for entry in json.load(commands)})))
