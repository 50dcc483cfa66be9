"""Compressed data -> what it unpacks to, in one pass, with bounds on everything.

Reads what Go's readers read, and nothing else: behind a stream only another stream may follow,
where gzip(1) would pass over zeros and other readers over anything. Sources: RFC 1952 (gzip),
RFC 8878 (zstd).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher, hashed
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import Compression
from isobuilder.formats.zstd import zstd_module

MOST_GROWTH = 200
"""How many times larger than its compressed form a layer may be, beyond the first 64 MiB."""

_MAX_STREAMS = 100_000
"""Streams in a row; images that can be fetched file by file have one for each of their files."""

_HEAD = 10  # bytes that containerd looks at
_FREE = 64 * 1024 * 1024
_TAKEN = 32 * 1024  # bytes given at a time: what is left behind a short stream is copied each time
_WINDOW_LOG = 26  # 64 MiB are kept of what was unpacked; tools ask for 8, their limit is 128


@dataclass(frozen=True, slots=True)
class LayerDigests:
    """What a layer hashes to, as it is and uncompressed."""

    blob: Digest
    content: Digest | None  # None when this machine cannot decompress it
    looks: Compression  # by its first bytes


def looks_like(head: bytes) -> Compression:
    """Return what containerd takes data for that begin with ``head``, ten bytes or all there are.

    Sources: RFC 1952, 2.3.1; RFC 8878, 3.1.1 and 3.1.2, frames that are skipped among them.
    """
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    skipped = len(head) >= 8 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"
    return "zstd" if skipped else "none"


def can_unpack(compression: Compression) -> bool:
    """Return whether this machine has what it takes."""
    return compression != "zstd" or zstd_module() is not None


def unpacked(
    chunks: Iterable[bytes], compression: Compression, *, limit: int, why: str
) -> Iterator[bytes]:
    """Give what ``chunks`` unpack to, in pieces of at most ``BUFFER_SIZE`` bytes.

    ``why`` ends the sentence about more than ``limit`` bytes: ``become more than <limit>: <why>``.

    Raises:
        IntegrityError: damaged, cut short, more than ``limit``; a sentence without place.
    """
    if compression == "none":
        pieces: Iterable[bytes] = chunks
    else:
        pieces = _decompressed(chunks, compression)
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise IntegrityError(f"unpacks to more than {limit} bytes: {why}")
        yield piece


def _decompressed(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    new, failure = _decompressor(compression)
    current, streams = None, 0
    for chunk in chunks:
        for start in range(0, len(chunk), _TAKEN):
            data = chunk[start : start + _TAKEN]
            more = True
            while more:
                if current is None or current.eof:
                    streams += 1
                    if streams > _MAX_STREAMS:
                        raise IntegrityError(f"more than {_MAX_STREAMS} streams of {compression}")
                    current = new()
                try:
                    piece = current.decompress(data, BUFFER_SIZE)
                except failure as error:
                    raise IntegrityError(f"damaged {compression} data: {error}") from error
                if piece:
                    yield piece
                if current.eof:
                    data = current.unused_data
                    more = bool(data)
                else:  # zlib hands back what it did not take, zstd keeps it
                    data = getattr(current, "unconsumed_tail", b"")
                    more = bool(data) or len(piece) == BUFFER_SIZE
    if current is None or not current.eof:
        raise IntegrityError(f"the {compression} data ends early")


def hash_layer(
    stream: BinaryIO,
    *,
    offset: int,
    size: int,
    look: bool,
    through: Callable[[Iterator[bytes]], Iterator[bytes]] = iter,
) -> LayerDigests:
    """Return the digests of the layer that lies in ``stream``; what it unpacks to goes ``through``.

    With ``look`` it is unpacked as its first bytes say, else it is taken as it is.

    Raises:
        IntegrityError: the layer is damaged, cut short, or grows beyond ``MOST_GROWTH``; a
            sentence without place.
    """
    blob, content = Hasher(), Hasher()
    stream.seek(offset)
    looks = looks_like(stream.read(min(size, _HEAD)))
    compression = looks if look else "none"
    chunks = hashed(chunks_of(stream, offset=offset, size=size), blob)
    if compression == "none" or not can_unpack(compression):
        for _ in chunks:
            pass
        plain = blob.digest() if compression == "none" else None
        return LayerDigests(blob.digest(), plain, looks)
    limit = _FREE + MOST_GROWTH * size
    pieces = unpacked(chunks, compression, limit=limit, why=f"a bomb of {size} bytes")
    for piece in through(pieces):
        content.update(piece)
    return LayerDigests(blob.digest(), content.digest(), looks)


def hash_as_it_is(stream: BinaryIO, *, offset: int, size: int) -> Digest:
    """Return the digest of bytes that lie in ``stream``.

    Raises:
        IntegrityError: there are fewer.
    """
    hasher = Hasher()
    for _ in hashed(chunks_of(stream, offset=offset, size=size), hasher):
        pass
    return hasher.digest()


def chunks_of(stream: BinaryIO, *, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
    """Give the bytes of ``stream`` from ``offset`` on, all or ``size`` of them.

    Raises:
        IntegrityError: there are fewer than ``size``.
    """
    stream.seek(offset)
    left = size
    while left != 0:
        chunk = stream.read(BUFFER_SIZE if left is None else min(left, BUFFER_SIZE))
        if not chunk:
            if left is None:
                return
            raise IntegrityError(f"ends {left} bytes early")
        left = None if left is None else left - len(chunk)
        yield chunk


def _decompressor(compression: Compression) -> tuple[Callable[[], Any], type[Exception]]:
    if compression == "gzip":
        return (lambda: zlib.decompressobj(wbits=31)), zlib.error
    zstd = zstd_module()
    if zstd is None:
        raise IntegrityError("this Python cannot read zstd")
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return (lambda: zstd.ZstdDecompressor(options=options)), zstd.ZstdError
