"""Where runs of bytes are put together: never more than one piece in memory, the rest on the disk.

What is made is read where it lies, by its place: a run may be asked for any of its bytes at any
time. So a chain of deltas is applied in one go, for a run that one link puts together is what is
given to the next, and of it only what is wanted is ever made.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from isobuilder.delta.container import Needed
from isobuilder.delta.methods import DeltaError, methods
from isobuilder.delta.plan import Copy, Given, Made, Put, Unpacked, Zeros
from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import as_environment_problem, open_bytes
from isobuilder.formats.inflate import unpacked
from isobuilder.http.replies import FileState

_MOST_KEPT = 3 * 1024**3
"""Bytes on the disk of what was made and may be wanted again; the oldest go first."""

_MOST_FILES = 64

_MOST_WORK = 64
"""How many times the bytes of all that is given and made may be worked through."""

_FREE = 1024**3
_VISIT = 512
"""Bytes that could be worked through in the time that one more segment takes."""

_PIECE = 2 * 1024 * 1024  # bytes that are copied at a time
_WHOLE = 1  # the method that needs no old bytes, whoever names some
_COMPRESSES = range(20, 30)  # methods of which the old bytes are what the new ones unpack to
_COMPRESSES_BLOCKS = 31


class ByteRun(Protocol):
    """Bytes that can be read anywhere."""

    @property
    def size(self) -> int:
        """How many."""

    def read(self, offset: int, size: int) -> bytes:
        """Return some of them, all of which are there.

        Raises:
            DeltaError: the delta cannot make them.
        """

    def pieces(self, begin: int) -> Iterator[bytes]:
        """Give them from ``begin`` on; DeltaError as above."""


def _piecewise(run: ByteRun, begin: int) -> Iterator[bytes]:
    for at in range(begin, run.size, _PIECE):
        yield run.read(at, min(_PIECE, run.size - at))


class FileRun:
    """``size`` bytes of an open file, a disc or a stick, from ``begin`` on.

    ``state`` is that in which it was opened; None of a file that only we know.
    """

    def __init__(
        self, fd: int, size: int, path: Path, begin: int = 0, state: FileState | None = None
    ) -> None:
        self._fd, self.size, self.path, self._begin, self._state = fd, size, path, begin, state

    @property
    def is_changed(self) -> bool:
        """Whether it was written into since it was opened, or another one has its name."""
        now = FileState.of(os.fstat(self._fd))
        was = self._state
        return was is not None and (now.links == 0 != was.links or not was.lasts(now))

    def first(self, size: int) -> FileRun:
        """Return its first ``size`` bytes as a run."""
        return self.part(0, size)

    def part(self, offset: int, size: int) -> FileRun:
        """Return some of its bytes as a run."""
        return FileRun(self._fd, size, self.path, self._begin + offset, self._state)

    def read(self, offset: int, size: int) -> bytes:
        """Return some of them."""
        parts, done = [], 0
        with as_environment_problem(self.path):
            while done < size:
                data = os.pread(self._fd, size - done, self._begin + offset + done)
                if not data:
                    raise IntegrityError(f"{self.path}: ended while it was read")
                parts.append(data)
                done += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, begin: int) -> Iterator[bytes]:
        """Give them from ``begin`` on."""
        return _piecewise(self, begin)


Witness = Callable[[Made, bytes | str], None]
"""Is told of every piece what was made, or why it could not be."""


def _nobody(_segment: Made, _made: bytes | str) -> None:
    pass


@contextmanager
def opened(path: Path) -> Iterator[FileRun]:
    """Give the bytes of a file, a disc or a stick.

    Raises:
        InputError, EnvironmentProblem: see ``open_bytes``.
    """
    fd = open_bytes(path)
    try:
        state = FileState.of(os.fstat(fd))
        yield FileRun(fd, os.lseek(fd, 0, os.SEEK_END), path, state=state)
    finally:
        os.close(fd)


@contextmanager
def unchanged(runs: Collection[FileRun]) -> Iterator[None]:
    """Say of what fails in the block whether a file of ``runs``, all open, is to be blamed.

    Raises:
        IntegrityError: one of them was changed meanwhile; no delta has to be wrong.
    """
    try:
        yield
    except (InputError, IntegrityError) as error:
        for run in runs:
            if run.is_changed:
                raise IntegrityError(
                    f"{run.path}: was changed while it was read",
                    hint="run the same command again once nobody writes there",
                ) from error
        raise


class Workbench:
    """Keeps what was made in files without a name in ``folder``, within bounds; use ``with``.

    ``size`` is how many bytes are given and made in all.
    """

    def __init__(self, folder: Path, *, size: int, witness: Witness = _nobody) -> None:
        self.witness = witness
        self._folder = folder
        self._kept: OrderedDict[tuple[int, int], FileRun] = OrderedDict()
        self._fds: dict[tuple[int, int], int] = {}
        self._held = 0
        self._closing = ExitStack()
        self._work = _FREE + _MOST_WORK * size

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        while self._kept:
            self._drop()

    def spend(self, size: int) -> None:
        """Count ``size`` bytes of work.

        Raises:
            DeltaError: that is more than a delta of such files can need.
        """
        self._work -= size
        if self._work < 0:
            raise DeltaError("it would take far more work than what it makes is worth")

    def kept(self, key: tuple[int, int]) -> FileRun | None:
        """Return what was kept under ``key``."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: tuple[int, int], pieces: Iterator[bytes]) -> FileRun:
        """Write ``pieces`` to the disk and return them as a run."""
        run, fd = self._written(pieces)
        self._kept[key], self._fds[key] = run, fd
        self._held += run.size
        while len(self._kept) > 1 and (self._held > _MOST_KEPT or len(self._kept) > _MOST_FILES):
            self._drop()
        return run

    def hold(self, pieces: Iterator[bytes]) -> FileRun:
        """Write ``pieces`` to the disk and return them as a run, which stays to the end."""
        run, fd = self._written(pieces)
        self._closing.callback(os.close, fd)
        return run

    def _written(self, pieces: Iterator[bytes]) -> tuple[FileRun, int]:
        size = 0
        with (
            as_environment_problem(self._folder),
            tempfile.TemporaryFile(dir=self._folder, buffering=0) as file,
        ):
            for piece in pieces:
                file.write(piece)
                size += len(piece)
            fd = os.dup(file.fileno())
        return FileRun(fd, size, self._folder), fd

    def _drop(self) -> None:
        key, run = self._kept.popitem(last=False)
        os.close(self._fds.pop(key))
        self._held -= run.size


