"""gzip as a method of a delta: of what a file unpacks to, and how it was made, the file."""

from __future__ import annotations

import io
import zlib

from isobuilder.delta.deflate.rebuild import rebuild
from isobuilder.delta.deflate.recipe import GzipRecipe
from isobuilder.delta.deflate.recognise import recognise
from isobuilder.delta.methods import DeltaError


class GzipMethod:
    """Method 20: ``old`` is the content of the gzip file, the delta says how it was compressed."""

    number = 20
    name = "gzip"

    def make(self, old: bytes, new: bytes) -> bytes | None:
        """Return how ``new`` was made of ``old``; None if no compressor that we know makes it."""
        recipe = recognise(io.BytesIO(new))
        if recipe is None or recipe.size != len(old):
            return None
        view, place = memoryview(old), 0
        for member in recipe.members:
            if zlib.crc32(view[place : place + member.size]) != member.check:
                return None
            place += member.size
        return recipe.to_bytes()

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return the gzip file.

        Raises:
            DeltaError: another content, a recipe that nobody can follow, another size.
        """
        recipe = GzipRecipe.from_bytes(delta)
        if recipe.size != len(old):
            raise DeltaError(f"gzip: expected {recipe.size} bytes of content, got {len(old)}")
        made = io.BytesIO()  # which gives its bytes without a copy
        for piece in rebuild(recipe, [old] if old else []):
            made.write(piece)
            if made.tell() > size:
                break
        if made.tell() != size:
            raise DeltaError(f"gzip: expected a file of {size} bytes, got {made.tell()} or more")
        return made.getvalue()
