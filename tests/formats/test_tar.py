"""Tar archives are walked within bounds, and as Python's own reader sees them."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.errors import IntegrityError
from isobuilder.formats.inflate import unpacked
from isobuilder.formats.tar import Member, SeekSource, StreamSource, walk

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def packed(names: dict[str, bytes], format_: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in names.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def walked(data: bytes, head: int = 4) -> list[tuple[Member, bytes]]:
    source = SeekSource(io.BytesIO(data))
    return [(member, source.read(min(head, member.size))) for member in walk(source)]


def gunzipped(data: bytes, limit: int = 1 << 20) -> StreamSource:
    return StreamSource(unpacked([data], "gzip", limit=limit, why="no room"))


def header(name: bytes = b"x", *, size: bytes = b"00000000000", kind: bytes = b"0") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:107] = b"0000644"
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:263] = b"ustar\0"
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", ["a", "./bin/b", f"{'d' * 90}/{'n' * 90}"])
def test_names_sizes_and_heads_are_read(format_: int, name: str) -> None:
    found = walked(packed({name: b"content", "empty": b""}, format_))
    assert [(m.plain_name, m.size, m.regular, head) for m, head in found] == [
        ("folder/", 0, False, b""),
        (name.removeprefix("./"), 7, True, b"cont"),
        ("empty", 0, True, b""),
    ]
    assert found[1][0].mode == 0o755


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_very_long_names_and_names_beyond_ascii_are_read(format_: int) -> None:
    names = ["n" * 300, "안내.txt"]
    assert [m.name for m, _ in walked(packed(dict.fromkeys(names, b"x"), format_))][1:] == names


def test_a_size_in_base_256_is_read() -> None:
    data = header(size=b"\x80" + struct.pack(">3xQ", 5)) + b"hello".ljust(512, b"\0")
    assert walked(data)[0] == (Member("x", b"0", 5, 0o644, 0, 512), b"hell")


def test_a_size_in_a_pax_record_counts() -> None:
    record = b"10 size=5\n"
    data = header(size=b"%011o" % len(record), kind=b"x") + record.ljust(512, b"\0")
    data += header(size=b"00000000000") + b"hello".ljust(512, b"\0") + bytes(1024)
    assert walked(data)[0][0].size == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>" * 100, "not a tar header"),
        (b"x" * 100, "cut off inside a header"),
        (header(size=b"00000001000"), "cut off"),
        (header(size=b"77777777777", kind=b"L"), "an extension header of 8589934591 bytes"),
        (header(size=b"\xff" * 12), "impossible number"),
        (header(size=b"0000000000x"), "not octal"),
        (header(size=b"99999999999"), "not octal"),
        (
            header(size=b"00000000012", kind=b"x") + b"99 path=x\n".ljust(512, b"\0"),
            "malformed pax header",
        ),
        (
            header(size=b"00000000012", kind=b"x") + b"0000000000".ljust(512, b"\0"),
            "malformed pax header",
        ),
    ],
)
def test_damage_is_told_in_a_sentence(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        walked(data)


def test_a_long_chain_of_long_names_ends() -> None:
    link = header(size=b"00000000002", kind=b"L") + b"n\0".ljust(512, b"\0")
    with pytest.raises(IntegrityError, match="more than 20000 members"):
        walked(link * 20_001)


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8))
def test_damaged_archives_give_members_or_a_refusal(damage: list[tuple[int, int]]) -> None:
    data = bytearray(packed({"n" * 200: b"x" * 600, "b": b"y"}, tarfile.GNU_FORMAT))
    for at, value in damage:
        data[at % len(data)] = value
    refused = ""
    try:
        walked(bytes(data))
    except IntegrityError as error:
        refused = str(error)
    assert "Traceback" not in refused


def test_gzip_is_read_as_a_stream_of_one_or_more_parts() -> None:
    data = packed({"a": b"A" * 100_000})
    parts = gzip.compress(data[:5000]) + gzip.compress(data[5000:])
    source = gunzipped(parts)
    assert [member.name for member in walk(source)] == ["folder/", "a"]
    source.finish()


def test_a_gzip_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50 * 1024 * 1024))
    with pytest.raises(IntegrityError, match="more than 1048576 bytes: no room"):
        gunzipped(bomb).advance(50 * 1024 * 1024)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"x" * 9999, mtime=0)[:-9], "ends early"),
        (gzip.compress(b"x" * 9999, mtime=0)[:-8] + bytes(8), "damaged gzip data"),
        (b"\x1f\x8b" + b"x" * 50, "damaged gzip data"),
    ],
)
def test_damaged_gzip_is_told_in_a_sentence(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        gunzipped(data).finish()


def extended(data: bytes, kind: bytes = b"x") -> bytes:
    return header(size=b"%011o" % len(data), kind=kind) + data + bytes(-len(data) % 512)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 2
    return b"%d" % (length if length > 9 else length - 1) + body


ONE = header(size=b"00000000001") + b"x".ljust(512, b"\0")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(header(kind=b"7"), "contiguous", id="for Go no file, for tar one"),
        pytest.param(header(kind=b"9"), "type b'9'", id="a type nobody knows"),
        pytest.param(header(kind=b"S"), "a sparse file", id="sparse, as GNU tar writes it"),
        pytest.param(extended(record("GNU.sparse.size", "9")) + ONE, "sparse", id="sparse in pax"),
        pytest.param(header(kind=b"5", size=b"00000000777"), "has 511 bytes", id="a folder's size"),
        pytest.param(header(kind=b"2", size=b"00000001000"), "has 512 bytes", id="a link's size"),
        pytest.param(header(b"folder/", size=b"00000000000"), "a folder by name", id="a slash"),
        pytest.param(extended(record("path", "y"), b"g") + ONE, "global pax", id="a name for all"),
        pytest.param(extended(record("size", "3"), b"g") + ONE, "global pax", id="a size for all"),
        pytest.param(
            extended(record("path", "y")) + extended(record("comment", "z"), b"g") + ONE,
            "between a member and its own",
            id="what Go forgets",
        ),
        pytest.param(extended(record("size", "1x")) + ONE, "not a size", id="a size, no number"),
        pytest.param(extended(record("size", "9" * 30)) + ONE, "not a size", id="a huge size"),
        pytest.param(extended(record("path", "a\0b")) + ONE, "zeros in", id="a zero in a name"),
        pytest.param(extended(b"8 path=y") + ONE, "malformed", id="a record without its end"),
        pytest.param(extended(b"3 \n") + ONE, "malformed", id="a record without a key"),
        pytest.param(bytes(512) + ONE, "one block of zeros", id="a lone block of zeros"),
    ],
)
def test_what_readers_take_for_different_archives_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        walked(data + bytes(1024))


def test_extension_headers_count_as_for_go() -> None:
    pax = extended(record("path", "pax")) + extended(record("mtime", "1")) + ONE
    assert [m.name for m, _ in walked(pax)] == ["x"]  # of two pax headers the second
    both = extended(b"gnu\0", b"L") + extended(record("path", "pax")) + ONE
    assert [m.name for m, _ in walked(both)] == ["gnu"]
    sized = extended(record("size", "1")) + extended(b"gnu\0", b"L") + ONE + ONE
    assert [(m.name, m.size) for m, _ in walked(sized)] == [("gnu", 1), ("x", 1)]


@pytest.mark.parametrize("command", [["tar", "-tf"], ["bsdtar", "-tf"]])
def test_other_readers_see_the_names_that_we_accept(command: list[str], tmp_path: Path) -> None:
    """Archives with a byte changed: refused, or the same names for us and for others."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is missing: apt-get install libarchive-tools")
    chance = random.Random(11)
    good = packed({"n" * 200: b"x" * 600, "b/c": b"y"}, tarfile.PAX_FORMAT)
    heads = range(0, len(good) - 1024, 512)
    accepted = 0
    while accepted < 30:
        data = bytearray(good)
        at = chance.choice(heads)
        data[at + chance.randrange(512)] ^= 1 << chance.randrange(8)
        if data[at + 257 : at + 262] == b"ustar":  # mend the checksum, or all would be refused
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
        try:
            ours = [member.name for member, _ in walked(bytes(data))]
        except IntegrityError:
            continue
        if not all(name.isprintable() and name.isascii() and "\\" not in name for name in ours):
            continue  # each has its own way to write these
        accepted += 1
        (tmp_path / "a.tar").write_bytes(data)
        done = subprocess.run([*command, tmp_path / "a.tar"], capture_output=True, check=False)
        assert done.stdout.decode("utf-8", "replace").splitlines() == ours, (at, done.stderr)


@pytest.mark.parametrize("behind", [b"x", b"\x1f", bytes(512), b"\x1f\x8bgarbage"])
def test_bytes_behind_gzip_data_are_refused(behind: bytes) -> None:
    with pytest.raises(IntegrityError, match="gzip data"):
        gunzipped(gzip.compress(b"x" * 999) + behind).finish()


def test_a_second_stream_that_begins_in_another_piece_is_not_lost() -> None:
    whole = gzip.compress(b"first") + gzip.compress(b"second")
    for cut in range(len(whole)):
        pieces = unpacked([whole[:cut], whole[cut:]], "gzip", limit=99, why="")
        assert b"".join(pieces) == b"firstsecond"


def test_very_many_streams_take_little_time_and_then_end() -> None:
    empty = gzip.compress(b"", 1)
    started = time.process_time()
    with pytest.raises(IntegrityError, match="more than 100000 streams"):
        gunzipped(empty * 100_001).finish()
    assert time.process_time() - started < 10
