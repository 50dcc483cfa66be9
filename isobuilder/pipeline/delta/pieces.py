"""An ISO taken apart to what it is made of: files, members of archives, what lies between them.

Any file is taken: of one that is no ISO, or an ISO that contradicts itself, everything is what
lies between files. Nothing depends on it but how small a delta becomes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from isobuilder.delta.assembling import ByteRun
from isobuilder.delta.plan import MOST_UNPACKED
from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.cpio import MAGICS as CPIO
from isobuilder.formats.cpio import cpio_files
from isobuilder.formats.inflate import MOST_GROWTH, looks_like, unpacked
from isobuilder.formats.squashfs import MAGIC as SQUASHFS
from isobuilder.formats.squashfs import Block, Packing, read_squashfs
from isobuilder.formats.tar import SeekSource, walk
from isobuilder.iso.read.reader import IsoReader
from isobuilder.progress import Task

LARGEST = 100 * 1024 * 1024
"""Bytes of a piece that is looked at as one; what is larger is cut."""

SMALL = 32 * 1024
"""Bytes of a piece that is told by itself; what is smaller, and changed, is told together."""

_SMALL_BETWEEN = 1024 * 1024
"""The same of what lies between files: folders and tables of the disc, headers of archives."""

_CUT = 48 * 1024 * 1024  # bytes of a part of what is too large
_HEAD = 512  # bytes that tell what a piece is
_DEEPEST = 2  # archives within each other
_PACKED = 2048  # bytes of a gzip stream that is looked into
_FREE = 64 * 1024 * 1024
_BETWEEN = "between files"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a run with a meaning of its own."""

    place: str  # for people
    path: str  # where it lies in the innermost archive, by which pieces of two ISOs are paired
    offset: int
    size: int  # bytes
    digest: Digest
    packed: bool = False  # a gzip stream
    part: int = 0  # of what is cut: how many bytes of it lie before
    zeros: bool = False  # and nothing else
    blocks: tuple[Block, ...] = ()  # that were compressed one by one; of many files without a path
    packing: Packing = "gzip"  # of the blocks

    @property
    def end(self) -> int:
        """The offset of the first byte behind it."""
        return self.offset + self.size

    @property
    def small(self) -> bool:
        """Whether it is told together with other small things."""
        return self.size < (SMALL if self.path else _SMALL_BETWEEN)


@dataclass(frozen=True, slots=True)
class Apart:
    """Bytes, taken apart: their pieces in order, without gaps."""

    run: ByteRun
    digest: Digest
    pieces: tuple[Piece, ...] = field(repr=False)


