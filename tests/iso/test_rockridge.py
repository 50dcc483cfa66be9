"""Rock Ridge's fields, read for a record alone and behind records that look like it."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.iso.read.rawiso import RawIso
from isobuilder.iso.read.rockridge import Areas, Posix, posix

CASES = 20_000


def both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def made(signature: bytes, data: bytes, version: int = 1) -> bytes:
    return signature + bytes([len(data) + 4, version]) + data


MODES = [made(b"PX", both(mode) + both(1) + both(0) * 2) for mode in (0o100644, 0o100755, 0o40755)]
TIMES = [made(b"TF", b"\x02" + bytes([100, 1, day, 0, 0, 0, 0])) for day in (1, 2)]
NAMES = [
    made(b"NM", flags + name) for flags in (b"\0", b"\1", b"\2") for name in (b"a", b"bc", b"")
]
NAMES += [
    made(b"NM", b"\0\xff"),
    made(b"NM", b""),
    made(b"NM", b"\0a", 2),
    b"NM\x09\1\0a",
    b"NM\3\1",
]
OTHERS = [made(b"RR", b"\x89"), made(b"RR", b"\x01"), made(b"ST", b""), made(b"SL", b"\0\0"), b"\0"]
OTHERS += [made(b"CE", both(99) * 3), made(b"XY", b"ab"), b"\0\0", b"\0\0\0", b"", b"PX\xff\1"]
USUAL = [*MODES, *TIMES, *NAMES[:2], OTHERS[0]]


@pytest.fixture
def image(tmp_path: Path) -> Iterator[RawIso]:
    path = tmp_path / "image"
    path.write_bytes(bytes(64 * 2048))
    with closing(RawIso(path)) as image:
        yield image


def told(image: RawIso, area: bytes, areas: Areas, *, named: bool) -> object:
    try:
        return posix(image, area, 2048, areas, named=named)
    except IntegrityError as error:
        return error.lines


def test_a_record_says_the_same_whatever_was_read_before_it(image: RawIso) -> None:
    chance = random.Random(5)
    alike: dict[tuple[bytes, bytes], Posix] = {}
    good = 0
    for _ in range(CASES):
        parts = chance.choices(USUAL, k=chance.randrange(1, 4))
        parts += chance.choices([*MODES, *TIMES, *NAMES, *OTHERS], k=chance.randrange(3))
        chance.shuffle(parts)
        area, named = b"".join(parts), chance.random() < 0.9
        alone = told(image, area, Areas(), named=named)
        assert told(image, area, Areas(alike=alike), named=named) == alone, area
        good += isinstance(alone, Posix)
    assert good > CASES // 20
    assert 3 < len(alike) <= 64


def test_two_records_never_continue_in_one_place(image: RawIso) -> None:
    image.path.write_bytes(bytes(3 * 2048) + MODES[0] + bytes(61 * 2048 - len(MODES[0])))
    area = NAMES[0] + made(b"CE", both(3) + both(0) + both(len(MODES[0])))
    areas = Areas()
    assert posix(image, area, 2048, areas).name == "a"
    with pytest.raises(IntegrityError, match="in one another"):
        posix(image, area, 2048, areas)
