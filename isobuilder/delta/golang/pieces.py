"""What of the bytes that would be told stands somewhere in the rewritten old program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isobuilder.delta.borrowed import Borrowed
from isobuilder.delta.golang.fast import Bytes, Ints, view
from isobuilder.delta.golang.format1 import Stretch

_GRAM = 8  # bytes that are looked for together
_SHORTEST = 24  # bytes that a piece must save
_MOST = 24  # places of the same bytes that are tried
_STEP = 64  # bytes that are compared together
_CHUNK = 1 << 22
_TABLE = 24  # bits of a hash
_MULTIPLIERS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True, slots=True)
class _Index:
    """Where grams stand in the old program, without those that stand everywhere."""

    grams: NDArray[np.uint64]  # ascending
    begins: Ints  # of each gram's places
    ends: Ints
    places: Ints

    def known(self, words: NDArray[np.uint64]) -> tuple[list[int], list[int]]:
        """Return the numbers of the words that stand somewhere, and which grams they are."""
        if not len(self.grams):
            return [], []
        which = np.minimum(np.searchsorted(self.grams, words), len(self.grams) - 1)
        found = np.flatnonzero(self.grams[which] == words)
        return found.tolist(), which[found].tolist()

    def places_of(self, gram: int) -> list[int]:
        """Return where a gram stands, by its number."""
        found: list[int] = self.places[self.begins[gram] : self.ends[gram]].tolist()
        return found


def pieces_of(old: Bytes, new: Bytes, told: list[Stretch]) -> list[Borrowed]:
    """Return pieces of ``old`` that make what is told of ``new`` shorter, in order of ``new``."""
    wanted = [run for run in told if run.size >= _SHORTEST]
    if not wanted:
        return []
    index = _index(old, _grams(new, wanted))
    found: list[Borrowed] = []
    for run in wanted:
        found += _pieces(old, new, run, index)
    return found


def _grams(new: Bytes, runs: list[Stretch]) -> NDArray[np.uint64]:
    words = view(new, "<u8")
    grams = np.concatenate([words[run.start : run.start + run.size - _GRAM + 1] for run in runs])
    grams.sort()
    # The first that is not as the one before; so without zeros, which stand everywhere.
    first: NDArray[np.bool_] = np.diff(grams, prepend=np.uint64(0)) != 0
    return grams[first]


def _hash(grams: NDArray[np.uint64], multiplier: np.uint64) -> NDArray[np.uint64]:
    return (grams * multiplier) >> np.uint64(64 - _TABLE)


def _index(old: Bytes, grams: NDArray[np.uint64]) -> _Index:
    known = np.zeros((len(_MULTIPLIERS), 1 << _TABLE), bool)
    for table, multiplier in zip(known, _MULTIPLIERS, strict=True):
        table[_hash(grams, multiplier)] = True
    words = view(old, "<u8")
    values: list[NDArray[np.uint64]] = []
    where: list[Ints] = []
    for start in range(0, len(words) if len(grams) else 0, _CHUNK):
        part = np.ascontiguousarray(words[start : start + _CHUNK])
        at = np.flatnonzero(known[0][_hash(part, _MULTIPLIERS[0])])
        at = at[known[1][_hash(part[at], _MULTIPLIERS[1])]]
        at = at[grams[np.minimum(np.searchsorted(grams, part[at]), len(grams) - 1)] == part[at]]
        values.append(part[at])
        where.append(at + start)
    value = np.concatenate([np.zeros(0, np.uint64), *values])
    place = np.concatenate([np.zeros(0, np.int64), *where])
    order = np.argsort(value, kind="stable")
    value, place = value[order], place[order]
    begins = np.flatnonzero(np.diff(value, prepend=value[:1] ^ np.uint64(1)))
    ends = np.append(begins[1:], len(value))[: len(begins)]
    few = ends - begins <= 64 * _MOST
    begins, ends = begins[few], ends[few]
    return _Index(value[begins], begins, np.minimum(ends, begins + _MOST), place)


def _pieces(old: Bytes, new: Bytes, run: Stretch, index: _Index) -> Iterator[Borrowed]:
    words = view(new[run.start : run.start + run.size], "<u8")
    free = 0  # the first byte that is in no piece
    diagonal = 0  # of the piece before: what follows it is often of the same origin
    for at, gram in zip(*index.known(words), strict=True):
        if at < free:
            continue
        best, gain, size = 0, _SHORTEST - 1, 0
        target = run.start + at
        places = index.places_of(gram)
        for place, (length, right) in zip(
            places, _extended_each(old, new, places, target, run.size - at), strict=True
        ):
            saved = right - (length - right) + 4 * (place - target == diagonal)
            if saved > gain:
                best, gain, size = place, saved, length
        if size:
            yield Borrowed(best, target, size)
            diagonal = best - target
            free = at + size


def _extended_each(
    old: Bytes, new: Bytes, sources: list[int], target: int, most: int
) -> Iterator[tuple[int, int]]:
    """Give what ``_extended`` returns for each of several places; most of them end at once."""
    size = min(_STEP, most)
    if sources[-1] + size > len(old):
        yield from (_extended(old, new, source, target, most) for source in sources)
        return
    windows = np.lib.stride_tricks.sliding_window_view(old, size)[np.array(sources)]
    same = windows == new[target : target + size]
    tops = np.cumsum(np.where(same, 1, -2), axis=1).argmax(axis=1)
    rights = np.cumsum(same, axis=1)[np.arange(len(sources)), tops]
    for source, top, right in zip(sources, tops.tolist(), rights.tolist(), strict=True):
        if top + 1 < size:
            yield top + 1, right
        else:
            yield _extended(old, new, source, target, most)


def _extended(old: Bytes, new: Bytes, source: int, target: int, most: int) -> tuple[int, int]:
    """Return how long a piece is best, and how many of its bytes are right."""
    length = right = 0
    step = _STEP
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
        if top + 1 < size:
            break
        step = _STEP
    return length, right
