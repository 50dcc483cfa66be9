"""A walk through the folders of one volume, wary of everything it is told.

Source: ECMA-119, 9.1 (directory records) and 6.8 (hierarchy).
"""

from __future__ import annotations

import stat
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from isobuilder.iso.read.rawiso import BLOCK, Extent, RawIso, both_endian
from isobuilder.iso.read.rockridge import Areas, extension, posix, short_time
from isobuilder.iso.read.volume import IsoVolume

MAX_ENTRIES = 200_000
"""Records of one tree; ten times what the largest payload has."""

MAX_FOLDER_BYTES = 128 * 1024 * 1024
"""Bytes of all folders together, so that folders cannot cost unbounded time."""

MAX_DEPTH = 32
"""Folders within folders; ours are at most eight deep."""

_MAX_SECTIONS = 100
"""Extents of one file: Linux reads no more; that is 400 GiB."""

_DIRECTORY, _MORE = 0x02, 0x80  # file flags (ECMA-119, 9.1.6)

# The fields of a record (ECMA-119, 9.1): what is there in both byte orders, and what is there once.
_LITTLE, _BIG = struct.Struct("<2xI4xI4x7sB2xH2xB"), struct.Struct(">6xI4xI12xH")


class Naming(Enum):
    """Which names a tree is read with."""

    ROCK_RIDGE = "Rock Ridge"
    JOLIET = "Joliet"
    PLAIN = "plain ISO 9660"
    MAPPED = "mapped"  # plain names as Linux shows them: lower case, without ";1" and last dot


class IsoFile(NamedTuple):
    """One regular file."""

    size: int  # bytes
    mode: int  # permission bits; 0444 where the tree has none
    mtime: int | None  # seconds since 1970-01-01 UTC
    extents: tuple[Extent, ...]
    offset: int  # of its (first) directory record


@dataclass(slots=True)
class Tree:
    """Everything below one root; paths are relative to it, "" is the root itself."""

    naming: Naming
    files: dict[str, IsoFile] = field(default_factory=dict)
    folders: dict[str, Extent] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)  # permission bits of folders
    specials: dict[str, str] = field(default_factory=dict)  # path -> "symbolic link" and so on
    oddities: dict[str, str] = field(default_factory=dict)  # path -> what Linux reads all the same
    areas: Areas = field(default_factory=Areas)  # where Rock Ridge continues


class _DirectoryRecord(NamedTuple):
    """One directory record, its numbers checked."""

    offset: int
    identifier: bytes
    extent: Extent
    flags: int
    stamp: bytes
    system_use: bytes
    system_use_offset: int


def rock_ridge(image: RawIso, volume: IsoVolume) -> tuple[str, Areas] | None:
    """Return the name of the tree's extension, and where it is told; None without Rock Ridge.

    Raises:
        IntegrityError: an extension, but not Rock Ridge as Linux reads it.
    """
    first = next(_records(image, volume.root, "the root folder"), None)
    if first is None or first.system_use[:2] != b"SP":
        return None
    areas = Areas()
    return extension(image, first.system_use, first.system_use_offset, areas), areas


def walk(image: RawIso, volume: IsoVolume, naming: Naming, areas: Areas | None = None) -> Tree:
    """Return the tree of ``volume``; ``areas`` are where Rock Ridge continued already.

    Raises:
        IntegrityError: records contradict themselves, lie outside the image, form a loop, have
            names that are equal or leave the tree, or are beyond a limit.
    """
    tree = Tree(naming, areas=areas or Areas())
    tree.folders[""], tree.modes[""] = volume.root, 0o555
    seen = {volume.root.offset}
    waiting = deque([("", volume.root, volume.root)])
    entries = budget = 0
    while waiting:
        path, extent, parent = waiting.popleft()
        budget += extent.size
        if budget > MAX_FOLDER_BYTES:
            raise image.wrong(extent.offset, f"folders of more than {MAX_FOLDER_BYTES} bytes")
        for run in _members(image, tree, path, parent):
            entries += 1
            if entries > MAX_ENTRIES:
                raise image.wrong(run[0].offset, f"more than {MAX_ENTRIES} directory records")
            child = _place(image, tree, path, run)
            if child is None:
                continue
            if run[0].extent.offset in seen:
                raise image.wrong(run[0].offset, f"the folder {child!r} is there twice: a loop")
            if child.count("/") >= MAX_DEPTH:
                raise image.wrong(run[0].offset, f"folders more than {MAX_DEPTH} deep")
            seen.add(run[0].extent.offset)
            waiting.append((child, run[0].extent, extent))
    return tree


