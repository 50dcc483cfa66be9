"""What a delta says: how the bytes of something new are put together, as frozen values.

Everything is a run of bytes. Some are **given**: what somebody has already. Some are what a gzip
stream **unpacks** to. The others are **put** together, from left to right, of copies of runs
before them, of zeros, and of bytes that a method makes from a part of a run before it. The last
run but those beside it is the new thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isobuilder.delta.methods import DeltaError, UnknownMethod, methods
from isobuilder.digest import Digest

_MOST_SEGMENTS = 500_000
"""Segments of all runs of a link together."""

_MOST_RUNS = 20_000
_MOST_SIZE = 1 << 40
"""Bytes of a run; a tebibyte."""

MOST_MADE = 256 * 1024 * 1024
"""Bytes that a method makes in one piece, or makes them from: both are held in memory."""

_MOST_TOGETHER = 384 * 1024 * 1024
"""Bytes of what a piece is made from, what it is made with, and itself: all three in memory.

What isobuilder makes stays below: a piece has at most 100 MiB, and what a gzip stream unpacks to
at most ``MOST_MADE``.
"""

MOST_UNPACKED = 8 * 1024**3
"""Bytes that one gzip stream may unpack to, on the disk."""

MOST_DEPTH = 24
"""Runs that are put together of runs that are put together, and so on."""

MOST_LINKS = 200

_LONGEST_NAME = 300  # characters


@dataclass(frozen=True, slots=True)
class Given:
    """Bytes that somebody has already."""

    name: str  # what it was called, for people
    digest: Digest
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a gzip stream, which lies in another run, unpacks to."""

    source: int
    offset: int
    packed: int  # bytes
    size: int  # bytes it unpacks to


@dataclass(frozen=True, slots=True)
class Copy:
    """A part of a run."""

    source: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Zeros:
    """Nothing but zeros."""

    size: int


@dataclass(frozen=True, slots=True)
class Made:
    """What a method makes of a part of a run."""

    method: int
    source: int
    offset: int
    length: int  # bytes of the part; 0 if it needs none
    delta: int  # bytes of what it is made with
    size: int  # bytes that come of it
    piece: str  # what it is, for people


Segment = Copy | Zeros | Made


@dataclass(frozen=True, slots=True)
class Put:
    """Bytes that are put together."""

    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(segment.size for segment in self.segments)


Source = Given | Unpacked | Put


@dataclass(frozen=True, slots=True)
class Link:
    """How something new comes of what is given."""

    name: str
    digest: Digest
    size: int  # bytes
    runs: tuple[Source, ...]
    result: int  # which run it is
    beside: Mapping[str, int]  # what is written beside it, by the end of its name

    @property
    def given(self) -> tuple[Given, ...]:
        """What one has to have."""
        return tuple(run for run in self.runs if isinstance(run, Given))

    @property
    def made(self) -> Iterator[tuple[int, int, Made]]:
        """Every piece that a method makes: its run, its place there, and itself, in order."""
        for number, run in enumerate(self.runs):
            if isinstance(run, Put):
                for place, segment in enumerate(run.segments):
                    if isinstance(segment, Made):
                        yield number, place, segment

    @property
    def levels(self) -> int:
        """How many runs that are made of runs there are within each other."""
        depths: list[int] = []
        for run in self.runs:
            used: Iterator[int] = iter(())
            if isinstance(run, Unpacked):
                used = iter((run.source,))
            elif isinstance(run, Put):
                used = (part.source for part in run.segments if not isinstance(part, Zeros))
            below = (depths[source] for source in used if depths)
            depths.append(0 if isinstance(run, Given) else 1 + max(below, default=0))
        return max(depths, default=0)

    @property
    def carried(self) -> int:
        """Bytes that the methods need."""
        return sum(made.delta for _, _, made in self.made)


def to_data(link: Link) -> dict[str, Any]:
    """Return a link as plain JSON values."""
    return {
        "name": link.name,
        "digest": link.digest,
        "size": link.size,
        "runs": [_run_data(run) for run in link.runs],
        "result": link.result,
        "beside": dict(link.beside),
    }


def _run_data(run: Source) -> list[Any]:
    if isinstance(run, Given):
        return ["given", run.name, run.digest, run.size]
    if isinstance(run, Unpacked):
        return ["unpacked", run.source, run.offset, run.packed, run.size]
    return ["put", *(_segment_data(segment) for segment in run.segments)]


def _segment_data(segment: Segment) -> list[Any] | int:
    if isinstance(segment, Zeros):
        return segment.size
    if isinstance(segment, Copy):
        return [segment.source, segment.offset, segment.size]
    return [
        segment.method,
        segment.source,
        segment.offset,
        segment.length,
        segment.delta,
        segment.size,
        segment.piece,
    ]


