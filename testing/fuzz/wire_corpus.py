"""The corpora of the wire's fuzzers, written from docs/protocol.md and not by our encoder.

    python3 testing/fuzz/wire_corpus.py           the files in corpus/ are the ones made here?
    python3 testing/fuzz/wire_corpus.py --write   makes them

Whoever writes another client can start from the functions of this file.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import struct
import sys
from pathlib import Path

HERE = Path(__file__).parent
HELLO, WELCOME, PROVE, REFUSE, DATA, PULL, CANCEL, PING = range(1, 9)
GET, SET, EXISTS, DELETE, REPORT, STAT = range(32, 38)
PREFIX, LEASE, WANT_LEN, REPLACE, ATOMIC, SEGMENTS, UNSUMMED = (1 << bit for bit in range(7))
LENGTH_MAX = 1 << 40


def header(
    type_: int,
    *,
    version: int = 1,
    flags: int = 0,
    slot: int = 0,
    generation: int = 0,
    deadline: int = 0,
    class_: int = 0,
    length: int = 0,
    aux: int = 0,
    sequence: int = 1,
    mac: bytes = bytes(16),
) -> bytes:
    """Section 2."""
    return (
        b"MKV1"
        + struct.pack(
            "<BBHIIIBxxxIxxxx", version, type_, flags, slot, generation, deadline, class_, length
        )
        + struct.pack("<QQ16s", aux, sequence, mac)
    )


def keys_plain(*middles: bytes, prefix: bytes = b"", suffix: bytes = b"") -> bytes:
    """Section 6, form 0."""
    head = bytes([len(prefix)]) + prefix + bytes([len(suffix)]) + suffix + b"\0"
    return head + b"".join(bytes([len(m)]) + m for m in middles)


def keys_hex(*middles: str, prefix: bytes = b"", suffix: bytes = b"") -> bytes:
    """Section 6, form 1."""
    head = bytes([len(prefix)]) + prefix + bytes([len(suffix)]) + suffix + b"\1"
    return head + b"".join(bytes.fromhex(m) for m in middles)


def first_or_each(code: str, values: list[int]) -> bytes:
    """A form, then the first or each: positions and lengths of section 7."""
    step = 1 if code == "I" else 0
    implied = [values[0] + step * i for i in range(len(values))] if values else []
    if values == implied:
        return b"\0" + b"".join(struct.pack("<" + code, v) for v in values[:1])
    return b"\1" + b"".join(struct.pack("<" + code, v) for v in values)


def segment(region: int, offset: int, length: int, count: int = 1, stride: int = 0) -> bytes:
    return struct.pack("<HQIIQ", region, offset, length, count, stride)


def request(
    type_: int,
    n: int,
    keys: bytes,
    *,
    flags: int = 0,
    namespace: bytes = b"ns",
    parent: int = 0,
    depth: int = 0,
    positions: list[int] | None = None,
    lengths: list[int] | None = None,
    range_: tuple[int, int] = (0, 0),
    encoding: int = 0,
    ttl: int = 0,
    checksums: list[int] | None = None,
    raw_lengths: list[int] | None = None,
    generations: list[int] | None = None,
    segments: list[bytes] | None = None,
) -> bytes:
    """Section 7."""
    body = struct.pack("<IB", flags, len(namespace)) + namespace
    body += struct.pack("<IQI", n, parent, depth) + keys
    body += first_or_each("I", list(range(n)) if positions is None else positions)
    if type_ in (GET, SET):
        body += first_or_each("Q", [4096] * n if lengths is None else lengths)
    if type_ == GET:
        body += struct.pack("<QQ", *range_)
    if type_ == SET:
        body += struct.pack("<HI", encoding, ttl)
    for i in range(n):
        if type_ in (SET, REPORT):
            body += struct.pack("<Q", checksums[i] if checksums else 0x1111 * (i + 1))
        if type_ == SET and encoding:
            body += struct.pack("<Q", raw_lengths[i] if raw_lengths else 8192)
        if type_ == REPORT:
            body += struct.pack("<I", generations[i] if generations else 0)
    if flags & SEGMENTS:
        body += struct.pack("<I", len(segments or [])) + b"".join(segments or [])
    return body


def record(
    status: int, flags: int = 0, generation: int = 0, lease: int = 0, length: int = 0, sum_: int = 0
) -> bytes:
    return struct.pack("<BBIIQQ", status, flags, generation, lease, length, sum_)


def records(*each: bytes) -> bytes:
    """Section 8, form 0."""
    return struct.pack("<IB", len(each), 0) + b"".join(each)


def bits(indices: list[int], n: int) -> bytes:
    return sum(1 << i for i in indices).to_bytes((n + 7) // 8, "little")


def bitmap(
    n: int,
    hits: list[int],
    *,
    lease: int = 0,
    leased: list[int] | None = None,
    flags: list[int] | None = None,
    generations: list[int] | None = None,
    lengths: list[int] | None = None,
    sums: list[int] | None = None,
) -> bytes:
    """Section 8, form 1."""
    columns = [(flags, "B"), (generations, "I"), (lengths, "Q"), (sums, "Q")]
    parts = 1 * (leased is not None)
    parts |= sum(2 << i for i, (column, _) in enumerate(columns) if column is not None)
    body = struct.pack("<IBB", n, 1, parts) + bits(hits, n)
    if leased is not None:
        body += struct.pack("<I", lease) + bits(leased, n)
    for i in range(len(hits)):
        body += b"".join(struct.pack("<" + code, c[i]) for c, code in columns if c is not None)
    return body


def greeting(
    low: int = 1,
    high: int = 1,
    *,
    algorithm: int = 0,
    lane: int = 0,
    lanes: int = 2,
    key_id: int = 0,
    features: int = 0,
    session: int = 0x1234,
    limits: tuple[int, int] = (0, 0),
    extra: bytes = b"",
    nonce: bytes = bytes(range(32)),
) -> bytes:
    """Section 4: HELLO, and WELCOME without its proof."""
    head = struct.pack(
        "<BBBBBIQQII", low, high, algorithm, lane, lanes, key_id, features, session, *limits
    )
    return head + struct.pack("<H", len(extra)) + extra + nonce


def proof(key: bytes, label: bytes, transcript: bytes) -> bytes:
    return hmac.new(key, label + hashlib.sha256(transcript).digest(), hashlib.sha256).digest()


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869, one block."""
    return hmac.new(
        hmac.new(salt, key, hashlib.sha256).digest(), info + b"\1", hashlib.sha256
    ).digest()


