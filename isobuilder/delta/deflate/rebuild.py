"""Content and recipe -> the gzip file, bit for bit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from isobuilder.delta.deflate.encoders import Engine
from isobuilder.delta.deflate.models import encoder_of
from isobuilder.delta.deflate.recipe import GzipMember, GzipRecipe
from isobuilder.delta.deflate.stream import trailer_of
from isobuilder.delta.methods import DeltaError

_GIVEN = 64 * 1024  # bytes given to an encoder at a time


class Content:
    """Takes pieces of content apart at other places than they come in."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._place = 0

    def take(self, count: int) -> Iterator[bytes]:
        """Give the next ``count`` bytes, or all there are, in small pieces."""
        while count > 0:
            if self._place == len(self._piece):
                self._piece, self._place = next(self._pieces, b""), 0
                if not self._piece:
                    return
            part = self._piece[self._place : self._place + min(count, _GIVEN)]
            self._place += len(part)
            count -= len(part)
            yield part

    def ended(self) -> bool:
        """Return whether nothing is left."""
        return not any(self.take(1))


def rebuild(
    recipe: GzipRecipe, content: Iterable[bytes], engine: Engine | None = None
) -> Iterator[bytes]:
    """Give the gzip file that ``recipe`` makes of ``content``, in pieces, in bounded memory.

    Pieces of content may be of any size but none. Each member's content must have the size and the
    CRC-32 that the recipe names. It is for the caller to see that the whole has the digest that was
    promised. ``engine`` is the quickest there is, unless one is given.

    Raises:
        DeltaError: other content, or a recipe that nobody can follow.
    """
    source = Content(content)
    for member in recipe.members:
        yield member.header
        yield from compressed(member, source, engine)
        yield trailer_of(member.check, member.size)
    if not source.ended():
        raise DeltaError(f"gzip: expected {recipe.size} bytes of content, got more")


def compressed(member: GzipMember, source: Content, engine: Engine | None) -> Iterator[bytes]:
    """Give the compressed data of a member, and see that its content is the right one."""
    encoder = encoder_of(member.making, engine)
    check = place = 0
    for number, end in enumerate((*member.joins, member.size)):
        for data in source.take(end - place):
            check = zlib.crc32(data, check)
            place += len(data)
            if out := encoder.feed(data):
                yield out
        if place != end:
            raise DeltaError(f"gzip: expected {member.size} bytes of content, got {place}")
        yield encoder.join() if number < len(member.joins) else encoder.finish()
    if check != member.check:
        raise DeltaError(f"gzip: expected content with CRC-32 {member.check:08x}, got {check:08x}")
