"""Rock Ridge: POSIX names, modes and times in the system use area of a directory record.

Sources: IEEE P1281 (SUSP 1.12) for the fields' framing and CE, SP, ER, ST; IEEE P1282 (RRIP 1.12)
for PX, NM, TF, SL and the fields that relocate deep folders.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

from isobuilder.iso.read.rawiso import BLOCK, Extent, RawIso, both_endian

_MOST_AREAS = 32  # continuation areas of one record; ER and a long name need two
_REFUSED = {
    b"CL": "a relocated folder (Rock Ridge CL)",
    b"PL": "a relocated folder (Rock Ridge PL)",
    b"RE": "a relocated folder (Rock Ridge RE)",
    b"ZF": "a compressed file (zisofs)",
    b"SF": "a sparse file (Rock Ridge SF)",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One system use field."""

    signature: bytes
    data: bytes  # behind signature, length and version
    offset: int  # of the field, in the image


@dataclass(frozen=True, slots=True)
class Posix:
    """What Rock Ridge says about one record."""

    name: str | None  # None for "." and ".."
    mode: int  # with the file type
    mtime: int | None  # seconds since 1970-01-01 UTC
    link: bool  # a symbolic link (SL)


def fields(image: RawIso, area: bytes, offset: int) -> Iterator[Pair]:
    """Give the fields of a system use area and of everything it continues in.

    Raises:
        IntegrityError: a field does not fit its area, or areas continue in a circle.
    """
    seen: set[Extent] = set()
    while True:
        following: Extent | None = None
        at = 0
        while at + 4 <= len(area) and area[at]:
            signature, length = area[at : at + 2], area[at + 2]
            if length < 4 or at + length > len(area):
                raise image.wrong(
                    offset + at, f"system use field {signature!r}: {length} bytes do not fit"
                )
            field = Pair(signature, area[at + 4 : at + length], offset + at)
            at += length
            if signature == b"ST":
                break
            if signature == b"CE":
                following = _continuation(image, field, following)
            else:
                yield field
        if following is None:
            return
        if following in seen or len(seen) >= _MOST_AREAS:
            raise image.wrong(following.offset, "system use areas continue without end")
        seen.add(following)
        area, offset = image.read(following, "continuation area"), following.offset


def _continuation(image: RawIso, field: Pair, before: Extent | None) -> Extent:
    _expect(image, field, 24)
    start = field.offset + 4
    block = both_endian(image, field.data, 0, start, "continuation block")
    at = both_endian(image, field.data, 8, start, "continuation offset")
    size = both_endian(image, field.data, 16, start, "continuation length")
    if before is not None or at + size > BLOCK:
        raise image.wrong(field.offset, f"continuation area of {size} bytes at {at} of a block")
    return Extent(block * BLOCK + at, size)


def posix(image: RawIso, area: bytes, offset: int) -> Posix:
    """Return name, mode and time from the system use area at ``offset``.

    Raises:
        IntegrityError: a field is malformed, PX is missing, or the record asks for something no
            ISO for a node has (relocated folders, compressed or sparse files).
    """
    name = b""
    named = special_name = link = False
    mode: int | None = None
    mtime: int | None = None
    for field in fields(image, area, offset):
        if field.signature == b"NM":
            _expect(image, field, 1)
            special_name = special_name or bool(field.data[0] & 0x06)
            named = True
            name += field.data[1:]
        elif field.signature == b"PX":
            _expect(image, field, 32)
            mode = both_endian(image, field.data, 0, field.offset + 4, "file mode")
        elif field.signature == b"TF":
            mtime = _modified(image, field)
        elif field.signature == b"SL":
            link = True
        elif field.signature in _REFUSED:
            raise image.wrong(field.offset, f"{_REFUSED[field.signature]} is not supported")
    if mode is None:
        raise image.wrong(offset, "no file mode (Rock Ridge PX)")
    text = None if special_name or not named else _text(image, name, offset)
    return Posix(text, mode, mtime, link or stat.S_ISLNK(mode))


def _text(image: RawIso, name: bytes, offset: int) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise image.wrong(offset, f"a name that is not UTF-8: {name[:60]!r}") from error


def _expect(image: RawIso, field: Pair, size: int) -> None:
    if len(field.data) < size:
        raise image.wrong(
            field.offset,
            f"system use field {field.signature!r}: expected {size} bytes, got {len(field.data)}",
        )


def _modified(image: RawIso, field: Pair) -> int | None:
    _expect(image, field, 1)
    flags = field.data[0]
    if not flags & 0x02:
        return None
    before = flags & 0x01  # the time of creation comes first
    size = 17 if flags & 0x80 else 7
    _expect(image, field, 1 + (before + 1) * size)
    start = 1 + before * size
    stamp = field.data[start : start + size]
    return long_time(stamp) if size == 17 else short_time(stamp)


def short_time(stamp: bytes) -> int | None:
    """Return the 7 bytes of a directory record's time (ECMA-119, 9.1.5); None when not set."""
    year, month, day, hour, minute, second = stamp[:6]
    return _seconds(1900 + year, month, day, hour, minute, second, stamp[6])


def long_time(stamp: bytes) -> int | None:
    """Return the 17 bytes of a descriptor's time (ECMA-119, 8.4.26.1); None when not set."""
    if not stamp[:16].isdigit():
        return None
    ends = (0, 4, 6, 8, 10, 12, 14)
    year, month, day, hour, minute, second = (
        int(stamp[start:end]) for start, end in pairwise(ends)
    )
    return _seconds(year, month, day, hour, minute, second, stamp[16])


def _seconds(
    year: int, month: int, day: int, hour: int, minute: int, second: int, zone: int
) -> int | None:
    quarters = zone - 256 if zone > 127 else zone
    try:
        there = timezone(timedelta(minutes=15 * quarters)) if quarters else UTC
        moment = datetime(year, month, day, hour, minute, second, tzinfo=there)
    except ValueError:
        return None
    return int(moment.timestamp())
