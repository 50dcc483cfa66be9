"""Blocks are unpacked and made again bit for bit, or it is refused."""

from __future__ import annotations

import lzma
import random
import zlib
from collections.abc import Sequence

import pytest

from isobuilder.delta.blocks import BLOCKED, MOST_BLOCKS, UNBLOCKED, Blocked, Unblocked
from isobuilder.delta.methods import DeltaError, Method, methods
from isobuilder.errors import EnvironmentProblem
from isobuilder.formats.squashfs import Block
from isobuilder.formats.zstd import compressed
from tests.fuzz.mutation import edited

NOISE = random.Random(3).randbytes(700)
HELD = (b"the same again " * 200, NOISE, b"x" * 4096, b"and words, and words " * 90)
PLAIN = (False, True, False, False)


def packed(held: Sequence[bytes] = HELD, level: int = 9) -> list[bytes]:
    return [
        data if plain else zlib.compress(data, level)
        for data, plain in zip(held, PLAIN, strict=True)
    ]


BLOCKS = tuple(
    Block(len(one), len(data), plain)
    for one, data, plain in zip(packed(), HELD, PLAIN, strict=True)
)
CONTENT, FILE = b"".join(HELD), b"".join(packed())


def made(method: Method, old: bytes, new: bytes) -> bytes:
    delta = method.make(old, new)
    assert delta is not None
    return delta


UNPACK = made(Unblocked(BLOCKS), b"", b"")
PACK = made(Blocked(BLOCKS), CONTENT, FILE)


def test_blocks_are_unpacked_and_made_again() -> None:
    assert methods()[UNBLOCKED].apply(FILE, UNPACK, len(CONTENT)) == CONTENT
    assert methods()[BLOCKED].apply(CONTENT, PACK, len(FILE)) == FILE


def test_what_says_how_is_a_few_bytes_and_never_changes() -> None:
    assert UNPACK.hex() == "0180205af90a344e"
    assert PACK.hex() == "01090f08f02ef90a8040c41d"


@pytest.mark.parametrize("packing", ["zstd", "xz"])
def test_blocks_that_are_packed_in_another_way_are_unpacked(packing: str) -> None:
    try:
        parts = [
            compressed(one) if packing == "zstd" else lzma.compress(one, lzma.FORMAT_XZ)
            for one in HELD
        ]
    except EnvironmentProblem:
        pytest.skip("this Python has no zstd")
    blocks = [
        Block(len(part), len(one), plain=False) for part, one in zip(parts, HELD, strict=True)
    ]
    told = made(Unblocked(blocks, packing), b"", b"")  # type: ignore[arg-type]
    assert Unblocked().apply(b"".join(parts), told, len(CONTENT)) == CONTENT


def test_where_the_library_is_another_one_the_bytes_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isobuilder.delta.deflate.models.library_is_zlib", lambda _level: False)
    monkeypatch.setattr("isobuilder.delta.deflate.models.LibraryEncoder", None)
    assert Blocked().apply(CONTENT, PACK, len(FILE)) == FILE


def test_what_was_compressed_in_another_way_is_told_in_another_way() -> None:
    other = b"".join(packed(level=1))
    assert Blocked(BLOCKS).make(CONTENT, other) is None
    assert Blocked().make(CONTENT, FILE) is None
    assert Unblocked().make(CONTENT, FILE) is None


def numbers(*values: int) -> bytes:
    found = bytearray()
    for value in values:
        left = value
        while left > 0x7F:
            found.append(left & 0x7F | 0x80)
            left >>= 7
        found.append(left)
    return bytes(found)


BOMB = zlib.compress(bytes(3_000_000), 9)


@pytest.mark.parametrize(
    ("method", "old", "delta", "size", "said"),
    [
        (UNBLOCKED, FILE, b"", 10, "nobody here can unpack"),
        (UNBLOCKED, FILE, numbers(9, 4096), 10, "nobody here can unpack"),
        (UNBLOCKED, FILE, numbers(1, 1 << 30, 20), 10, "nobody here can unpack"),
        (UNBLOCKED, FILE, numbers(1, 4096, 20), 10, "a damaged block|cut off"),
        (UNBLOCKED, FILE, numbers(1, 4096, 21), 10, "blocks of 10 bytes unpack to 10"),
        (UNBLOCKED, FILE, UNPACK[:-1], len(CONTENT), "without end|cut off|blocks of"),
        (UNBLOCKED, BOMB, numbers(1, 1 << 20, len(BOMB) << 1), 3_000_000, "more than 1048576"),
        (UNBLOCKED, b"", numbers(1, 1, *[1] * (MOST_BLOCKS + 9)), 1, "more than 200000 blocks"),
        (UNBLOCKED, FILE, UNPACK, len(CONTENT) + 1, "expected 8787|unpack to"),
        (BLOCKED, CONTENT, b"", 10, "nobody here can compress"),
        (BLOCKED, CONTENT, numbers(2, 9, 15, 8, 20), 10, "nobody here can compress"),
        (BLOCKED, CONTENT, numbers(1, 99, 15, 8, 20), 10, "no parameters"),
        (BLOCKED, CONTENT, numbers(1, 9, 15, 8, 20), 10, "blocks of 10 bytes become"),
        (BLOCKED, CONTENT, b"\xff" * 9, 10, "a number without end"),
        (BLOCKED, bytes(2_000_000), numbers(1, 9, 15, 8, 4_000_000), 9, "a block of 2000000"),
        (BLOCKED, CONTENT, PACK, len(FILE) - 1, "become"),
        (BLOCKED, CONTENT + b"x", PACK, len(FILE), "become"),
    ],
)
def test_what_does_not_fit_is_refused(
    method: int, old: bytes, delta: bytes, size: int, said: str
) -> None:
    with pytest.raises(DeltaError, match=said):
        methods()[method].apply(old, delta, size)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_somebody_changes_as_many_bytes_come_or_none(seed: int) -> None:
    chance = random.Random(seed)
    number, old, delta, size = chance.choice(
        [(UNBLOCKED, FILE, UNPACK, len(CONTENT)), (BLOCKED, CONTENT, PACK, len(FILE))]
    )
    try:
        done = methods()[number].apply(
            edited(old, chance) if chance.random() < 0.5 else old, edited(delta, chance), size
        )
    except DeltaError:
        return
    assert len(done) == size
