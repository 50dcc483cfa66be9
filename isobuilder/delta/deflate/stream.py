"""The members of a gzip file: where they lie, and what they unpack to.

Source: RFC 1952, 2.2 and 2.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from isobuilder.delta.deflate.recipe import MAX_HEADER, MAX_MEMBERS
from isobuilder.digest import BUFFER_SIZE
from isobuilder.formats.inflate import MOST_GROWTH

_FREE = 64 * 1024 * 1024  # bytes that anything may become; beyond, ``MOST_GROWTH`` times its size
_EXTRA, _NAME, _COMMENT, _CHECK = 4, 8, 16, 2
_TAKEN = 64 * 1024  # bytes given to the library at a time: what it leaves is copied each time


@dataclass(frozen=True, slots=True)
class GzipSpan:
    """One member: where it lies in the file, and what it becomes."""

    header: bytes
    begin: int  # of the compressed data
    end: int  # behind the compressed data; the trailer follows
    size: int  # bytes of content
    check: int  # their CRC-32


class NotGzip(Exception):
    """The file is no gzip file without fault, or beyond the bounds; it is carried as it is."""


def spans_of(stream: BinaryIO) -> Iterator[GzipSpan]:
    """Give every member of the file, each once it was unpacked.

    Raises:
        NotGzip: anything that is not a sound member, at the begin or behind one.
    """
    place, count, left = 0, 0, _FREE + MOST_GROWTH * stream.seek(0, 2)
    while header := _header(stream, place):
        count += 1
        if count > MAX_MEMBERS:
            raise NotGzip
        span = _span(stream, header, place + len(header), left)
        yield span
        left -= span.size
        place = span.end + 8
    if count == 0:
        raise NotGzip


def content_of(stream: BinaryIO, span: GzipSpan) -> Iterator[bytes]:
    """Give what a member unpacks to, in pieces of at most ``BUFFER_SIZE`` bytes."""
    inflater = zlib.decompressobj(-15)
    place = span.begin
    data = b""
    while not inflater.eof:
        if not data:
            stream.seek(place)
            data = stream.read(min(_TAKEN, span.end - place))
            place += len(data)
            if not data:
                raise NotGzip
        if piece := _inflated(inflater, data):
            yield piece
        data = inflater.unconsumed_tail


def _inflated(inflater: zlib._Decompress, data: bytes) -> bytes:
    try:
        return inflater.decompress(data, BUFFER_SIZE)
    except zlib.error as error:
        raise NotGzip from error


def _span(stream: BinaryIO, header: bytes, begin: int, left: int) -> GzipSpan:
    inflater = zlib.decompressobj(-15)
    place, size, check = begin, 0, 0
    data = b""
    while not inflater.eof:
        if not data:
            stream.seek(place)
            data = stream.read(_TAKEN)
            place += len(data)
            if not data:
                raise NotGzip
        piece = _inflated(inflater, data)
        size += len(piece)
        if size > left:
            raise NotGzip
        check = zlib.crc32(piece, check)
        data = inflater.unconsumed_tail
    end = place - len(inflater.unused_data)
    stream.seek(end)
    if stream.read(8) != trailer_of(check, size):
        raise NotGzip
    return GzipSpan(header, begin, end, size, check)


def trailer_of(check: int, size: int) -> bytes:
    """Return the eight bytes behind the compressed data."""
    return check.to_bytes(4, "little") + (size % (1 << 32)).to_bytes(4, "little")


def _header(stream: BinaryIO, place: int) -> bytes:
    """Return the header at ``place``; nothing at the end of the file."""
    stream.seek(place)
    data = stream.read(MAX_HEADER)
    if not data:
        return b""
    if len(data) < 10 or not data.startswith(b"\x1f\x8b\x08"):
        raise NotGzip
    flags, end = data[3], 10
    if flags & _EXTRA:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for _ in range(bool(flags & _NAME) + bool(flags & _COMMENT)):
        end = data.find(b"\0", end) + 1
        if end == 0:
            raise NotGzip
    if flags & _CHECK:
        end += 2
    if end > len(data):
        raise NotGzip
    return data[:end]


def inflated_sizes(stream: BinaryIO, span: GzipSpan, places: list[int]) -> list[int]:
    """Return how many bytes of content there are before each of ``places``, which ascend."""
    sizes, size, begin = [], 0, span.begin
    inflater = zlib.decompressobj(-15)
    for place in places:
        stream.seek(begin)
        while begin < place:
            data = stream.read(min(_TAKEN, place - begin))
            begin += len(data)
            while data:
                piece = _inflated(inflater, data)
                size += len(piece)
                data = inflater.unconsumed_tail
                if not data and len(piece) == BUFFER_SIZE:
                    while piece := _inflated(inflater, b""):
                        size += len(piece)
        sizes.append(size)
    return sizes