def _members(
    image: RawIso, tree: Tree, path: str, parent: Extent
) -> Iterator[list[_DirectoryRecord]]:
    """Give the records of a folder without "." and "..", those of one file together."""
    what = f"the folder {path!r}" if path else "the root folder"
    extent = tree.folders[path]
    run: list[_DirectoryRecord] = []
    for number, record in enumerate(_records(image, extent, what)):
        if number < 2:
            _check_dots(image, tree, path, record, number, extent if number == 0 else parent)
            continue
        if run and record.identifier != run[0].identifier:
            raise image.wrong(record.offset, f"{what}: a file of several extents is not complete")
        run.append(record)
        if len(run) > _MAX_SECTIONS:
            raise image.wrong(record.offset, f"{what}: a file of more than {_MAX_SECTIONS} extents")
        if not record.flags & _MORE:
            yield run
            run = []
    if run:
        raise image.wrong(run[-1].offset, f"{what}: a file of several extents is not complete")


def _check_dots(
    image: RawIso, tree: Tree, path: str, record: _DirectoryRecord, number: int, wanted: Extent
) -> None:
    """Check "." and "..": Linux takes the mode of a folder from the first, nobody its path."""
    dots = "." * (number + 1)
    same = record.extent == wanted
    if number == 1:
        # Of ".." only the place is ever used: pycdlib writes how long the folder once was, and
        # xorriso's Joliet trees have anything.
        same = record.extent.offset == wanted.offset or tree.naming is Naming.JOLIET
    if record.identifier != bytes([number]) or not same or record.flags != _DIRECTORY:
        raise image.wrong(record.offset, f"the folder {path!r}: expected the record of {dots}")
    if tree.naming is not Naming.ROCK_RIDGE or (number == 0 and not path):
        return  # the first record of the root was looked at before
    facts = posix(image, record.system_use, record.system_use_offset, tree.areas, named=False)
    if not facts.mode:
        # genisoimage's rr_moved, which Linux takes for no folder.
        fact = (
            "no mode, as where deep folders are relocated (Rock Ridge CL), which is not supported"
        )
        raise image.wrong(record.offset, f"the folder {path!r}: {fact}; genisoimage -D does not")
    if not stat.S_ISDIR(facts.mode):
        fact = f"the folder {path!r}: mode {facts.mode:o} by its own record, another by its name"
        raise image.wrong(record.offset, fact)
    own, named = stat.S_IMODE(facts.mode), tree.modes[path]
    if number == 0 and own != named:
        tree.oddities[path] = f"mode {own:o} by its own record, {named:o} by its name"
        tree.modes[path] = own


def _records(image: RawIso, extent: Extent, what: str) -> Iterator[_DirectoryRecord]:
    if extent.size % BLOCK or not extent.size:
        raise image.wrong(extent.offset, f"{what}: {extent.size} bytes, not whole blocks")
    image.check_inside(extent, what, at=extent.offset)
    for start in range(extent.offset, extent.end, BLOCK):
        block = image.read(Extent(start, BLOCK), what)
        at = 0
        while at < BLOCK and block[at]:
            length = block[at]
            if length < 34 or at + length > BLOCK:
                raise image.wrong(start + at, f"{what}: a record of {length} bytes does not fit")
            yield _record(image, block[at : at + length], start + at, what)
            at += length
        if any(block[at:]):
            raise image.wrong(start + at, f"{what}: something behind the last record of a block")


def _record(image: RawIso, data: bytes, offset: int, what: str) -> _DirectoryRecord:
    if data[1] or data[26] or data[27]:
        raise image.wrong(offset, f"{what}: an interleaved file or extended attributes")
    first, size, stamp, flags, volume, length = _LITTLE.unpack_from(data)
    if _BIG.unpack_from(data) != (first, size, volume):  # one of these says which
        both_endian(image, data, 28, offset, "volume sequence number", form="H")
        both_endian(image, data, 2, offset, "extent")
        both_endian(image, data, 10, offset, "size")
    if volume != 1:
        raise image.wrong(offset + 28, f"{what}: a file on another volume")
    end = 33 + length + (1 - length % 2)  # a padding byte keeps the length even
    if not length or 33 + length > len(data):
        raise image.wrong(offset + 32, f"{what}: an identifier of {length} bytes does not fit")
    if flags & ~(_DIRECTORY | _MORE):  # hidden, associated, with a format or permissions
        raise image.wrong(offset + 25, f"{what}: a record with the flags {flags:#x}")
    if any(data[33 + length : end]):
        raise image.wrong(offset + 33 + length, f"{what}: something in a byte of padding")
    extent, identifier = Extent(first * BLOCK, size), data[33 : 33 + length]
    return _DirectoryRecord(offset, identifier, extent, flags, stamp, data[end:], offset + end)


