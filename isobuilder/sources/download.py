"""What is to be fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isobuilder.digest import Digest
from isobuilder.http.failure import HttpFailure

Authorize = Callable[[str, HttpFailure | None, str | None], str | None]
"""Return the Authorization header for an address, or None when there is none.

Asked with None twice first; after a 401 with that failure and the header it was the answer to.
"""


FILE_IS_LARGER = "raise max_file_size in the configuration if the file is meant to be that long"
TEXT_IS_LARGER = "nothing of this kind is that long: the address serves something else"


@dataclass(frozen=True, slots=True)
class Download:
    """One thing to have in the store."""

    name: str  # for people
    urls: tuple[str, ...]  # where to ask, in order
    digest: Digest | None  # None only while a lock is being made
    size: int | None  # bytes, when known
    ceiling: int  # bytes, the most to accept when the size is not known
    authorize: Authorize | None = None
    if_larger: str = FILE_IS_LARGER  # what to do when that is not enough

    @property
    def key(self) -> str:
        """Name of the download: two wanted things of one key are the same bytes."""
        return self.digest.hex if self.digest else Digest.of(self.urls[0].encode()).hex

    @property
    def limit(self) -> int:
        """The most bytes to accept."""
        return self.ceiling if self.size is None else self.size
