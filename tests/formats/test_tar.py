"""Tar archives are walked within bounds, and as Python's own reader sees them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile

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
