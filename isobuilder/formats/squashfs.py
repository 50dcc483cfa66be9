"""Where the files of a squashfs lie, read from its tables; of their bytes nothing is touched.

Format: squashfs 4.0, little endian. Sources: Linux, ``fs/squashfs/squashfs_fs.h``; squashfs-tools
4.5.1, ``squashfs_fs.h`` and ``gzip_wrapper.c``. Every table is a stranger's: what is read and
unpacked has a budget, every place is compared with the size, no inode is followed twice.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from isobuilder.errors import IntegrityError
from isobuilder.formats.zstd import zstd_module

MAGIC = b"hsqs"

_MOST_INODES = 500_000
"""Files, folders and links; a Debian of a node has ten thousand."""

_MOST_TABLES = 64 * 1024 * 1024
"""Bytes of tables that are read, each as often as it is read."""

MOST_DEPTH = 128
"""Folders within each other."""

Packing = Literal["gzip", "xz", "zstd"]

Reading = Callable[[int, int], bytes]
"""Gives ``size`` bytes from ``offset`` on, fewer only at the end."""

_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")
_PACKINGS: dict[int, Packing] = {1: "gzip", 4: "xz", 6: "zstd"}
_SMALLEST, _LARGEST = 4096, 1024 * 1024  # bytes of a block
_METADATA = 8192  # bytes that a block of a table unpacks to, at most
_PLAIN_TABLE, _PLAIN = 1 << 15, 1 << 24  # this bit of a size says that nothing was compressed
_NOWHERE = 0xFFFF_FFFF  # the number of no fragment
_DIRECTORIES = {1: struct.Struct("<16xI4xHH"), 8: struct.Struct("<20xII6xH")}
_FILES = {2: struct.Struct("<16xIIII"), 9: struct.Struct("<16xQQ12xII4x")}
_ENTRIES = struct.Struct("<III")
_ENTRY = struct.Struct("<HhHH")
_FRAGMENT = struct.Struct("<QI4x")
_FRAGMENTS_OF_A_BLOCK = _METADATA // _FRAGMENT.size


@dataclass(frozen=True, slots=True)
class Block:
    """A run of bytes that was compressed by itself."""

    packed: int  # bytes on the disk
    size: int  # bytes it unpacks to
    plain: bool  # it was not compressed


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks in a row: of a file, or ends of many files that are packed together."""

    path: str
    offset: int  # in the file system
    blocks: tuple[Block, ...]

    @property
    def packed(self) -> int:
        """Bytes on the disk."""
        return sum(block.packed for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Squashfs:
    """What lies where; runs of blocks do not overlap and are in the order of their places."""

    packing: Packing
    size: int  # bytes used
    tables: int  # where they begin, up to the end
    runs: tuple[Blocks, ...]


def unpacked_block(data: bytes, packing: Packing, most: int) -> bytes:
    """Return what one block unpacks to.

    Raises:
        IntegrityError: damaged, more than ``most`` bytes, or there is no zstd; a sentence without
            place.
    """
    try:
        if packing == "gzip":
            unpacker = zlib.decompressobj()
            made = unpacker.decompress(data, most)
            ended = unpacker.eof and not unpacker.unused_data
        elif packing == "xz":
            unxz = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=64 * _LARGEST)
            made = unxz.decompress(data, most)
            ended = unxz.eof and not unxz.unused_data
        else:
            made, ended = _unpacked_zstd(data, most)
    except (zlib.error, lzma.LZMAError) as error:
        raise IntegrityError(f"a damaged block of {packing}: {error}") from error
    if not ended:
        raise IntegrityError(f"a block of {packing} of more than {most} bytes, or cut off")
    return made


def _unpacked_zstd(data: bytes, most: int) -> tuple[bytes, bool]:
    zstd = zstd_module()
    if zstd is None:
        raise IntegrityError("this Python cannot read zstd")
    options = {zstd.DecompressionParameter.window_log_max: 23}
    unpacker = zstd.ZstdDecompressor(options=options)
    try:
        made = unpacker.decompress(data, most)
    except zstd.ZstdError as error:
        raise IntegrityError(f"a damaged block of zstd: {error}") from error
    return made, unpacker.eof and not unpacker.unused_data