def message(type_: int, body: bytes) -> bytes:
    """As handshake_fuzz.c takes it."""
    return struct.pack("<BH", type_, len(body)) + body


def header_files() -> list[bytes]:
    return [
        header(GET, slot=7, generation=3, deadline=1500, class_=1, length=77, sequence=5),
        header(
            DATA, slot=255, generation=0xFFFFFFFF, length=256 << 10, aux=LENGTH_MAX, mac=b"m" * 16
        ),
        header(DATA, length=(256 << 10) + 1),
        header(SET, length=512 << 10),
        header(SET, length=(512 << 10) + 1),
        header(HELLO, length=1024, sequence=0),
        header(HELLO, length=1025, sequence=0),
        header(PING),
        header(PING, length=1),
        header(EXISTS, flags=0x8000),
        header(EXISTS, flags=0x7FFF),
        header(PULL, length=16, flags=0x8000),
        header(CANCEL, slot=9, generation=2),
        header(127),
        header(GET, version=2),
        header(GET, class_=2),
        header(GET, length=0xFFFFFFFF),
        header(GET)[:63],
        b"MKV2" + header(GET)[4:],
        header(GET)[:21] + b"\1" + header(GET)[22:],
        header(GET)[:31] + b"\1" + header(GET)[32:],
    ]


def request_files() -> list[bytes]:
    one = keys_plain(b"k")
    digits = ["%064x" % (i * 0x123456789ABCDEF) for i in range(1, 4)]
    two_segments = [segment(1, 4096, 2048, 2, 8192), segment(2, 1 << 56, 4096)]
    made = [
        (
            GET,
            request(
                GET,
                2,
                keys_plain(b"1", b"22", prefix=b"page-", suffix=b".k"),
                flags=PREFIX,
                parent=0x0807060504030201,
                depth=9,
                positions=[7, 8],
                lengths=[256, 256],
            ),
        ),
        (GET, request(GET, 0, keys_plain())),
        (GET, request(GET, 1, one, range_=(4096, 512), namespace=b"")),
        (GET, request(GET, 2, keys_plain(b"a", b"b"), flags=SEGMENTS, segments=two_segments)),
        (GET, request(GET, 2, keys_plain(b"a", b"b"), positions=[3, 9], lengths=[1, 2])),
        (GET, request(GET, 1, one, lengths=[LENGTH_MAX + 1])),
        (GET, request(GET, 1, one, positions=[0xFFFFFFFF])),
        (SET, request(SET, 3, keys_hex(*digits, suffix=b"_0_k"), ttl=60000)),
        (
            SET,
            request(SET, 2, keys_plain(b"", b"x", prefix=b"p" * 250), encoding=3, lengths=[1, 0]),
        ),
        (SET, request(SET, 1, one, flags=SEGMENTS | ATOMIC, segments=[segment(0, 0, 4096)])),
        (
            EXISTS,
            request(EXISTS, 3, keys_hex(*digits), flags=LEASE | WANT_LEN, namespace=b"n" * 255),
        ),
        (EXISTS, request(EXISTS, 1, keys_plain(b"k" * 255))),
        (EXISTS, request(EXISTS, 1, keys_plain(b"", prefix=b"", suffix=b""))),
        (DELETE, request(DELETE, 2, keys_plain(b"a", b"b", suffix=b"/z"))),
        (REPORT, request(REPORT, 2, keys_plain(b"a", b"b"), generations=[5, 0xFFFFFFFF])),
        (SET, request(SET, 2, keys_plain(b"a", b"b"), flags=UNSUMMED)),
    ]
    return [bytes([type_ - GET]) + body for type_, body in made]


