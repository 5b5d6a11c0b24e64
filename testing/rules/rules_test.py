"""Each rule finds its breach, and lets the honest line beside it pass."""

from __future__ import annotations

import unittest

import rules


def found(path: str, text: str) -> list[str]:
    return [what.rsplit("[", 1)[1].rstrip("]") for _, what in rules.breaches(path, text)]


class Rules(unittest.TestCase):
    def test_banned_functions(self) -> None:
        self.assertEqual(found("core/a.c", "    strcpy(a, b);\n"), ["banned_functions"])
        self.assertEqual(found("core/a.c", "    x = atoi(s);\n"), ["banned_functions"])
        self.assertEqual(found("core/a.c", '/* strcpy(a, b) */ log("sprintf(");\n'), [])
        self.assertEqual(
            found("core/a.c", "    snprintf(a, n, f); table.rand(1); my_atoi(x);\n"), []
        )

        self.assertEqual(found("core/a_test.c", "    x = atoi(argv[1]);\n"), [])

    def test_prefix(self) -> None:
        self.assertEqual(found("core/a.h", "int frob(int x);\n"), ["prefix"])
        self.assertEqual(found("core/a.h", "int mkv__frob(int x);\n"), [])
        self.assertEqual(found("core/a.h", "static inline int frob(int x)\n"), [])
        self.assertEqual(found("router/include/memkv/memkv.h", "int mkv__x(void);\n"), ["prefix"])
        self.assertEqual(found("router/include/memkv/memkv.h", "int mkv_x(void);\n"), [])

    def test_urcu(self) -> None:
        self.assertEqual(found("server/a.c", "#include <urcu.h>\n"), ["only_rcu_includes_urcu"])
        self.assertEqual(found("core/rcu.h", "#include <urcu/wfcqueue.h>\n"), [])

    def test_arrows(self) -> None:
        self.assertEqual(found("core/a.c", '#include "transport/t.h"\n'), ["arrows"])
        self.assertEqual(found("router/a.c", '#include "server/s.h"\n'), ["arrows"])
        self.assertEqual(found("server/a.c", '#include "router/r.h"\n'), ["arrows"])
        self.assertEqual(found("core/a.c", '#include "a.h"\n'), ["arrows"])
        self.assertEqual(found("router/a.c", '#include "core/worker.h"\n'), [])
        self.assertEqual(found("core/a_test.c", '#include "testing/fault.h"\n'), [])
        self.assertEqual(found("core/a.c", '#include "testing/fault.h"\n'), ["arrows"])

    def test_flags(self) -> None:
        self.assertEqual(found("core/BUILD", 'copts = ["-Wall"],\n'), ["no_flags_in_build_files"])
        self.assertEqual(found("core/BUILD", 'copts = ["-O2"],\n'), ["no_flags_in_build_files"])
        self.assertEqual(found("core/BUILD", 'linkopts = ["-Wl,-soname,x"],\n'), [])

    def test_workplace(self) -> None:
        self.assertEqual(found("README.md", "see /work/main\n"), ["workplace"])
        self.assertEqual(found("README.md", "see network/root and issue numbers\n"), [])

    def test_bare_name(self) -> None:
        for line in (
            "pip install memkv",
            "pip install -U memkv-sglang",
            "pip3 install memkv_sglang",
        ):
            self.assertEqual(found("README.md", line + "\n"), ["bare_name"], line)
        for line in ("pip install out/wheel/memkv_sglang-0.1.0.whl", "pip install ./pyext"):
            self.assertEqual(found("README.md", line + "\n"), [], line)

    def test_excuse_names_its_rule(self) -> None:
        line = "strcpy(a, b); /* rule: banned_functions, because the length was checked */\n"
        self.assertEqual(found("core/a.c", line), [])
        self.assertEqual(
            found("core/a.c", line.replace("banned_functions", "length")), ["banned_functions"]
        )

    def test_length(self) -> None:
        self.assertEqual(found("core/a.c", "\n" * 721), ["length"])
        self.assertEqual(found("core/a.c", "\n" * 720), [])


if __name__ == "__main__":
    unittest.main()
