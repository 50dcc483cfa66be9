"""What a check sees of an ISO: files by path, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Protocol


class MediumFile(Protocol):
    """One regular file."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mode(self) -> int:
        """Permission bits, as Rock Ridge tells them."""


class Medium(Protocol):
    """A read-only tree with a volume label; ``iso.reader.IsoReader`` is one."""

    @property
    def label(self) -> str:
        """The volume identifier."""

    @property
    def files(self) -> Mapping[str, MediumFile]:
        """Every regular file by its path relative to the root, with ``/`` between parts."""

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading and seeking; a large file is never held in memory."""
