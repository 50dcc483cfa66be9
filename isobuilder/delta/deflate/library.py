"""The zlib of this Python, where it makes the bytes that zlib always made.

Some systems bring another library under its name (zlib-ng, libraries for certain processors), which
compresses to other bytes, and one day Python may bring one. So before the library is used, it has
to compress a sample to the same bytes as our own model of it.
"""

from __future__ import annotations

import hashlib
import zlib
from functools import cache

from isobuilder.delta.deflate.encoders import PureEngine, ZlibEncoder, zlib_search

_SAMPLE = 24 * 1024  # bytes; several blocks at a low memory level, and matches of all kinds


class LibraryEncoder:
    """Compresses with the library."""

    def __init__(self, level: int, memory: int = 8, window: int = 15, strategy: int = 0) -> None:
        self._stream = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)

    def feed(self, data: bytes) -> bytes:
        """Return what can be written once ``data`` came too."""
        return self._stream.compress(data)

    def join(self) -> bytes:
        """Return what makes everything so far readable."""
        return self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """Return the rest."""
        return self._stream.flush()


@cache
def library_is_zlib(level: int) -> bool:
    """Return whether the library makes of a sample what zlib makes of it at ``level``."""
    sample = _sample()
    library = LibraryEncoder(level)
    model = ZlibEncoder(zlib_search(level), PureEngine())
    return library.feed(sample) + library.finish() == model.feed(sample) + model.finish()


@cache
def _sample() -> bytes:
    """Return words of a small vocabulary, runs and noise, the same at all times."""
    noise = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256))
    words = [noise[start : start + 3 + noise[start] % 9] for start in range(0, 1024, 4)]
    parts = [words[byte % 64] if byte < 200 else words[byte] for byte in noise[1024:]]
    parts[1000:1000] = [bytes(700), noise[:3000], b"ab" * 400]
    return b"".join(parts)[:_SAMPLE]
