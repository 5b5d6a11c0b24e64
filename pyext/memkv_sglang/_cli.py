"""The command ``memkv``: runs the program that the wheel carries."""

import os
import sys


def main() -> None:
    """Replace this process by the program."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "memkv")
    if not os.access(program, os.X_OK):
        sys.exit(
            "memkv: this installation has no %s; install a wheel built by ./dev build" % program
        )
    os.execv(program, ["memkv"] + sys.argv[1:])
