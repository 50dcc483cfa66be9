"""The ways to tell one piece, the smallest first.

What a method says of itself is not believed: what was chosen counts once ``prove`` applied it in
another process, else the next one is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from isobuilder.delta.general import QUICK, Edits, Whole, ZstdPatch
from isobuilder.delta.methods import Method, methods
from isobuilder.delta.sums import Sums

_SMALL = 4 * 1024 * 1024  # bytes that are packed thoroughly whatever comes of it
_HOPELESS = 8  # times larger; packing thoroughly does not make up for more
_GOOD = 24  # times smaller than the piece; who knows programs and tells one so is not beaten
_LITTLE = 1024  # bytes, of which what searches longest saves next to nothing
_STRANGE = 0.9  # of the piece: what a quick patch cannot make smaller has nothing of the old one
_KNOW_PROGRAMS = range(10, 20)


@dataclass(frozen=True, slots=True)
class PieceWay:
    """One way to make a piece."""

    method: Method
    delta: bytes
    from_old: bool  # whether it needs the old bytes


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried for one piece, the smallest way first."""

    ways: tuple[PieceWay, ...]
    sizes: dict[str, int | None]  # bytes by the method's name; None if it is not for such bytes


def packed_whole(new: bytes) -> PieceWay:
    """Return the way that is always there."""
    return PieceWay(Whole(), Whole().make(b"", new), from_old=False)


def tried(old: bytes, new: bytes) -> Tried:
    """Return the ways to tell ``new`` to somebody who has ``old``."""
    ways: list[PieceWay] = []
    sizes: dict[str, int | None] = {}

    def attempt(method: Method) -> int | None:
        delta = method.make(old, new)
        sizes[method.name] = None if delta is None else len(delta)
        if delta is not None:
            ways.append(PieceWay(method, delta, from_old=not isinstance(method, Whole)))
        return sizes[method.name]

    if old:
        for number in _KNOW_PROGRAMS:
            if number in methods():
                attempt(methods()[number])
        known = min((len(way.delta) for way in ways), default=len(new))
        attempt(Edits())
        best = min((len(way.delta) for way in ways), default=len(new))
        quick = None if len(new) < _SMALL else attempt(ZstdPatch(level=QUICK))
        if len(new) < _SMALL or (quick is not None and quick < _HOPELESS * best):
            ways = [way for way in ways if way.method.number != ZstdPatch().number]
            attempt(ZstdPatch())
        told = best <= _LITTLE or known <= len(new) // _GOOD
        if not told and (quick is None or quick < _STRANGE * len(new)):
            attempt(Sums())
    if min((len(way.delta) for way in ways), default=len(new)) > len(new) // 8:
        attempt(Whole())
    return Tried(tuple(sorted(ways, key=lambda way: len(way.delta))), sizes)
