"""What the tests of fetching share."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from isobuilder.digest import Digest
from isobuilder.sources.fetch import Download

Want = Callable[..., Download]

MIB = 1024 * 1024


def content_of(name: str, size: int) -> bytes:
    """Bytes that differ everywhere, the same for the same name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest())
    return random.Random(seed).randbytes(size)


def want(
    content: bytes,
    *urls: str,
    name: str = "kubelet",
    sized: bool = True,
    known: bool = True,
    ceiling: int = 16 * MIB,
) -> Download:
    """Ask for ``content``, with its digest and size as a lock has them, or without."""
    digest = Digest.of(content) if known else None
    return Download(name, urls, digest, len(content) if sized else None, ceiling)
