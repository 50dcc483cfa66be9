"""Hash a compressed layer and what is inside it in one pass, with bounds on both."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import Compression

MOST_GROWTH = 200
"""How many times larger than its compressed form a layer may be, beyond the first 64 MiB."""

_FREE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LayerDigests:
    """What a layer hashes to, as it is and uncompressed."""

    blob: Digest
    content: Digest | None  # None when this machine cannot decompress it


class _Decompressor:
    """One interface for zlib's and zstd's objects: bounded output, several streams in a row."""

    def __init__(self, new: Callable[[], Any], error: type[Exception], place: str) -> None:
        self._new = new
        self._error = error
        self._place = place
        self._current = new()
        self._began = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what ``data`` becomes, in pieces of at most ``BUFFER_SIZE`` bytes."""
        more = bool(data)
        while more:
            if self._current.eof:
                self._current = self._new()
            self._began = True
            try:
                piece = self._current.decompress(data, BUFFER_SIZE)
            except self._error as error:
                raise IntegrityError(f"{self._place}: damaged: {error}") from error
            yield piece
            if self._current.eof:
                data = self._current.unused_data
                more = bool(data)
            else:  # zlib hands back what it did not take, zstd keeps it
                data = getattr(self._current, "unconsumed_tail", b"")
                more = bool(data) or len(piece) == BUFFER_SIZE

    @property
    def complete(self) -> bool:
        return self._began and bool(self._current.eof)


def hash_layer(
    stream: BinaryIO, *, offset: int, size: int, compression: Compression, place: str
) -> LayerDigests:
    """Return the digests of the layer that lies in ``stream``.

    Raises:
        IntegrityError: the layer is damaged, cut short, or grows beyond ``MOST_GROWTH``.
    """
    blob, content = Hasher(), Hasher()
    decompressor = _decompressor(compression, place)
    limit = _FREE + MOST_GROWTH * size
    for chunk in _chunks(stream, offset, size, place):
        blob.update(chunk)
        if decompressor is None:
            continue
        for piece in decompressor.feed(chunk):
            content.update(piece)
            if content.size > limit:
                raise IntegrityError(
                    f"{place}: {size} compressed bytes become more than {limit}: a bomb"
                )
    if compression == "none":
        return LayerDigests(blob.digest(), blob.digest())
    if decompressor is None:
        return LayerDigests(blob.digest(), None)
    if not decompressor.complete:
        raise IntegrityError(f"{place}: the {compression} data ends early")
    return LayerDigests(blob.digest(), content.digest())


def _chunks(stream: BinaryIO, offset: int, size: int, place: str) -> Iterator[bytes]:
    stream.seek(offset)
    left = size
    while left:
        chunk = stream.read(min(left, BUFFER_SIZE))
        if not chunk:
            raise IntegrityError(f"{place}: ends {left} bytes early")
        left -= len(chunk)
        yield chunk


def _decompressor(compression: Compression, place: str) -> _Decompressor | None:
    if compression == "gzip":
        return _Decompressor(lambda: zlib.decompressobj(wbits=31), zlib.error, place)
    zstd = _zstd_module() if compression == "zstd" else None
    return None if zstd is None else _Decompressor(zstd.ZstdDecompressor, zstd.ZstdError, place)


def _zstd_module() -> Any | None:
    for name in ("compression.zstd", "backports.zstd"):  # the first from Python 3.14 on
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
