"""Methods for any bytes: as they are packed by zstd, and against other bytes.

The formats of 1 and 2 are zstd's (RFC 8878), of 2 with ``old`` as a raw dictionary, as ``zstd
--patch-from`` has it. 3 is ours: the places where two runs of the same length differ.
"""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from isobuilder.delta.methods import MOST_HELD, DeltaError
from isobuilder.delta.streams import numbers
from isobuilder.errors import IntegrityError
from isobuilder.formats.zstd import compressed, decompressed

_MOST_HELD = 400 * 1024 * 1024
"""Bytes of memory for a patch, which holds old and new twice each."""

QUICK, THOROUGH = 9, 19  # levels of zstd; the second takes thirty times as long

_STRETCH = 64 * 1024  # bytes that are compared at a time
_DIFFERENT = re.compile(rb"[^\0](?:\0{0,3}[^\0])*")
_MOST_EDITS = 200_000
_LONGEST = 10  # bytes of a number


@dataclass(frozen=True, slots=True)
class Whole:
    """The bytes themselves, packed."""

    number: int = 1
    name: str = "whole"

    def make(self, _old: bytes, new: bytes) -> bytes:
        """Return ``new``, packed."""
        return compressed(new, level=THOROUGH if len(new) < _STRETCH * 64 else QUICK)

    def apply(self, _old: bytes, delta: bytes, size: int) -> bytes:
        """Return the bytes; DeltaError if they are not ``size``, or damaged."""
        return _unpacked(delta, size)


@dataclass(frozen=True, slots=True)
class ZstdPatch:
    """What zstd finds again in the old bytes, and the rest."""

    number: int = 2
    name: str = "patch"
    level: int = THOROUGH  # only for making

    def make(self, old: bytes, new: bytes) -> bytes | None:
        """Return the patch; None if it would take too much memory to apply."""
        if not old or 2 * (len(old) + len(new)) > _MOST_HELD:
            return None
        return compressed(new, old=old, level=self.level)

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return the bytes; DeltaError if the patch is of others, or damaged."""
        if 2 * (len(old) + size) > _MOST_HELD:
            raise DeltaError(f"a patch of {len(old)} to {size} bytes would take too much memory")
        return _unpacked(delta, size, old)


@dataclass(frozen=True, slots=True)
class Edits:
    """Where two runs of the same length differ: for what was built again with little changed.

    All gaps between differences and their lengths, as numbers, then all differing bytes, packed
    together. A number is seven bits a byte, the lowest first, the eighth says that more follow.
    """

    number: int = 3
    name: str = "edits"

    def make(self, old: bytes, new: bytes) -> bytes | None:
        """Return the differences; None if lengths differ, or there are many."""
        if len(old) != len(new):
            return None
        told, values = bytearray(), bytearray()
        count = end = 0
        for start, changed in _edits(old, new):
            told += numbers((start - end, len(changed)))
            values += changed
            end = start + len(changed)
            count += 1
            if count > _MOST_EDITS:
                return None
        plain = numbers((count,)) + told + values
        delta = numbers((len(plain),)) + compressed(plain)
        return delta if _held(old, delta, len(plain)) <= MOST_HELD else None

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return the bytes; DeltaError if the differences are of others, or damaged."""
        if len(old) != size:
            raise DeltaError(f"edits of {size} bytes for {len(old)}")
        length, at = _read(delta, 0)
        if length > 2 * _LONGEST * _MOST_EDITS + size:
            raise DeltaError(f"edits of {length} bytes for {size}")
        if _held(old, delta, length) > MOST_HELD:
            raise DeltaError(f"edits of {length} bytes for {size} would take too much memory")
        plain = _unpacked(memoryview(delta)[at:], length)
        count, at = _read(plain, 0)
        if count > _MOST_EDITS:
            raise DeltaError(f"{count} edits, at most {_MOST_EDITS}")
        starts, longs = array("Q"), array("Q")
        position = 0
        for _ in range(count):
            gap, at = _read(plain, at)
            long, at = _read(plain, at)
            if position + gap + long > size:
                raise DeltaError("edits that reach behind the end")
            starts.append(position + gap)
            longs.append(long)
            position += gap + long
        if at + sum(longs) != len(plain):
            raise DeltaError("edits that reach behind the end")
        made, values = io.BytesIO(old), memoryview(plain)  # which give their bytes without a copy
        for start, long in zip(starts, longs, strict=True):
            made.seek(start)
            made.write(values[at : at + long])
            at += long
        return made.getvalue()


def _held(old: bytes, delta: bytes, plain: int) -> int:
    """Return the bytes of memory that edits take: the new bytes are as many as the old ones."""
    return 2 * len(old) + len(delta) + plain


def _edits(old: bytes, new: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(new), _STRETCH):
        before, after = old[at : at + _STRETCH], new[at : at + _STRETCH]
        if before == after:
            continue
        changed = int.from_bytes(before, "big") ^ int.from_bytes(after, "big")
        for found in _DIFFERENT.finditer(changed.to_bytes(len(after), "big")):
            yield at + found.start(), after[found.start() : found.end()]


def _read(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + _LONGEST]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise DeltaError("damaged: a number without end")


def _unpacked(delta: bytes | memoryview, size: int, old: bytes = b"") -> bytes:
    try:
        return decompressed(delta, size, old=old)
    except IntegrityError as error:
        raise DeltaError(error.lines[0]) from error
