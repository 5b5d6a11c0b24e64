"""The mutation tester finds changes in code, and none in what is not code."""

from __future__ import annotations

import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

import mutants


def afters(line: str) -> list[str]:
    return [m.after for m in mutants.mutants_of("a.c", line + "\n")]


class Mutants(unittest.TestCase):
    def test_operators(self) -> None:
        self.assertEqual(afters("if (a <= b) {"), ["if (a < b) {"])
        self.assertEqual(afters("if (a < b) {"), ["if (a <= b) {"])
        self.assertEqual(afters("if (a == b && c) {"), ["if (a != b && c) {", "if (a == b || c) {"])
        self.assertEqual(afters("x = a + b;"), ["x = a - b;"])
        self.assertEqual(afters("return -EINVAL;"), ["return 0;"])
        self.assertEqual(afters("x = 12;"), ["x = 13;"])
        self.assertEqual(afters("if (!ok) {"), ["if (ok) {"])

    def test_what_is_not_code_stays(self) -> None:
        for line in (
            '"a == b";',
            "/* a + b */",
            "#define X 12",
            "assert(a == b);",
            "p->x = q << r;",
        ):
            self.assertEqual(afters(line), [], line)

    def test_order_depends_on_the_seed_alone(self) -> None:
        with TemporaryDirectory() as name:
            root = Path(name)
            (root / "a.c").write_text("".join(f"x = {n};\n" for n in range(10, 40)))
            orders = [mutants.choose(["a.c"], root, seed, []) for seed in ("1", "1", "2")]
        self.assertEqual(orders[0], orders[1])
        self.assertNotEqual(orders[0], orders[2])

    def test_known_equivalents_are_left_out(self) -> None:
        with TemporaryDirectory() as name:
            root = Path(name)
            (root / "a.c").write_text("  x = 12;\n")
            self.assertEqual(mutants.choose(["a.c"], root, "1", ["a.c: x = 12; => x = 13;"]), [])
            self.assertEqual(len(mutants.choose(["a.c"], root, "1", [])), 1)


if __name__ == "__main__":
    unittest.main()
