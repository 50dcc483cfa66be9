"""What of the bytes that would be told stands somewhere in the rewritten old program."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isobuilder.delta.golang.fast import Bytes, Ints, view
from isobuilder.delta.golang.format1 import Stretch
from isobuilder.delta.golang.moves import Borrowed

_GRAM = 8  # bytes that are looked for together
_SHORTEST = 14  # bytes that a piece must save
_MOST = 24  # places of the same bytes that are tried
_CHUNK = 1 << 22
_TABLE = 24  # bits of a hash
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_PATIENCE = 24  # bytes after which a piece ends unless more of them were right than wrong


def pieces_of(old: Bytes, new: Bytes, told: list[Stretch]) -> list[Borrowed]:
    """Return pieces of ``old`` that make what is told of ``new`` shorter, in order of ``new``."""
    wanted = [run for run in told if run.size >= _SHORTEST]
    if not wanted:
        return []
    places = _places(old, _grams(new, wanted))
    found: list[Borrowed] = []
    for run in wanted:
        found += _pieces(old, new, run, places)
    return found


def _grams(new: Bytes, runs: list[Stretch]) -> NDArray[np.uint64]:
    words = view(new, "<u8")
    parts = [words[run.start : run.start + run.size - _GRAM + 1] for run in runs]
    return np.unique(np.concatenate(parts))


def _hash(grams: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (grams * _MULTIPLIER) >> np.uint64(64 - _TABLE)


def _places(old: Bytes, grams: NDArray[np.uint64]) -> dict[int, list[int]]:
    """Return where each gram stands in ``old``, without those that stand everywhere."""
    known = np.zeros(1 << _TABLE, bool)
    known[_hash(grams)] = True
    words = view(old, "<u8")
    values: list[NDArray[np.uint64]] = []
    where: list[Ints] = []
    for start in range(0, len(words), _CHUNK):
        part = np.ascontiguousarray(words[start : start + _CHUNK])
        at = np.flatnonzero(known[_hash(part)])
        at = at[grams[np.minimum(np.searchsorted(grams, part[at]), len(grams) - 1)] == part[at]]
        values.append(part[at])
        where.append(at + start)
    value, place = np.concatenate(values), np.concatenate(where)
    order = np.argsort(value, kind="stable")
    value, place = value[order], place[order]
    begins = np.flatnonzero(np.diff(value, prepend=value[:1] ^ np.uint64(1)))
    ends = np.append(begins[1:], len(value))
    return {
        int(value[a]): place[a : min(b, a + _MOST)].tolist()
        for a, b in zip(begins.tolist(), ends.tolist(), strict=False)
        if b - a <= 64 * _MOST
    }


def _pieces(
    old: Bytes, new: Bytes, run: Stretch, places: dict[int, list[int]]
) -> Iterator[Borrowed]:
    raw = new[run.start : run.start + run.size].tobytes()
    at = 0
    diagonal = 0  # of the piece before: what follows it is often of the same origin
    while at + _GRAM <= len(raw):
        here = places.get(int.from_bytes(raw[at : at + _GRAM], "little"), [])
        best, gain, size = 0, _SHORTEST - 1, 0
        for place in here:
            length, right = _extended(old, new, place, run.start + at, len(raw) - at)
            saved = right - (length - right) + 4 * (place - run.start - at == diagonal)
            if saved > gain:
                best, gain, size = place, saved, length
        if size:
            yield Borrowed(best, run.start + at, size)
            diagonal = best - run.start - at
            at += size
        else:
            at += 1


def _extended(old: Bytes, new: Bytes, source: int, target: int, most: int) -> tuple[int, int]:
    """Return how long a piece is best, and how many of its bytes are right."""
    length = right = 0
    step = 64
    while length < most:
        size = min(step, most - length, len(old) - source - length)
        if size <= 0:
            break
        same = (
            old[source + length : source + length + size]
            == new[target + length : target + length + size]
        )
        wrong = np.flatnonzero(~same)
        if not len(wrong):
            length += size
            right += size
            step = min(2 * step, 1 << 16)
            continue
        score = np.cumsum(np.where(same, 1, -2))
        top = int(np.argmax(score))
        if score[top] <= 0:
            break
        right += int(np.count_nonzero(same[: top + 1]))
        length += top + 1
        if top + 1 < size - _PATIENCE:
            break
        step = 64
        if top + 1 < size:
            break
    return length, right