def reply_files() -> list[bytes]:
    get, exists, set_ = b"\0", b"\2", b"\1"
    return [
        get + records(record(1, 1, 7, 10000, 4096, 0xFEDCBA9876543210), record(2), record(9)),
        get + records(),
        get + records(record(2, length=123)),
        set_ + records(*(record(status) for status in range(3, 9))),
        set_ + records(record(13)),
        set_ + records(record(0)),
        set_ + records(record(14)),
        exists + records(record(1, 4), record(8)),
        exists + bitmap(0, []),
        exists + bitmap(9, [0, 3, 8]),
        exists + bitmap(9, [0, 3, 8], lease=10000, leased=[0]),
        exists + bitmap(3, [0, 1], flags=[1, 2], generations=[5, 6], lengths=[7, 8], sums=[9, 10]),
        exists
        + bitmap(8, list(range(8)), lease=1, leased=[0, 7], lengths=[4096] * 8, sums=[1] * 8),
        exists + bitmap(3, [0], lease=0, leased=[0]),
        exists + bitmap(3, [0], lease=5, leased=[1]),
        exists + bitmap(3, [0], flags=[4]),
        exists + bitmap(3, [3]),
        get + bitmap(3, [0]),
        exists + bitmap(3, [0])[:5] + b"\x20" + bitmap(3, [0])[6:],
        exists + struct.pack("<IB", 0xFFFFFFFF, 0),
    ]


def handshake_files() -> list[bytes]:
    """The first byte: 1: to a client, 2: that side has a key."""
    key = bytes(range(32))
    plain = greeting()
    keyed = greeting(algorithm=1, key_id=1)
    welcome = greeting(limits=(256, 512 << 10), nonce=b"w" * 32)
    forged = greeting(algorithm=1, key_id=1, limits=(256, 512 << 10), nonce=b"w" * 32)
    prove = message(PROVE, bytes(32))
    return [
        b"\0" + message(HELLO, plain) + prove,
        b"\0" + message(HELLO, plain) + message(PROVE, bytes(31)),
        b"\0" + message(HELLO, keyed),
        b"\2" + message(HELLO, plain),
        b"\2" + message(HELLO, keyed) + message(PROVE, proof(key, b"memkv client", keyed)),
        b"\2" + message(HELLO, greeting(algorithm=1, key_id=9)),
        b"\2" + message(HELLO, greeting(algorithm=7, key_id=1)),
        b"\0" + message(HELLO, greeting(2, 9)),
        b"\0" + message(HELLO, greeting(0, 0)),
        b"\0" + message(HELLO, greeting(9, 2)),
        b"\0" + message(HELLO, greeting(extra=b"e" * 256)) + prove,
        b"\0" + message(HELLO, greeting(extra=b"e" * 257)),
        b"\0" + message(HELLO, plain[:-1]),
        b"\0" + message(HELLO, plain + b"\0"),
        b"\0" + prove,
        b"\1" + message(WELCOME, welcome + bytes(32)),
        b"\1" + message(WELCOME, welcome + bytes(31)),
        b"\1" + message(WELCOME, greeting(0, 0, nonce=b"w" * 32) + bytes(32)),
        b"\1" + message(WELCOME, greeting(session=1) + bytes(32)),
        b"\3" + message(WELCOME, forged + proof(key, b"memkv server", keyed + forged)),
        b"\3" + message(WELCOME, welcome + bytes(32)),
        b"\1" + message(REFUSE, b"\2the server has a key"),
        b"\3" + message(REFUSE, b"\1\x1b[2J" + b"x" * 400),
        b"\1" + message(REFUSE, b""),
    ]


CORPORA = {
    "header": header_files,
    "request": request_files,
    "reply": reply_files,
    "handshake": handshake_files,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    amiss = 0
    for folder, make in CORPORA.items():
        made = {f"{i:02}": data for i, data in enumerate(make(), 1)}
        directory = HERE / "corpus" / folder
        directory.mkdir(parents=True, exist_ok=True)
        if write:
            for old in directory.iterdir():
                old.unlink()
            for name, data in made.items():
                (directory / name).write_bytes(data)
        there = {path.name: path.read_bytes() for path in directory.iterdir()}
        for name in sorted(made.keys() | there.keys()):
            if made.get(name) != there.get(name):
                print(f"corpus/{folder}/{name} is not what the page says: --write makes it")
                amiss += 1
    return 1 if amiss else 0


if __name__ == "__main__":
    sys.exit(main())
