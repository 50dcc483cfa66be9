"""The headers of a tar archive, walked within bounds, from a file or from a stream.

Format: POSIX.1-2001 ustar and pax, GNU long names and base-256 sizes. Python's own reader takes
the size of an extension header on trust and follows chains of them by recursion; archives on an
ISO that is being checked deserve neither.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import IntegrityError

_BLOCK = 512
_MAX_EXTENSION = 64 * 1024  # bytes of a long name or of pax records
_MAX_MEMBERS = 100_000
_REGULAR = b"0\0" + b"7"
_EXTENSIONS = b"LKxg"


class Source(Protocol):
    """Bytes in order."""

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes."""


class SeekSource:
    """A file that can seek: skipping costs nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, 2)
        stream.seek(0)

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""
        return self._stream.read(size)

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes.

        Raises:
            IntegrityError: the file ends before.
        """
        if self._stream.tell() + size > self._size:
            raise IntegrityError(f"cut off after {self._size} bytes")
        self._stream.seek(size, 1)


class GzipSource:
    """What a gzip stream unpacks to, at most ``limit`` bytes of it."""

    def __init__(self, stream: BinaryIO, *, limit: int) -> None:
        self._stream, self._left = stream, limit
        self._unpacker = zlib.decompressobj(wbits=31)
        self._waiting = bytearray()

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end.

        Raises:
            IntegrityError: not gzip, damaged, cut off, or more than the limit.
        """
        while len(self._waiting) < size and (more := self._unpack()):
            self._waiting += more
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes; they are unpacked all the same."""
        while size > 0:
            passed = len(self.read(min(size, BUFFER_SIZE)))
            if not passed:
                raise IntegrityError("cut off inside a file")
            size -= passed

    def finish(self) -> None:
        """Read to the end, where the checksum over everything is."""
        while self.read(BUFFER_SIZE):
            pass

    def _unpack(self) -> bytes:
        while True:
            if self._unpacker.eof:  # gzip data may be several streams behind each other
                packed = self._unpacker.unused_data or self._stream.read(BUFFER_SIZE)
                if not packed.startswith(b"\x1f\x8b"):
                    return b""
                self._unpacker = zlib.decompressobj(wbits=31)
            else:
                packed = self._unpacker.unconsumed_tail or self._stream.read(BUFFER_SIZE)
                if not packed:
                    raise IntegrityError("the gzip data is cut off")
            try:
                data = self._unpacker.decompress(packed, BUFFER_SIZE)
            except zlib.error as error:
                raise IntegrityError(f"not valid gzip data: {error}") from error
            self._left -= len(data)
            if self._left < 0:
                raise IntegrityError("unpacks to more than a node has room for")
            if data:
                return data


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive."""

    name: str  # without a leading ./
    size: int  # bytes; 0 for what is not a regular file
    mode: int
    regular: bool


def walk(source: Source, *, head: int = 0) -> Iterator[tuple[Member, bytes]]:
    """Return every member with the first ``head`` bytes of its content.

    Raises:
        IntegrityError: not a tar archive, damaged, cut off or beyond a limit.
    """
    long_name: str | None = None
    long_size: int | None = None
    for _ in range(_MAX_MEMBERS):
        block = source.read(_BLOCK)
        if not block:
            return  # without the two empty blocks of the end; every reader takes that
        if len(block) < _BLOCK:
            raise IntegrityError("cut off inside a header")
        if block == bytes(_BLOCK):
            return
        _check(block)
        kind = block[156:157]
        size = long_size if long_size is not None else _number(block[124:136])
        padded = -(-size // _BLOCK) * _BLOCK
        if kind in _EXTENSIONS:
            if size > _MAX_EXTENSION:
                raise IntegrityError(f"an extension header of {size} bytes")
            data = source.read(padded)[:size]
            if kind == b"L":
                long_name = data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
            elif kind == b"x":
                records = _pax(data)
                if path := records.get(b"path"):
                    long_name = path.decode("utf-8", "backslashreplace")
                if (digits := records.get(b"size", b"")).isdigit():
                    long_size = int(digits[:19])
            continue
        name = long_name if long_name is not None else _name(block)
        long_name = long_size = None
        regular = kind in _REGULAR
        content = source.read(min(head, padded)) if regular else b""
        if regular:
            source.skip(padded - len(content))
        mode = _number(block[100:108]) & 0o7777
        yield Member(name.removeprefix("./"), size if regular else 0, mode, regular), content[:size]
    raise IntegrityError(f"more than {_MAX_MEMBERS} members")


def _check(block: bytes) -> None:
    promised = _number(block[148:156])
    if sum(block) - sum(block[148:156]) + 8 * 0x20 != promised:
        raise IntegrityError("not a tar archive, or damaged: a header has the wrong checksum")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: base 256, the first bit set; negative numbers begin with 0xff
        value = int.from_bytes(field[1:], "big")
        if field[0] != 0x80 or value >= 1 << 62:
            raise IntegrityError("damaged: an impossible number in a header")
        return value
    digits = field.rstrip(b" \0").lstrip(b" ")
    if not digits.isdigit() and digits:
        raise IntegrityError("not a tar archive, or damaged: a header has no octal number")
    try:
        return int(digits or b"0", 8)
    except ValueError as error:
        raise IntegrityError("not a tar archive, or damaged: a header has no octal number") from (
            error
        )


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "backslashreplace")


def _pax(data: bytes) -> dict[bytes, bytes]:
    """Return the pax records, which read ``<length> <key>=<value>`` and a newline."""
    found = {}
    while data:
        digits, _, _ = data[:20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        if not len(digits) + 2 <= length <= len(data):
            raise IntegrityError("damaged: a pax record of impossible length")
        key, _, value = data[len(digits) + 1 : length - 1].partition(b"=")
        found[key] = value
        data = data[length:]
    return found
