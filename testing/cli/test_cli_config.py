"""Configuration as the command sees it: sources, their order, what is told about them."""

import json
import pathlib
import signal
import subprocess

import pytest
from cli_support import COMMANDS, ROOT, memkv, serving, start, until


def value_and_origin(option, *args, env=None):
    out = memkv("doctor", "--json", *args, env=env)
    row = json.loads(out.stdout)["options"][option]
    return row["value"], row["origin"]


def test_a_later_source_wins(tmp_path):
    named, other = tmp_path / "named.yaml", tmp_path / "other.yaml"
    named.write_text("lanes: 3\nget_timeout: 3s\n")
    other.write_text("# a comment\nlanes: 4\n")
    file = {"MEMKV_CONFIG": str(named)}
    both = {**file, "MEMKV_LANES": "5"}
    assert value_and_origin("lanes") == ("2", "default")
    assert value_and_origin("lanes", env=file) == ("3", f"{named}:1")
    assert value_and_origin("lanes", "--config", other, env=file) == ("4", f"{other}:2")
    assert value_and_origin("lanes", env=both) == ("5", "env MEMKV_LANES")
    assert value_and_origin("lanes", "--lanes", "6", env=both) == ("6", "--lanes")
    assert value_and_origin("get_timeout", env=file) == ("3s", f"{named}:2")
    assert value_and_origin("get_timeout", "--timeout", "4s", env=file) == ("4s", "--timeout")
    assert value_and_origin("set_timeout", "--timeout", "4s") == ("4s", "--timeout")
    apart = ("--get-timeout", "5s", "--timeout", "4s")
    assert value_and_origin("get_timeout", *apart) == ("5s", "--get-timeout")
    assert value_and_origin("exists_timeout", *apart) == ("4s", "--timeout")
    assert value_and_origin("log_level", "-v") == ("debug", "--verbose")


def test_sources_reach_what_they_are_for(tmp_path):
    file = tmp_path / "memkv.yaml"
    with serving() as a, serving() as b:
        file.write_text(f"servers: {a.address}\nnamespace: from-file\n")
        assert memkv("put", "k", data=b"1", env={"MEMKV_CONFIG": str(file)}).returncode == 0
        assert memkv("exists", "k", "-s", a.address).returncode == 1
        assert memkv("exists", "k", "-s", a.address, "-n", "from-file").returncode == 0
        env = {"MEMKV_SERVERS": b.address}
        assert memkv("exists", "k", "-c", file, env=env).returncode == 1
        assert memkv("exists", "k", "-c", file, "-s", a.address, env=env).returncode == 0


def test_unknown_names_are_told_and_nothing_stops(tmp_path):
    file = tmp_path / "memkv.yaml"
    with serving() as s:
        file.write_text(f"servers: {s.address}\nget_timout: 1s\nsomething_else: 1\n")
        env = {"MEMKV_GTE_TIMEOUT": "1s"}
        out = memkv("put", "k", "-c", file, data=b"1", env=env)
        told = out.stderr.decode()
        assert out.returncode == 0
        assert f'{file}:2: unknown option "get_timout", did you mean "get_timeout"?' in told
        assert f"{file}:3:" in told and "something_else" in told
        assert "MEMKV_GTE_TIMEOUT" in told and "MEMKV_GET_TIMEOUT" in told
        out = memkv("put", "k", "-c", file, "--json", data=b"1", env=env)
        assert len([json.loads(x)["warning"] for x in out.stderr.splitlines()]) == 3
    out = memkv("get", "k", "--get-timout", "1s")
    assert out.returncode == 2 and b"did you mean --get-timeout?" in out.stderr


@pytest.mark.parametrize(
    "text, args, env, told",
    [
        ("a: 1\nget_timeout: 2 parsecs\n", (), {}, [":2: get_timeout", '"2 parsecs"', "250ms"]),
        ("lanes: 99\n", (), {}, [":1: lanes", '"99"', "1 to 16"]),
        ("lanes: [1\n", (), {}, ["memkv.yaml:"]),
        ("lanes: 1\nlanes: 2\n", (), {}, [":2: lanes", "twice", "line 1"]),
        ("", (), {"MEMKV_LANES": "x"}, ["MEMKV_LANES", '"x"', "number"]),
        ("", ("--timeout", "100"), {}, ["--timeout", '"100"', "without a unit"]),
        ("", ("--timeout", "9s"), {}, ["--timeout", '"9s"', "1ms to 8s"]),
        ("", ("--get-timeout", "x"), {}, ["--get-timeout", '"x"', "duration"]),
        ("", ("--servers", "a:b:c"), {}, ["--servers", "a:b:c"]),
        ("", ("--transport", "pigeon"), {}, ["--transport", '"pigeon"', "tcp"]),
        ("", ("--transport", "shm"), {}, ["transport", "tcp"]),
        ("", ("--auth-key", "abc"), {}, ["--auth-key", "64 hex digits"]),
    ],
)
def test_bad_values_say_where_what_and_what_was_expected(tmp_path, text, args, env, told):
    file = tmp_path / "memkv.yaml"
    file.write_text("\ufeff" * 0 + text)
    for as_json in ((), ("--json",)):
        out = memkv("get", "k", "-s", "127.0.0.1:1", "-c", file, *args, *as_json, env=env)
        assert out.returncode == 2
        error = out.stderr.decode().splitlines()[-1]
        if as_json:
            assert json.loads(error)["exit"] == 2
            error = json.loads(error)["error"]
        assert all(t in error for t in told), error


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        for args, env in ((("-c", path), {}), ((), {"MEMKV_CONFIG": str(path)})):
            out = memkv("get", "k", "-s", "a:1", *args, env=env)
            assert out.returncode == 2 and str(path).encode() in out.stderr


