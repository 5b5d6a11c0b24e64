"""What the command says of itself, completion, and arguments that make no sense."""

import json
import os
import random
import re
import subprocess

import pytest
from cli_support import COMMANDS, MEMKV, memkv

LIST = set(range(5))


def test_without_arguments():
    out = memkv()
    assert out.returncode == 2 and out.stdout == b"" and b"Usage: memkv COMMAND" in out.stderr
    assert memkv("--help").stdout == out.stderr == memkv("-h").stdout == memkv("help").stdout


def test_version():
    for args in (["--version"], ["-V"], ["get", "--version"], ["serve", "-V"]):
        out = memkv(*args)
        assert out.returncode == 0 and re.fullmatch(rb"memkv \d+\.\d+\.\d+\n", out.stdout)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_and_tells_the_exit_codes(command):
    for flag in ("--help", "-h", "--help-all")[: 3 if command else 2]:
        out = memkv(*filter(None, [command]), flag)
        text = out.stdout.decode()
        assert out.returncode == 0 and out.stderr == b""
        assert text.startswith(f"Usage: memkv {command or 'COMMAND'}")
        assert all(len(line) <= 79 for line in text.splitlines()), flag
        codes = re.findall(r"^  (\d)  ", text.split("Exit codes:")[1], re.MULTILINE)
        assert codes == list("01234")


def test_help_lists_the_options_of_the_table():
    common = "--servers --config --transport --auth-key-file --namespace --timeout --json".split()
    for command in ("put", "get", "exists", "stat", "bench", "doctor"):
        text = memkv(command, "--help").stdout.decode()
        assert set(common) <= set(re.findall(r"--[a-z-]+", text)), command
        assert "-v, --verbose" in text and "--version" in text
        whole = memkv(command, "--help-all").stdout.decode()
        assert "--breaker-probe-max DURATION" in whole and "--memory" not in whole
    text = memkv("serve", "--help").stdout.decode()
    assert "--listen HOST:PORT" in text and "127.0.0.1:9900" in text and "(default 1G)" in text
    assert "--max-value" in memkv("serve", "--help-all").stdout.decode()


def test_what_is_no_command():
    for args in (["frobnicate"], ["--json", "get"], ["-x"]):
        out = memkv(*args)
        assert out.returncode == 2 and b"--help" in out.stderr and out.stdout == b""
    error = json.loads(memkv("frobnicate", "--json").stderr)
    assert error["exit"] == 2 and "frobnicate" in error["error"]
    for command in COMMANDS:
        error = json.loads(memkv(command, "--frobnicate", "--json").stderr)
        assert error["exit"] == 2 and "--frobnicate" in error["error"]


# ---- completion -----------------------------------------------------------------------------


def completed(line):
    """What a bash with the script offers for the last word of a line."""
    words = line.split(" ")
    script = f"""
        source <({MEMKV} completion bash)
        complete -p memkv >&2 || exit 1
        COMP_WORDS=({" ".join(f"'{w}'" for w in words)}) COMP_CWORD={len(words) - 1}
        function memkv {{ {MEMKV} "$@"; }}
        _memkv memkv '{words[-1]}' '{words[-2]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    out = subprocess.run(
        ["bash", "--norc", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert out.returncode == 0 and b"-F _memkv memkv" in out.stderr, out.stderr
    return out.stdout.decode().split()


def test_completion_in_bash(tmp_path):
    assert completed("memkv ") == sorted([*COMMANDS, "--help", "--version"], key=completed_order)
    assert completed("memkv s") == ["serve", "stat"]
    assert completed("memkv put --rep") == ["--replace"]
    assert completed("memkv get --t") == ["--timeout", "--to", "--transport"]
    assert completed("memkv get --breaker-p") == ["--breaker-probe", "--breaker-probe-max"]
    assert completed("memkv serve --l") == ["--lanes", "--lease", "--listen", "--log-level"]
    assert completed("memkv completion b") == ["bash"]
    assert completed("memkv put k ") == []  # bash's own: files
    assert memkv("completion").returncode == 2 and memkv("completion", "csh").returncode == 2


def completed_order(word):
    """As sort(1) orders them in the locale of the tests."""
    out = subprocess.run(
        ["sort", "-u"],
        input="\n".join([*COMMANDS, "--help", "--version"]),
        text=True,
        stdout=subprocess.PIPE,
    )
    return out.stdout.split().index(word)


# ---- nonsense -------------------------------------------------------------------------------


def some_arguments(chance):
    """Words of ours, cut and joined at random, and bytes that are nothing."""
    known = [c.encode() for c in COMMANDS if c not in ("serve", "bench")]
    words = [b"--json", b"-s", b"-j", b"--servers", b"127.0.0.1:1", b"--timeout", b"1ms", b"-"]
    words += [b"--from", b"--to", b"--config", b"--", b"--lanes", b"=", b"-n", b"--help", b""]
    words += [b"--memory", b"-v", b"--auth-key-file", b"/dev/null", b"--replace", b"--help-all"]
    out = [chance.choice(known)] if chance.random() < 0.9 else []
    for _ in range(chance.randrange(6)):
        kind = chance.random()
        if kind < 0.6:
            out.append(chance.choice(words))
        elif kind < 0.8:
            out.append(chance.choice(words) + chance.choice(words))
        else:
            length = chance.choice([1, 3, 30, 300, 5000])
            out.append(bytes(chance.randrange(1, 256) for _ in range(length)))
    return out


def test_random_arguments_never_crash(tmp_path):
    """As many random bytes as arguments can hold: an exit code of the list, and JSON is JSON."""
    seed = int(os.environ.get("MEMKV_TEST_SEED", "1"))
    for i in range(300):
        args = some_arguments(random.Random(seed * 1000003 + i))
        env = {"MEMKV_CONNECT_TIMEOUT": "50ms"}
        out = memkv(*args, cwd=tmp_path, env=env, timeout=60)
        assert out.returncode in LIST, (seed, i, args, out.stderr[-2000:])
        if b"--json" in args[: args.index(b"--") if b"--" in args else None]:
            for line in out.stderr.splitlines():
                json.loads(line)
    for command in COMMANDS:
        for options in (["--"], ["-"], ["--", "--help"], ["--=x"], ["-\xff"], ["--servers"]):
            if command in ("serve", "bench") and options == ["--servers"]:
                continue  # these would run
            out = memkv(command, *options, "x" * 100000, cwd=tmp_path, timeout=20)
            assert out.returncode in LIST, (command, options, out.stderr)
