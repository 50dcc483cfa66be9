"""A small FAT16 file system with 8.3 names: what UEFI starts from. Writer and reader.

Source: Microsoft, FAT32 File System Specification 1.03 ("FAT16" parts); UEFI 2.10, 13.3.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from isobuilder.errors import IntegrityError
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
_MOST = 0xFFF4  # clusters: with more, for FAT32
_LONGEST_TABLE = 256  # sectors: two bytes for each of the most clusters
_END = 0xFFFF
_FOLDER, _FILE = 0x10, 0x20


@dataclass(frozen=True, slots=True)
class FatFile:
    """One file found on a FAT file system."""

    size: int  # bytes
    start: int  # its first byte, counted from the beginning of the image


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


def read_fat(image: BinaryIO) -> dict[str, FatFile]:
    """Return every file of a FAT16 image by its path, in upper case.

    Only what ``fat_image`` writes is understood: 8.3 names, files in one run of clusters.

    Raises:
        IntegrityError: it is no such file system, or contradicts itself.
    """
    size = image.seek(0, os.SEEK_END)
    image.seek(0)
    boot = image.read(SECTOR)
    if len(boot) < SECTOR or boot[510:512] != b"\x55\xaa":
        raise IntegrityError("ESP: no boot sector with 55 AA at its end")
    sector, per_cluster, reserved, tables, entries, small, _media, length = struct.unpack_from(
        "<HBHBHHBH", boot, 11
    )
    if sector != SECTOR or not per_cluster or not tables or not length:
        raise IntegrityError("ESP: not a FAT16 file system with sectors of 512 bytes")
    total = small or struct.unpack_from("<I", boot, 32)[0]
    if total * SECTOR > size:
        raise IntegrityError(f"ESP: {total} sectors by its own word, the image has {size} bytes")
    first = reserved + tables * length + entries * _ENTRY // SECTOR
    clusters = (total - first) // per_cluster
    if not _FEWEST <= clusters <= _MOST:
        raise IntegrityError(f"ESP: {clusters} clusters, FAT16 has {_FEWEST} to {_MOST}")
    if length > _LONGEST_TABLE or length * SECTOR < (clusters + 2) * 2:
        raise IntegrityError(f"ESP: tables of {length} sectors for {clusters} clusters")
    image.seek(reserved * SECTOR)
    data = _read(image, length * SECTOR)
    if tables > 1 and _read(image, length * SECTOR) != data:
        raise IntegrityError("ESP: the two file allocation tables differ")
    table = struct.unpack_from(f"<{clusters + 2}H", data)
    image.seek((reserved + tables * length) * SECTOR)
    reader = _Reader(image, table, first * SECTOR, per_cluster * SECTOR)
    return dict(reader.walk(_read(image, entries * _ENTRY), "", 0))


@dataclass(frozen=True, slots=True)
class _Reader:
    image: BinaryIO
    table: tuple[int, ...]
    data: int  # where cluster 2 begins
    cluster_size: int
    taken: set[int] = field(default_factory=set)  # clusters that belong to something

    def walk(self, listing: bytes, prefix: str, depth: int) -> Iterator[tuple[str, FatFile]]:
        if depth > 8:
            raise IntegrityError(f"ESP: {prefix} is more than eight folders deep")
        names: set[str] = set()
        for offset in range(0, len(listing), _ENTRY):
            entry = listing[offset : offset + _ENTRY]
            if entry[0] == 0:
                return
            if entry[0] in {0xE5, ord(".")} or entry[11] & 0x08:  # removed, itself, a label
                continue
            path = prefix + _name(entry)
            if path in names:
                raise IntegrityError(f"ESP: {path} is there twice")
            names.add(path)
            cluster, size = struct.unpack_from("<HI", entry, 26)
            if entry[11] & _FOLDER:
                size = self._run(cluster, path) * self.cluster_size
                self.image.seek(self._offset(cluster))
                yield from self.walk(_read(self.image, size), f"{path}/", depth + 1)
            elif size:
                if size > self._run(cluster, path) * self.cluster_size:
                    raise IntegrityError(f"ESP: {path} has {size} bytes and too few clusters")
                yield path, FatFile(size, self._offset(cluster))
            else:
                yield path, FatFile(0, self.data)

    def _run(self, cluster: int, path: str) -> int:
        """Return how many clusters the run at ``cluster`` has; nobody else may have one of them."""
        count = 1
        while True:
            if not 2 <= cluster < len(self.table):
                raise IntegrityError(f"ESP: {path} leads to cluster {cluster}, which is not there")
            if cluster in self.taken:
                raise IntegrityError(f"ESP: {path} leads to cluster {cluster}, which is taken")
            self.taken.add(cluster)
            following = self.table[cluster]
            if following >= 0xFFF8:
                return count
            if following != cluster + 1:
                raise IntegrityError(f"ESP: {path} is not in one run")
            cluster, count = following, count + 1

    def _offset(self, cluster: int) -> int:
        return self.data + (cluster - 2) * self.cluster_size


def _name(entry: bytes) -> str:
    name = entry[:11].decode("ascii", "replace")
    if not name.isprintable():
        raise IntegrityError(f"ESP: {name!r} is no name of a file")
    return f"{name[:8].rstrip()}.{name[8:].rstrip()}".rstrip(".")


def _read(image: BinaryIO, size: int) -> bytes:
    data = image.read(size)
    if len(data) < size:
        raise IntegrityError("ESP: the image ends too early")
    return data


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
