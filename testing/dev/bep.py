"""Reads Bazel's build event file: one line "pass|fail|skip NAME" for each test target."""

import json
import sys

WORDS = {"PASSED": "pass", "FLAKY": "pass"}


def results(path):
    """Results by label. What does not build counts as failed."""
    found = {}
    with open(path, encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            identity = event.get("id", {})
            if "testSummary" in identity:
                status = event["testSummary"]["overallStatus"]
                found[identity["testSummary"]["label"]] = WORDS.get(status, "fail")
            elif "targetCompleted" in identity and not event.get("completed", {}).get("success"):
                if event.get("aborted", {}).get("reason") != "SKIPPED":
                    found.setdefault(identity["targetCompleted"]["label"], "fail")
    return found


def main():
    prefix = sys.argv[2]
    found = results(sys.argv[1])
    for label in sorted(found):
        print(f"{found[label]} {prefix}{label}")
    if not found:
        print(f"fail {prefix}no test was run")


if __name__ == "__main__":
    main()
