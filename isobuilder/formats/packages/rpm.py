"""The header of an installed RPM package.

Source: rpm's ``docs/manual/hregions.md`` and ``lib/header.c``: two counts, that many entries of
tag, type, offset and count, then the data they point into; all numbers big-endian.
"""

from __future__ import annotations

import struct

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.package import Package, licences, word

MAX_HEADER = 64 * 1024 * 1024
"""Bytes of one header; a kernel's with all its files has 2 MiB."""

_ENTRY = struct.Struct(">IIII")
_MAX_ENTRIES = 65_535
_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_LICENCE, _ARCHITECTURE, _SOURCE = 1014, 1022, 1044
_TEXTS = {_NAME, _VERSION, _RELEASE, _LICENCE, _ARCHITECTURE, _SOURCE}
_INT32, _STRING, _I18N = 4, 6, 9


def read_header(data: bytes) -> Package | None:
    """Return the package that a header is of; None for a key, which the database has as packages.

    Raises:
        IntegrityError: damaged; a sentence without place.
    """
    if len(data) < 8:
        raise IntegrityError(f"a header of {len(data)} bytes")
    entries, size = struct.unpack_from(">II", data)
    start = 8 + entries * _ENTRY.size
    if entries > _MAX_ENTRIES or start + size > len(data):
        raise IntegrityError(
            f"a header of {entries} entries and {size} bytes of data, there are {len(data)}"
        )
    texts: dict[int, str] = {}
    epoch = ""
    for tag, kind, offset, count in _ENTRY.iter_unpack(data[8:start]):
        if tag in _TEXTS and kind in {_STRING, _I18N} and count:
            texts.setdefault(tag, _text(data, start + offset, start + size))
        elif tag == _EPOCH and kind == _INT32 and count and offset + 4 <= size:
            epoch = str(int.from_bytes(data[start + offset : start + offset + 4], "big"))
    name, version, release = (texts.get(tag, "") for tag in (_NAME, _VERSION, _RELEASE))
    if not name or not version:
        raise IntegrityError("a header without name or version")
    if name == "gpg-pubkey":
        return None
    return Package(
        "rpm",
        word(name),
        word(f"{version}-{release}" if release else version),
        word(texts.get(_ARCHITECTURE, "")),
        word(texts.get(_SOURCE, "")),
        licences=licences([texts.get(_LICENCE, "")]),
        facts=(("epoch", epoch),) if epoch else (),
    )


def _text(data: bytes, start: int, end: int) -> str:
    stop = data.find(b"\0", start, end)
    if start >= end or stop < 0:
        raise IntegrityError("a text of a header lies outside of it")
    return data[start:stop].decode("utf-8", "replace")
