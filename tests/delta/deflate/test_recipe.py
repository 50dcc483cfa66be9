"""The bytes of a recipe: the same for ever, and bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.delta.deflate.recipe import Compressor, GzipMember, GzipRecipe, Making
from isobuilder.delta.methods import DeltaError

HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
MEMBER = GzipMember(HEADER, Making(Compressor.GO, (9,)), 300, 0xCAFE, (100, 228))
TWO = GzipRecipe((MEMBER, GzipMember(HEADER, MEMBER.making, 5, 1)))
FROZEN = "01 02 00 0a" + HEADER.hex() + "02 01 09 ac02 fe9503 02 64 8001 01 05 01 00"


def test_format_1_is_frozen() -> None:
    assert TWO.to_bytes() == bytes.fromhex(FROZEN)
    assert GzipRecipe.from_bytes(bytes.fromhex(FROZEN)) == TWO


MEMBERS = st.builds(
    GzipMember,
    st.binary(max_size=40),
    st.builds(
        Making, st.sampled_from(Compressor), st.lists(st.integers(0, 999), max_size=8).map(tuple)
    ),
    st.integers(1000, 1 << 38),
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(0, 1000)).map(sorted).map(tuple),
)


@given(st.lists(MEMBERS, min_size=1, max_size=4))
def test_reading_gives_what_was_written(members: list[GzipMember]) -> None:
    recipe = GzipRecipe(tuple(members))
    assert GzipRecipe.from_bytes(recipe.to_bytes()) == recipe


GOOD = bytes.fromhex(FROZEN)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut short"),
        (b"\x02" + GOOD[1:], "expected format 1, got 2"),
        (GOOD[:-1], "cut short"),
        (GOOD[:9], "cut short in a header"),
        (GOOD + b"\0", "bytes behind the end"),
        (b"\x01\x00", "0 members"),
        (b"\x01\x01\x01\x05\x01\x00", "has nothing before it"),
        (b"\x01\xff\xff\xff\x7f", "members: at most 10000, got"),
        (b"\x01" + b"\xff" * 40, "cut short, or no number"),
        (b"\x01\x01\x00\x00\x63", "unknown model 99"),
        (b"\x01\x01\x00\xff\xff\x7f", "bytes of a header: at most 65536"),
        (b"\x01\x01\x00\x00\x02\x01\x09\x05\x00\x01\x06", "a join: at most 5, got 6"),
        (b"\x01\x01\x00\x00\x02\x01\x09\x05\x00\x02\x04\x04", "a join at 8 of 5"),
        (b"\x01\x01\x00\x00\x02\x01\x09\x05\x00\xff\xff\xff\x7f", "joins: at most 10000"),
        (b"\x01\x01\x00\x00\x02\x7f", "parameters: at most 8, got 127"),
    ],
)
def test_what_is_no_recipe_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(DeltaError, match=words):
        GzipRecipe.from_bytes(data)
