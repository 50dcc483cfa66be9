"""Method 4, for any bytes: pieces of the old ones in another order, and what is added to them.

What is added tells a program that was built again in few bytes, for where many addresses moved by
the same distance, the same number is added again and again. Source of the thought and, by way of
the library bsdiff4, of the search: C. Percival, "Naive differences of executable code" (2003).
docs/deltas.md has the format; it is frozen.
"""

from __future__ import annotations

import bz2
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from isobuilder.delta import borrowed, streams
from isobuilder.delta.borrowed import Borrowed
from isobuilder.delta.methods import MOST_HELD, DeltaError

MOST_SEARCHED = 64 * 1024 * 1024
"""Old bytes of which pieces are looked for, which takes seventeen times as much memory."""

_MOST_HELD = 200 * 1000 * 1000  # bytes of old and new together
_CHECK = 8  # bytes of the SHA-256 of the new bytes
_MARKED, _ALL = 0, 1  # forms: blocks are marked and told, or all bytes are told
_BLOCK = 32  # bytes to which something is added, or nothing
_STRETCH = 64 * 1024  # bytes that are added at a time
_SET = re.compile("1+")
_BSDIFF = struct.Struct("<8sQQQ")  # magic, sizes of the packed control and differences, of new
_CONTROL = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class Sums:
    """The method for what is neither a program of Go nor nearly the same."""

    number: int = 4
    name: str = "sums"

    def make(self, old: bytes, new: bytes) -> bytes | None:
        """Return a delta; None where bsdiff4 is not installed, or it would take much memory."""
        if not old or not new or len(old) > MOST_SEARCHED or len(old) + len(new) > _MOST_HELD:
            return None
        if find_spec("bsdiff4") is None:
            return None
        library: Any = import_module("bsdiff4")
        pieces = list(_pieces(library.diff(old, new)))
        gaps = list(_gaps(pieces, len(new)))
        literals = b"".join(new[start : start + size] for start, size in gaps)
        differ = _differences(_copied(old, pieces, gaps, literals, len(new)), new)
        parts = (borrowed.written(pieces), literals, *_marked(differ))
        first = streams.packed(parts[:2])
        ways = (
            bytes([_MARKED]) + streams.packed(parts),
            bytes([_ALL]) + len(first).to_bytes(4, "little") + first + bz2.compress(differ),
        )
        return sha256(new).digest()[:_CHECK] + min(ways, key=len)

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return the bytes; DeltaError if the delta is damaged, or of others."""
        # What isobuilder makes stays below: old bytes of 64 MiB, new ones of 100, a delta of them.
        held = len(old) + len(delta) + 3 * size
        if len(old) + size > _MOST_HELD or held > MOST_HELD:
            raise DeltaError(f"sums of {len(old)} to {size} bytes would take too much memory")
        told, literals, marks, sums = _unpacked(delta, size)
        if len(told) > size // 64 + 16384:
            raise DeltaError("the delta has more pieces than it may")
        pieces = list(borrowed.read(told, len(old), size))
        gaps = list(_gaps(pieces, size))
        if sum(length for _, length in gaps) != len(literals):
            raise DeltaError("the delta tells more or fewer bytes than it shall")
        made = _copied(old, pieces, gaps, literals, size)
        del literals
        _add(made, marks, sums)
        del marks, sums
        new = bytes(made)
        if sha256(new).digest()[:_CHECK] != delta[:_CHECK]:
            raise DeltaError("the delta makes something else of this: it is damaged or of others")
        return new


def _pieces(patch: bytes) -> Iterator[Borrowed]:
    """Give the pieces of a patch of bsdiff 4; source of the format: its ``bspatch.c``."""
    _, control, _, _ = _BSDIFF.unpack_from(patch)
    source = target = 0
    for row in _CONTROL.iter_unpack(bz2.decompress(patch[_BSDIFF.size :][:control])):
        # A number is its size, with a bit that says that it is negative.
        size, gap, step = (-(n & (1 << 63) - 1) if n >> 63 else n for n in row)
        if size:
            yield Borrowed(source, target, size)
        source, target = source + size + step, target + size + gap


def _gaps(pieces: list[Borrowed], size: int) -> Iterator[tuple[int, int]]:
    """Give the beginnings and sizes of what is in no piece."""
    at = 0
    for piece in pieces:
        if piece.target > at:
            yield at, piece.target - at
        at = piece.target + piece.size
    if size > at:
        yield at, size - at


def _copied(
    old: bytes, pieces: list[Borrowed], gaps: list[tuple[int, int]], literals: bytes, size: int
) -> bytearray:
    made = bytearray(size)
    source = memoryview(old)
    for piece in pieces:
        made[piece.target : piece.target + piece.size] = source[piece.source :][: piece.size]
    at = 0
    for start, length in gaps:
        made[start : start + length] = literals[at : at + length]
        at += length
    return made


def _blocks(size: int) -> int:
    return -(-size // _BLOCK)


def _differences(guess: bytearray, new: bytes) -> bytes:
    """Return what is added to each byte."""
    parts = []
    for at in range(0, len(new), _STRETCH):
        before, after = guess[at : at + _STRETCH], new[at : at + _STRETCH]
        parts.append(bytes(len(after)) if before == after else _subtracted(after, before))
    return b"".join(parts)


def _marked(differ: bytes) -> tuple[bytes, bytes]:
    """Return a bit for each block, the first the highest, and what is added to those that are 1."""
    bits: list[str] = []
    sums = bytearray()
    nothing = bytes(_BLOCK)
    for at in range(0, len(differ), _BLOCK):
        block = differ[at : at + _BLOCK].ljust(_BLOCK, b"\0")
        bits.append("0" if block == nothing else "1")
        if block != nothing:
            sums += block
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big"), bytes(sums)


def _unpacked(data: bytes, size: int) -> list[bytes]:
    """Return what is told of pieces, literals, the marks of blocks, what is added to them."""
    limit = size + size // 8 + 65536
    form, begin = data[_CHECK : _CHECK + 1], _CHECK + 1
    if form == bytes([_MARKED]):
        told, literals, marks, sums = streams.unpacked(data, 4, limit, begin=begin)
        if len(marks) != -(-_blocks(size) // 8):
            raise DeltaError("the delta marks blocks that there are not")
        return [told, literals, marks, sums]
    if form != bytes([_ALL]):
        raise DeltaError(f"sums of a form that there is not: {form.hex() or 'none'}")
    end = begin + 4 + int.from_bytes(data[begin : begin + 4], "little")
    told, literals = streams.unpacked(data[begin + 4 : end], 2, limit)
    try:
        tool = bz2.BZ2Decompressor()
        sums = tool.decompress(data[end:], max_length=size + 1)
    except (OSError, EOFError) as error:
        raise DeltaError("the delta is damaged") from error
    if len(sums) != size or not tool.eof or tool.unused_data:
        raise DeltaError(f"the delta adds to more or fewer than {size} bytes")
    count = _blocks(size)
    marks = ((1 << count) - 1 << -count % 8).to_bytes(-(-count // 8), "big")
    return [told, literals, marks, sums.ljust(count * _BLOCK, b"\0")]


def _add(made: bytearray, marks: bytes, sums: bytes) -> None:
    text = f"{int.from_bytes(marks, 'big'):0{8 * len(marks)}b}" if marks else ""
    if text.count("1") * _BLOCK != len(sums) or "1" in text[_blocks(len(made)) :]:
        raise DeltaError("the delta adds more or fewer bytes than it shall")
    at = 0
    for run in _SET.finditer(text):
        last = min(run.end() * _BLOCK, len(made))
        for start in range(run.start() * _BLOCK, last, _STRETCH):
            end = min(start + _STRETCH, last)
            made[start:end] = _added(made[start:end], sums[at : at + end - start])
            at += end - start
        at += -at % _BLOCK


def _added(one: bytes | bytearray, other: bytes) -> bytes:
    """Return the sums of bytes modulo 256, all at once: no carry leaves a byte."""
    size = len(one)
    low, high = (int.from_bytes(bytes([byte]) * size, "big") for byte in (0x7F, 0x80))
    a, b = int.from_bytes(one, "big"), int.from_bytes(other, "big")
    return ((a & low) + (b & low) ^ (a ^ b) & high).to_bytes(size, "big")


def _subtracted(one: bytes, other: bytes | bytearray) -> bytes:
    """Return the differences of bytes modulo 256, all at once."""
    size = len(one)
    low, high = (int.from_bytes(bytes([byte]) * size, "big") for byte in (0x7F, 0x80))
    a, b = int.from_bytes(one, "big"), int.from_bytes(other, "big")
    return ((a | high) - (b & low) ^ (a ^ b ^ high) & high).to_bytes(size, "big")
