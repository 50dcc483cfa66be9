"""Go from 1.27 on, at level 6, which is what programs get that ask for none.

Blocks of 65,535 bytes are searched with two tables, of four and of seven bytes, and what matched
last is tried again. The codes of a block are used for the next one where new ones would save too
little, so what is one block for the search may be a part of one in the file. Source: Go 1.27.3,
compress/flate/level6.go, deflate.go, token.go and huffman_bit_writer.go. Written anew, for the
same results.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from isobuilder.delta.deflate.bits import Bits, TokenPacking
from isobuilder.delta.deflate.blocks import (
    FIXED_CODES,
    STATIC,
    Dynamic,
    cost,
    extra_bits,
    go_codes,
)
from isobuilder.delta.deflate.matching import same_bytes
from isobuilder.delta.deflate.symbols import (
    DISTANCE_EXTRA,
    END,
    FIXED_DISTANCES,
    FIXED_LITERALS,
    LENGTH_EXTRA,
    LONGEST,
    WINDOW,
    codes_of,
)

BLOCK = 65535
"""Bytes of a block."""

_HISTORY = 5 * BLOCK  # bytes that are kept; when they are full, all but the window goes
_MARGIN = 11  # bytes before the end of a block, from where on no match begins
_FAR = -1 << 40
_WORD, _LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_LARGE = 1 << 40  # bits
_FEW = 250  # tokens of a block, below which the codes that every reader knows are thought of
_GUESS = 70 * 8  # bits of the head of a block without matches, before there was one
_PENALTY = 7  # new codes must save 1/128 beyond what they cost


class _RepeatingMatches:
    """Finds matches of four bytes and more; places are counted from the first byte."""

    def __init__(self) -> None:
        self._short = [_FAR] * (1 << 15)
        self._long = [_FAR] * (1 << 15)
        self._older = [_FAR] * (1 << 15)  # what was in the long table before
        self._history = b""
        self._start = 0  # of the history

    def forget(self) -> None:
        """Let no match reach what came so far."""
        self._start += len(self._history) + WINDOW
        self._history = b""

    def tokens(self, block: bytes) -> list[int]:
        """Return the tokens of ``block``, which follows those before; none if nothing matched."""
        if len(self._history) + len(block) > _HISTORY:
            self._start += len(self._history) - WINDOW
            self._history = self._history[-WINDOW:]
        place = emitted = len(self._history)
        data = self._history = self._history + block
        limit = len(data) - _MARGIN
        tokens: list[int] = []
        repeat = 1
        while (found := self._found(place, emitted, limit, repeat)) is not None:
            place, other, length, ahead = found
            place, other, length = self._better(place, other, length, limit)
            while other > 0 and place > emitted and data[other - 1] == data[place - 1]:
                place, other, length = place - 1, other - 1, length + 1
            tokens += data[emitted:place]
            repeat = place - other
            tokens += _match(length, repeat)
            emitted = place + length
            place = max(emitted, ahead + 1)
            self._insert(ahead + 1, len(data) - 8 if place >= limit else place - 1, place < limit)
            if place >= limit:
                break
        if tokens:
            tokens += data[emitted:]
        return tokens

    def _at(self, place: int) -> int:
        return int.from_bytes(self._history[place : place + 8], "little")

    def _same_four(self, other: int, value: int) -> bool:
        return int.from_bytes(self._history[other : other + 4], "little") == value & _WORD

    def _common(self, place: int, other: int, most: int = _HISTORY) -> int:
        """Return how many bytes are the same at both places."""
        data, found, step = self._history, 0, 32
        most = min(most, len(data) - place)
        while found < most:
            step = min(step, most - found)
            start, there = place + found, other + found
            same = same_bytes(data[start : start + step], data[there : there + step])
            found += same
            if same < step:
                break
            step *= 4
        return found

    def _limited(self, place: int, other: int) -> int:
        """Return how long a match is whose first four bytes are the same."""
        return 4 + self._common(place + 4, other + 4, LONGEST - 4)

    def _put(self, place: int, short: int, long: int) -> None:
        entry = place + self._start
        self._short[short] = entry
        self._older[long], self._long[long] = self._long[long], entry

    def _insert(self, first: int, end: int, every: bool) -> None:
        """Take places of a match down: every second one; with ``every``, all in the long table."""
        for place in range(first, end, 2):
            value = self._at(place)
            long = _long_hash(value)
            after = _long_hash(value >> 8)
            self._put(place, _short_hash(value), long)
            if every:
                entry = place + 1 + self._start
                self._older[after], self._long[after] = self._long[after], entry

    def _found(
        self, place: int, emitted: int, limit: int, repeat: int
    ) -> tuple[int, int, int, int] | None:
        """Return place, candidate, length if it is known, and the place that would come next."""
        ahead = place
        value = self._at(place)
        while True:
            place = ahead
            ahead = place + 1 + (place - emitted >> 7)
            if ahead > limit:
                return None
            short, long = _short_hash(value), _long_hash(value)
            near = self._short[short] - self._start
            far, older = self._long[long] - self._start, self._older[long] - self._start
            after = self._at(ahead)
            self._put(place, short, long)
            if place - far < WINDOW:
                if self._same_four(far, value):
                    self._put(ahead, _short_hash(after), _long_hash(after))
                    return place, *self._longer(place, far, older, value), ahead
                if place - older < WINDOW and self._same_four(older, value):
                    self._put(ahead, _short_hash(after), _long_hash(after))
                    return place, older, 0, ahead
            if place - near < WINDOW and self._same_four(near, value):
                return *self._nearby(place, near, ahead, repeat), ahead
            value = after

    def _longer(self, place: int, far: int, older: int, value: int) -> tuple[int, int]:
        if place - older < WINDOW and self._same_four(older, value):
            length, other = self._limited(place, far), self._limited(place, older)
            return (older, other) if other > length else (far, length)
        return far, 0

    def _nearby(self, place: int, near: int, ahead: int, repeat: int) -> tuple[int, int, int]:
        """Return the best of the match at ``place``, a repeated one behind it, and those ahead."""
        value, after = self._at(place), self._at(ahead)
        length = self._limited(place, near)
        long = _long_hash(after)
        candidates = (self._long[long] - self._start, self._older[long] - self._start)
        self._put(ahead, _short_hash(after), long)
        again = place + 1 - repeat
        if self._same_four(again, value >> 8):
            found = self._limited(place + 1, again)
            if found > length:
                return place + 1, again, found
        best = place, near, length
        for other in candidates:
            if ahead - other >= WINDOW:
                break
            if self._same_four(other, after):
                found = self._limited(ahead, other)
                if found > best[2]:
                    best = ahead, other, found
        return best

    def _better(self, place: int, other: int, length: int, limit: int) -> tuple[int, int, int]:
        """Return the whole match, or a longer one that ends where something known begins."""
        if length == 0:
            length = 4 + self._common(place + 4, other + 4)
        elif length == LONGEST:
            length += self._common(place + length, other + length)
        if place + length >= limit:
            return place, other, length
        long = _long_hash(self._at(place + length))
        start = place + 2
        for number, entry in enumerate((self._long[long], self._older[long])):
            before = entry - self._start - length + 2
            if start - before >= WINDOW:
                if number == 0:
                    break
                continue
            if start > before >= 0:
                found = self._common(start, before)
                if found > length:
                    place, other, length = start, before, found
        return place, other, length


class Go127Encoder:
    """Compresses as Go from 1.27 on does at level 6."""

    def __init__(self, packing: TokenPacking) -> None:
        self._packing = packing
        self._bits = Bits()
        self._matches = _RepeatingMatches()
        self._data = bytearray()
        self._codes: Dynamic | None = None  # of the block that is open
        self._plain = False  # they are of bytes only

    def feed(self, data: bytes) -> bytes:
        """Return what can be written once ``data`` came too."""
        self._data += data
        out = []
        while len(self._data) > BLOCK:
            self._write(bytes(self._data[:BLOCK]), flush=False)
            del self._data[:BLOCK]
            out.append(self._bits.take())
        return b"".join(out)

    def join(self) -> bytes:
        """Return what makes everything so far readable."""
        self._flush()
        self._stored(b"")
        return self._bits.take()

    def finish(self) -> bytes:
        """Return the rest."""
        self._flush()
        self._end_block()
        self._bits.put(STATIC + 1, 10)
        self._bits.align()
        return self._bits.take()

    def _flush(self) -> None:
        block = bytes(self._data)
        self._data.clear()
        if len(block) >= 128:
            self._write(block, flush=True)
        elif block:
            if len(block) <= 32:
                self._stored(block)
            else:
                self._write_plain(block, flush=True)
            self._matches.forget()

    def _write(self, block: bytes, *, flush: bool) -> None:
        tokens = self._matches.tokens(block)
        if not tokens:
            self._stored(block)
        elif len(tokens) > len(block) - (len(block) >> 4):
            self._write_plain(block, flush=flush)
        else:
            self._write_tokens(tokens, block, flush=flush)

    def _stored(self, block: bytes) -> None:
        self._end_block()
        self._bits.stored(block)

    def _end_block(self) -> None:
        """End the block that is open."""
        if self._codes is not None:
            self._bits.put(*codes_of(self._codes.literals)[END])
            self._codes = None

    def _tokens(self, tokens: Sequence[int], codes: Dynamic) -> None:
        """Write tokens without the end of a block."""
        literals, distances = codes_of(codes.literals), codes_of(codes.distances)
        value, bits = self._packing.packed(tokens, literals, distances)
        bits -= codes.literals[END]
        self._bits.put(value & (1 << bits) - 1, bits)

    def _write_tokens(self, tokens: list[int], block: bytes, *, flush: bool) -> None:
        literals, distances = self._packing.frequencies(tokens)
        count = len(tokens) + flush
        extra = extra_bits(literals, distances)
        if self._codes is not None and (
            self._plain
            or not _fits(self._codes.literals, literals)
            or not _fits(self._codes.distances, distances)
        ):
            self._end_block()
        if not any(distances):
            distances[0] = 1
        known = extra + 3 + cost(literals, FIXED_LITERALS) + cost(distances, FIXED_DISTANCES)
        if count >= _FEW:
            known = _LARGE
        if (codes := self._codes) is not None:
            new = codes.head + _estimated(literals, distances, count)
            new += codes.literals[END] + (new >> _PENALTY)
            size = cost(literals, codes.literals) + cost(distances, codes.distances) + extra
            if new < size:
                self._end_block()
                size = new
            if self._otherwise(tokens, block, size, known=known + 7 < size):
                return
        if self._codes is None:
            codes = go_codes(literals, distances)
            size = codes.head + extra
            size += cost(literals, codes.literals) + cost(distances, codes.distances)
            if self._otherwise(tokens, block, min(known, size), known=known <= size):
                return
            codes.write(self._bits, 0)
            self._codes, self._plain = codes, False
        if codes is not None:
            self._tokens(tokens, codes)
        if flush:
            self._end_block()

    def _otherwise(self, tokens: Sequence[int], block: bytes, size: int, *, known: bool) -> bool:
        """Return whether the block was better written in another form than with codes of its own.

        As it is, if that takes no more than ``size`` bits; else, if ``known``, in the codes that
        every reader knows.
        """
        if 8 * (len(block) + 5) <= size:
            self._stored(block)
        elif known:
            self._end_block()
            self._bits.put(STATIC, 3)
            self._bits.put(*self._packing.packed(tokens, *FIXED_CODES))
        else:
            return False
        return True

    def _write_plain(self, block: bytes, *, flush: bool) -> None:
        """Write a block without matches."""
        if len(block) > 1024 and _is_noise(block):
            self._stored(block)
            return
        literals, distances = self._packing.frequencies(block)
        distances[0] = 1
        new = go_codes(literals, distances)
        estimate = cost(literals, new.literals)
        estimate += _GUESS if self._codes is None else self._codes.head
        estimate += estimate >> _PENALTY
        if 8 * (len(block) + 5) <= estimate:
            self._stored(block)
            return
        if self._codes is not None:
            literals[END] = 0
            fits = _fits(self._codes.literals, literals)
            if not fits or estimate < cost(literals, self._codes.literals):
                self._end_block()
        if self._codes is None:
            new.write(self._bits, 0)
            self._codes, self._plain = new, True
        self._tokens(block, self._codes)
        if flush:
            self._end_block()
            self._plain = False


def _short_hash(value: int) -> int:
    return (value & _WORD) * 2654435761 % (1 << 32) >> 17


def _long_hash(value: int) -> int:
    return (value << 8 & _LONG) * 58295818150454627 % (1 << 64) >> 49


def _match(length: int, distance: int) -> list[int]:
    """Return the tokens of a match of any length; the last one has three bytes at least."""
    tokens = []
    while length > 0:
        taken = length if length <= LONGEST else LONGEST if length > LONGEST + 3 else LONGEST - 3
        tokens.append(taken << 16 | distance)
        length -= taken
    return tokens


def _fits(lengths: Sequence[int], frequencies: Sequence[int]) -> bool:
    """Return whether there is a code for everything that occurs."""
    known = len(lengths)
    return not any(
        count and (symbol >= known or not lengths[symbol])
        for symbol, count in enumerate(frequencies)
    )


def _is_noise(block: bytes) -> bool:
    average, most = len(block) / 256, 2 * len(block)
    spread = 0.0
    for byte in range(256):
        spread += (block.count(byte) - average) ** 2
        if spread >= most:
            return False
    return True


def _estimated(literals: Sequence[int], distances: Sequence[int], count: int) -> int:
    """Return the bits that the tokens need at least, in numbers of single precision."""
    total = _single(0.0)
    share = _single(1 / count)
    for frequency in literals[:END]:
        if frequency:
            total = _single(total + _single(_bits(_single(frequency * share)) * frequency))
    total = _single(total + 15)
    matches = 0
    for frequency in literals[END + 1 :]:
        if frequency:
            total = _single(total + _single(_bits(_single(frequency * share)) * frequency))
            matches += frequency
    if matches:
        share = _single(1 / matches)
        for frequency in distances:
            if frequency:
                total = _single(total + _single(_bits(_single(frequency * share)) * frequency))
    return int(total) + cost(literals[END + 1 :], LENGTH_EXTRA) + cost(distances, DISTANCE_EXTRA)


def _single(value: float) -> float:
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


def _bits(share: float) -> float:
    """Return what a symbol of this share costs, 1 to 15 bits: an approximation of its logarithm."""
    (pattern,) = struct.unpack("<i", struct.pack("<f", share))
    whole = float((pattern >> 23 & 255) - 128)
    (rest,) = struct.unpack("<f", struct.pack("<i", (pattern & 0x007FFFFF) + (127 << 23)))
    part = _single(_single(_single(-0.34484843) * rest) + _single(2.02466578))
    part = _single(_single(part * rest) - _single(0.67487759))
    return min(15.0, max(1.0, -_single(whole + part)))
