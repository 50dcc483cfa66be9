"""What goes on an ISO: one entry for each file, its bytes still where they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isobuilder.digest import BUFFER_SIZE, BlobLike, Digest, Hasher, check

BLOCK = 2048
"""Bytes of a logical block; everything on the ISO begins at a multiple of it."""

Piece = bytes | BlobLike
"""A run of bytes: made by us and in memory, or a blob wherever it lies."""

FileFact = tuple[Digest, int]
"""Digest and size in bytes of one file on the ISO."""


def size_of(pieces: Iterable[Piece]) -> int:
    """Return how many bytes ``pieces`` are together."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in pieces)


def digest_of(pieces: Iterable[Piece]) -> Digest:
    """Return the digest of ``pieces``, one after the other, each blob of which is proved again.

    Raises:
        IntegrityError: a blob is not what was hashed once.
    """
    hasher = Hasher()
    for piece in pieces:
        if isinstance(piece, bytes):
            hasher.update(piece)
            continue
        own = Hasher()
        with piece.open() as file:
            while chunk := file.read(BUFFER_SIZE):
                hasher.update(chunk)
                own.update(chunk)
        check(piece, own.digest())
    return hasher.digest()


@dataclass(frozen=True, slots=True)
class IsoEntry:
    """One regular file of an ISO: the concatenation of ``pieces`` at ``path``."""

    path: str  # relative to the root, "/" between parts
    mode: int  # permission bits; any execute bit makes the file executable for all
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return size_of(self.pieces)
