"""memkv serve at SIGHUP: keys and log level are read anew, and what is open goes on."""

import contextlib
import json
import signal
import subprocess
import threading

import pytest
from cli_support import memkv, start, until


class Told:
    """A server whose lines of log are collected."""

    def __init__(self, *args, env=None):
        self.process = start(
            *("serve", "--listen", "127.0.0.1:0", "--memory", "64M", *args),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines = []
        self.address = self.process.stdout.readline().decode().split()[1]
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        self.lines.extend(iter(lambda: self.process.stderr.readline().decode(), ""))

    def hang_up(self):
        """Returns the lines that it caused; the last one tells the outcome."""
        before = len(self.lines)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: any("SIGHUP: " in x and "changed" not in x for x in self.lines[before:]))
        return self.lines[before:]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@contextlib.contextmanager
def told(*args, **more):
    s = Told(*args, **more)
    try:
        yield s
    finally:
        assert s.stop() == 0


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def keys(tmp_path):
    """Two keys, each in a file of its own, with its digits."""
    files = [tmp_path / "one", tmp_path / "two"]
    for f in files:
        assert memkv("keygen", f).returncode == 0
    return [(f, f.read_text().strip()) for f in files]


def asks(s, key, key_id):
    with_key = ("--auth-key-file", key, "--auth-key-id", key_id)
    return memkv("exists", "k", "-s", s.address, *with_key).returncode


@pytest.mark.parametrize("workers", [1, 3])
def test_keys_rotate(tmp_path, keys, workers):
    """Both keys for a while, then the new one alone. A session of the old key goes on."""
    (one, one_hex), (two, two_hex) = keys
    file = write(tmp_path / "keys", f"1 {one_hex}\n")
    with told("--auth-keys-file", file, "--workers", workers) as s:
        assert (asks(s, one, 1), asks(s, two, 2)) == (1, 4)
        bench = start(
            *("bench", "-s", s.address, "--auth-key-file", one, "--auth-key-id", "1", "--json"),
            *("--op", "exists", "--seconds", "3"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        write(file, f"# the new one\n2 {two_hex}\n1 {one_hex}\n")
        assert "2 keys" in s.hang_up()[-1]
        assert (asks(s, one, 1), asks(s, two, 2)) == (1, 1)

        def rows():
            with_key = ("--auth-key-file", two, "--auth-key-id", "2")
            out = memkv("stat", "--json", "-s", s.address, *with_key).stdout
            return json.loads(out)["connections"]

        until(lambda: rows() == 2)
        write(file, f"2 {two_hex}\n")
        assert "1 key " in s.hang_up()[-1]
        assert (asks(s, one, 1), asks(s, two, 2)) == (4, 1)
        assert bench.poll() is None and rows() == 2  # in its midst
        out, err = bench.communicate(timeout=60)
        assert bench.returncode == 0 and err == b"" and json.loads(out)["keys_per_s"] > 0


def test_another_key_under_the_same_number(keys):
    (one, _), (two, two_hex) = keys
    with told("--auth-key-file", one) as s:
        assert (asks(s, one, 0), asks(s, two, 0)) == (1, 4)
        write(one, two_hex)
        assert "1 key " in s.hang_up()[-1]
        assert asks(s, one, 0) == 1


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "no key in it"),
        ("# nothing\n", "no key in it"),
        ("1 abc\n", "keys:1: not a key"),
        ("1 {0}\n1 {0}\n", "keys:2: key id 1 is given twice"),
        (None, "No such file"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_bad_file_changes_nothing(tmp_path, keys, text, why, as_json):
    (one, digits), _ = keys
    file = write(tmp_path / "keys", f"1 {digits}\n")
    with told("--auth-keys-file", file, *(["--json"] if as_json else [])) as s:
        if text is None:
            file.unlink()
        else:
            write(file, text.format(digits))
        (line,) = s.hang_up()
        line = json.loads(line)["log"] if as_json else line
        assert "keys and log level stay as they were" in line and why in line
        assert digits not in line
        assert asks(s, one, 1) == 1
        write(file, f"1 {digits}\n")
        assert "1 key " in s.hang_up()[-1]


def test_the_last_key_is_not_taken_away(tmp_path, keys):
    (one, _), _ = keys
    file = write(tmp_path / "memkv.yaml", f"auth_key_file: {one}\n")
    with told("--config", file) as s:
        write(file, "log_level: debug\n")
        (line,) = s.hang_up()
        assert "stay as they were" in line and "no key is left" in line
        assert asks(s, one, 0) == 1 and memkv("exists", "k", "-s", s.address).returncode == 4


def test_log_level_and_what_waits(tmp_path):
    file = write(tmp_path / "memkv.yaml", "log_level: warning\nlease: 5s\n")
    with told("--config", file) as s:
        memkv("exists", "k", "-s", s.address)
        assert s.lines == []
        write(file, "log_level: debug\nlease: 6s\nlisten: 127.0.0.1:1\n")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: any("lease (" in x and f"{file}:2" in x for x in s.lines))
        assert not any("listen (" in x for x in s.lines)  # the argument says otherwise, as before

        def debugs():
            memkv("exists", "k", "-s", s.address)
            return any("debug: " in x for x in s.lines)

        until(debugs)
        write(file, "log_level: nonsense\n")
        assert "error|warning|info|debug" in s.hang_up()[-1]
        write(file, "log_level: info\nlease: 6s\n")
        assert any("info: SIGHUP: 0 keys" in x for x in s.hang_up())


def test_a_storm_of_them(tmp_path, keys):
    """Clients come and go while the list is replaced again and again."""
    (one, one_hex), (two, two_hex) = keys
    file = write(tmp_path / "keys", f"1 {one_hex}\n")
    with told("--auth-keys-file", file, "--workers", "2", "--log-level", "error") as s:
        ends = threading.Event()

        def storm():
            while not ends.is_set():
                for text in (f"1 {one_hex}\n2 {two_hex}\n", f"2 {two_hex}\n1 {one_hex}\n"):
                    other = write(tmp_path / "other", text)
                    other.rename(file)  # never half a file
                    s.process.send_signal(signal.SIGHUP)

        thread = threading.Thread(target=storm)
        thread.start()
        try:
            until(lambda: asks(s, two, 2) == 1)
            assert {asks(s, one, 1) for _ in range(20)} == {1}
        finally:
            ends.set()
            thread.join()
        assert s.lines == []
