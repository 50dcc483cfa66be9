"""What each model of a compressor is: content in, its bytes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from isobuilder.delta.deflate.bits import Bits, PurePacking, TokenPacking
from isobuilder.delta.deflate.blocks import write_go_block, write_zlib_block
from isobuilder.delta.deflate.matching import Matching, MatchSearch, PureMatcher
from isobuilder.delta.deflate.symbols import WINDOW
from isobuilder.delta.methods import DeltaError

_GO = {
    2: (4, 5, 16, 8),  # good, lazy, nice, chain
    3: (4, 6, 32, 32),
    4: (4, 4, 16, 16),
    5: (8, 16, 32, 32),
    6: (8, 16, 128, 128),
    7: (8, 32, 128, 256),
    8: (32, 128, 258, 1024),
    9: (32, 258, 258, 4096),
}
_ZLIB = {
    1: (4, 4, 8, 4),
    2: (4, 5, 16, 8),
    3: (4, 6, 32, 32),
    4: (4, 4, 16, 16),
    5: (8, 16, 32, 32),
    6: (8, 16, 128, 128),
    7: (8, 32, 128, 256),
    8: (32, 128, 258, 1024),
    9: (32, 258, 258, 4096),
}


class Encoder(Protocol):
    """A compressor at work."""

    def feed(self, data: bytes) -> bytes:
        """Return what can be written once ``data`` came too."""

    def join(self) -> bytes:
        """Return what makes everything so far readable."""

    def finish(self) -> bytes:
        """Return the rest."""


class Engine(Protocol):
    """Where the work is done: here in Python, or by the extra."""

    def matcher(self, search: MatchSearch, dictionary: bytes = b"") -> Matching:
        """Return a search that begins behind ``dictionary``."""

    @property
    def packing(self) -> TokenPacking:
        """What packs tokens."""


class PureEngine:
    """Everything in Python."""

    packing: TokenPacking = PurePacking()

    def matcher(self, search: MatchSearch, dictionary: bytes = b"") -> Matching:
        """Return a search that begins behind ``dictionary``."""
        return PureMatcher(search, dictionary)


def _go_search(level: int) -> MatchSearch:
    """Return how Go up to 1.26 looks for matches at ``level``, 2 to 9."""
    return MatchSearch(4, 17, 1 << 14, *_GO[level], greedy=level < 4, go=True, far=5)


def zlib_search(
    level: int, memory: int = 8, window: int = 15, *, filtered: bool = False
) -> MatchSearch:
    """Return how zlib looks for matches at ``level``, 1 to 9."""
    greedy = level < 4
    return MatchSearch(
        3,
        memory + 7,
        (1 << memory + 6) - 1,
        *_ZLIB[level],
        greedy=greedy,
        window=1 << window,
        far=0 if greedy else 6 if filtered else 4,
        near=0 if filtered else 4096,
    )


def gzip_search(level: int) -> MatchSearch:
    """Return how GNU gzip from 1.5 on looks for matches at ``level``, 1 to 9."""
    return replace(zlib_search(level), tokens=(1 << 15) - 1, gzip=True, cut=level > 2)


class GoEncoder:
    """Compresses as Go up to 1.26 does at levels 2 to 9."""

    def __init__(self, level: int, engine: Engine) -> None:
        self._matcher = engine.matcher(_go_search(level))
        self._packing = engine.packing
        self._bits = Bits()

    def feed(self, data: bytes) -> bytes:
        """Return what can be written once ``data`` came too."""
        self._matcher.feed(data)
        return self._blocks(flush=False)

    def join(self) -> bytes:
        """Return what makes everything so far readable."""
        return self._flush(0)

    def finish(self) -> bytes:
        """Return the rest."""
        return self._flush(1)

    def _blocks(self, *, flush: bool) -> bytes:
        out = []
        while (tokens := self._matcher.block(flush=flush)) is not None:
            data = self._matcher.close_block()
            write_go_block(self._bits, self._packing, tokens, data)
            out.append(self._bits.take())
        return b"".join(out)

    def _flush(self, last: int) -> bytes:
        out = self._blocks(flush=True)
        tokens, data = self._matcher.rest(), self._matcher.close_block()
        if tokens:
            write_go_block(self._bits, self._packing, tokens, data)
        self._bits.stored(b"", last)
        return out + self._bits.take()


class ZlibEncoder:
    """Compresses as zlib does with this search."""

    def __init__(self, search: MatchSearch, engine: Engine, dictionary: bytes = b"") -> None:
        self._matcher = engine.matcher(search, dictionary)
        self._packing = engine.packing
        self.bits = Bits()

    def feed(self, data: bytes) -> bytes:
        """Return what can be written once ``data`` came too."""
        self._matcher.feed(data)
        return self._blocks(flush=False)

    def join(self) -> bytes:
        """Return what makes everything so far readable."""
        out = self.end_block()
        self.bits.stored(b"")
        return out + self.bits.take()

    def finish(self) -> bytes:
        """Return the rest."""
        out = self._blocks(flush=True)
        tokens, data = self._matcher.rest(), self._matcher.close_block()
        write_zlib_block(self.bits, self._packing, tokens, data, 1)
        self.bits.align()
        return out + self.bits.take()

    def end_block(self) -> bytes:
        """Return everything so far but the bits that fill no byte."""
        out = self._blocks(flush=True)
        tokens, data = self._matcher.rest(), self._matcher.close_block()
        if tokens:
            write_zlib_block(self.bits, self._packing, tokens, data, 0)
        return out + self.bits.take()

    def _blocks(self, *, flush: bool) -> bytes:
        out = []
        while (tokens := self._matcher.block(flush=flush)) is not None:
            data = self._matcher.close_block()
            write_zlib_block(self.bits, self._packing, tokens, data, 0)
            out.append(self.bits.take())
        return b"".join(out)


class PigzEncoder:
    """Compresses as pigz does: blocks of one size, each with zlib, and joined at whole bytes.

    A block knows the 32 KiB before it, or nothing. Source: pigz 2.8, compress_thread.
    """

    def __init__(self, search: MatchSearch, block: int, engine: Engine, *, joined: bool) -> None:
        self._search, self._block, self._engine, self._joined = search, block, engine, joined
        self._data = bytearray()
        self._before = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be written once ``data`` came too."""
        self._data += data
        out = []
        while len(self._data) > self._block:
            out.append(self._compressed(bytes(self._data[: self._block]), last=False))
            del self._data[: self._block]
        return b"".join(out)

    def join(self) -> bytes:
        """Refuse: pigz is never told to flush."""
        raise DeltaError("gzip: pigz makes no joins but its own")

    def finish(self) -> bytes:
        """Return the rest."""
        return self._compressed(bytes(self._data), last=True)

    def _compressed(self, block: bytes, *, last: bool) -> bytes:
        encoder = ZlibEncoder(self._search, self._engine, self._before)
        out = encoder.feed(block)
        if last:
            return out + encoder.finish()
        out += encoder.end_block()
        bits = encoder.bits
        if not self._joined:
            bits.stored(b"")
            bits.stored(b"")
        elif bits.odd % 2:
            bits.stored(b"")
        else:
            while bits.odd:
                bits.put(2, 10)  # a block without symbols, in the codes that every reader knows
        self._before = (self._before + block)[-WINDOW:] if self._joined else b""
        return out + bits.take()