def test_no_servers_is_an_error():
    for command in ("get", "put", "exists", "stat", "doctor"):
        out = memkv(command, *(["k"] if command in ("get", "put", "exists") else []))
        assert out.returncode == 2 and b"MEMKV_SERVERS" in out.stderr


# ---- keys -----------------------------------------------------------------------------------


def test_keygen(tmp_path):
    first, second = memkv("keygen").stdout, memkv("keygen").stdout
    assert len(first) == 65 and int(first, 16) != int(second, 16)
    assert len(json.loads(memkv("keygen", "--json").stdout)["auth_key"]) == 64
    file = tmp_path / "key"
    assert memkv("keygen", file, umask=0).stdout == b""
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    out = memkv("keygen", file)
    assert out.returncode == 2 and b"exists" in out.stderr and file.read_bytes() == before
    assert memkv("keygen", tmp_path / "no" / "key").returncode == 2
    with open(tmp_path / "loose", "wb") as loose:
        out = memkv("keygen", stdout=loose)
    assert out.returncode == 0 and b"chmod 600" in out.stderr
    assert len((tmp_path / "loose").read_bytes()) == 65


def test_key_files(tmp_path):
    key = tmp_path / "key"
    memkv("keygen", key)
    with serving("--auth-key-file", str(key)) as s:
        at = ("-s", s.address)
        assert memkv("put", "k", *at, "--auth-key-file", key, data=b"v").stderr == b""
        assert memkv("get", "k", *at, env={"MEMKV_AUTH_KEY_FILE": str(key)}).stdout == b"v"
        hex_digits = key.read_text().strip()
        assert memkv("get", "k", *at, env={"MEMKV_AUTH_KEY": hex_digits}).stdout == b"v"
        out = memkv("get", "k", *at, "--auth-key", hex_digits)
        assert out.returncode == 0 and b"can be seen by every user" in out.stderr
        key.chmod(0o644)
        out = memkv("get", "k", *at, "--auth-key-file", key)
        assert out.returncode == 0 and b"chmod 600" in out.stderr
        for text, told in ((hex_digits[:-1], "64 hex digits"), ("", "64"), ("x" * 64, "64")):
            bad = tmp_path / "bad"
            bad.write_text(text)
            bad.chmod(0o600)
            out = memkv("get", "k", *at, "--auth-key-file", bad)
            assert out.returncode == 2 and told in out.stderr.decode() and b"bad" in out.stderr
        for path in (tmp_path / "none", tmp_path):
            out = memkv("get", "k", *at, "--auth-key-file", path)
            assert out.returncode == 2 and str(path).encode() in out.stderr
        for options in ((), ("--auth-key-file", other_key(tmp_path))):
            for command in (("get", "k"), ("put", "k"), ("exists", "k"), ("stat",), ("doctor",)):
                out = memkv(*command, *at, *options)
                assert out.returncode == 4, (command, options, out.stderr)
                assert b"key" in out.stdout + out.stderr


def other_key(tmp_path):
    path = tmp_path / "other"
    if not path.exists():
        memkv("keygen", path)
    return path


# ---- doctor ---------------------------------------------------------------------------------


def test_doctor_shows_every_option_and_no_secret(tmp_path):
    secret = "ab" * 32
    with serving(env={"MEMKV_AUTH_KEY": secret}) as s:
        at = ("-s", s.address)
        env = {"MEMKV_AUTH_KEY": secret, "MEMKV_GET_TIMEOUT": "1500ms"}
        out = memkv("doctor", *at, env=env)
        text = out.stdout.decode()
        assert out.returncode == 0 and out.stderr == b""
        assert secret not in text and "fingerprint" in text
        lines = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
        assert lines["get_timeout"] == ["get_timeout", "1500ms", "env", "MEMKV_GET_TIMEOUT"]
        assert lines["servers"] == ["servers", s.address, "--servers"]
        assert lines[s.address][:5] == [s.address, "ok", "agreed", "0.1.0", "1"]
        assert all(len(line) <= 80 for line in text.splitlines())
        whole = json.loads(memkv("doctor", *at, "--json", env=env).stdout)
        listed = {
            line.split("`")[1]
            for line in (ROOT / "docs/configuration.md").read_text().splitlines()
            if line.startswith("- variable")
        }
        ours = {"MEMKV_" + n.upper().replace(".", "_") for n in whole["options"]}
        assert ours == listed
        assert whole["options"]["memory"] == {"value": "1G", "origin": "default"}
        row = whole["servers"][0]
        assert row["reachable"] and row["key"] == "agreed" and row["version"] == "0.1.0"
        assert row["latency_us"] > 0 and row["connect_us"] > 0 and "error" not in row


def test_doctor_says_what_is_amiss_and_what_to_do(tmp_path):
    key = tmp_path / "key"
    memkv("keygen", key)
    with serving() as open_, serving("--auth-key-file", str(key)) as closed:
        names = f"127.0.0.1:1, nobody.invalid, {open_.address}, {closed.address}"
        out = memkv("doctor", "--json", "-s", names)
        rows = json.loads(out.stdout)["servers"]
        assert out.returncode == 4
        assert [r["state"] for r in rows] == ["unreachable", "unreachable", "ok", "refused"]
        assert [r["key"] for r in rows] == ["-", "-", "none", "missing"]
        assert "memkv serve --listen 127.0.0.1:1" in rows[0]["advice"]
        assert "not found" in rows[1]["error"] and "DNS" in rows[1]["advice"]
        assert "client" in rows[3]["error"] and "--auth-key-file" in rows[3]["advice"]
        text = memkv("doctor", "-s", names).stdout.decode()
        assert text.count("amiss: ") == 3 and text.count("to do: ") == 3
        rows = json.loads(memkv("doctor", "--json", "-s", names, "--auth-key-file", key).stdout)[
            "servers"
        ]
        assert [r["key"] for r in rows] == ["-", "-", "missing", "agreed"]
        assert "this server has none" in rows[2]["error"]
        rows = json.loads(
            memkv(
                "doctor", "--json", "-s", closed.address, "--auth-key-file", other_key(tmp_path)
            ).stdout
        )["servers"]
        assert rows[0]["key"] == "wrong"
    out = memkv("doctor")
    assert out.returncode == 2 and b"servers" in out.stderr and b"lanes" in out.stdout


def rdma_of(*args):
    out = memkv("doctor", "--json", *args)
    rdma = json.loads(out.stdout)["rdma"]
    assert set(rdma) == {"works", "reason", "why", "advice", "code", "devices"}
    return out.returncode, rdma


@pytest.mark.skipif(
    pathlib.Path("/sys/class/infiniband").exists(), reason="this machine has RDMA devices"
)
def test_doctor_on_a_machine_without_rdma():
    with serving() as s:
        at = ("-s", s.address)
        code, rdma = rdma_of(*at)
        assert code == 0 and not rdma["works"] and rdma["reason"] == "no device"
        assert rdma["devices"] == [] and rdma["code"] == 0
        assert "no RDMA device" in rdma["why"] and rdma["advice"]
        for asked in (("--transport", "rdma"), ("--rdma-devices", "mlx5_0")):
            code, rdma = rdma_of(*at, *asked)
            assert (code, rdma["code"], rdma["reason"]) == (10, 10, "no device")
        code, rdma = rdma_of(*at, "--transport", "tcp")
        assert code == 0 and rdma["reason"] == "not wanted"
        assert rdma_of("-s", "127.0.0.1:1", "--transport", "rdma")[0] == 3
        text = memkv("doctor", *at).stdout.decode()
        assert "over tcp, not rdma: this machine has no RDMA device" in text
        out = memkv("doctor", *at, "--transport", "rdma")
        text = out.stdout.decode()
        assert out.returncode == 10 and out.stderr == b""
        assert "rdma: does not work\n    amiss: this machine has no RDMA device" in text
        assert "    to do: " in text and "transport rdma refuses that" in text
        out = memkv("exists", "nothing", *at, "--rdma-devices", "mlx5_0")
        assert b"over tcp, not rdma: this machine has no RDMA device" in out.stderr
    text = memkv("doctor", "--help").stdout.decode()
    assert all(f"\n  {code}  " in text for code in range(10, 20))


