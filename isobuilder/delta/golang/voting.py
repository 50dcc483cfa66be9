"""Where everything went, found out by whoever makes a delta: from names, votes and bytes.

Functions are matched first. Then each field of the old program whose own place in the new one is
known, and is a field there too, votes: what it names went to what that one names. What is agreed
upon tells where more fields went, and they vote in the next round.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from isobuilder.delta.golang.aligning import Judge, parts_of
from isobuilder.delta.golang.fast import (
    Bytes,
    Ints,
    Mapping,
    fields_of,
    read,
    rewrite,
    without_places,
)
from isobuilder.delta.golang.matching import matched
from isobuilder.delta.golang.moves import Moves, expected
from isobuilder.delta.golang.program import Program


@dataclass(frozen=True, slots=True)
class Region:
    """A range of old addresses and the new one that is its like."""

    start: int
    end: int
    new_start: int
    new_end: int


@dataclass(frozen=True, slots=True)
class Runs:
    """Where a region went: a difference from each start on."""

    starts: Ints
    shifts: Ints


class Search:
    """Two programs, and what is known so far of where the first one's parts are in the second."""

    def __init__(self, old: Program, new: Program) -> None:
        self.old, self.new = old, new
        self.old_fields, self.new_fields = fields_of(old), fields_of(new)
        self.fixed = self._of_functions()
        self.regions = list(_regions(old, new))
        self.runs: dict[Region, Runs] = {}

    def moves(self) -> Moves:
        """Return all that is known."""
        known = expected(self.old.layout, self.new.layout, self.old.places, self.new.places)
        parts = [self.fixed, *self.runs.values()]
        told = (zip(r.starts.tolist(), r.shifts.tolist(), strict=True) for r in parts)
        return Moves([*known.items(), *(pair for part in told for pair in part)])

    def _of_functions(self) -> Runs:
        """Return where code, entries and records of functions went."""
        old, new = self.old, self.new
        code = np.frombuffer(without_places(old, self.old_fields), np.uint8)
        new_code = np.frombuffer(without_places(new, self.new_fields), np.uint8)
        i, j = matched(old, new, code, new_code)
        one = _addresses_of_functions(old)
        other = _addresses_of_functions(new)
        parts = [_runs(a[i], b[j]) for a, b in zip(one, other, strict=True)]
        parts[0] = self._within_functions(zip(i.tolist(), j.tolist(), strict=True), code, new_code)
        return Runs(
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.shifts for part in parts]),
        )

    def _within_functions(
        self, pairs: Iterable[tuple[int, int]], code: Bytes, new_code: Bytes
    ) -> Runs:
        """Return where code went: functions, and parts of those whose code changed."""
        old, new = self.old, self.new
        base, new_base = (p.text.offset - p.text.address for p in (old, new))
        entries, new_entries = old.entries, new.entries
        starts: list[int] = []
        goals: list[int] = []
        for i, j in pairs:
            start, goal = entries[i], new_entries[j]
            a = code[base + start : base + entries[i + 1]]
            b = new_code[new_base + goal : new_base + new_entries[j + 1]]
            parts = [(0, 0)]
            if len(a) != len(b) or np.count_nonzero(a != b) > len(a) // 8:
                parts = parts_of(a, b)
            starts += (start + at for at, _ in parts)
            goals += (goal + to for _, to in parts)
        return _runs(np.array(starts, np.int64), np.array(goals, np.int64))

    def judge(self) -> None:
        """Let the bytes decide where the regions' runs begin, and which of them are needed."""
        rewritten = rewrite(self.old, self.old_fields, self.moves(), self.new.places)
        one = np.frombuffer(rewritten, np.uint8)
        other = np.frombuffer(self.new.data, np.uint8)
        for region, runs in self.runs.items():
            piece = self.old.layout.piece_at(region.start)
            goal = self.new.layout.piece_at(region.new_start)
            if piece is None or goal is None or not piece.stored or not goal.stored:
                continue
            judge = Judge(one, piece.offset - piece.address, other, goal.offset - goal.address)
            starts, shifts = judge.cleaned(runs.starts.tolist(), runs.shifts.tolist(), region.end)
            starts = judge.moved(starts, shifts)
            self.runs[region] = Runs(np.array(starts, np.int64), np.array(shifts, np.int64))

    def vote(self) -> None:
        """Hold one round."""
        moves = self.moves()
        voted = self._votes(Mapping(moves))
        for region in self.regions:
            inside = (voted[0] >= region.start) & (voted[0] < region.end)
            inside &= (voted[1] >= region.new_start) & (voted[1] < region.new_end)
            if inside.any():
                self.runs[region] = agreed(voted[0][inside], voted[1][inside], region)

    def _votes(self, mapping: Mapping) -> tuple[Ints, Ints]:
        old, new = self.old, self.new
        to_address, to_offset = Addresses(old), Addresses(new)
        olds: list[Ints] = []
        news: list[Ints] = []

        def meet(places: Ints, new_places: Ints) -> tuple[Ints, Ints]:
            goal = to_offset.offsets(mapping(to_address.addresses(places)))
            at = np.searchsorted(new_places, goal)
            at = np.minimum(at, max(len(new_places) - 1, 0))
            met = new_places[at] == goal if len(new_places) else np.zeros(len(at), bool)
            return np.flatnonzero(met), at[met]

        one, other = self.old_fields, self.new_fields
        a, b = meet(one.code.places, other.code.places)
        same = one.code.more[a] == other.code.more[b]
        olds.append(one.code.targets[a[same]])
        news.append(other.code.targets[b[same]])
        a, b = meet(one.pointers, other.pointers)
        olds.append(_words(old, one.pointers[a]))
        news.append(_words(new, other.pointers[b]))
        for group, like in zip(one.offsets, other.offsets, strict=True):
            a, b = meet(group.places, like.places)
            value, goal = _halves(old, group.places[a]), _halves(new, like.places[b])
            told = (value != 0) & (value != 0xFFFFFFFF) & (goal != 0) & (goal != 0xFFFFFFFF)
            olds.append(getattr(old.places, group.base) + group.unit * value[told])
            news.append(getattr(new.places, group.base) + group.unit * goal[told])
        return np.concatenate(olds), np.concatenate(news)