def runs_of(needed: Needed, given: Mapping[Digest, ByteRun], bench: Workbench) -> list[ByteRun]:
    """Return the runs of a link, of which nothing is made yet.

    Raises:
        KeyError: something that it needs is not ``given``.
    """
    found: list[ByteRun] = []
    at = needed.begins
    for source in needed.link.runs:
        if isinstance(source, Given):
            found.append(given[source.digest])
        elif isinstance(source, Unpacked):
            found.append(_UnpackedRun(source, found[source.source], bench))
        else:
            found.append(PutRun(source, found[:], bench, needed, at))
            at += sum(one.delta for one in source.segments if isinstance(one, Made))
    return found


class PutRun:
    """A run that is put together when it is read."""

    def __init__(
        self, put: Put, runs: Sequence[ByteRun], bench: Workbench, needed: Needed, begins: int
    ) -> None:
        self._segments = put.segments
        self._runs, self._bench, self._needed = runs, bench, needed
        sizes = (one.size for one in self._segments)
        self._starts = list(accumulate(sizes, initial=0))
        self.size = self._starts.pop()
        deltas = (one.delta if isinstance(one, Made) else 0 for one in put.segments)
        self._places = list(accumulate(deltas, initial=begins))

    def read(self, offset: int, size: int) -> bytes:
        """Return some of its bytes."""
        parts = []
        index = bisect_right(self._starts, offset) - 1
        while size:
            self._bench.spend(_VISIT)
            segment, start = self._segments[index], self._starts[index]
            inside = offset - start
            count = min(size, segment.size - inside)
            parts.append(self._part(index, inside, count))
            offset, size, index = offset + count, size - count, index + 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def begins(self, offset: int) -> int:
        """Return ``offset``, or where the piece begins that would be made anew for it."""
        if offset >= self.size:
            return self.size
        index = bisect_right(self._starts, offset) - 1
        return self._starts[index] if isinstance(self._segments[index], Made) else offset

    def pieces(self, begin: int) -> Iterator[bytes]:
        """Give its bytes from ``begin`` on, in order, without keeping any."""
        for place in range(max(0, bisect_right(self._starts, begin) - 1), len(self._segments)):
            segment = self._segments[place]
            self._bench.spend(_VISIT)
            inside = max(begin - self._starts[place], 0)
            most = segment.size if isinstance(segment, Made) else _PIECE
            while inside < segment.size:
                count = min(most, segment.size - inside)
                yield self._part(place, inside, count)
                inside += count

    def part_that_unpacks(self, offset: int, size: int) -> tuple[ByteRun, int, int] | None:
        """Return what a gzip stream there was made from, without making it; None if not known."""
        index = bisect_right(self._starts, offset) - 1
        segment = self._segments[index]
        inside = offset - self._starts[index]
        if inside + size > segment.size:
            return None
        if isinstance(segment, Copy):
            source = self._runs[segment.source]
            if isinstance(source, PutRun):
                return source.part_that_unpacks(segment.offset + inside, size)
        elif isinstance(segment, Made) and segment.method in _COMPRESSES and segment.size == size:
            return self._runs[segment.source], segment.offset, segment.length
        return None

    def _make(self, index: int, segment: Made) -> bytes:
        witness = self._bench.witness
        try:
            made = self._made(index, segment)
        except DeltaError as error:
            witness(segment, str(error))
            raise
        witness(segment, made)
        return made

    def _made(self, index: int, segment: Made) -> bytes:
        self._bench.spend(_work(segment))
        old = b""
        if segment.length and segment.method != _WHOLE:
            old = self._runs[segment.source].read(segment.offset, segment.length)
        delta = self._needed.delta.read(self._places[index], segment.delta)
        made = methods()[segment.method].apply(old, delta, segment.size)
        if len(made) != segment.size:
            raise DeltaError(f"{segment.piece}: {len(made)} bytes, expected {segment.size}")
        return made

    def _part(self, index: int, inside: int, count: int) -> bytes:
        segment = self._segments[index]
        if isinstance(segment, Zeros):
            return bytes(count)
        if isinstance(segment, Copy):
            return self._runs[segment.source].read(segment.offset + inside, count)
        key = (id(self), index)
        kept = self._bench.kept(key)
        if kept is None:
            made = self._make(index, segment)
            if count == segment.size:  # somebody wants it whole, so hardly again
                return made
            kept = self._bench.keep(key, iter((made,)))
        return kept.read(inside, count)


