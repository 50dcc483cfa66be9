"""Go's other ways up to 1.26: level 1, which looks at one candidate, and levels without a search.

All take blocks of 65,535 bytes. Source: Go 1.26, compress/flate/deflatefast.go and deflate.go.
Written anew, for the same results.
"""

from __future__ import annotations

from isobuilder.delta.deflate.bits import Bits, TokenPacking
from isobuilder.delta.deflate.blocks import write_go_quick_block
from isobuilder.delta.deflate.matching import same_bytes
from isobuilder.delta.deflate.symbols import LONGEST, WINDOW

BLOCK = 65535
"""Bytes of a block."""

_MARGIN = 15  # bytes before the end of a block, from where on no match begins
_FAR = -1 << 40


class _QuickMatches:
    """Finds matches of four bytes and more, of which the newest place of each hash is tried."""

    def __init__(self) -> None:
        self._places = [_FAR] * (1 << 14)
        self._values = [0] * (1 << 14)
        self._start = 0  # of the block, counted from the first
        self._before = b""  # the block before, as far as matches may go into it

    def forget(self) -> None:
        """Let no match reach what came so far."""
        self._before = b""
        self._start += WINDOW

    def tokens(self, block: bytes) -> list[int]:
        """Return the tokens of ``block``, which follows those before."""
        tokens: list[int] = []
        emitted = place = 0
        while (found := self._next(block, place)) is not None:
            place, distance = found
            tokens += block[emitted:place]
            while distance:
                length = 4 + self._more(block, place + 4, place + 4 - distance)
                tokens.append(length << 16 | distance)
                place += length
                if place >= len(block) - _MARGIN:
                    distance = 0
                else:
                    self._try(block, place - 1)
                    distance = self._try(block, place)
            emitted = place
            if place >= len(block) - _MARGIN:
                break
            place += 1
        tokens += block[emitted:]
        self._start += len(block)
        self._before = block
        return tokens

    def _try(self, block: bytes, place: int) -> int:
        """Take the next four bytes down; return the distance to where they were before, or 0."""
        value = int.from_bytes(block[place : place + 4], "little")
        slot = (value * 0x1E35A7BD & 0xFFFFFFFF) >> 18
        distance = self._start + place - self._places[slot]
        same = distance <= WINDOW and self._values[slot] == value
        self._places[slot], self._values[slot] = self._start + place, value
        return distance if same else 0

    def _next(self, block: bytes, place: int) -> tuple[int, int] | None:
        """Return the next place with a match and its distance, looking ever more seldom."""
        skip = 32
        while True:
            step = skip >> 5
            skip += step
            if place + step > len(block) - _MARGIN:
                return None
            distance = self._try(block, place)
            if distance:
                return place, distance
            place += step

    def _more(self, block: bytes, place: int, other: int) -> int:
        """Return how many bytes are the same at both places; ``other`` may be in the block before.

        What was longer ago than that block is not there any more, and counts as different.
        """
        limit = min(LONGEST - 4, len(block) - place)
        back = max(0, -other)
        if back > len(self._before):
            return 0
        start = len(self._before) - back
        there = self._before[start : start + min(back, limit)]
        start = max(0, other)
        there += block[start : start + limit - len(there)]
        return same_bytes(there, block[place : place + limit])


class QuickEncoder:
    """Compresses as Go does at level 1, without a search (-2), or not at all (0)."""

    def __init__(self, level: int, packing: TokenPacking) -> None:
        self._level = level
        self._packing = packing
        self._bits = Bits()
        self._matches = _QuickMatches()
        self._data = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Return what can be written once ``data`` came too."""
        self._data += data
        while len(self._data) > BLOCK:
            self._write(bytes(self._data[:BLOCK]))
            del self._data[:BLOCK]
        return self._bits.take()

    def join(self) -> bytes:
        """Return what makes everything so far readable."""
        return self._flush(0)

    def finish(self) -> bytes:
        """Return the rest."""
        return self._flush(1)

    def _flush(self, last: int) -> bytes:
        if self._data:
            self._write(bytes(self._data))
            self._data.clear()
        self._bits.stored(b"", last)
        return self._bits.take()

    def _write(self, block: bytes) -> None:
        if self._level == 0:
            self._bits.stored(block)
            return
        tokens = list(block)
        if self._level == 1 and len(block) < 128:
            self._matches.forget()
            if len(block) <= 16:
                self._bits.stored(block)
                return
        elif self._level == 1:
            found = self._matches.tokens(block)
            if len(found) <= len(block) - (len(block) >> 4):
                tokens = found
        write_go_quick_block(self._bits, self._packing, tokens, block)