def read_squashfs(read: Reading, size: int) -> Squashfs:
    """Return what lies where in a file system of which ``read`` gives the bytes, ``size`` at most.

    Raises:
        IntegrityError: it is none, is packed in another way, contradicts itself, or is beyond a
            limit; a sentence without place.
    """
    return _Reader(read, size).layout()


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    offset: int
    size: int
    sizes: tuple[int, ...]
    fragment: int
    fragment_offset: int


class _Reader:
    def __init__(self, read: Reading, size: int) -> None:
        self._raw = read
        head = read(0, _SUPERBLOCK.size)
        if len(head) < _SUPERBLOCK.size or head[:4] != MAGIC:
            raise IntegrityError("not a squashfs")
        (_, self._inodes, _, self._block, self._fragments, packing, log, _, _, major, minor) = (
            _SUPERBLOCK.unpack(head)[:11]
        )
        root, self._size, _, _, inodes, directories, fragments, _ = _SUPERBLOCK.unpack(head)[11:]
        if (major, minor) != (4, 0) or packing not in _PACKINGS:
            raise IntegrityError(f"squashfs {major}.{minor}, packed by {packing}: not read here")
        self._packing = _PACKINGS[packing]
        if not _SMALLEST <= self._block <= _LARGEST or self._block != 1 << min(log, 32):
            raise IntegrityError(f"a squashfs of blocks of {self._block} bytes")
        if self._inodes > _MOST_INODES:
            raise IntegrityError(f"a squashfs of {self._inodes} inodes, at most {_MOST_INODES}")
        if not _SUPERBLOCK.size <= inodes < directories < self._size <= size:
            raise IntegrityError(f"a squashfs whose tables lie outside of its {size} bytes")
        self._root, self._inode_table, self._directory_table = root, inodes, directories
        self._fragment_table = fragments
        self._budget = _MOST_TABLES
        self._seen: set[int] = set()
        self._kept: dict[int, tuple[bytes, int]] = {}

    def layout(self) -> Squashfs:
        found = list(self._walk())
        runs = [*self._of_files(found), *self._of_fragments(found)]
        apart: list[Blocks] = []
        at = _SUPERBLOCK.size
        for run in sorted(runs, key=lambda one: (one.offset, one.path)):
            if run.offset >= at:  # equal files share their blocks
                apart.append(run)
                at = run.offset + run.packed
        if at > self._inode_table:
            raise IntegrityError("a squashfs of which blocks lie in its tables")
        return Squashfs(self._packing, self._size, self._inode_table, tuple(apart))

    # --- tables ---

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise IntegrityError(f"a squashfs of more than {_MOST_TABLES} bytes of tables")

    def _bytes(self, offset: int, size: int) -> bytes:
        data = self._raw(offset, size) if offset + size <= self._size else b""
        if len(data) != size:
            raise IntegrityError(f"a squashfs of which byte {offset} is outside of it")
        return data

    def _table_block(self, place: int) -> tuple[bytes, int]:
        """Return what the block at ``place`` unpacks to, and where the next one begins."""
        if place not in self._kept:
            head = int.from_bytes(self._bytes(place, 2), "little")
            size = head & _PLAIN_TABLE - 1
            data = self._bytes(place + 2, size)
            if not head & _PLAIN_TABLE:
                data = unpacked_block(data, self._packing, _METADATA)
            if not 0 < len(data) <= _METADATA:
                raise IntegrityError(f"a block of {len(data)} bytes in a table of a squashfs")
            self._spend(size + len(data))
            self._kept[place] = (data, place + 2 + size)
        return self._kept[place]

    def _table(self, place: int, inside: int, size: int) -> bytes:
        """Return bytes of a table, ``inside`` bytes behind the begin of the block at ``place``."""
        self._spend(size)
        made = bytearray()
        while len(made) < size:
            data, place = self._table_block(place)
            if inside > len(data):
                raise IntegrityError("a squashfs with a reference behind the end of a block")
            made += data[inside : inside + size - len(made)]
            inside = 0
        return bytes(made)

    # --- inodes ---

    def _walk(self) -> Iterator[_File]:
        """Give every file, each once, by the first of its names."""
        waiting = [("", self._root, 0)]
        while waiting:
            path, place, depth = waiting.pop()
            if place in self._seen:
                continue
            self._seen.add(place)
            if len(self._seen) > self._inodes:
                raise IntegrityError(f"a squashfs of more than the {self._inodes} inodes it says")
            block, inside = self._inode_table + (place >> 16), place & 0xFFFF
            kind = int.from_bytes(self._table(block, inside, 2), "little")
            if kind in _FILES:
                yield self._file(path, kind, block, inside)
            elif kind in _DIRECTORIES:
                if depth >= MOST_DEPTH:
                    raise IntegrityError(f"a squashfs of folders more than {MOST_DEPTH} deep")
                for name, child in self._entries(kind, block, inside):
                    inner = f"{path}/{name}" if path else name
                    self._spend(len(inner))
                    waiting.append((inner, child, depth + 1))

    def _file(self, path: str, kind: int, block: int, inside: int) -> _File:
        form = _FILES[kind]
        values = form.unpack(self._table(block, inside, form.size))
        if kind == 2:
            begin, fragment, fragment_offset, size = values
        else:
            begin, size, fragment, fragment_offset = values
        whole = fragment == _NOWHERE
        count = -(-size // self._block) if whole else size // self._block
        self._spend(4 * count)  # before anything of that size is made
        data = self._table(block, inside, form.size + 4 * count)[form.size :]
        sizes = struct.unpack(f"<{count}I", data)
        return _File(path, begin, size, sizes, fragment, fragment_offset)

    def _entries(self, kind: int, block: int, inside: int) -> Iterator[tuple[str, int]]:
        form = _DIRECTORIES[kind]
        values = form.unpack(self._table(block, inside, form.size))
        begin, size, offset = values if kind == 1 else (values[1], values[0], values[2])
        if size <= 3:  # an empty folder has no list at all
            return
        data = self._table(self._directory_table + begin, offset, size - 3)
        at = 0
        while at < len(data):
            count, start, _ = _unpacked(_ENTRIES, data, at)
            at += _ENTRIES.size
            for _ in range(count + 1):
                where, _, _, last = _unpacked(_ENTRY, data, at)
                at += _ENTRY.size
                name = data[at : at + last + 1]
                at += last + 1
                yield name.decode(errors="replace"), start << 16 | where

    # --- blocks ---

    def _of_files(self, found: list[_File]) -> Iterator[Blocks]:
        for file in found:
            blocks = []
            left = file.size
            for word in file.sizes:
                size = min(left, self._block)
                left -= size
                if word:  # else it is nothing but zeros, of which nothing is kept
                    blocks.append(self._one(word, size))
            if blocks:
                yield Blocks(file.path, file.offset, tuple(blocks))

    def _of_fragments(self, found: list[_File]) -> Iterator[Blocks]:
        sizes: dict[int, int] = {}
        for file in found:
            if file.fragment != _NOWHERE:
                end = file.fragment_offset + file.size % self._block
                sizes[file.fragment] = max(sizes.get(file.fragment, 0), end)
        for number, size in sorted(sizes.items()):
            if number >= self._fragments or size > self._block:
                raise IntegrityError(f"a squashfs without the end of a file, fragment {number}")
            pointer = self._fragment_table + number // _FRAGMENTS_OF_A_BLOCK * 8
            table = int.from_bytes(self._bytes(pointer, 8), "little")
            inside = number % _FRAGMENTS_OF_A_BLOCK * _FRAGMENT.size
            begin, word = _FRAGMENT.unpack(self._table(table, inside, _FRAGMENT.size))
            if size:
                yield Blocks(f"fragment {number}", begin, (self._one(word, size),))

    def _one(self, word: int, size: int) -> Block:
        packed, plain = word & _PLAIN - 1, bool(word & _PLAIN)
        if packed > self._block or (plain and packed != size):
            raise IntegrityError(f"a block of a squashfs of {packed} bytes for {size}")
        return Block(packed, size, plain)


def _unpacked(form: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    if at + form.size > len(data):
        raise IntegrityError("a squashfs with a list of names that ends early")
    return form.unpack_from(data, at)
