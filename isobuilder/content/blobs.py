"""Where the bytes come from: whoever has the blobs of a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from isobuilder.digest import BlobLike, Digest
from isobuilder.errors import EnvironmentProblem

Find = Callable[[Digest], BlobLike | None]
"""Return the blob of a digest, or None."""


class BlobSource(Protocol):
    """Has blobs, and remembers small facts about them; a ``Store`` is one, an ISO another."""

    def find(self, digest: Digest, /) -> BlobLike | None:
        """Return the blob, or None when it is not there."""

    def recall(self, kind: str, key: Digest, /) -> bytes | None:
        """Return what was remembered, or None."""

    def remember(self, kind: str, key: Digest, value: bytes, /) -> None:
        """Keep a small fact that was costly to find out, or do nothing."""


def held(find: Find, digest: Digest, name: str) -> BlobLike:
    """Return the blob of ``digest``, which is (a part of) the entry ``name`` of a lock.

    Raises:
        EnvironmentProblem: it is not there.
    """
    blob = find(digest)
    if blob is None:
        raise EnvironmentProblem(f"{name}: nobody has {digest}", hint="run isobuilder fetch")
    return blob