def _work(segment: Made) -> int:
    """Return the bytes of work that a piece takes: to compress takes longer than all else."""
    work = segment.length + segment.delta + segment.size
    if segment.method not in _COMPRESSES and segment.method != _COMPRESSES_BLOCKS:
        return work
    from isobuilder.delta.deflate.fast import slowness

    return slowness() * work


class _UnpackedRun:
    """What a gzip stream unpacks to, unpacked when it is first read."""

    def __init__(self, source: Unpacked, run: ByteRun, bench: Workbench) -> None:
        self._source, self._run, self._bench = source, run, bench
        self.size = source.size

    def read(self, offset: int, size: int) -> bytes:
        """Return some of its bytes."""
        key = (id(self), 0)
        kept = self._bench.kept(key)
        if kept is None:
            self._bench.spend(self.size + self._source.packed)
            kept = self._bench.keep(key, self._content())
            if kept.size != self.size:
                raise DeltaError(f"unpacks to {kept.size} bytes, expected {self.size}")
        return kept.read(offset, size)

    def pieces(self, begin: int) -> Iterator[bytes]:
        """Give its bytes from ``begin`` on."""
        return _piecewise(self, begin)

    def _content(self) -> Iterator[bytes]:
        at, packed = self._source.offset, self._source.packed
        if isinstance(self._run, PutRun):
            known = self._run.part_that_unpacks(at, packed)
            if known is not None:
                run, start, length = known
                for begin in range(start, start + length, _PIECE):
                    yield run.read(begin, min(_PIECE, start + length - begin))
                return
        chunks = (
            self._run.read(begin, min(BUFFER_SIZE, at + packed - begin))
            for begin in range(at, at + packed, BUFFER_SIZE)
        )
        try:
            yield from unpacked(chunks, "gzip", limit=self.size, why="it promised less")
        except DeltaError:
            raise
        except IntegrityError as error:
            raise DeltaError(error.lines[0]) from error
