"""What is compressed in these tests: the same bytes on every machine, of the kinds layers have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable


def dice(seed: int) -> Callable[[int], int]:
    """Return what gives numbers below the one it is called with."""
    state = seed

    def below(most: int) -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (state >> 33) % most

    return below


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that no compressor makes smaller."""
    parts = (hashlib.sha256(f"{seed}.{n}".encode()).digest() for n in range(size // 32 + 1))
    return b"".join(parts)[:size]


def texts(size: int, seed: int = 2) -> bytes:
    """Return lines of a few hundred words."""
    below = dice(seed)
    letters = noise(4096, seed).hex()
    words = [letters[n * 11 : n * 11 + 2 + below(9)] for n in range(500)]
    lines = (" ".join(words[below(500)] for _ in range(9)) + "\n" for _ in range(size // 20))
    return "".join(lines).encode()[:size]


def programs(size: int, seed: int = 3) -> bytes:
    """Return records that mostly repeat with small changes near and far, as programs do."""
    below = dice(seed)
    out = bytearray(noise(3000, seed))
    while len(out) < size:
        start = max(0, len(out) - 40_000)
        start += below(len(out) - 16 - start)
        piece = out[start : start + 4 + below(396)]
        for _ in range(below(4)):
            piece[below(len(piece))] = below(256)
        out += piece
        if below(5) == 0:
            out += noise(1 + below(23), len(out))
    return bytes(out[:size])


def gaps(size: int) -> bytes:
    """Return noise between runs of zeros, where few matches say nearly everything."""
    count = size // 2060 + 1
    return b"".join(noise(60, seed) + bytes(2000) for seed in range(count))[:size]


def mixed() -> bytes:
    """Return all kinds one after the other, with runs between them."""
    return b"".join(
        (
            programs(75_000),
            bytes(3000),
            texts(30_000),
            noise(20_000),
            b"\xaa\x55" * 500,
            programs(30_000, 4),
        )
    )


CONTENTS = {
    "nothing": b"",
    "a byte": b"x",
    "a word": b"deflate!",
    "a line": b"many lines, many lines, many other lines\n" * 3,
    "zeros": bytes(150_000),
    "noise": noise(70_000),
    "text": texts(60_000),
    "mixed": mixed(),
    "gaps": gaps(150_000),
    "a block": noise(65_535),
}
"""By name."""
