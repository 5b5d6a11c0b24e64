"""Counts what pytest runs have said in their closing lines: "pass|fail|skip NAME" lines.

pytest_count.py LOG STATUS: STATUS is the exit status of what wrote the log.
"""

import re
import sys

CLOSING = re.compile(r"^(=+ )?(\d+ \w+(, \d+ \w+)*) in [\d.]+s( \([\d:]+\))?( =+)?$")
NAMED = re.compile(r"^(FAILED|ERROR) (\S+)")
# xfailed is what was expected; xpassed is a surprise that pytest itself lets pass.
KINDS = {"passed": "pass", "xfailed": "pass", "xpassed": "pass", "failed": "fail"}
KINDS.update({"error": "fail", "errors": "fail", "skipped": "skip"})


def lines(log, status):
    """The result lines for the text of a log."""
    out = []
    names = [m.group(2) for m in map(NAMED.match, log.splitlines()) if m]
    for line in log.splitlines():
        closing = CLOSING.match(line.strip())
        for count, word in re.findall(r"(\d+) (\w+)", closing.group(2)) if closing else ():
            kind = KINDS.get(word)
            for _ in range(int(count) if kind else 0):
                name = names.pop(0) if kind == "fail" and names else word
                out.append(f"{kind} python {name}")
    if status != 0 and not any(line.startswith("fail") for line in out):
        out.append(f"fail python: the suites ended with {status}")
    if not out:
        out.append("fail python: no test was run")
    return out


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        print("\n".join(lines(log.read(), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
