"""A small FAT16 file system with 8.3 names, read: what UEFI starts from.

Understands only what ours are like and refuses the rest, long names above all: firmware, GRUB and
Linux would see other files than we do. Source: Microsoft, FAT32 File System Specification 1.03
("FAT16" parts); UEFI 2.10, 13.3; EDK II, FatPkg.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from isobuilder.errors import IntegrityError

LIMIT = 32 * 1024 * 1024
"""An image must stay below this: El Torito counts its sectors in 16 bits."""

MAX_DEPTH = 8
"""Folders within folders; the boot loaders are two deep."""

_SECTOR = 512
_ENTRY = 32  # bytes of a directory entry
_FEWEST, _MOST = 4085, 0xFFF4  # clusters: with fewer it is FAT12, with more FAT32
_LONGEST_TABLE = 256  # sectors: two bytes for each of the most clusters
_LABEL, _FOLDER, _FILE = 0x08, 0x10, 0x20  # attributes
_STEM = re.compile(r"[A-Z0-9_-]{1,8} *")
_EXTENSION = re.compile(r"[A-Z0-9_-]{0,3} *")


@dataclass(frozen=True, slots=True)
class FatFile:
    """One file found on a FAT file system."""

    size: int  # bytes
    start: int  # its first byte, counted from the beginning of the image


@dataclass(frozen=True, slots=True)
class Fat:
    """A FAT16 file system."""

    label: str
    files: dict[str, FatFile]  # by path, in upper case


def read_fat(image: BinaryIO) -> Fat:
    """Return label and files of a FAT16 image.

    Raises:
        IntegrityError: it is no such file system, contradicts itself, or has what ours have not.
    """
    size = image.seek(0, os.SEEK_END)
    image.seek(0)
    boot = image.read(_SECTOR)
    if len(boot) < _SECTOR or boot[510:512] != b"\x55\xaa":
        raise IntegrityError("ESP: no boot sector with 55 AA at its end")
    sector, per_cluster, reserved, tables, entries, small, _media, length = struct.unpack_from(
        "<HBHBHHBH", boot, 11
    )
    if sector != _SECTOR or not per_cluster or tables != 2 or not length or not reserved:
        raise IntegrityError("ESP: not a FAT16 file system with sectors of 512 bytes")
    (large,) = struct.unpack_from("<I", boot, 32)
    total = small or large
    if total * _SECTOR != size or (small and large):
        raise IntegrityError(f"ESP: {total} sectors by its own word, the image has {size} bytes")
    if any(boot[62:510]) or boot[0] != 0xEB or entries * _ENTRY % _SECTOR:
        raise IntegrityError("ESP: its boot sector has code, or a root folder in part of a sector")
    first = reserved + tables * length + entries * _ENTRY // _SECTOR
    clusters = (total - first) // per_cluster
    if not _FEWEST <= clusters <= _MOST:
        raise IntegrityError(f"ESP: {clusters} clusters, FAT16 has {_FEWEST} to {_MOST}")
    if length > _LONGEST_TABLE or length * _SECTOR < (clusters + 2) * 2:
        raise IntegrityError(f"ESP: tables of {length} sectors for {clusters} clusters")
    image.seek(reserved * _SECTOR)
    data = _read(image, length * _SECTOR)
    if _read(image, length * _SECTOR) != data:
        raise IntegrityError("ESP: the two file allocation tables differ")
    table = struct.unpack_from(f"<{clusters + 2}H", data)
    image.seek((reserved + tables * length) * _SECTOR)
    listing = _read(image, entries * _ENTRY)
    label = boot[43:54]
    if listing[:12] != label + bytes([_LABEL]):
        raise IntegrityError("ESP: its label is one in the boot sector, another in the root folder")
    reader = _Reader(image, table, first * _SECTOR, per_cluster * _SECTOR)
    files = dict(reader.walk(listing[_ENTRY:], "", 0))
    if stray := next((n for n in range(2, len(table)) if table[n] and n not in reader.taken), None):
        raise IntegrityError(f"ESP: cluster {stray} is in use, and no file has it")
    return Fat(label.decode("latin-1").rstrip(), files)


@dataclass(frozen=True, slots=True)
class _Reader:
    image: BinaryIO
    table: tuple[int, ...]
    data: int  # where cluster 2 begins
    cluster_size: int
    taken: set[int] = field(default_factory=set)  # clusters that belong to something

    def walk(
        self, listing: bytes, prefix: str, depth: int, *, own: int = 0
    ) -> Iterator[tuple[str, FatFile]]:
        if depth > MAX_DEPTH:
            raise IntegrityError(f"ESP: {prefix} is more than eight folders deep")
        names: set[str] = set()
        for offset in range(0, len(listing), _ENTRY):
            entry = listing[offset : offset + _ENTRY]
            if entry[0] == 0:  # some readers stop here, others look further
                if any(listing[offset:]):
                    raise IntegrityError(f"ESP: something behind the end of the folder {prefix!r}")
                return
            path = prefix + _name(entry)
            attributes, (high, cluster, size) = entry[11], struct.unpack_from("<H4xHI", entry, 20)
            if path in names:
                raise IntegrityError(f"ESP: {path} is there twice")
            if attributes not in {_FOLDER, _FILE} or entry[12] or high:
                raise IntegrityError(f"ESP: {path} has attributes that no file of ours has")
            names.add(path)
            if attributes == _FOLDER:
                if size:
                    raise IntegrityError(f"ESP: the folder {path} has {size} bytes")
                yield from self._folder(cluster, path, depth, parent=own)
            elif size:
                if -(-size // self.cluster_size) != self._run(cluster, path):
                    raise IntegrityError(f"ESP: {path} has {size} bytes and other clusters")
                yield path, FatFile(size, self._offset(cluster))
            elif cluster:
                raise IntegrityError(f"ESP: {path} is empty and has a cluster")
            else:
                yield path, FatFile(0, self.data)

    def _folder(
        self, cluster: int, path: str, depth: int, *, parent: int
    ) -> Iterator[tuple[str, FatFile]]:
        size = self._run(cluster, path) * self.cluster_size
        self.image.seek(self._offset(cluster))
        listing = _read(self.image, size)
        for number, leads_to in enumerate((cluster, parent)):
            entry = listing[number * _ENTRY : (number + 1) * _ENTRY]
            name = (b"." * (number + 1)).ljust(11)
            if entry[:12] != name + bytes([_FOLDER]) or entry[26:28] != leads_to.to_bytes(
                2, "little"
            ):
                raise IntegrityError(f"ESP: the folder {path} does not begin with itself and ..")
        yield from self.walk(listing[2 * _ENTRY :], f"{path}/", depth + 1, own=cluster)

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
    stem, extension = entry[:8].decode("latin-1"), entry[8:11].decode("latin-1")
    if not _STEM.fullmatch(stem) or not _EXTENSION.fullmatch(extension):
        raise IntegrityError(f"ESP: {stem + extension!r} is no name of a file of ours")
    return f"{stem.rstrip()}.{extension.rstrip()}".rstrip(".")


def _read(image: BinaryIO, size: int) -> bytes:
    data = image.read(size)
    if len(data) < size:
        raise IntegrityError("ESP: the image ends too early")
    return data
