"""Numbers and bytes as methods write them into a delta: what these lines read never changes."""

from __future__ import annotations

import lzma
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

from isobuilder.delta.methods import DeltaError

_LONGEST = 10  # bytes of a number
_LARGEST = (1 << 63) - 1
_PLAIN = 0
_DICTIONARY = 1 << 23  # bytes that LZMA looks back; it decides what unpacking needs of memory
# Of lc, lp and pb: what a stream is best compressed by differs, and trying costs little.
_SHAPES = ((3, 0, 0), (0, 0, 0), (4, 0, 0), (2, 0, 2), (0, 2, 2), (3, 0, 2), (1, 0, 0), (8, 0, 0))


def numbers(values: Iterable[int]) -> bytes:
    """Write numbers from 0 on: seven bits a byte, the lowest first, the top bit if more follow."""
    made = bytearray()
    for value in values:
        rest = value
        while rest > 127:
            made.append(rest & 127 | 128)
            rest >>= 7
        made.append(rest)
    return bytes(made)


def signed(values: Iterable[int]) -> bytes:
    """Write numbers of either sign: 0, -1, 1, -2 ... are 0, 1, 2, 3 ..."""
    return numbers(value << 1 if value >= 0 else (-value << 1) - 1 for value in values)


def steps(values: Sequence[int]) -> list[int]:
    """Return the first of ``values``, and each other one's distance to the one before."""
    return [b - a for a, b in zip([0, *values], values, strict=False)]


def read_numbers(data: bytes) -> array[int]:
    """Return what ``numbers`` wrote, in eight bytes of memory each.

    Raises:
        DeltaError: a number is longer than any that is written, or cut off.
    """
    found = array("q")
    value = shift = 0
    for byte in data:
        value |= (byte & 127) << shift
        if byte < 128:
            if value > _LARGEST:
                raise DeltaError("a number in the delta is too long")
            found.append(value)
            value = shift = 0
        else:
            shift += 7
            if shift >= 7 * _LONGEST:
                raise DeltaError("a number in the delta is too long")
    if shift:
        raise DeltaError("a number in the delta is cut off")
    return found


def read_signed(data: bytes) -> array[int]:
    """Return what ``signed`` wrote."""
    return array("q", (value >> 1 ^ -(value & 1) for value in read_numbers(data)))


def summed(values: Iterable[int]) -> array[int]:
    """Undo ``steps``.

    Raises:
        DeltaError: they lead further than any number that is written.
    """
    try:
        return array("q", accumulate(values))
    except OverflowError as error:
        raise DeltaError("numbers in the delta add up to too much") from error


def _filters(lc: int, lp: int, pb: int) -> list[dict[str, int]]:
    return [
        {
            "id": lzma.FILTER_LZMA1,
            "preset": 9 | lzma.PRESET_EXTREME,
            "dict_size": _DICTIONARY,
            "lc": lc,
            "lp": lp,
            "pb": pb,
        }
    ]


def packed(streams: Iterable[bytes]) -> bytes:
    """Write streams one behind the other, each as small as it can be made."""
    return b"".join(_packed(stream) for stream in streams)


def _packed(data: bytes) -> bytes:
    best, kind = data, _PLAIN
    for shape in _SHAPES:
        lc, lp, pb = shape
        if lc + lp > 4:
            continue
        tried = lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(*shape))
        if len(tried) < len(best):
            best, kind = tried, 1 + lc + 5 * (lp + 5 * pb)
    if kind == _PLAIN:
        return numbers([_PLAIN, len(data)]) + data
    return numbers([kind, len(data), len(best)]) + best


def unpacked(data: bytes, count: int, limit: int, *, begin: int = 0) -> list[bytes]:
    """Return ``count`` streams of together at most ``limit`` bytes, from ``begin`` on.

    Raises:
        DeltaError: damaged, or more than that.
    """
    found: list[bytes] = []
    at = begin
    for _ in range(count):
        kind, at = _number(data, at)
        size, at = _number(data, at)
        limit -= size
        if limit < 0:
            raise DeltaError("the delta unpacks to more than it may")
        if kind == _PLAIN:
            found.append(data[at : at + size])
            at += size
        else:
            length, at = _number(data, at)
            found.append(_decompressed(data[at : at + length], kind - 1, size))
            at += length
        if len(found[-1]) != size or at > len(data):
            raise DeltaError("the delta is cut off")
    if at != len(data):
        raise DeltaError("the delta does not end where its parts do")
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[at : at + _LONGEST]:
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise DeltaError("the delta is cut off")


def _decompressed(data: bytes, kind: int, size: int) -> bytes:
    lc, lp, pb = kind % 5, kind // 5 % 5, kind // 25
    if lc + lp > 4 or pb > 4:
        raise DeltaError(f"the delta has a stream of kind {kind + 1}, which there is not")
    try:
        tool = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_filters(lc, lp, pb))
        return tool.decompress(data, max_length=size)
    except lzma.LZMAError as error:
        raise DeltaError("the delta is damaged") from error
