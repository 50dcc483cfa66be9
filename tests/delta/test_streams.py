"""Numbers as they are written into a delta."""

from __future__ import annotations

import pytest

from isobuilder.delta import streams
from isobuilder.delta.methods import DeltaError

LARGEST = (1 << 63) - 1


@pytest.mark.parametrize("values", [[], [0], [1, 127, 128, 1 << 40, LARGEST]])
def test_numbers_are_read_as_they_were_written(values: list[int]) -> None:
    assert streams.read_numbers(streams.numbers(values)).tolist() == values


@pytest.mark.parametrize("values", [[], [0, -1, 1, -2], [1 << 62 - 1, -(1 << 61)]])
def test_numbers_of_either_sign_are_read_as_they_were_written(values: list[int]) -> None:
    assert streams.read_signed(streams.signed(values)).tolist() == values


def test_steps_are_undone() -> None:
    values = [5, 5, 9, 2, 1 << 50]
    assert streams.summed(streams.steps(values)).tolist() == values


@pytest.mark.parametrize("value", [LARGEST + 1, (1 << 70) - 1])
def test_a_number_that_nobody_writes_is_refused(value: int) -> None:
    for read in (streams.read_numbers, streams.read_signed):
        with pytest.raises(DeltaError, match="too long"):
            read(streams.numbers([value]))


def test_numbers_that_lead_nowhere_are_refused() -> None:
    with pytest.raises(DeltaError, match="add up to too much"):
        streams.summed(streams.read_numbers(streams.numbers([LARGEST, 1])))
