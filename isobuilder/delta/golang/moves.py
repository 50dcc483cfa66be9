"""Where everything of the old program went: its addresses -> addresses of the new program."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from isobuilder.delta.borrowed import Borrowed
from isobuilder.delta.golang.program import UNLOADED, Anchors, Layout


class Moves:
    """A difference for each run of addresses; a run ends where the next one begins."""

    def __init__(self, runs: Iterable[tuple[int, int]]) -> None:
        """Take pairs of an old address and a difference; of two for one address, the later."""
        ordered = sorted(dict(runs).items())
        self.starts = [start for start, _ in ordered]
        self.shifts = [shift for _, shift in ordered]

    def __call__(self, address: int) -> int:
        """Return where what was at ``address`` is."""
        at = bisect_right(self.starts, address) - 1
        return address + self.shifts[at if at >= 0 else 0]


def expected(old: Layout, new: Layout, before: Anchors, after: Anchors) -> dict[int, int]:
    """Return the runs that need no telling: each section and table begins where its like does."""
    runs = {UNLOADED: 0}
    for one, other in zip(old.sections, new.sections, strict=False):
        runs[one.address] = other.address - one.address
    if old.pieces[-1].address > UNLOADED and new.pieces[-1].address > UNLOADED:
        runs[old.pieces[-1].address] = new.pieces[-1].address - old.pieces[-1].address
    for place, other_place in zip(before.all()[:-1], after.all()[:-1], strict=True):
        runs[place] = other_place - place
    return runs


def copies(moves: Moves, old: Layout, new: Layout) -> list[Borrowed]:
    """Return what the new file takes from the old one, in its order and without overlap.

    Where two runs lead to the same place, the later one ends the one before it.
    """
    found = sorted(_copies(moves, old, new), key=lambda copy: (copy.target, copy.source))
    cut: list[Borrowed] = []
    following = new.size
    for copy in reversed(found):
        size = min(copy.size, following - copy.target)
        if size > 0:
            cut.append(Borrowed(copy.source, copy.target, size))
            following = copy.target
    cut.reverse()
    return cut


def _copies(moves: Moves, old: Layout, new: Layout) -> Iterator[Borrowed]:
    ends = [*moves.starts[1:], 2 * UNLOADED]
    at = 0
    for start, end, shift in zip(moves.starts, ends, moves.shifts, strict=True):
        while at < len(old.pieces) and old.pieces[at].end <= start:
            at += 1
        for piece in old.pieces[at:]:
            if piece.address >= end:
                break
            first = max(start, piece.address)
            last = min(end, piece.address + piece.stored)
            goal = new.piece_at(first + shift)
            if first < last and goal is not None:
                size = min(last - first, goal.address + goal.stored - first - shift)
                source = piece.offset + first - piece.address
                target = goal.offset + first + shift - goal.address
                if size > 0:
                    yield Borrowed(source, target, size)
