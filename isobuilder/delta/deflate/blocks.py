"""A block of tokens -> bits, in the form of the three that Go's or zlib's compressor chooses.

Sources: RFC 1951, 3.2.3 to 3.2.7; Go 1.26, compress/flate/huffman_bit_writer.go; zlib 1.3.1,
trees.c. Written anew, for the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from isobuilder.delta.deflate.bits import Bits, TokenPacking
from isobuilder.delta.deflate.huffman import go_lengths, zlib_lengths
from isobuilder.delta.deflate.symbols import (
    CODE_ORDER,
    DISTANCE_EXTRA,
    END,
    FIXED_DISTANCES,
    FIXED_LITERALS,
    LENGTH_EXTRA,
    codes_of,
)

FIXED_CODES = (codes_of(FIXED_LITERALS), codes_of(FIXED_DISTANCES))
STATIC, _DYNAMIC = 2, 4  # the type of a block, above the bit of the last one
_REPEAT = {16: (3, 2), 17: (3, 3), 18: (11, 7)}  # of a run: its shortest, bits for what it is over

Item = tuple[int, int]
"""Of a list of code lengths: a symbol, and how long the run is, where it is one."""

Lengths = Callable[[Sequence[int], int], list[int]]
"""Frequencies and the longest code allowed -> code lengths."""


class Dynamic:
    """The codes of a block that brings its own, and what it costs in bits to bring them."""

    def __init__(
        self,
        literals: list[int],
        distances: list[int],
        items: list[Item],
        lengths: Lengths,
    ) -> None:
        """Take the lengths of both codes, and these as runs."""
        self.literals, self.distances, self._items = literals, distances, items
        frequencies = [0] * 19
        for symbol, _ in items:
            frequencies[symbol] += 1
        self._lengths = lengths(frequencies, 7)
        used = [place for place, symbol in enumerate(CODE_ORDER) if self._lengths[symbol]]
        self._count = max(4, used[-1] + 1)
        self.head = 17 + 3 * self._count + cost(frequencies, self._lengths)
        self.head += sum(frequencies[symbol] * bits for symbol, (_, bits) in _REPEAT.items())

    def write(self, bits: Bits, last: int) -> None:
        """Write everything that comes before the tokens."""
        bits.put(_DYNAMIC + last, 3)
        bits.put(len(self.literals) - 257, 5)
        bits.put(len(self.distances) - 1, 5)
        bits.put(self._count - 4, 4)
        for symbol in CODE_ORDER[: self._count]:
            bits.put(self._lengths[symbol], 3)
        codes = codes_of(self._lengths)
        for symbol, run in self._items:
            bits.put(*codes[symbol])
            if symbol in _REPEAT:
                shortest, extra = _REPEAT[symbol]
                bits.put(run - shortest, extra)


def write_go_block(
    bits: Bits, packing: TokenPacking, tokens: Sequence[int], data: bytes | None
) -> None:
    """Write a block as Go up to 1.26 does at levels 2 to 9; ``data`` is None if it is too long."""
    literals, distances = packing.frequencies(tokens)
    if not any(distances):
        distances[0] = 1
    own = go_codes(literals, distances)
    storable = data is not None and len(data) <= 0xFFFF
    extra = extra_bits(literals, distances) if storable else 0
    static = 3 + cost(literals, FIXED_LITERALS) + cost(distances, FIXED_DISTANCES) + extra
    dynamic = own.head + cost(literals, own.literals) + cost(distances, own.distances) + extra
    if data is not None and storable and 8 * (len(data) + 5) < min(static, dynamic):
        bits.stored(data)
    elif dynamic < static:
        _write_dynamic(bits, packing, tokens, own)
    else:
        bits.put(STATIC, 3)
        bits.put(*packing.packed(tokens, *FIXED_CODES))


def write_go_quick_block(
    bits: Bits, packing: TokenPacking, tokens: Sequence[int], data: bytes
) -> None:
    """Write a block as Go up to 1.26 does at level 1: as it is if that is hardly longer."""
    literals, distances = packing.frequencies(tokens)
    if not any(distances):
        distances[0] = 1
    own = go_codes(literals, distances)
    size = own.head + cost(literals, own.literals) + cost(distances, own.distances)
    if 8 * (len(data) + 5) < size + (size >> 4):
        bits.stored(data)
    else:
        _write_dynamic(bits, packing, tokens, own)


def write_zlib_block(
    bits: Bits, packing: TokenPacking, tokens: Sequence[int], data: bytes | None, last: int
) -> None:
    """Write a block as zlib does; ``data`` is None if its begin left the window."""
    literals, distances = packing.frequencies(tokens)
    literal_lengths = _trimmed(zlib_lengths(literals, 15))
    distance_lengths = _trimmed(zlib_lengths(distances, 15))
    items = [*_zlib_runs(literal_lengths), *_zlib_runs(distance_lengths)]
    own = Dynamic(literal_lengths, distance_lengths, items, zlib_lengths)
    extra = extra_bits(literals, distances)
    static = 3 + cost(literals, FIXED_LITERALS) + cost(distances, FIXED_DISTANCES) + extra
    dynamic = own.head + cost(literals, own.literals) + cost(distances, own.distances) + extra
    static_bytes, dynamic_bytes = (static + 7) >> 3, (dynamic + 7) >> 3
    if data is not None and len(data) + 4 <= min(static_bytes, dynamic_bytes):
        bits.stored(data, last)
    elif static_bytes <= dynamic_bytes:
        bits.put(STATIC + last, 3)
        bits.put(*packing.packed(tokens, *FIXED_CODES))
    else:
        _write_dynamic(bits, packing, tokens, own, last)


def go_codes(literals: Sequence[int], distances: Sequence[int]) -> Dynamic:
    """Return the codes that Go makes for these frequencies; at least one is that of a distance."""
    literal_lengths = go_lengths(_trimmed(literals), 15)
    distance_lengths = go_lengths(_trimmed(distances), 15)
    items = list(_go_runs([*literal_lengths, *distance_lengths]))
    return Dynamic(literal_lengths, distance_lengths, items, go_lengths)


def _write_dynamic(
    bits: Bits, packing: TokenPacking, tokens: Sequence[int], own: Dynamic, last: int = 0
) -> None:
    """Write a block with codes of its own."""
    own.write(bits, last)
    bits.put(*packing.packed(tokens, codes_of(own.literals), codes_of(own.distances)))


def cost(frequencies: Sequence[int], lengths: Sequence[int]) -> int:
    """Return the bits of that many codes of these lengths."""
    return sum(count * bits for count, bits in zip(frequencies, lengths, strict=False))


def extra_bits(literals: Sequence[int], distances: Sequence[int]) -> int:
    """Return the bits behind the symbols of lengths and distances."""
    return cost(literals[END + 1 :], LENGTH_EXTRA) + cost(distances, DISTANCE_EXTRA)


def _trimmed(values: Sequence[int]) -> list[int]:
    """Return ``values`` without the zeros at the end."""
    count = len(values)
    while count and not values[count - 1]:
        count -= 1
    return list(values[:count])


def _runs(lengths: Sequence[int]) -> Iterator[Item]:
    start = 0
    for place in range(1, len(lengths) + 1):
        if place == len(lengths) or lengths[place] != lengths[start]:
            yield lengths[start], place - start
            start = place


def _go_runs(lengths: Sequence[int]) -> Iterator[Item]:
    """Give both codes as one list; a run goes from one to the other."""
    for length, run in _runs(lengths):
        left = run
        if length:
            yield length, 1
            left -= 1
            while left >= 3:
                taken = min(left, 6)
                yield 16, taken
                left -= taken
        else:
            while left >= 11:
                taken = min(left, 138)
                yield 18, taken
                left -= taken
            if left >= 3:
                yield 17, left
                left = 0
        for _ in range(left):
            yield length, 1


def _zlib_runs(lengths: Sequence[int]) -> Iterator[Item]:
    """Give one code as a list."""
    for length, run in _runs(lengths):
        left = run
        if length:
            yield length, 1
            left -= 1
        longest, shortest = (6, 3) if length else (138, 3)
        while left >= shortest:
            taken = min(left, longest)
            if length:
                yield 16, taken
            else:
                yield (17 if taken <= 10 else 18), taken
            left -= taken
        for _ in range(left):
            yield length, 1