class _RunStream(io.RawIOBase):
    """A run as a file to read and seek in."""

    def __init__(self, run: ByteRun, offset: int = 0, size: int | None = None) -> None:
        self._run, self._begin = run, offset
        self._size = run.size - offset if size is None else size
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as much as there is."""
        count = max(0, min(len(buffer), self._size - self._position))
        if count:
            buffer[:count] = self._run.read(self._begin + self._position, count)
            self._position += count
        return count


def _stream_of(run: ByteRun, offset: int = 0, size: int | None = None) -> BinaryIO:
    """Return a part of a run as a file."""
    return cast("BinaryIO", _RunStream(run, offset, size))


def take_apart(path: Path, run: ByteRun, work: Task) -> Apart:
    """Return the pieces of the file ``path``, whose bytes are ``run``, each hashed."""
    parts = []
    for place, offset, size in _files(path, run.size):
        parts += list(_inside(run, place, place, offset, size, 0))
    return _whole(run, parts, work)


def look_into(place: str, run: ByteRun, work: Task) -> Apart:
    """Return the pieces of ``run``, to which what lies at ``place`` unpacks."""
    return _whole(run, list(_inside(run, place, "", 0, run.size, 0)), work)


def _whole(run: ByteRun, parts: list[_Part], work: Task) -> Apart:
    hasher = Hasher()
    pieces = tuple(_filled(run, parts, work, hasher))
    return Apart(run, hasher.digest(), pieces)


def unpack(run: ByteRun, piece: Piece) -> Iterator[bytes]:
    """Give what a gzip stream unpacks to.

    Raises:
        IntegrityError: it is damaged, or a bomb.
    """
    limit = min(_FREE + MOST_GROWTH * piece.size, MOST_UNPACKED)
    chunks = (
        run.read(at, min(BUFFER_SIZE, piece.end - at))
        for at in range(piece.offset, piece.end, BUFFER_SIZE)
    )
    return unpacked(chunks, "gzip", limit=limit, why="too much to look into")


@dataclass(frozen=True, slots=True, order=True)
class _Part:
    offset: int
    size: int
    place: str
    path: str
    blocks: tuple[Block, ...] = field(default=(), compare=False)
    packing: Packing = field(default="gzip", compare=False)


def _files(path: Path, size: int) -> Sequence[tuple[str, int, int]]:
    try:
        with IsoReader(path) as reader:
            found = {
                (extent.offset, extent.size): name
                for name, file in sorted(reader.files.items(), reverse=True)
                for extent in file.extents
            }
    except (IntegrityError, InputError):
        return ()
    return [(name, at, long) for (at, long), name in sorted(found.items()) if at + long <= size]


def _inside(
    run: ByteRun, place: str, path: str, offset: int, size: int, depth: int
) -> Iterator[_Part]:
    """Give the members of what is an archive, else the thing itself."""
    if not size:
        return
    head = run.read(offset, min(size, _HEAD))
    found: list[_Part] = []
    try:
        if head.startswith(SQUASHFS):
            found += _of_squashfs(run, place, offset, size)
        elif depth < _DEEPEST:
            for name, begin, length in _members(run, head, offset, size):
                at = offset + begin
                found += _inside(run, f"{place}: {name}", name, at, length, depth + 1)
    except IntegrityError:
        found = []
    if not found and path:
        found = [_Part(offset, size, place, path)]
    yield from found


def _members(run: ByteRun, head: bytes, offset: int, size: int) -> Iterator[tuple[str, int, int]]:
    """Give name, offset and size of what lies in an archive; nothing if it is none."""
    stream = _stream_of(run, offset, size)
    if head.startswith(CPIO):
        for file in cpio_files(stream):
            yield file.name, file.offset, file.size
    elif head[257:262] == b"ustar":
        for member in walk(SeekSource(stream)):
            if member.regular and member.size:
                yield member.plain_name, member.offset, member.size


def _of_squashfs(run: ByteRun, place: str, offset: int, size: int) -> Iterator[_Part]:
    """Give the files of a file system, and its tables."""
    found = read_squashfs(_stream_reading(run, offset, size), size)
    for one in found.runs:
        yield _Part(
            offset + one.offset,
            one.packed,
            f"{place}: {one.path}",
            one.path,
            one.blocks,
            found.packing,
        )
    tables = f"{place}: tables"
    yield _Part(offset + found.tables, found.size - found.tables, tables, tables)


def _stream_reading(run: ByteRun, offset: int, size: int) -> Callable[[int, int], bytes]:
    """Return what gives bytes of a part of a run, fewer only at its end."""

    def read(at: int, count: int) -> bytes:
        return run.read(offset + at, max(0, min(count, size - at)))

    return read


def _filled(run: ByteRun, parts: list[_Part], work: Task, whole: Hasher) -> Iterator[Piece]:
    """Give all pieces of a run: ``parts``, and what lies between them."""
    at = 0
    for part in sorted(parts):
        if part.offset < at:
            continue  # archives that overlap; what is not taken lies between
        yield from _cut(run, _Part(at, part.offset - at, _BETWEEN, ""), work, whole)
        yield from _cut(run, part, work, whole)
        at = part.offset + part.size
    yield from _cut(run, _Part(at, run.size - at, _BETWEEN, ""), work, whole)


def _cut(run: ByteRun, part: _Part, work: Task, whole: Hasher) -> Iterator[Piece]:
    """Give a part as one piece, or as several if it is very large."""
    most = part.size if part.size <= LARGEST else _CUT
    for done in range(0, part.size, most or 1):
        size = min(most, part.size - done)
        offset = part.offset + done
        head = run.read(offset, min(size, _HEAD))
        hasher = Hasher()
        zeros = True
        for start in range(offset, offset + size, BUFFER_SIZE):
            data = run.read(start, min(BUFFER_SIZE, offset + size - start))
            hasher.update(data)
            whole.update(data)
            zeros = zeros and data.count(0) == len(data)
            work.advance(len(data))
        packed = size == part.size >= _PACKED and looks_like(head[:10]) == "gzip"
        place = part.place if size == part.size else f"{part.place} from byte {done} on"
        yield Piece(
            place,
            part.path,
            offset,
            size,
            hasher.digest(),
            packed=packed,
            part=done,
            zeros=zeros,
            blocks=part.blocks if size == part.size else (),
            packing=part.packing,
        )
