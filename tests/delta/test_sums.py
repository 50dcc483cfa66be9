"""Sums: what was built again is told in less than any general tool tells it, and for ever alike."""

from __future__ import annotations

import bz2
import hashlib
import random
import struct
import sys
from pathlib import Path

import pytest

from isobuilder.delta import streams
from isobuilder.delta.choose import tried
from isobuilder.delta.general import ZstdPatch
from isobuilder.delta.methods import DeltaError
from isobuilder.delta.sums import MOST_SEARCHED, Sums

GOLDEN = Path(__file__).parents[1] / "golden" / "sums"
MADE = 13_252, "af0c83107b1828fd201bda50e931e5ff732c4315f09b406431f7cd9d92c1ac4d"
"""Size and SHA-256 of what the golden delta makes; both are for ever."""


def built(moved: int) -> bytes:
    """Return what resembles a program: all that names a place behind 20,000 is moved by that."""
    chance = random.Random(7)
    made = bytearray()
    for number in range(8000):
        place = chance.randrange(100_000)
        made += chance.randbytes(chance.randrange(3, 12))
        made += struct.pack("<I", place + (moved if place > 20_000 else 0))
        if number == 1000:
            made += bytes(moved)
    return bytes(made)


OLD, NEW = built(0), built(48)


def test_a_program_that_was_built_again_takes_less_than_a_patch_and_than_bsdiff() -> None:
    bsdiff4 = pytest.importorskip("bsdiff4")
    delta, patch = Sums().make(OLD, NEW), ZstdPatch().make(OLD, NEW)
    assert delta is not None
    assert patch is not None
    assert len(delta) < len(patch) / 2
    assert len(delta) < len(bsdiff4.diff(OLD, NEW))
    assert Sums().apply(OLD, delta, len(NEW)) == NEW
    assert tried(OLD, NEW).ways[0].method.name == "sums"


def test_sums_are_not_looked_for_where_little_is_left_to_save() -> None:
    near = OLD[:50_000] + b"x" + OLD[50_001:]
    assert "sums" not in tried(OLD, near).sizes


def test_sums_are_tried_where_edits_are_few_and_a_general_tool_would_tell_less() -> None:
    """A table of addresses between other bytes, of which each moved by as much: 2 % in edits."""
    bsdiff4 = pytest.importorskip("bsdiff4")
    chance = random.Random(3)
    bodies = [chance.randbytes(180) for _ in range(5000)]
    places = [chance.randrange(1 << 20) for _ in bodies]
    old, new = (
        b"".join(
            body + struct.pack("<I", place + moved)
            for body, place in zip(bodies, places, strict=True)
        )
        for moved in (0, 0x1230)
    )
    found = tried(old, new)
    assert 1024 < (found.sizes["edits"] or 0) < len(new) // 32
    assert found.ways[0].method.name == "sums"
    assert len(found.ways[0].delta) < len(bsdiff4.diff(old, new))


def test_without_the_library_nothing_is_made_and_everything_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delta = Sums().make(OLD, NEW)
    assert delta is not None
    monkeypatch.setitem(sys.modules, "bsdiff4", None)
    assert Sums().make(OLD, NEW) is None
    assert Sums().apply(OLD, delta, len(NEW)) == NEW


def test_what_would_take_much_memory_to_search_is_left_to_other_methods() -> None:
    assert Sums().make(bytes(MOST_SEARCHED + 1), b"new") is None


def test_a_delta_that_was_made_once_is_applied_for_ever() -> None:
    old, delta = (GOLDEN / "old").read_bytes(), (GOLDEN / "format1.sums").read_bytes()
    made = Sums().apply(old, delta, MADE[0])
    assert hashlib.sha256(made).hexdigest() == MADE[1]


def told(pieces: list[int], literals: bytes, marks: bytes, sums: bytes, new: bytes) -> bytes:
    """Return a delta as anybody could write it."""
    parts = (streams.signed(pieces), literals, marks, sums)
    return hashlib.sha256(new).digest()[:8] + b"\0" + streams.packed(parts)


def all_told(pieces: list[int], literals: bytes, sums: bytes, new: bytes) -> bytes:
    """Return a delta that adds to every byte."""
    parts = streams.packed((streams.signed(pieces), literals))
    head = hashlib.sha256(new).digest()[:8] + b"\1" + len(parts).to_bytes(4, "little")
    return head + parts + bz2.compress(sums)


def test_a_delta_is_what_the_page_about_deltas_says() -> None:
    old = bytes(range(64))
    new = old[32:] + b"abc" + bytes([255, 0, 1, 2, 3])
    sums = b"\0\0\0" + b"\xff" * 5 + bytes(24)
    delta = told([0, 32, 32, 3, 5, -64], b"abc", b"\x40", sums, new)
    assert Sums().apply(old, delta, len(new)) == new
    delta = all_told([0, 32, 32, 3, 5, -64], b"abc", bytes(35) + b"\xff" * 5, new)
    assert Sums().apply(old, delta, len(new)) == new


@pytest.mark.parametrize(
    ("delta", "fault"),
    [
        (told([0, 65, 0], b"", b"\0", b"", OLD), "a piece of what there is not"),
        (told([0, 32, 33], b"", b"\0", b"", OLD), "a piece of what there is not"),
        (told([0, 32], b"", b"\0", b"", OLD), "a piece that is cut off"),
        (told([0, 1, 0] * 12_000, b"", b"\0", b"", OLD), "more pieces than it may"),
        (told([0, 32, 0], b"a", b"\0", b"", OLD), "tells more or fewer bytes"),
        (told([0, 40, 0], b"", b"", b"", OLD), "marks blocks that there are not"),
        (told([0, 40, 0], b"", b"\x20", bytes(32), OLD), "adds more or fewer bytes"),
        (told([0, 40, 0], b"", b"\x80", bytes(31), OLD), "adds more or fewer bytes"),
        (told([0, 40, 0], b"", b"\x80", bytes(32), OLD), "makes something else"),
        (told([], bytes(70_000), b"\0", b"", OLD), "unpacks to more than it may"),
        (all_told([0, 40, 0], b"", bytes(39), OLD), "adds to more or fewer than 40 bytes"),
        (all_told([0, 40, 0], b"", bytes(50_000_000), OLD), "adds to more or fewer than 40 bytes"),
        (all_told([0, 40, 0], b"", bytes(40), OLD) + b"x", "adds to more or fewer than 40 bytes"),
        (all_told([0, 40, 0], b"", bytes(40), OLD)[:-1], "adds to more or fewer than 40 bytes"),
        (all_told([0, 40, 0], b"", bytes(40), OLD), "makes something else"),
        (bytes(8) + b"\2", "of a form that there is not"),
        (b"", "of a form that there is not"),
    ],
)
def test_sums_that_a_stranger_wrote_are_refused(delta: bytes, fault: str) -> None:
    with pytest.raises(DeltaError, match=fault):
        Sums().apply(bytes(range(64)), delta, 40)


def test_sums_for_more_bytes_than_may_be_held_are_refused_before_anything_is_unpacked() -> None:
    with pytest.raises(DeltaError, match="too much memory"):
        Sums().apply(bytes(range(64)), told([], b"", b"", b"", OLD), 300_000_000)