def from_data(data: Any) -> Link:
    """Return the link of JSON values that a stranger may have written.

    Raises:
        DeltaError: it contradicts itself or is beyond a limit.
        UnknownMethod: a newer isobuilder made it.
    """
    if not isinstance(data, dict) or not isinstance(data.get("runs"), list):
        raise DeltaError("damaged: a link without runs")
    reader = _Reader()
    if len(data["runs"]) > _MOST_RUNS:
        raise DeltaError(f"a link of {len(data['runs'])} runs, at most {_MOST_RUNS}")
    for run in data["runs"]:
        reader.take(run)
    result = _whole(data.get("result"), len(reader.runs) - 1)
    beside = data.get("beside", {})
    if not isinstance(beside, dict):
        raise DeltaError("damaged: what lies beside is no table")
    link = Link(
        name=_text(data.get("name")),
        digest=_digest(data.get("digest")),
        size=_whole(data.get("size"), _MOST_SIZE),
        runs=tuple(reader.runs),
        result=result,
        beside={_text(end): _whole(run, len(reader.runs) - 1) for end, run in beside.items()},
    )
    for run_number in (result, *link.beside.values()):
        if not isinstance(link.runs[run_number], Put):
            raise DeltaError("damaged: the result is not put together")
    if link.runs[result].size != link.size:
        raise DeltaError(f"damaged: {link.runs[result].size} bytes for {link.size}")
    return link


class _Reader:
    """Reads runs in their order: each knows those before it."""

    def __init__(self) -> None:
        self.runs: list[Source] = []
        self._sizes: list[int] = []
        self._depths: list[int] = []
        self._segments = 0

    def take(self, data: Any) -> None:
        if not isinstance(data, list) or not data:
            raise DeltaError("damaged: a run that is none")
        kind, *rest = data
        run: Source
        depth = 0
        if kind == "given" and len(rest) == 3:
            run = Given(_text(rest[0]), _digest(rest[1]), _whole(rest[2], _MOST_SIZE))
        elif kind == "unpacked" and len(rest) == 4:
            source, offset, packed = self._part(rest[0], rest[1], rest[2])
            run = Unpacked(source, offset, packed, _whole(rest[3], MOST_UNPACKED))
            depth = self._depths[source] + 1
        elif kind == "put":
            run = Put(tuple(self._segment(segment) for segment in rest))
            used = [segment.source for segment in run.segments if not isinstance(segment, Zeros)]
            depth = 1 + max((self._depths[source] for source in used if self.runs), default=0)
        else:
            raise DeltaError("damaged: a run of an unknown kind")
        if depth > MOST_DEPTH:
            raise DeltaError(f"runs of runs, more than {MOST_DEPTH} deep")
        size = run.size
        if size > _MOST_SIZE:
            raise DeltaError(f"a run of {size} bytes, at most {_MOST_SIZE}")
        self.runs.append(run)
        self._sizes.append(size)
        self._depths.append(depth)

    def _segment(self, data: Any) -> Segment:
        self._segments += 1
        if self._segments > _MOST_SEGMENTS:
            raise DeltaError(f"more than {_MOST_SEGMENTS} segments")
        if not isinstance(data, list):
            return Zeros(_some(data, _MOST_SIZE))
        if len(data) == 3:
            _some(data[2], _MOST_SIZE)
            return Copy(*self._part(*data))
        if len(data) != 7:
            raise DeltaError("damaged: a segment of an unknown kind")
        method = _whole(data[0], 255)
        if method not in methods():
            raise UnknownMethod(f"made by a method that is not known here: {method}")
        source, offset, length = self._part(data[1], data[2], data[3], some=False)
        made = Made(
            method,
            source,
            offset,
            _at_most(length, MOST_MADE),
            _at_most(_whole(data[4], _MOST_SIZE), MOST_MADE),
            _at_most(_some(data[5], _MOST_SIZE), MOST_MADE),
            _text(data[6]),
        )
        held = made.length + made.delta + made.size
        if held > _MOST_TOGETHER:
            raise DeltaError(f"a piece that takes {held} bytes of memory, at most {_MOST_TOGETHER}")
        return made

    def _part(
        self, source: Any, offset: Any, size: Any, *, some: bool = True
    ) -> tuple[int, int, int]:
        """Return a part of a run before this one; without ``some`` it may be of none at all."""
        found = _whole(source, _MOST_RUNS)
        if not some and not size:
            return 0, 0, 0
        if found >= len(self.runs):
            raise DeltaError("damaged: a run that is made of a later one")
        start, length = _whole(offset, _MOST_SIZE), _whole(size, _MOST_SIZE)
        if start + length > self._sizes[found]:
            raise DeltaError("damaged: a part that reaches behind the end of its run")
        return found, start, length


def _whole(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise DeltaError(f"damaged: expected a number to {most}, got {str(value)[:40]!r}")
    return value


def _some(value: Any, most: int) -> int:
    if value == 0:
        raise DeltaError("damaged: a segment of no bytes")
    return _whole(value, most)


def _at_most(value: int, most: int) -> int:
    if value > most:
        raise DeltaError(f"a piece of {value} bytes, at most {most}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise DeltaError(f"damaged: expected a short text, got {str(value)[:40]!r}")
    return value


def _digest(value: Any) -> Digest:
    try:
        return Digest(_text(value))
    except ValueError as error:
        raise DeltaError(f"damaged: {error}") from error