def _place(image: RawIso, tree: Tree, path: str, run: list[_DirectoryRecord]) -> str | None:
    """Add what ``run`` is to the tree; return its path if it is a folder to walk into."""
    first = run[0]
    is_folder = bool(first.flags & _DIRECTORY)
    name, mode, mtime, kind = _describe(image, tree, first, folder=is_folder)
    if name in {"", ".", ".."} or "/" in name or not name.isprintable():
        raise image.wrong(first.offset, f"a name that leaves the tree or hides: {name[:80]!r}")
    child = f"{path}/{name}" if path else name
    if child in tree.files or child in tree.folders or child in tree.specials:
        raise image.wrong(first.offset, f"two entries for {child!r}")
    if kind is not None:
        tree.specials[child] = kind
        return None
    if is_folder:
        if len(run) > 1:
            raise image.wrong(first.offset, f"the folder {child!r} has several extents")
        tree.folders[child], tree.modes[child] = first.extent, mode
        return child
    for record in run:
        if record.extent.end > image.size:  # or every name would be written out
            image.check_inside(record.extent, repr(child), at=record.offset)
        if record is not run[-1] and record.extent.size % BLOCK:
            raise image.wrong(record.offset, f"{child!r}: an inner extent ends inside a block")
        if record.flags & _DIRECTORY:
            raise image.wrong(record.offset, f"{child!r} is a file and a folder")
    extents = tuple(record.extent for record in run if record.extent.size)
    if len(run) > 1 and (len(extents) < len(run) or not _ascending(extents)):
        raise image.wrong(first.offset, f"{child!r}: extents that are empty, or not in order")
    size = sum(extent.size for extent in extents)
    tree.files[child] = IsoFile(size, mode, mtime, extents, first.offset)
    return None


def _ascending(extents: tuple[Extent, ...]) -> bool:
    return all(before.end <= after.offset for before, after in pairwise(extents))


def _describe(
    image: RawIso, tree: Tree, record: _DirectoryRecord, *, folder: bool
) -> tuple[str, int, int | None, str | None]:
    """Return name, permission bits, time and, for what is neither file nor folder, its kind."""
    mtime = short_time(record.stamp)
    mode = 0o555 if folder else 0o444
    naming = tree.naming
    if naming is Naming.JOLIET:
        if any(record.system_use):
            raise image.wrong(record.system_use_offset, "a Joliet record with a system use area")
        name = _decoded(image, record, "utf-16-be")
        return (name if folder else name.removesuffix(";1")), mode, mtime, None
    plain = _decoded(image, record, "latin-1")
    if naming is Naming.PLAIN:
        return plain, mode, mtime, None
    if naming is Naming.MAPPED:
        return plain.removesuffix(";1").removesuffix(".").lower(), mode, mtime, None
    facts = posix(image, record.system_use, record.system_use_offset, tree.areas)
    name = facts.name if facts.name is not None else plain
    when = facts.mtime if facts.mtime is not None else mtime
    kind = None
    if facts.link:
        kind = "symbolic link"
    elif stat.S_IFMT(facts.mode) not in {stat.S_IFREG, stat.S_IFDIR}:
        kind = f"special file (mode {facts.mode:o})"
    elif stat.S_ISDIR(facts.mode) != folder:
        raise image.wrong(record.offset, f"{name!r}: file or folder? mode {facts.mode:o}")
    return name, stat.S_IMODE(facts.mode), when, kind


def _decoded(image: RawIso, record: _DirectoryRecord, encoding: str) -> str:
    try:
        return record.identifier.decode(encoding)
    except UnicodeDecodeError as error:
        raise image.wrong(
            record.offset, f"an identifier that is not text: {record.identifier[:60]!r}"
        ) from error
