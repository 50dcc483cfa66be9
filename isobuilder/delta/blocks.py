"""Blocks that were compressed one by one, as file systems have them: unpacked, and made again.

Method 30 unpacks blocks in a row to what they hold together; 31 makes blocks of that again, bit for
bit, with our model of zlib or the library where that is zlib. Both are frozen. What each carries
are numbers of seven bits a byte, the lowest first, the eighth says that more follow:

30: how they are compressed (1 zlib, 2 zstd, 3 xz), the most bytes that one unpacks to, then for
each block twice its size as it lies there, and 1 more if it is not compressed.

31: 1 for zlib, its level, bits of the window and memory level, then for each block twice the size
of what it holds, and 1 more if it is not compressed. A block is a stream of RFC 1950.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isobuilder.delta.deflate.models import encoder_of
from isobuilder.delta.deflate.recipe import Compressor, Making
from isobuilder.delta.methods import DeltaError
from isobuilder.delta.streams import numbers
from isobuilder.errors import IntegrityError
from isobuilder.formats.squashfs import Block, Packing, unpacked_block

_MOST_BLOCK = 1024 * 1024
"""Bytes that a block unpacks to."""

MOST_BLOCKS = 200_000
"""Blocks of one piece."""

UNBLOCKED, BLOCKED = 30, 31

_PACKINGS: dict[int, Packing] = {1: "gzip", 2: "zstd", 3: "xz"}
_NUMBERS = {packing: number for number, packing in _PACKINGS.items()}
_ZLIB = 1
_LEVEL, _WINDOW, _MEMORY = 9, 15, 8  # as squashfs-tools have it when they are told nothing
_METHOD = 8  # deflate, in the head of a stream
_LONGEST = 5  # bytes of a number


@dataclass(frozen=True, slots=True)
class Unblocked:
    """What blocks in a row hold together. ``blocks`` and ``packing`` are only for making."""

    blocks: Sequence[Block] = ()
    packing: Packing = "gzip"
    number: int = UNBLOCKED
    name: str = "unblocked"

    def make(self, _old: bytes, _new: bytes) -> bytes | None:
        """Return how to unpack the blocks that it was made for; None if it was for none."""
        if not 0 < len(self.blocks) <= MOST_BLOCKS:
            return None
        told = [_NUMBERS[self.packing], max(block.size for block in self.blocks)]
        told += [block.packed << 1 | block.plain for block in self.blocks]
        return numbers(told)

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return what the blocks hold; DeltaError if they are others, or damaged."""
        told = _numbers(delta)
        packing, most = _PACKINGS.get(next(told, 0)), next(told, 0)
        if packing is None or most > _MOST_BLOCK:
            raise DeltaError("blocks that nobody here can unpack")
        made = io.BytesIO()  # which gives its bytes without a copy
        at = 0
        for word in told:
            data = old[at : at + (word >> 1)]
            at += word >> 1
            try:
                made.write(data if word & 1 else unpacked_block(data, packing, most))
            except IntegrityError as error:
                raise DeltaError(error.lines[0]) from error
            if made.tell() > size:
                break
        if at != len(old) or made.tell() != size:
            raise DeltaError(f"blocks of {at} bytes unpack to {made.tell()}, expected {size}")
        return made.getvalue()


@dataclass(frozen=True, slots=True)
class Blocked:
    """Blocks in a row, of what they hold. ``blocks`` is only for making."""

    blocks: Sequence[Block] = ()
    number: int = BLOCKED
    name: str = "blocks"

    def make(self, old: bytes, new: bytes) -> bytes | None:
        """Return how ``new`` was compressed; None if not as squashfs-tools do with gzip."""
        if not 0 < len(self.blocks) <= MOST_BLOCKS:
            return None
        at = place = 0
        for block in self.blocks:
            data = old[at : at + block.size]
            if (data if block.plain else _zlib(data, *_USUAL)) != new[place : place + block.packed]:
                return None
            at, place = at + block.size, place + block.packed
        told = [_ZLIB, *_USUAL, *(block.size << 1 | block.plain for block in self.blocks)]
        return numbers(told)

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return the blocks; DeltaError if this is for something else, or damaged."""
        told = _numbers(delta)
        if next(told, 0) != _ZLIB:
            raise DeltaError("blocks that nobody here can compress")
        level, window, memory = next(told, 0), next(told, 0), next(told, 0)
        made = io.BytesIO()  # which gives its bytes without a copy
        at = 0
        for word in told:
            data = old[at : at + (word >> 1)]
            at += word >> 1
            if len(data) > _MOST_BLOCK:
                raise DeltaError(f"a block of {len(data)} bytes, at most {_MOST_BLOCK}")
            made.write(data if word & 1 else _zlib(data, level, window, memory))
            if made.tell() > size:
                break
        if at != len(old) or made.tell() != size:
            raise DeltaError(f"blocks of {at} bytes become {made.tell()}, expected {size}")
        return made.getvalue()


_USUAL = (_LEVEL, _WINDOW, _MEMORY)


def _zlib(data: bytes, level: int, window: int, memory: int) -> bytes:
    """Return what zlib compresses ``data`` to.

    Raises:
        DeltaError: zlib has no such parameters.
    """
    encoder = encoder_of(Making(Compressor.ZLIB, (level, memory, window, 0)))
    # RFC 1950, 2.2; zlib 1.3.1, deflate.c: what it says of the level.
    kind = 0 if level < 2 else 1 if level < 6 else 2 if level == 6 else 3
    head = (window - 8) << 12 | _METHOD << 8 | kind << 6
    head += 31 - head % 31
    body = encoder.feed(data) + encoder.finish()
    return head.to_bytes(2, "big") + body + zlib.adler32(data).to_bytes(4, "big")


def _numbers(data: bytes) -> Iterator[int]:
    """Give the numbers of ``data``; DeltaError if there are too many, or one has no end."""
    value = bits = count = 0
    for byte in data:
        value |= (byte & 0x7F) << bits
        bits += 7
        if byte < 0x80:
            yield value
            value = bits = 0
            count += 1
            if count > MOST_BLOCKS + 4:
                raise DeltaError(f"more than {MOST_BLOCKS} blocks")
        elif bits >= 7 * _LONGEST:
            raise DeltaError("damaged: a number without end")
    if bits:
        raise DeltaError("damaged: a number without end")
