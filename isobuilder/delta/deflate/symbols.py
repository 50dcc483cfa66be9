"""The symbols of deflate: how lengths, distances and codes are written.

Source: RFC 1951, 3.2.5 to 3.2.7.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 258
"""Bytes of the longest match."""

WINDOW = 32 * 1024
"""How far back a match may lie, in bytes."""

END = 256
"""The symbol that ends a block; those of lengths follow it."""

LITERALS = 286
"""Symbols for bytes, the end and lengths."""

DISTANCES = 30
"""Symbols for distances."""

CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
"""The order in which the lengths of the codes for code lengths are written."""

LENGTH_EXTRA = (*(0,) * 8, *(1,) * 4, *(2,) * 4, *(3,) * 4, *(4,) * 4, *(5,) * 4, 0)
"""Bits behind the symbol of a length."""

DISTANCE_EXTRA = (0, 0, *(extra for extra in range(14) for _ in range(2)))
"""Bits behind the symbol of a distance."""


def _bases(first: int, extra: Sequence[int]) -> tuple[int, ...]:
    bases = [first]
    for bits in extra[:-1]:
        bases.append(bases[-1] + (1 << bits))
    return tuple(bases)


LENGTH_BASE = (*_bases(3, LENGTH_EXTRA[:-1]), LONGEST)
"""The smallest length of each symbol."""

DISTANCE_BASE = _bases(1, DISTANCE_EXTRA)
"""The smallest distance of each symbol."""


def _symbols(bases: Sequence[int], end: int) -> tuple[int, ...]:
    symbols = [0] * bases[0]
    for symbol, base in enumerate(bases):
        above = bases[symbol + 1] if symbol + 1 < len(bases) else end
        symbols += [symbol] * (above - base)
    return tuple(symbols)


LENGTH_SYMBOL = tuple(END + 1 + symbol for symbol in _symbols(LENGTH_BASE, LONGEST + 1))
"""The symbol of each length, by the length."""

DISTANCE_SYMBOL = _symbols(DISTANCE_BASE, WINDOW + 1)
"""The symbol of each distance, by the distance."""

FIXED_LITERALS = (8,) * 144 + (9,) * 112 + (7,) * 24 + (8,) * 8
"""Lengths of the codes of blocks that bring none."""

FIXED_DISTANCES = (5,) * DISTANCES


def codes_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return each symbol's code, its first bit lowest, and its bits. Source: RFC 1951, 3.2.2."""
    code, codes = 0, [(0, 0)] * len(lengths)
    for bits in range(1, 16):
        code <<= 1
        for symbol, length in enumerate(lengths):
            if length == bits:
                codes[symbol] = (int(f"{code:0{bits}b}"[::-1], 2), bits)
                code += 1
    return codes
