"""Two ISOs -> how the second is put together of the first: what is equal, what is near, the rest.

What is equal is copied, wherever it lies in the old one: as a file, in an archive, in a layer.
What is large and changed is made from what lay at its place before. All small things that changed
are one piece, made from all small things that there were, for they resemble each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from isobuilder.delta.blocks import UNBLOCKED
from isobuilder.delta.choose import Tried
from isobuilder.delta.methods import Method
from isobuilder.delta.plan import Copy, Given, Made, Put, Segment, Source, Unpacked, Zeros
from isobuilder.digest import Digest
from isobuilder.pipeline.delta.pieces import LARGEST, Apart, Piece
from isobuilder.text import printable

_MOST_SMALL = 32 * 1024 * 1024
"""Bytes of small things that are held at once."""

_SHORTEST = 256  # bytes of a copy; naming it costs some ten
_AROUND = 24 * 1024 * 1024  # bytes before and after the place of a part of what was cut
LONGEST_NAME = 250
"""Characters of a name in a delta, where it is for people."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file taken apart, and what gzip streams and blocks unpack to, by where they begin."""

    apart: Apart
    contents: Mapping[int, Apart]
    unpacking: Mapping[int, bytes] = field(default_factory=dict)  # how blocks are unpacked


@dataclass(frozen=True, slots=True)
class Told:
    """How one changed piece is told, and why so."""

    piece: str
    size: int  # bytes
    how: str
    carried: int  # bytes
    tried: Mapping[str, int | None]  # bytes by the method's name; None: not for such bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """A link without its names, and the bytes that its methods need."""

    runs: tuple[Source, ...]
    result: int
    beside: Mapping[str, int]
    deltas: tuple[bytes, ...]
    expected: tuple[Digest, ...]
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where bytes are that can be copied: in a file that is given, or in what a part unpacks to."""

    old: int
    packed: tuple[int, int, int] | None  # offset and size of the gzip stream, size of its content
    offset: int
    size: int
    path: str = ""
    part: int = 0


@dataclass(slots=True)
class _Making:
    """A run that is being put together."""

    segments: list[Segment] = field(default_factory=list)
    deltas: list[tuple[bytes, Digest]] = field(default_factory=list)

    def add(self, segment: Segment) -> None:
        """Add a segment; copies and zeros that go on are one."""
        last = self.segments[-1] if self.segments else None
        match last, segment:
            case Copy(), Copy() if (
                last.source == segment.source and last.offset + last.size == segment.offset
            ):
                self.segments[-1] = Copy(last.source, last.offset, last.size + segment.size)
            case Zeros(), Zeros():
                self.segments[-1] = Zeros(last.size + segment.size)
            case _:
                self.segments.append(segment)


Ways = Callable[[bytes, bytes], Tried]
Compress = Callable[[Piece, bytes, bytes], Iterable[tuple[Method, bytes]]]


class Planner:
    """Plans one link from ``olds`` to ``new``.

    ``ways`` gives the ways to tell a piece, ``compress`` those to make a gzip stream of what it
    unpacks to; ``beside`` is what lies beside the new thing, by the end of its name.
    """

    def __init__(
        self, given: Sequence[Given], olds: Sequence[Opened], *, ways: Ways, compress: Compress
    ) -> None:
        self._olds, self._ways, self._compress = olds, ways, compress
        self._runs: list[Source | _Making] = list(given)
        self._unpacked: dict[tuple[int, tuple[int, int, int]], int] = {}
        self._equal: dict[Digest, _Place] = {}
        self._near: dict[str, list[_Place]] = {}
        self._told: list[Told] = []
        self._shared: dict[Digest, int] = {}
        self._often: set[Digest] = set()  # of pieces that the new thing has more than once
        small = self._learn()
        self._small_old = self._put_small(small)
        self._small_run = self._reserve()
        self._small = bytearray()

    def plan(self, new: Opened, beside: Mapping[str, bytes]) -> Plan:
        """Return how ``new`` is put together."""
        pieces = [*new.apart.pieces]
        for contents in new.contents.values():
            pieces += contents.pieces
        often = Counter(piece.digest for piece in pieces if not piece.small)
        self._often |= {digest for digest, count in often.items() if count > 1}
        result = self._put_together(new.apart, new.contents)
        places: dict[str, int] = {}
        for end, data in beside.items():
            making = _Making()
            self._from_small(making, data)
            places[end] = self._finish(making)
        self._finish_small()
        return self._done(result, places)

    # --- what the old ones have ---

    def _learn(self) -> list[_Place]:
        """Note where everything is; return where small things are."""
        small: list[_Place] = []
        inner: list[_Place] = []
        for number, old in enumerate(self._olds):
            for piece in old.apart.pieces:
                place = _Place(number, None, piece.offset, piece.size, piece.path, piece.part)
                self._note(piece, place, small)
                contents = old.contents.get(piece.offset)
                if contents is None:
                    continue
                packed = (piece.offset, piece.size, contents.run.size)
                for one in contents.pieces:
                    found = _Place(number, packed, one.offset, one.size, one.path, one.part)
                    self._note(one, found, inner)
        return small + inner

    def _note(self, piece: Piece, place: _Place, small: list[_Place]) -> None:
        if piece.zeros:
            return
        self._equal.setdefault(piece.digest, place)
        if piece.blocks and (piece.small or not piece.path):
            return  # what is in them resembles other things, they do not
        if piece.small:
            small.append(place)
            return
        for key in _keys(piece):
            self._near.setdefault(key, []).append(place)

    def _put_small(self, places: Sequence[_Place]) -> int:
        making = _Making()
        held = 0
        for place in places:
            held += place.size
            if held > _MOST_SMALL:
                break
            making.add(self._copy(place))
        return self._finish(making)

    def _copy(self, place: _Place) -> Copy:
        return Copy(self._run_of(place), place.offset, place.size)

    def _run_of(self, place: _Place) -> int:
        if place.packed is None:
            return place.old
        key = (place.old, place.packed)
        if key not in self._unpacked:
            self._runs.append(self._opened(place.old, *place.packed))
            self._unpacked[key] = len(self._runs) - 1
        return self._unpacked[key]

    def _opened(self, number: int, offset: int, packed: int, size: int) -> Source | _Making:
        """Return the run of what a gzip stream unpacks to, or blocks."""
        old = self._olds[number]
        if offset not in old.unpacking:
            return Unpacked(number, offset, packed, size)
        told = old.unpacking[offset]
        made = Made(UNBLOCKED, number, offset, packed, len(told), size, "old blocks")
        return _Making([made], [(told, old.contents[offset].digest)])

    def _read(self, place: _Place) -> bytes:
        old = self._olds[place.old]
        run = old.apart.run if place.packed is None else old.contents[place.packed[0]].run
        return run.read(place.offset, place.size)

    # --- what the new one is ---

    def _put_together(self, apart: Apart, contents: Mapping[int, Apart]) -> int:
        making = _Making()
        for piece in apart.pieces:
            self._piece(making, apart, piece, contents.get(piece.offset))
        return self._finish(making)

    def _piece(self, making: _Making, apart: Apart, piece: Piece, contents: Apart | None) -> None:
        if piece.zeros:
            making.add(Zeros(piece.size))
        elif (piece.size >= _SHORTEST or piece.blocks) and piece.digest in self._equal:
            making.add(self._copy(self._equal[piece.digest]))
        elif piece.digest in self._shared:
            making.add(Copy(self._shared[piece.digest], 0, piece.size))
        elif piece.digest in self._often:
            alone = _Making()
            self._changed(alone, apart, piece, contents)
            self._shared[piece.digest] = self._finish(alone)
            making.add(Copy(self._shared[piece.digest], 0, piece.size))
        else:
            self._changed(making, apart, piece, contents)

    def _changed(self, making: _Making, apart: Apart, piece: Piece, contents: Apart | None) -> None:
        new = apart.run.read(piece.offset, piece.size)
        if contents is not None and self._packed_anew(making, piece, new, contents):
            return
        if piece.small:
            self._from_small(making, new)
            return
        place = self._nearest(piece)
        found = self._ways(b"" if place is None else self._read(place), new)
        way = found.ways[0]
        source, offset, length = 0, 0, 0
        if way.from_old and place is not None:
            source, offset, length = self._run_of(place), place.offset, place.size
        making.add(
            Made(
                way.method.number,
                source,
                offset,
                length,
                len(way.delta),
                piece.size,
                printable(piece.place, LONGEST_NAME),
            )
        )
        making.deltas.append((way.delta, piece.digest))
        self._told.append(
            Told(piece.place, piece.size, way.method.name, len(way.delta), found.sizes)
        )

    def _packed_anew(self, making: _Making, piece: Piece, new: bytes, contents: Apart) -> bool:
        """Tell a gzip stream or blocks by their content, if that gives exactly these bytes."""
        content = contents.run.read(0, contents.run.size)
        found = next(iter(self._compress(piece, content, new)), None)
        if found is None:
            return False
        del content
        method, delta = found
        inside = self._put_together(contents, {})
        size = contents.run.size
        made = Made(
            method.number,
            inside,
            0,
            size,
            len(delta),
            piece.size,
            printable(piece.place, LONGEST_NAME),
        )
        making.add(made)
        making.deltas.append((delta, piece.digest))
        self._told.append(
            Told(piece.place, piece.size, method.name, len(delta), {method.name: len(delta)})
        )
        return True

    def _nearest(self, piece: Piece) -> _Place | None:
        """Return what lay where a piece lies, of several what has the most alike length."""
        if not piece.path:
            return self._at(piece)
        for key in _keys(piece):
            if found := self._near.get(key):
                if piece.part or any(one.part for one in found):
                    return self._around(piece, found)
                return min(found, key=lambda place: abs(place.size - piece.size))
        return None

    def _at(self, piece: Piece) -> _Place | None:
        """Return what lay about where a piece lies, of the first of the old ones."""
        size = self._olds[0].apart.run.size if self._olds else 0
        around = min(_AROUND, (LARGEST - piece.size) // 2)
        start = max(0, piece.offset - around)
        stop = min(size, piece.end + around)
        return _Place(0, None, start, stop - start) if start < stop else None

    def _around(self, piece: Piece, found: Sequence[_Place]) -> _Place:
        """Return what lay about where a part of a large piece lies."""
        first = found[0]
        same = [
            one
            for one in found
            if (one.old, one.packed, one.path) == (first.old, first.packed, first.path)
        ]
        begin = min(one.offset - one.part for one in same)
        end = max(one.offset + one.size for one in same)
        start = max(begin, min(begin + piece.part - _AROUND, end))
        stop = min(end, begin + piece.part + piece.size + _AROUND)
        if start >= stop:
            start = max(begin, stop - piece.size)
        return _Place(first.old, first.packed, start, stop - start)

    # --- small things ---

    def _from_small(self, making: _Making, data: bytes) -> None:
        making.add(Copy(self._small_run, len(self._small), len(data)))
        self._small += data

    def _finish_small(self) -> None:
        """Tell all small things at once, from all that there were."""
        making = self._runs[self._small_run]
        assert isinstance(making, _Making)  # noqa: S101
        old_run = self._runs[self._small_old]
        assert isinstance(old_run, _Making)  # noqa: S101
        old = b"".join(self._bytes_of(old_run))
        for at in range(0, len(self._small), _MOST_SMALL):
            new = bytes(self._small[at : at + _MOST_SMALL])
            found = self._ways(old, new)
            way = found.ways[0]
            length = len(old) if way.from_old else 0
            source = self._small_old if length else 0
            name = "all small things"
            making.segments.append(
                Made(way.method.number, source, 0, length, len(way.delta), len(new), name)
            )
            making.deltas.append((way.delta, Digest.of(new)))
            self._told.append(Told(name, len(new), way.method.name, len(way.delta), found.sizes))

    def _bytes_of(self, making: _Making) -> Iterator[bytes]:
        where = {run: key for key, run in self._unpacked.items()}
        for segment in making.segments:
            assert isinstance(segment, Copy)  # noqa: S101
            if segment.source in where:
                old, packed = where[segment.source]
                run = self._olds[old].contents[packed[0]].run
            else:
                run = self._olds[segment.source].apart.run
            yield run.read(segment.offset, segment.size)

    # --- runs ---

    def _reserve(self) -> int:
        self._runs.append(_Making())
        return len(self._runs) - 1

    def _finish(self, making: _Making) -> int:
        self._runs.append(making)
        return len(self._runs) - 1

    def _done(self, result: int, beside: Mapping[str, int]) -> Plan:
        runs: list[Source] = []
        deltas: list[tuple[bytes, Digest]] = []
        for run in self._runs:
            if isinstance(run, _Making):
                deltas += run.deltas
                runs.append(Put(tuple(run.segments)))
            else:
                runs.append(run)
        runs, numbers = _without_unused(runs)
        return Plan(
            tuple(runs),
            numbers[result],
            {end: numbers[run] for end, run in beside.items()},
            tuple(delta for delta, _ in deltas),
            tuple(digest for _, digest in deltas),
            tuple(self._told),
        )


def _without_unused(runs: Sequence[Source]) -> tuple[list[Source], dict[int, int]]:
    """Leave out what is given and nobody needs; return how the others are numbered now."""
    used = {run.source for run in runs if isinstance(run, Unpacked)}
    for run in runs:
        if isinstance(run, Put):
            used |= {one.source for one in run.segments if isinstance(one, Copy)}
            used |= {one.source for one in run.segments if isinstance(one, Made) and one.length}
    stay = [at for at, run in enumerate(runs) if at in used or not isinstance(run, Given)]
    numbers = {before: now for now, before in enumerate(stay)}
    made: list[Source] = []
    for at in stay:
        run = runs[at]
        if isinstance(run, Unpacked):
            run = replace(run, source=numbers[run.source])
        elif isinstance(run, Put):
            run = Put(tuple(_renumbered(one, numbers) for one in run.segments))
        made.append(run)
    return made, numbers


def _renumbered(segment: Segment, numbers: Mapping[int, int]) -> Segment:
    if isinstance(segment, Zeros) or (isinstance(segment, Made) and not segment.length):
        return segment
    return replace(segment, source=numbers[segment.source])


def _keys(piece: Piece) -> Iterator[str]:
    """Give the names by which a piece is paired, the surest first; numbers in them may change."""
    plain = re.sub(r"[0-9]+", "0", piece.path)
    yield piece.path
    yield plain
    yield plain.rpartition("/")[2]
