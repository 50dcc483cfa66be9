"""Methods for any bytes: what they make comes back, what a stranger made is refused or bounded."""

from __future__ import annotations

import contextlib
import random

import pytest

from isobuilder.delta.general import Edits, Whole, ZstdPatch
from isobuilder.delta.methods import DeltaError, Method, methods
from isobuilder.delta.sums import Sums
from isobuilder.formats.zstd import compressed

CHANCE = random.Random(17)
OLD = CHANCE.randbytes(300_000)
NEAR = OLD[:1000] + b"x" + OLD[1001:250_000] + b"yyyy" + OLD[250_004:]
OTHERS = {
    "the same": OLD,
    "near": NEAR,
    "moved": OLD[100_000:] + OLD[:100_000],
    "longer": OLD + b"more",
    "nothing": b"",
    "one": b"1",
    "new": CHANCE.randbytes(50_000),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize(
    "method", [Whole(), ZstdPatch(), ZstdPatch(level=9), Edits(), Sums()], ids=lambda m: m.name
)
def test_what_a_method_makes_comes_back(method: Method, what: str) -> None:
    new = OTHERS[what]
    delta = method.make(OLD, new)
    if delta is None:
        kinds = {"edits": OTHERS.keys() - {"the same", "near"}, "sums": {"nothing"}}
        assert what in kinds[method.name]
        return
    assert method.apply(OLD, delta, len(new)) == new


def test_a_patch_finds_what_was_moved_and_edits_are_smaller_where_nothing_was() -> None:
    moved = ZstdPatch().make(OLD, OTHERS["moved"])
    near, edits = ZstdPatch().make(OLD, NEAR), Edits().make(OLD, NEAR)
    assert moved is not None
    assert near is not None
    assert edits is not None
    assert len(moved) < 200
    assert len(edits) < len(near) < 400


def test_a_patch_against_other_bytes_is_refused_or_makes_other_bytes() -> None:
    delta = ZstdPatch().make(OLD, NEAR)
    assert delta is not None
    with contextlib.suppress(DeltaError):
        assert ZstdPatch().apply(OLD[::-1], delta, len(NEAR)) != NEAR


@pytest.mark.parametrize("method", [Whole(), ZstdPatch(), Edits(), Sums()], ids=lambda m: m.name)
def test_a_delta_that_a_stranger_changed_is_refused_or_makes_as_many_bytes(method: Method) -> None:
    delta = method.make(OLD, NEAR)
    assert delta is not None
    chance = random.Random(3)
    for _ in range(200):
        data = bytearray(delta)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = bytes(data[: chance.randint(0, len(data))]) if chance.random() < 0.3 else bytes(data)
        try:
            assert len(method.apply(OLD, cut, len(NEAR))) == len(NEAR)
        except DeltaError:
            continue


@pytest.mark.parametrize("method", [Whole(), ZstdPatch()], ids=lambda m: m.name)
def test_a_frame_that_is_larger_than_promised_is_refused_before_it_is_unpacked(
    method: Method,
) -> None:
    bomb = compressed(bytes(50_000_000))
    with pytest.raises(DeltaError, match="of 50000000 bytes, expected 1000"):
        method.apply(OLD, bomb, 1000)


def test_numbers_of_methods_are_for_ever() -> None:
    general = {number: method.name for number, method in methods().items() if number < 10}
    assert general == {1: "whole", 2: "patch", 3: "edits", 4: "sums"}
    assert all(number == method.number for number, method in methods().items())
