"""What a PAR2 index says of the pieces of a file."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence

import pytest

from isobuilder.formats.par2 import Pieces, read_pieces


def packet(kind: bytes, body: bytes) -> bytes:
    rest = bytes(16) + kind.ljust(16, b"\0") + body
    md5 = hashlib.md5(rest, usedforsecurity=False).digest()
    return b"PAR2\0PKT" + struct.pack("<Q", 32 + len(rest)) + md5 + rest


def index(size: int, pieces: Sequence[bytes], file: bytes = bytes(16)) -> bytes:
    """Return an index as par2 writes it, as far as it is read."""
    sums = b"".join(
        hashlib.md5(one, usedforsecurity=False).digest() + struct.pack("<I", zlib.crc32(one))
        for one in pieces
    )
    main = struct.pack("<QI", size, 1) + file
    return packet(b"PAR 2.0\0Main", main) + packet(b"PAR 2.0\0IFSC", file + sums)


PIECES = [b"abcd" * 4, bytes(16), b"x" * 16]
SUMS = tuple(hashlib.md5(one, usedforsecurity=False).digest() for one in PIECES)


def test_the_pieces_of_a_file_are_told() -> None:
    whole = index(16, PIECES)
    creator = packet(b"PAR 2.0\0Creator", b"me")
    for data in (whole, creator + whole + creator, whole + whole, b"PAR2\0PKT" + whole):
        assert read_pieces(data) == Pieces(16, SUMS)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([b"a b.iso\0"], "a b.iso"),
        ([b"\xed\x95\x9c.iso"] * 2, "\ud55c.iso"),
        ([b"../dear"], None),
        ([b"/dear"], None),
        ([b".."], None),
        ([b""], None),
        ([b"a\0b"], None),
        ([b"one", b"two"], None),
    ],
)
def test_the_name_of_the_file_is_told_if_it_leads_nowhere_else(
    names: list[bytes], told: str | None
) -> None:
    described = b"".join(packet(b"PAR 2.0\0FileDesc", bytes(56) + name) for name in names)
    assert read_pieces(index(16, PIECES) + described) == Pieces(16, SUMS, told)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR2\0PKT" * 100,
        index(16, PIECES)[:-1],
        index(16, PIECES).replace(b"IFSC", b"IFSD"),
        index(16, PIECES) + packet(b"PAR 2.0\0IFSC", bytes(36)),  # of another file
        index(0, PIECES),
        index(1 << 40, PIECES),
        index(16, []),
    ],
)
def test_what_cannot_be_told_is_nothing(data: bytes) -> None:
    assert read_pieces(data) is None
