"""A small FAT16 file system with 8.3 names, written: what UEFI starts from.

Source: Microsoft, FAT32 File System Specification 1.03 ("FAT16" parts); UEFI 2.10, 13.3.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from isobuilder.iso.write.entries import Piece, size_of

SECTOR = 512
LIMIT = 32 * 1024 * 1024
"""An image must stay below this: El Torito counts its sectors in 16 bits."""

_RESERVED = 1  # sectors before the first table
_TABLES = 2
_ROOT_ENTRIES = 512
_ENTRY = 32  # bytes of a directory entry
_ROOT_SECTORS = _ROOT_ENTRIES * _ENTRY // SECTOR
_FEWEST = 4085  # clusters: with fewer, readers take it for FAT12
_END = 0xFFFF
_FOLDER, _FILE = 0x10, 0x20


@dataclass(slots=True)
class _Node:
    """A folder while the image is laid out: names in 8.3 form, upper case."""

    folders: dict[str, _Node] = field(default_factory=dict)
    files: dict[str, tuple[Piece, ...]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)  # first clusters of the files
    cluster: int = 0


def fat_image(
    files: Mapping[str, tuple[Piece, ...]], *, label: str, serial: int, epoch: int
) -> tuple[Piece, ...]:
    """Return a file system with ``files`` as pieces, the same for the same arguments.

    Paths have 8.3 names; case is not kept. Every file is one run of clusters, so the bytes of
    blobs are not touched. The size is a multiple of 1 MiB.

    Raises:
        ValueError: a name is not of the 8.3 form, or it would be 32 MiB or more.
    """
    root = _Node()
    for path, pieces in sorted(files.items()):
        *parents, name = path.upper().split("/")
        node = root
        for folder in parents:
            node = node.folders.setdefault(folder, _Node())
        node.files[name] = pieces
    table: list[int] = [0xFFF8, _END]
    bodies: list[Piece] = []
    _place_folders(root, table)
    for node, name in _contents(root):
        node.starts[name] = _place(size_of(node.files[name]), table)
    stamp = _stamp(epoch)
    for node, parent in _folders(root):
        entries = [_entry(".", node.cluster, stamp=stamp), _entry("..", parent, stamp=stamp)]
        bodies += _padded((b"".join([*entries, *_listing(node, stamp)]),))
    for node, name in _contents(root):
        bodies += _padded(node.files[name])
    sectors, table_sectors = _geometry(len(table))
    table_bytes = struct.pack(f"<{len(table)}H", *table).ljust(table_sectors * SECTOR, b"\0")
    volume = _entry(label, 0, attributes=0x08, stamp=stamp)
    listing = b"".join([volume, *_listing(root, stamp)])
    head = _boot_sector(sectors, table_sectors, label, serial) + table_bytes * _TABLES
    head += listing.ljust(_ROOT_SECTORS * SECTOR, b"\0")
    rest = sectors * SECTOR - len(head) - size_of(bodies)
    return (head, *bodies, bytes(rest))


def _place(size: int, table: list[int]) -> int:
    """Take a run of clusters for ``size`` bytes and return its first; 0 for an empty file."""
    count = -(-size // SECTOR)
    if not count:
        return 0
    first = len(table)
    table.extend(range(first + 1, first + count))
    table.append(_END)
    return first


def _place_folders(root: _Node, table: list[int]) -> None:
    for node, _parent in _folders(root):
        node.cluster = _place((2 + len(node.folders) + len(node.files)) * _ENTRY, table)


def _folders(node: _Node) -> Iterator[tuple[_Node, int]]:
    """Every folder but the root, with the cluster of its parent; parents first."""
    for _name, child in sorted(node.folders.items()):
        yield child, node.cluster
        yield from _folders(child)


def _contents(node: _Node) -> Iterator[tuple[_Node, str]]:
    yield from ((node, name) for name in sorted(node.files))
    for _name, child in sorted(node.folders.items()):
        yield from _contents(child)


def _listing(node: _Node, stamp: tuple[int, int]) -> Iterator[bytes]:
    for name, child in sorted(node.folders.items()):
        yield _entry(name, child.cluster, stamp=stamp)
    for name, pieces in sorted(node.files.items()):
        size = size_of(pieces)
        yield _entry(name, node.starts[name], size=size, attributes=_FILE, stamp=stamp)


def _entry(
    name: str, cluster: int, *, size: int = 0, attributes: int = _FOLDER, stamp: tuple[int, int]
) -> bytes:
    if attributes == 0x08:
        short = name.upper().ljust(11).encode("ascii")
    else:
        stem, _dot, extension = name.partition(".") if name.strip(".") else (name, "", "")
        if not 1 <= len(stem) <= 8 or len(extension) > 3 or not name.isascii():
            raise ValueError(f"{name!r} is not a name of the 8.3 form")
        short = stem.ljust(8).encode("ascii") + extension.ljust(3).encode("ascii")
    clock, day = stamp
    return struct.pack(
        "<11sBBBHHHHHHHI", short, attributes, 0, 0, clock, day, day, 0, clock, day, cluster, size
    )


def _padded(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return (*pieces, bytes(-size_of(pieces) % SECTOR))


def _geometry(table_length: int) -> tuple[int, int]:
    """Return the sectors of the whole image and of one table."""
    mebibyte = 1024 * 1024 // SECTOR
    sectors = 0
    while True:
        sectors += mebibyte
        table_sectors = -(-(sectors + 2) * 2 // SECTOR)
        clusters = sectors - _RESERVED - _TABLES * table_sectors - _ROOT_SECTORS
        if clusters >= max(_FEWEST, table_length - 2):
            break
    if sectors * SECTOR >= LIMIT:
        raise ValueError(f"the boot files for UEFI need {sectors * SECTOR} bytes of {LIMIT}")
    return sectors, table_sectors


def _boot_sector(sectors: int, table_sectors: int, label: str, serial: int) -> bytes:
    sector = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        b"\xeb\x3c\x90",  # a jump over this table
        b"MSWIN4.1",  # what picky readers expect here
        SECTOR,
        1,  # sectors in a cluster
        _RESERVED,
        _TABLES,
        _ROOT_ENTRIES,
        0,
        0xF8,  # a fixed disk
        table_sectors,
        32,  # sectors in a track and heads: of no use, but not zero
        64,
        0,
        sectors,
        0x80,
        0,
        0x29,  # the three fields that follow are there
        serial,
        label.upper().ljust(11).encode("ascii"),
        b"FAT16   ",
    )
    return sector.ljust(510, b"\0") + b"\x55\xaa"


def _stamp(epoch: int) -> tuple[int, int]:
    """Return DOS time and date; FAT knows no year before 1980 or after 2107."""
    moment = time.gmtime(min(max(epoch, 315_532_800), 4_354_819_198))
    clock = moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2
    return clock, (moment.tm_year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday
