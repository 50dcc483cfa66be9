"""Rock Ridge: POSIX names, modes and times in the system use area of a directory record.

Sources: IEEE P1281 (SUSP 1.12) for the fields' framing and CE, SP, ER, ST; IEEE P1282 (RRIP 1.12)
for PX, NM, TF, SL and the fields that relocate deep folders; Linux, ``fs/isofs/rock.c``, for what a
node makes of them. Wherever those differ, the record is refused: it would be two files.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from isobuilder.iso.read.rawiso import BLOCK, Extent, RawIso, both_endian

_MAX_NAME = 253
"""Bytes of a name: Linux drops what goes beyond."""

_MAX_AREAS = 8
"""Continuation areas of one record: Linux follows 32; ER and the longest name need two."""

_MAX_FIELDS = 32
"""Fields of one record: those of the root have eight, of a long name seven."""

_MAX_ALIKE = 64
"""Kinds of records that are remembered: the files of an ISO differ in little but their names."""

_EXTENSIONS = {"RRIP_1991A", "IEEE_P1282", "IEEE_1282"}
"""The names that Rock Ridge goes by; another extension may give fields another meaning."""

_SIZES = {b"SP": {3}, b"CE": {24}, b"ST": {0}, b"RR": {1}, b"PX": {32, 40}}
_KNOWN = {*_SIZES, b"ER", b"NM", b"TF", b"SL"}
_REFUSED = {
    b"CL": "a relocated folder (Rock Ridge CL)",
    b"PL": "a relocated folder (Rock Ridge PL)",
    b"RE": "a relocated folder (Rock Ridge RE)",
    b"PN": "a device (Rock Ridge PN)",
    b"ZF": "a compressed file (zisofs)",
    b"SF": "a sparse file (Rock Ridge SF)",
}
_IN_PARTS = {b"NM", b"SL"}  # fields of which a record may have several
_CONTINUE = 0x01  # flag of NM
_HAS_NAME, _HAS_MODE, _RELOCATED = 0x08, 0x01, 0x70  # flags of RR
_TIMES = 0x7F  # flags of TF that stand for a time each


class SystemUseField(NamedTuple):
    """One system use field."""

    signature: bytes
    data: bytes  # behind signature, length and version
    offset: int  # of the field, in the image


class Posix(NamedTuple):
    """What Rock Ridge says about one record."""

    name: str | None  # None for "." and ".."
    mode: int  # with the file type
    mtime: int | None  # seconds since 1970-01-01 UTC
    link: bool  # a symbolic link (SL)


class _AreaParts(NamedTuple):
    """A system use area cut at its name."""

    before: bytes
    behind: bytes
    name: bytes


@dataclass(slots=True)
class Areas:
    """The system use areas of a volume that were read.

    A continuation area belongs to one record, so none is read twice. Of records that differ in
    their names alone the first is read field by field.
    """

    found: set[Extent] = field(default_factory=set)  # the continuation areas
    size: int = 0  # bytes
    alike: dict[tuple[bytes, bytes], Posix] = field(default_factory=dict)  # by what is no name

    def take(self, image: RawIso, area: Extent, field: int) -> bytes:
        """Return the bytes of ``area``, which the field at byte ``field`` names."""
        self.size += area.size
        if area in self.found or self.size > image.size:
            raise image.wrong(field, "system use areas continue without end, or in one another")
        self.found.add(area)
        return image.read(area, "continuation area")


def fields(image: RawIso, area: bytes, offset: int, areas: Areas) -> Iterator[SystemUseField]:
    """Give the fields of a system use area and of everything it continues in, but CE and ST.

    Raises:
        IntegrityError: a field does not fit its area, is not one of those we know, or stands where
            Linux would not see it; areas continue in a circle.
    """
    count = followed = 0
    while True:
        following: SystemUseField | None = None
        at = 0
        while len(area) - at > 2:  # one or two bytes may pad
            count += 1
            pair = _field(image, area, at, offset)
            if count > _MAX_FIELDS:
                raise image.wrong(pair.offset, f"more than {_MAX_FIELDS} system use fields")
            at += 4 + len(pair.data)
            if pair.signature == b"ST":  # which Linux does not know
                if following is not None or len(area) - at > 2:
                    raise image.wrong(pair.offset, "something behind the end of the fields (ST)")
            elif pair.signature == b"CE":
                if following is not None:
                    raise image.wrong(pair.offset, "a second continuation area")
                following = pair
            else:
                yield pair
        if any(area[at:]):
            raise image.wrong(offset + at, "system use area: something behind its last field")
        if following is None:
            return
        followed += 1
        if followed > _MAX_AREAS:
            raise image.wrong(following.offset, "system use areas continue without end")
        where = _continuation(image, following)
        area, offset = areas.take(image, where, following.offset), where.offset


def _field(image: RawIso, area: bytes, at: int, offset: int) -> SystemUseField:
    signature, length, place = area[at : at + 2], area[at + 2], offset + at
    if length < 4 or at + length > len(area):
        raise image.wrong(place, f"system use field {signature!r}: {length} bytes do not fit")
    if signature in _REFUSED:
        raise image.wrong(place, f"{_REFUSED[signature]} is not supported")
    if signature not in _KNOWN or area[at + 3] != 1:
        what = f"version {area[at + 3]} of the" if signature in _KNOWN else "an unknown"
        raise image.wrong(place, f"{what} system use field {signature!r}")
    if length - 4 not in _SIZES.get(signature, {length - 4}):
        expected = min(_SIZES[signature])
        raise image.wrong(
            place, f"system use field {signature!r}: expected {expected} bytes, got {length - 4}"
        )
    return SystemUseField(signature, area[at + 4 : at + length], place)


def _continuation(image: RawIso, field: SystemUseField) -> Extent:
    start = field.offset + 4
    block = both_endian(image, field.data, 0, start, "continuation block")
    at = both_endian(image, field.data, 8, start, "continuation offset")
    size = both_endian(image, field.data, 16, start, "continuation length")
    if at + size > BLOCK or not size:
        raise image.wrong(field.offset, f"continuation area of {size} bytes at {at} of a block")
    return Extent(block * BLOCK + at, size)


def extension(image: RawIso, area: bytes, offset: int, areas: Areas) -> str:
    """Return the name of the extension from the first record of the root.

    Raises:
        IntegrityError: as ``posix``; or it names none, or one that is not Rock Ridge.
    """
    pairs = list(fields(image, area, offset, areas))
    names = [_extension_name(image, pair) for pair in pairs if pair.signature == b"ER"]
    if pairs[0].data != b"\xbe\xef\0" or len(names) != 1 or names[0] not in _EXTENSIONS:
        raise image.wrong(offset, f"not Rock Ridge alone: extensions {names}")
    _posix(image, iter(pairs[1:]), offset, named=False, extensions=True)
    return names[0]


def _extension_name(image: RawIso, field: SystemUseField) -> str:
    if len(field.data) < 4 or len(field.data) != 4 + sum(field.data[:3]):
        raise image.wrong(field.offset, "system use field b'ER': its lengths do not fit")
    return field.data[4 : 4 + field.data[0]].decode("ascii", "replace")


def posix(image: RawIso, area: bytes, offset: int, areas: Areas, *, named: bool = True) -> Posix:
    """Return name, mode and time from the system use area at ``offset``.

    ``named`` is whether the record must have a name, which "." and ".." must not.

    Raises:
        IntegrityError: a field is malformed or there twice, PX or NM is missing, or the record asks
            for something no ISO for a node has (relocated folders, compressed or sparse files).
    """
    parts = _cut(area) if named else None
    if parts is None:
        pairs = fields(image, area, offset, areas)
        return _posix(image, pairs, offset, named=named, extensions=False)
    known = areas.alike.get(parts[:2])
    if known is not None:
        return known._replace(name=_text(image, parts.name, offset))
    pairs = fields(image, area, offset, areas)
    facts = _posix(image, pairs, offset, named=True, extensions=False)
    if len(areas.alike) < _MAX_ALIKE:
        areas.alike[parts[:2]] = facts
    return facts


def _cut(area: bytes) -> _AreaParts | None:
    """Cut an area that has one whole name and continues nowhere; None of any other."""
    at, name = 0, None
    while len(area) - at > 2:
        length = area[at + 2]
        if length < 4 or area[at : at + 2] == b"CE":
            return None
        if area[at : at + 2] == b"NM":
            if name is not None or length < 5 or area[at + 3] != 1 or area[at + 4]:
                return None
            name = slice(at + 5, at + length)
        at += length
    if name is None or at > len(area):
        return None
    return _AreaParts(area[: name.start - 3], area[name.stop :], area[name])


def _posix(
    image: RawIso, pairs: Iterator[SystemUseField], offset: int, *, named: bool, extensions: bool
) -> Posix:
    name = b""
    more = True  # whether a part of the name may follow
    link = False
    seen: set[bytes] = set()
    mode: int | None = None
    mtime: int | None = None
    for pair in pairs:
        if pair.signature in seen and pair.signature not in _IN_PARTS:
            raise image.wrong(pair.offset, f"a second system use field {pair.signature!r}")
        seen.add(pair.signature)
        if pair.signature == b"NM":
            name += _name(image, pair, expected=named and more)
            more = bool(pair.data[0] & _CONTINUE)
        elif pair.signature == b"PX":
            mode = both_endian(image, pair.data, 0, pair.offset + 4, "file mode")
        elif pair.signature == b"TF":
            mtime = _modified(image, pair)
        elif pair.signature == b"SL":
            link = True
        elif pair.signature == b"RR":
            wanted = _HAS_MODE | (_HAS_NAME if named else 0)
            if pair.data[0] & (wanted | _RELOCATED) != wanted:
                raise image.wrong(pair.offset, f"Rock Ridge RR of {pair.data[0]:#x} hides fields")
        elif pair.signature == b"SP" or not extensions:  # what else is left is ER
            raise image.wrong(pair.offset, f"{pair.signature!r} is for the root folder alone")
    if mode is None:
        raise image.wrong(offset, "no file mode (Rock Ridge PX)")
    if named and (more or len(name) > _MAX_NAME):
        what = "no name, or half of one" if more else f"a name of {len(name)} bytes"
        raise image.wrong(offset, f"{what} (Rock Ridge NM)")
    text = _text(image, name, offset) if named else None
    return Posix(text, mode, mtime, link or stat.S_ISLNK(mode))


def _name(image: RawIso, pair: SystemUseField, *, expected: bool) -> bytes:
    """Return a part of a name; Linux passes over those with flags, or takes them for more."""
    if not pair.data or pair.data[0] & ~_CONTINUE or not expected:
        raise image.wrong(pair.offset, "a Rock Ridge name with flags, or where none belongs")
    return pair.data[1:]


def _text(image: RawIso, name: bytes, offset: int) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise image.wrong(offset, f"a name that is not UTF-8: {name[:60]!r}") from error


def _modified(image: RawIso, field: SystemUseField) -> int | None:
    flags = field.data[0] if field.data else 0
    size = 17 if flags & 0x80 else 7
    expected = 1 + (flags & _TIMES).bit_count() * size
    if len(field.data) != expected:
        got = len(field.data)
        raise image.wrong(
            field.offset, f"system use field b'TF': expected {expected} bytes, got {got}"
        )
    if not flags & 0x02:
        return None
    start = 1 + (flags & 0x01) * size  # the time of creation comes first
    stamp = field.data[start : start + size]
    return _long_time(stamp) if size == 17 else short_time(stamp)


@lru_cache(maxsize=256)  # the files of an ISO have few times among them
def short_time(stamp: bytes) -> int | None:
    """Return the 7 bytes of a directory record's time (ECMA-119, 9.1.5); None when not set."""
    year, month, day, hour, minute, second = stamp[:6]
    return _seconds(1900 + year, month, day, hour, minute, second, stamp[6])


def _long_time(stamp: bytes) -> int | None:
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