def _words(program: Program, places: Ints) -> Ints:
    return read(program.data, "<i8", places)


def _halves(program: Program, places: Ints) -> Ints:
    return read(program.data, "<u4", places)


class Addresses:
    """Addresses and places in the file of a program, for many at once."""

    def __init__(self, program: Program) -> None:
        pieces = program.layout.pieces
        self._starts = np.array([piece.address for piece in pieces], np.int64)
        self._offsets = np.array([piece.offset for piece in pieces], np.int64)
        self._stored = np.array([piece.stored for piece in pieces], np.int64)
        order = np.argsort(self._offsets + (self._stored == 0) * (1 << 60), kind="stable")
        order = order[self._stored[order] > 0]
        self._by_offset = self._offsets[order]
        self._order = order

    def addresses(self, places: Ints) -> Ints:
        """Return the addresses of places in the file."""
        at = self._order[np.searchsorted(self._by_offset, places, "right") - 1]
        return places - self._offsets[at] + self._starts[at]

    def offsets(self, addresses: Ints) -> Ints:
        """Return the places of addresses, -1 for what is not in the file."""
        at = np.maximum(np.searchsorted(self._starts, addresses, "right") - 1, 0)
        within = addresses - self._starts[at]
        return np.where((within >= 0) & (within < self._stored[at]), within + self._offsets[at], -1)


def _addresses_of_functions(program: Program) -> tuple[Ints, Ints, Ints]:
    entries = np.array(program.entries, np.int64)[:-1]
    records = np.array(program.records, np.int64)
    pairs = program.places.functions + 8 * np.arange(len(entries))
    return entries, pairs, records - program.table.offset + program.table.address


def _runs(olds: Ints, news: Ints) -> Runs:
    order = np.argsort(olds, kind="stable")
    olds, shifts = olds[order], (news - olds)[order]
    first = np.ones(len(olds), bool)
    first[1:] = shifts[1:] != shifts[:-1]
    return Runs(olds[first], shifts[first])


def _regions(old: Program, new: Program) -> list[Region]:
    one, other = old.places, new.places
    bounds = ("names", "units", "files", "tables", "functions")
    found = [
        Region(getattr(one, a), getattr(one, b), getattr(other, a), getattr(other, b))
        for a, b in pairwise(bounds)
    ]
    both = ((old, one), (new, other))
    if all(program.table.address <= p.funcdata < program.table.end for program, p in both):
        found.append(Region(one.funcdata, old.table.end, other.funcdata, new.table.end))
    for a, b in zip(old.layout.sections, new.layout.sections, strict=False):
        apart = a.name in (b".text", b".gopclntab", b".typelink") or a.name.startswith(b".note")
        if a.name == b.name and not apart:
            found.append(Region(a.address, a.end, b.address, b.end))
    return found


def agreed(olds: Ints, news: Ints, region: Region) -> Runs:
    """Return where a region went by most votes, without what a single one says between others."""
    packed = (olds - region.start) << 31 | (news - region.new_start)
    packed, counts = np.unique(packed, return_counts=True)
    old, new = (packed >> 31) + region.start, (packed & 0x7FFFFFFF) + region.new_start
    order = np.lexsort((-counts, old))
    old, new, counts = old[order], new[order], counts[order]
    first = np.ones(len(old), bool)
    first[1:] = old[1:] != old[:-1]
    old, shift, counts = old[first], (new - old)[first], counts[first]
    for _ in range(2):
        if len(old) > 2:
            alone = np.zeros(len(old), bool)
            alone[1:-1] = (shift[:-2] == shift[2:]) & (shift[1:-1] != shift[:-2])
            alone[1:-1] &= counts[1:-1] <= 2
            old, shift, counts = old[~alone], shift[~alone], counts[~alone]
    begins = np.ones(len(old), bool)
    begins[1:] = shift[1:] != shift[:-1]
    return Runs(old[begins], shift[begins])
