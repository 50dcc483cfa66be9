"""Small squashfs file systems as squashfs-tools write them, and with anything else in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

EPOCH = 1_700_000_000
INODES, DIRECTORIES = 64, 72  # where the head says where these tables begin
ROOT = 32
_NOWHERE = 0xFFFF_FFFF
_NO_TABLE = (1 << 64) - 1
_TABLE = 8192

Folder = dict[str, "Folder | str"]


class _Table:
    """Blocks of a table, compressed or not."""

    def __init__(self, *, plain: bool) -> None:
        self._plain, self.out, self._rest = plain, b"", b""

    def place(self) -> tuple[int, int]:
        """Return where the block of the next byte begins, and how many bytes lie before it."""
        return len(self.out), len(self._rest)

    def add(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= _TABLE:
            self._flush()

    def done(self) -> bytes:
        if self._rest:
            self._flush()
        return self.out

    def _flush(self) -> None:
        data, self._rest = self._rest[:_TABLE], self._rest[_TABLE:]
        packed = data if self._plain else zlib.compress(data, 9)
        self.out += struct.pack("<H", len(packed) | (0x8000 if self._plain else 0)) + packed


class _Writer:
    def __init__(
        self, files: Mapping[str, bytes], block: int, *, plain: bool, fragments: bool
    ) -> None:
        self.files, self.block, self.fragments = files, block, fragments
        self.data = bytearray(96)
        self.inodes, self.directories = _Table(plain=plain), _Table(plain=plain)
        self.ends: list[bytes] = []
        self.count = 0

    def written(self) -> bytes:
        told = {path: self._blocks(data) for path, data in sorted(self.files.items())}
        table = _Table(plain=True)
        for end in self.ends:
            table.add(struct.pack("<QII", len(self.data), self._stored(end), 0))
        root = self._folder(_tree(self.files), told, "")
        inodes = len(self.data)
        self.data += self.inodes.done()
        directories = len(self.data)
        self.data += self.directories.done()
        at = len(self.data)
        self.data += table.done()
        fragments = len(self.data)
        self.data += struct.pack("<Q", at)
        size = len(self.data)
        struct.pack_into(
            "<4sIIIIHHHHHHQQQQQQQQ",
            self.data,
            0,
            *(b"hsqs", self.count, EPOCH, self.block, len(self.ends), 1),
            *(self.block.bit_length() - 1, 0, 1, 4, 0, root, size, size, _NO_TABLE),
            *(inodes, directories, fragments, _NO_TABLE),
        )
        return bytes(self.data) + bytes(-size % 4096)

    def _stored(self, data: bytes) -> int:
        """Write a block and return what is said of its size."""
        packed = zlib.compress(data, 9)
        plain = len(packed) >= len(data)
        self.data += data if plain else packed
        return len(data) | 1 << 24 if plain else len(packed)

    def _blocks(self, data: bytes) -> tuple[bytes, bytes]:
        begin = len(self.data)
        fragment, inside, tail = _NOWHERE, 0, len(data) % self.block
        if self.fragments and tail:
            if not self.ends or len(self.ends[-1]) + tail > self.block:
                self.ends.append(b"")
            fragment, inside = len(self.ends) - 1, len(self.ends[-1])
            self.ends[-1] += data[-tail:]
            whole = data[:-tail]
        else:
            whole = data
        sizes = []
        for at in range(0, len(whole), self.block):
            part = whole[at : at + self.block]
            sizes.append(self._stored(part) if any(part) else 0)
        head = struct.pack("<IIII", begin, fragment, inside, len(data))
        return head, struct.pack(f"<{len(sizes)}I", *sizes)

    def _inode(self, kind: int, rest: bytes) -> tuple[int, int]:
        self.count += 1
        place = self.inodes.place()
        self.inodes.add(struct.pack("<HHHHII", kind, 0o644, 0, 0, EPOCH, self.count) + rest)
        return place

    def _folder(self, tree: Folder, told: Mapping[str, tuple[bytes, bytes]], path: str) -> int:
        entries = []
        for name, child in sorted(tree.items()):
            inner = f"{path}{name}"
            if isinstance(child, str):
                block, inside = self._inode(2, b"".join(told[inner]))
                entries.append((name, 2, block, inside))
            else:
                reference = self._folder(child, told, f"{inner}/")
                entries.append((name, 1, reference >> 16, reference & 0xFFFF))
        begin, inside = self.directories.place()
        lines = b"".join(
            struct.pack("<III", 0, block, 1)
            + struct.pack("<HhHH", at, 0, kind, len(name.encode()) - 1)
            + name.encode()
            for name, kind, block, at in entries
        )
        self.directories.add(lines)
        block, at = self._inode(1, struct.pack("<IIHHI", begin, 2, len(lines) + 3, inside, 1))
        return block << 16 | at


def _tree(files: Mapping[str, bytes]) -> Folder:
    tree: Folder = {}
    for path in files:
        folder = tree
        *above, name = path.split("/")
        for part in above:
            inner = folder.setdefault(part, {})
            assert not isinstance(inner, str)
            folder = inner
        folder[name] = path
    return tree


def squashfs(
    files: Mapping[str, bytes],
    *,
    block: int = 4096,
    plain: bool = True,
    fragments: bool = False,
) -> bytes:
    """Return a squashfs of ``files``; ``plain`` says whether its tables are not compressed."""
    return _Writer(files, block, plain=plain, fragments=fragments).written()
