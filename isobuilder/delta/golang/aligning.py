"""Where runs begin, decided by bytes: inside changed functions, and between agreed differences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isobuilder.delta.golang.fast import Bytes, view

_GRAM = 8  # bytes that are looked for together
_SHORTEST = 12  # bytes of a part that is worth a run
_DEEPEST = 3  # gaps of gaps
_WHOLE = 4096  # bytes that are compared one by one; of more, both ends
_END = 1024
_RUN = 4  # bytes that a run costs in a delta, about


def parts_of(one: Bytes, other: Bytes) -> list[tuple[int, int]]:
    """Return where parts of ``one`` begin in it and in ``other``, in order; the first is (0, 0)."""
    least = min(len(one), len(other))
    differ = np.flatnonzero(one[:least] != other[:least])
    head = int(differ[0]) if len(differ) else least
    differ = np.flatnonzero(one[len(one) - least :][::-1] != other[len(other) - least :][::-1])
    tail = min(int(differ[0]) if len(differ) else least, least - head)
    parts = [(0, 0, head)]
    ends = len(one) - tail, len(other) - tail
    if min(ends) - head >= _SHORTEST:
        for a, b, size in sorted(_common(one[head : ends[0]], other[head : ends[1]])):
            parts.append((head + a, head + b, size))
    if tail >= 4:
        parts.append((*ends, tail))
    return [(a, b) for a, b, _ in parts]


def _common(one: Bytes, other: Bytes, depth: int = 0) -> list[tuple[int, int, int]]:
    """Return parts that both have in the same order; what recurs in one may be single in a gap."""
    a, at = np.unique(view(one, "<u8"), return_index=True)
    b, to = np.unique(view(other, "<u8"), return_index=True)
    _, i, j = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    order = np.argsort(at[i])
    at, to = at[i][order], to[j][order]
    if not len(at):
        return []
    edges = np.flatnonzero(np.diff(to - at, prepend=np.iinfo(np.int64).max))
    ends = np.append(edges[1:], len(at))
    found = [
        (int(at[s]), int(to[s]), int(at[e - 1] - at[s]) + _GRAM)
        for s, e in zip(edges.tolist(), ends.tolist(), strict=True)
    ]
    taken: list[tuple[int, int, int]] = []
    for part in sorted(found, key=lambda part: -part[2]):
        if part[2] < _SHORTEST or len(taken) > 64:
            break
        if all(_in_order(part, other_part) for other_part in taken):
            taken.append(part)
    taken.sort()
    return [*taken, *_between(one, other, taken, depth)] if depth < _DEEPEST else taken


def _between(
    one: Bytes, other: Bytes, taken: list[tuple[int, int, int]], depth: int
) -> Iterator[tuple[int, int, int]]:
    a = b = 0
    for start, goal, size in [*taken, (len(one), len(other), 0)] if taken else []:
        if min(start - a, goal - b) >= _SHORTEST:
            for at, to, length in _common(one[a:start], other[b:goal], depth + 1):
                yield a + at, b + to, length
        a, b = start + size, goal + size


def _in_order(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    if one[0] > other[0]:
        one, other = other, one
    return one[0] + one[2] <= other[0] and one[1] + one[2] <= other[1]


class Judge:
    """How well differences explain the bytes of a region that lies in both files in one piece."""

    def __init__(self, rewritten: Bytes, old: int, new_bytes: Bytes, new: int) -> None:
        """Take the offsets in the files that an address of 0 in the region would have."""
        self._old, self._new = rewritten, new_bytes
        self._old_base, self._new_base = old, new

    def wrong(self, start: int, end: int, shift: int) -> NDArray[np.bool_]:
        """Return which bytes of a range of addresses would be wrong."""
        a, b = self._old_base + start, self._new_base + start + shift
        size = min(end - start, len(self._old) - a, len(self._new) - b)
        wrong = np.ones(end - start, bool)
        if size > 0 and b >= 0:
            wrong[:size] = self._old[a : a + size] != self._new[b : b + size]
        return wrong

    def cost(self, start: int, end: int, shift: int) -> float:
        """Return how many bytes would be wrong, about."""
        size = end - start
        if size <= _WHOLE:
            return int(np.count_nonzero(self.wrong(start, end, shift)))
        some = np.count_nonzero(self.wrong(start, start + _END, shift))
        some += np.count_nonzero(self.wrong(end - _END, end, shift))
        return float(some) * size / (2 * _END)

    def cleaned(
        self, starts: list[int], shifts: list[int], end: int
    ) -> tuple[list[int], list[int]]:
        """Return the runs without those that explain no more than their neighbours do."""
        for _ in range(6):
            kept: list[int] = []
            own: list[int] = []
            ends = [*starts[1:], end]
            following = [*shifts[1:], shifts[-1]]
            for start, stop, shift, after in zip(starts, ends, shifts, following, strict=True):
                best = shift
                if own and stop - start < 1 << 16:
                    cost = self.cost(start, stop, shift)
                    before = self.cost(start, stop, own[-1])
                    if before <= cost + _RUN:
                        best, cost = own[-1], before
                    if after != own[-1] and self.cost(start, stop, after) < cost:
                        best = after
                if not own or own[-1] != best:
                    kept.append(start)
                    own.append(best)
            if len(kept) == len(starts):
                break
            starts, shifts = kept, own
        return starts, shifts

    def moved(self, starts: list[int], shifts: list[int]) -> list[int]:
        """Return the starts put where the fewest bytes are wrong; a run begins no later by it."""
        made = list(starts)
        for at in range(1, len(starts)):
            low = max(made[at - 1] + 1, starts[at] - _WHOLE)
            before = self.wrong(low, starts[at], shifts[at - 1])
            after = self.wrong(low, starts[at], shifts[at])
            total = np.zeros(len(before) + 1, np.int64)
            total[1:] += np.cumsum(before)
            total[:-1] += np.cumsum(after[::-1])[::-1]
            # Of equally good places the last: a vote is known to be right, what precedes is not.
            made[at] = low + len(before) - int(np.argmin(total[::-1]))
        return made