def test_a_port_of_another_program():
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def answer():
            try:
                while True:
                    peer = stranger.accept()[0]
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
                    peer.close()
            except OSError:
                pass

        threading.Thread(target=answer, daemon=True).start()
        out = memkv("doctor", "--json", "-s", "127.0.0.1:%d" % stranger.getsockname()[1])
        row = json.loads(out.stdout)["servers"][0]
        assert out.returncode == 3 and not row["reachable"] and row["advice"]


def test_stat_has_a_row_for_each_server(tmp_path):
    with serving() as s:
        memkv("put", "k", "-s", s.address, data=b"x" * 100000)
        memkv("get", "k", "-s", s.address)
        memkv("exists", "none", "-s", s.address)
        out = memkv("stat", "-s", f"{s.address}, 127.0.0.1:1")
        assert out.returncode == 3 and out.stderr == b""
        head, row, dead = out.stdout.decode().splitlines()
        assert head.split() == "server used of objects hits misses evicted conns".split()
        assert row.split()[0] == s.address and row.split()[-5] == "1"
        assert dead.startswith("127.0.0.1:1 ") and "refused" in dead
        assert all(len(line) <= 80 for line in (head, row, dead))
        assert len(head) == len(row)
        out = memkv("stat", "--json", "-s", f"{s.address}, 127.0.0.1:1")
        rows = [json.loads(line) for line in out.stdout.splitlines()]
        assert rows[0]["objects"] == 1 and rows[0]["bytes_used"] >= 100000
        assert rows[0]["hits"] >= 1 and rows[0]["misses"] >= 1 and rows[0]["connections"] == 1
        assert rows[0]["transport"]["name"] in ("tcp", "rdma")
        assert rows[1]["server"] == "127.0.0.1:1" and "error" in rows[1]
        assert json.loads(out.stderr)["exit"] == 3


# ---- reloading ------------------------------------------------------------------------------


def blocks_hangup(pid):
    if pathlib.Path(f"/proc/{pid}/exe").resolve().name != "memkv":
        return False  # Python's child, which blocks all signals until it is the command
    with open(f"/proc/{pid}/status") as status:
        masks = dict(line.split(":", 1) for line in status)
    blocked = int(masks["SigBlk"], 16)

    def blocks(number):
        return bool(blocked >> (number - 1) & 1)

    # While it starts a thread it blocks all of them.
    return blocks(signal.SIGHUP) and not blocks(signal.SIGUSR1)


def test_hangup_reads_the_list_of_servers_anew(tmp_path):
    file = tmp_path / "memkv.yaml"
    with serving() as a, serving() as b:
        file.write_text(f"servers: {a.address}\n")
        put = start(
            *("put", "k", "-c", file),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until(lambda: blocks_hangup(put.pid))
        file.write_text("servers: what is this\n")
        put.send_signal(signal.SIGHUP)
        assert b"memkv.yaml:1" in put.stderr.readline()
        assert b"the old list of servers stays" in put.stderr.readline()
        file.write_text(f"servers: {b.address}\n")
        put.send_signal(signal.SIGHUP)
        assert b.address.encode() in put.stderr.readline()
        assert put.communicate(b"value", timeout=30)[0] == b"k stored\n"
        assert memkv("exists", "k", "-s", a.address).returncode == 1
        assert memkv("exists", "k", "-s", b.address).returncode == 0


def test_hangup_ends_what_has_no_file():
    with serving() as s:
        put = start("put", "k", "-s", s.address, stdin=subprocess.PIPE)
        put.send_signal(signal.SIGHUP)
        assert put.wait(timeout=30) == -signal.SIGHUP
        put.stdin.close()


def test_every_command_takes_every_option():
    """The one table: what docs/configuration.md calls a flag is one."""
    page = (ROOT / "docs/configuration.md").read_text()
    names = [x.split("flag: `")[1].rstrip("`") for x in page.splitlines() if "flag: `" in x]
    assert len(names) > 25
    for command in COMMANDS:
        args = [word for n in names for word in (n, "1")]
        assert memkv(command, *args, "--help").returncode == 0
        assert memkv(command, *args, "--no-such-option").returncode == 2


def test_a_key_for_some_namespaces(tmp_path):
    key, keys = tmp_path / "key", tmp_path / "keys"
    memkv("keygen", key)
    keys.write_text(f"1 {key.read_text().strip()} team-a/\n")
    keys.chmod(0o600)
    with serving("--auth-keys-file", str(keys)) as s:
        at = ("-s", s.address, "--auth-key-file", key, "--auth-key-id", "1")
        assert memkv("put", "k", *at, "-n", "team-a/x", data=b"v").returncode == 0
        assert memkv("get", "k", *at, "-n", "team-a/x").stdout == b"v"
        for args in (("put", "k"), ("get", "k"), ("exists", "k")):
            out = memkv(*args, *at, "-n", "team-b", data=b"v")
            assert out.returncode == 4 and b"no right to the namespace" in out.stderr, args
