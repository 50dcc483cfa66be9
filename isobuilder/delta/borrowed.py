"""Bytes of the old file that are bytes of the new one, as methods write them into a delta.

What these lines read never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isobuilder.delta import streams
from isobuilder.delta.methods import DeltaError


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Bytes of the old file that are bytes of the new file."""

    source: int
    target: int
    size: int


def written(pieces: Iterable[Borrowed]) -> bytes:
    """Write pieces in the order of their targets: the gap before each, its size, and where from."""
    told: list[int] = []
    end = source = 0
    for piece in pieces:
        told += [piece.target - end, piece.size, piece.source - source]
        end, source = piece.target + piece.size, piece.source + piece.size
    return streams.signed(told)


def read(data: bytes, old: int, new: int) -> Iterator[Borrowed]:
    """Give what ``written`` wrote of files of ``old`` and ``new`` bytes.

    Raises:
        DeltaError: cut off, or about bytes that there are not.
    """
    told = streams.read_signed(data)
    end = source = 0
    if len(told) % 3:
        raise DeltaError("the delta has a piece that is cut off")
    for gap, size, step in zip(told[0::3], told[1::3], told[2::3], strict=True):
        target, source = end + gap, source + step
        if gap < 0 or size < 1 or target + size > new or not 0 <= source <= old - size:
            raise DeltaError("the delta has a piece of what there is not")
        yield Borrowed(source, target, size)
        end, source = target + size, source + size
