"""The counting of ./dev test: a failure is never lost, and nothing run is never a success."""

from __future__ import annotations

import json
import tempfile
import unittest

import bep
import pytest_count


class Pytest(unittest.TestCase):
    def kinds(self, log: str, status: int) -> list[str]:
        return [line.split()[0] for line in pytest_count.lines(log, status)]

    def test_sums_over_runs(self) -> None:
        log = "..\n2 passed in 0.01s\n==== 1 passed, 1 skipped in 61.20s (0:01:01) ====\n"
        self.assertEqual(self.kinds(log, 0), ["pass", "pass", "pass", "skip"])

    def test_names_what_failed(self) -> None:
        log = "FAILED a_test.py::b - assert 1 == 2\n1 failed, 1 passed in 0.10s\n"
        lines = pytest_count.lines(log, 1)
        self.assertEqual(lines[0], "fail python a_test.py::b")
        self.assertEqual(len(lines), 2)

    def test_a_crash_counts_as_failed(self) -> None:
        self.assertEqual(self.kinds("2 passed in 0.01s\n", 139), ["pass", "pass", "fail"])

    def test_nothing_run_counts_as_failed(self) -> None:
        self.assertEqual(self.kinds("no tests ran in 0.01s\n", 0), ["fail"])


class Bazel(unittest.TestCase):
    def results(self, *events: dict) -> dict[str, str]:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write("\n".join(json.dumps(event) for event in events))
            file.flush()
            return bep.results(file.name)

    def summary(self, label: str, status: str) -> dict:
        return {"id": {"testSummary": {"label": label}}, "testSummary": {"overallStatus": status}}

    def test_statuses(self) -> None:
        found = self.results(
            self.summary("//a:a_test", "PASSED"),
            self.summary("//a:b_test", "FAILED"),
            self.summary("//a:c_test", "NO_STATUS"),
            self.summary("//a:d_test", "TIMEOUT"),
        )
        wanted = {
            "//a:a_test": "pass",
            "//a:b_test": "fail",
            "//a:c_test": "fail",
            "//a:d_test": "fail",
        }
        self.assertEqual(found, wanted)

    def test_a_test_that_does_not_build(self) -> None:
        aborted = {"id": {"targetCompleted": {"label": "//a:a_test"}}, "aborted": {"reason": "X"}}
        self.assertEqual(self.results(aborted), {"//a:a_test": "fail"})
        broken = {"id": {"targetCompleted": {"label": "//a:b"}}, "completed": {}}
        self.assertEqual(self.results(broken), {"//a:b": "fail"})
        built = {"id": {"targetCompleted": {"label": "//a:c"}}, "completed": {"success": True}}
        self.assertEqual(self.results(built), {})


if __name__ == "__main__":
    unittest.main()
