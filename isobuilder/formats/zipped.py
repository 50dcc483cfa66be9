"""A zip archive of texts, read member by member within bounds.

Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.4. Only what writers of plain archives
make: stored or deflated members in the order of the directory, with zip64 where numbers need it.
Members that overlap, by which small archives unpack to very large ones, and everything that two
readers could take for different things, are refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from isobuilder.errors import InputError
from isobuilder.text import printable

MAX_MEMBERS = 2_000_000
"""Of the exports that are known the longest has some 300,000."""

MOST_GROWTH = 60
"""How many times larger than the archive all its members may be, beyond the first 64 MiB."""

_FREE = 64 * 1024 * 1024
_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")  # a member, or the end of an archive without any
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_UNKNOWN, _UNKNOWN_16 = 0xFFFFFFFF, 0xFFFF  # it is in a field of zip64
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x2041  # bits 0, 6 and 13 of the flags


def is_zip(data: bytes) -> bool:
    """Say if ``data`` begins like a zip archive."""
    return data.startswith(_BEGINS)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    at: int  # where its own header is


def zip_members(data: bytes, place: str, *, most: int) -> Iterator[tuple[str, bytes]]:
    """Give name and content of each member but folders, in their order.

    Raises:
        InputError: it is damaged, of another kind, or a member has more than ``most`` bytes; the
            sentence begins with ``place``.
    """
    try:
        yield from _members(data, place, most)
    except struct.error:
        raise InputError(f"{place}: a damaged zip: it ends within a header") from None


def _members(data: bytes, place: str, most: int) -> Iterator[tuple[str, bytes]]:
    free = _FREE + MOST_GROWTH * len(data)
    end = 0
    for entry in _entries(data, place):
        name = printable(entry.name.decode("utf-8", "replace"))
        begin = _content(data, entry, f"{place}: {name}", behind=end)
        end = begin + entry.packed
        free -= entry.size
        if entry.size > most or free < 0:
            limit = most if entry.size > most else _FREE + MOST_GROWTH * len(data)
            whole = "it" if entry.size > most else "the archive up to it"
            raise InputError(f"{place}: {name}: {whole} unpacks to more than {limit} bytes")
        if not entry.name.endswith(b"/"):
            yield name, _unpacked(data[begin:end], entry, f"{place}: {name}")


def _entries(data: bytes, place: str) -> Iterator[_Entry]:
    count, size, at = _directory(data, place)
    if count > MAX_MEMBERS:
        raise InputError(f"{place}: a zip of {count} members, at most {MAX_MEMBERS} are read")
    end = at + size
    for _ in range(count):
        fields = _ENTRY.unpack_from(data, at)
        mark, _, _, flags, method, _, _, crc, packed, whole, *lengths, _, own = fields
        name_size, extra_size, comment_size = lengths[:3]
        name_at = at + _ENTRY.size
        extra_at = name_at + name_size
        at = extra_at + extra_size + comment_size
        if mark != b"PK\x01\x02" or at > end:
            raise InputError(f"{place}: a damaged zip: its directory is not what its end says")
        name = data[name_at:extra_at]
        extra = data[extra_at : extra_at + extra_size]
        packed, whole, own = _widened(extra, packed, whole, own)
        yield _Entry(name, flags, method, crc, packed, whole, own)
    if at != end:
        raise InputError(f"{place}: a damaged zip: its directory is not what its end says")


def _directory(data: bytes, place: str) -> tuple[int, int, int]:
    """Return how many members there are, and size and place of the directory."""
    end = data.rfind(b"PK\x05\x06")
    if end < 0:
        raise InputError(f"{place}: a damaged zip: it has no end")
    _, disk, first, here, count, size, at, comment = _END.unpack_from(data, end)
    behind = end + _END.size + comment
    if _UNKNOWN in {size, at} or count == _UNKNOWN_16:
        mark, _, end, _ = _LOCATOR.unpack_from(data, max(end - _LOCATOR.size, 0))
        told = _END_64.unpack_from(data, min(end, len(data)))
        mark_64, _, _, _, disk, first, here, count, size, at = told
        if (mark, mark_64) != (b"PK\x06\x07", b"PK\x06\x06"):
            raise InputError(f"{place}: a damaged zip: its end is not that of a zip64")
    if behind != len(data) or at + size != end or (disk, first, here) != (0, 0, count):
        raise InputError(
            f"{place}: a zip of several parts, with other data around it, or damaged: its end says "
            f"that {size} bytes at {at} are the directory"
        )
    return count, size, at


def _widened(extra: bytes, packed: int, whole: int, own: int) -> tuple[int, int, int]:
    """Return sizes and place, each from the field of zip64 where the header has no room."""
    wide = b""
    at = 0
    while at < len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + size]
        at += 4 + size
    missing = [number == _UNKNOWN for number in (whole, packed, own)]
    told = iter(struct.unpack_from(f"<{sum(missing)}Q", wide))  # in this order, what is missing
    whole, packed, own = (
        next(told) if lacks else number
        for lacks, number in zip(missing, (whole, packed, own), strict=True)
    )
    return packed, whole, own


def _content(data: bytes, entry: _Entry, place: str, *, behind: int) -> int:
    """Return where the content of a member begins, whose own header must agree."""
    local = _LOCAL.unpack_from(data, min(entry.at, len(data)))
    mark, _, flags, method, *_, name_size, extra_size = local
    name_at = entry.at + _LOCAL.size
    begin: int = name_at + name_size + extra_size
    name = data[name_at : name_at + name_size]
    if (mark, flags, method, name) != (b"PK\x03\x04", entry.flags, entry.method, entry.name):
        raise InputError(f"{place}: its own header says otherwise than the directory of the zip")
    if entry.at < behind:
        raise InputError(f"{place}: it lies inside of another member of the zip, or before it")
    if flags & _ENCRYPTED or method not in {_STORED, _DEFLATED}:
        raise InputError(f"{place}: expected it stored or deflated, got method {method}")
    if begin + entry.packed > len(data):
        raise InputError(f"{place}: cut off")
    return begin


def _unpacked(packed: bytes, entry: _Entry, place: str) -> bytes:
    content = packed
    if entry.method == _DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflater.decompress(packed, entry.size + 1)
        except zlib.error as error:
            raise InputError(f"{place}: damaged: {error}") from None
        if not inflater.eof or inflater.unused_data:
            content = b""
    if len(content) != entry.size or zlib.crc32(content) != entry.crc:
        raise InputError(f"{place}: damaged: size and checksum are not those of the zip")
    return content
