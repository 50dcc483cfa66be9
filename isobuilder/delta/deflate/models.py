"""Each model of a compressor with its parameters: which there are, and the encoder of one."""

from __future__ import annotations

from collections.abc import Iterator

from isobuilder.delta.deflate.encoders import (
    Encoder,
    Engine,
    GoEncoder,
    PigzEncoder,
    ZlibEncoder,
    gzip_search,
    zlib_search,
)
from isobuilder.delta.deflate.fast import best_engine
from isobuilder.delta.deflate.go127 import Go127Encoder
from isobuilder.delta.deflate.library import LibraryEncoder, library_is_zlib
from isobuilder.delta.deflate.quick import QuickEncoder
from isobuilder.delta.deflate.recipe import Compressor, Making
from isobuilder.delta.methods import DeltaError

_LEVELS = (6, 9, 1, 5, 4, 7, 8, 3, 2)  # the most likely first
_MEMORY, _WINDOW = 8, 15  # what zlib takes when it is told nothing
_DEFAULT, _FILTERED = 0, 1  # strategies of zlib
_PIGZ_BLOCK = 128  # KiB, unless it is told otherwise


def encoder_of(making: Making, engine: Engine | None = None) -> Encoder:
    """Return a new encoder; without ``engine``, the quickest that this machine has.

    Raises:
        DeltaError: no such model, or parameters that it does not have.
    """
    chosen = engine or best_engine()
    made: Encoder
    match making.model, making.parameters:
        case Compressor.ZLIB, (level, memory, window, strategy) if (
            1 <= level <= 9 and 1 <= memory <= 9 and 9 <= window <= 15 and strategy in {0, 1}
        ):
            if engine is None and library_is_zlib(level):
                made = LibraryEncoder(level, memory, window, strategy)
            else:
                search = zlib_search(level, memory, window, filtered=strategy == _FILTERED)
                made = ZlibEncoder(search, chosen)
        case Compressor.GO, (1 | 3 | 4 as shifted,):
            made = QuickEncoder(shifted - 3, chosen.packing)
        case Compressor.GO, (shifted,) if 5 <= shifted <= 12:
            made = GoEncoder(shifted - 3, chosen)
        case Compressor.PIGZ, (level, size, joined) if (
            1 <= level <= 9 and 32 <= size <= 16 * 1024 and joined in {0, 1}
        ):
            made = PigzEncoder(zlib_search(level), size * 1024, chosen, joined=bool(joined))
        case Compressor.GZIP, (level,) if 1 <= level <= 9:
            made = ZlibEncoder(gzip_search(level), chosen)
        case Compressor.GO_127, (6,):
            made = Go127Encoder(chosen.packing)
        case _:
            raise DeltaError(f"gzip: model {making.model:d} has no parameters {making.parameters}")
    return made


def likely(size: int, *, go: bool) -> Iterator[Making]:
    """Give what is worth a try for so much content; ``go`` if the data end as Go's do."""
    if go:
        for level in (*_LEVELS, -2, 0):
            yield Making(Compressor.GO, (level + 3,))
        return
    for level in _LEVELS:
        yield Making(Compressor.ZLIB, (level, _MEMORY, _WINDOW, _DEFAULT))
    for level in _LEVELS:
        yield Making(Compressor.GZIP, (level,))
    yield Making(Compressor.GO_127, (6,))
    if size > _PIGZ_BLOCK * 1024:  # a single block is what zlib makes
        for joined in (1, 0):
            for level in _LEVELS:
                yield Making(Compressor.PIGZ, (level, _PIGZ_BLOCK, joined))


def unlikely(*, go: bool) -> Iterator[Making]:
    """Give what else there is: zlib that was told unusual things."""
    if go:
        return
    unusual = [(9, _WINDOW, _DEFAULT), (_MEMORY, _WINDOW, _FILTERED)]
    unusual += [(memory, window, _DEFAULT) for window in range(14, 8, -1) for memory in (8, 9)]
    unusual += [(memory, _WINDOW, _DEFAULT) for memory in range(7, 0, -1)]
    for memory, window, strategy in unusual:
        for level in _LEVELS:
            yield Making(Compressor.ZLIB, (level, memory, window, strategy))
