"""Bits in the order of deflate, the first one lowest, and the tokens of a block as bits.

Source: RFC 1951, 3.1.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from isobuilder.delta.deflate.symbols import (
    DISTANCE_BASE,
    DISTANCE_EXTRA,
    DISTANCE_SYMBOL,
    DISTANCES,
    END,
    LENGTH_BASE,
    LENGTH_EXTRA,
    LENGTH_SYMBOL,
    LITERALS,
    LONGEST,
)

Codes = Sequence[tuple[int, int]]
"""Of each symbol: its code, the first bit lowest, and how many bits it has."""


class TokenPacking(Protocol):
    """What is done to the tokens of a block: here, or by the extra, with the same result.

    A token is a byte, or ``length << 16 | distance``.
    """

    def frequencies(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return how often each symbol for literals and each for distances occurs."""

    def packed(self, tokens: Sequence[int], literals: Codes, distances: Codes) -> tuple[int, int]:
        """Return the tokens as bits, the first one lowest, and how many there are."""


class Bits:
    """Takes bits and gives whole bytes."""

    __slots__ = ("_bits", "_value")

    def __init__(self) -> None:
        self._value = 0
        self._bits = 0

    @property
    def odd(self) -> int:
        """Bits behind the last whole byte."""
        return self._bits % 8

    def put(self, value: int, bits: int) -> None:
        """Append the lowest ``bits`` bits of ``value``, which has no others."""
        self._value |= value << self._bits
        self._bits += bits

    def align(self) -> None:
        """Fill up to a whole byte with zeros."""
        self._bits += -self._bits % 8

    def stored(self, data: bytes, last: int = 0) -> None:
        """Append a block of bytes as they are, at most 65,535. Source: RFC 1951, 3.2.4."""
        self.put(last, 3)
        self.align()
        self.put(len(data) | (len(data) ^ 0xFFFF) << 16, 32)
        self.put(int.from_bytes(data, "little"), 8 * len(data))

    def take(self) -> bytes:
        """Return the whole bytes that there are, and keep the rest."""
        whole = self._bits // 8
        data = (self._value & (1 << 8 * whole) - 1).to_bytes(whole, "little")
        self._value >>= 8 * whole
        self._bits -= 8 * whole
        return data


def _text(value: int, bits: int) -> str:
    return f"{value:0{bits}b}"[::-1] if bits else ""


class PurePacking:
    """In Python: bits as text, which is joined in one go."""

    def frequencies(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return how often each symbol for literals and each for distances occurs."""
        literals, distances = [0] * LITERALS, [0] * DISTANCES
        for token, count in Counter(tokens).items():
            if token < END:
                literals[token] += count
            else:
                literals[LENGTH_SYMBOL[token >> 16]] += count
                distances[DISTANCE_SYMBOL[token & 0xFFFF]] += count
        literals[END] = 1
        return literals, distances

    def packed(self, tokens: Sequence[int], literals: Codes, distances: Codes) -> tuple[int, int]:
        """Return the tokens as bits, the first one lowest, and how many there are."""
        texts = [_text(code, bits) for code, bits in literals]
        texts += [""] * (LITERALS - len(texts))  # of symbols that do not occur
        lengths = [""] * 3
        for length in range(3, LONGEST + 1):
            symbol = LENGTH_SYMBOL[length]
            extra = LENGTH_EXTRA[symbol - END - 1]
            over = length - LENGTH_BASE[symbol - END - 1]
            lengths.append(texts[symbol] + _text(over, extra))
        heads = [_text(code, bits) for code, bits in distances]
        heads += [""] * (DISTANCES - len(heads))
        seen: dict[int, str] = {}
        parts: list[str] = []
        append = parts.append
        for token in tokens:
            if token < END:
                append(texts[token])
                continue
            part = seen.get(token)
            if part is None:
                distance = token & 0xFFFF
                symbol = DISTANCE_SYMBOL[distance]
                over = distance - DISTANCE_BASE[symbol]
                part = lengths[token >> 16] + heads[symbol] + _text(over, DISTANCE_EXTRA[symbol])
                seen[token] = part
            append(part)
        append(texts[END])
        text = "".join(parts)
        return int(text[::-1], 2), len(text)
