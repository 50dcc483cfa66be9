"""Targets that are gzip files to be made again, and how they were made."""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import ExitStack
from pathlib import Path

from isobuilder.delta.deflate.rebuild import rebuild
from isobuilder.delta.deflate.recipe import Compressor, GzipMember, GzipRecipe, Making
from isobuilder.delta.deflate.recognise import recognise
from tests.fuzz.mutation import edited
from tests.fuzz.samples import Samples
from tests.fuzz.target import Rig, Target, Wrong

CONTENT = bytes(range(256)) * 9 + b"as often as not, as often as not" * 40
HEADER = gzip.compress(b"")[:10]
MAKINGS = (
    Making(Compressor.ZLIB, (6, 8, 15, 0)),
    Making(Compressor.GO, (9,)),
    Making(Compressor.GO, (4,)),
    Making(Compressor.PIGZ, (6, 32, 1)),
    Making(Compressor.GZIP, (9,)),
    Making(Compressor.GO_127, (6,)),
)


def _member(making: Making, content: bytes, joins: tuple[int, ...] = ()) -> GzipMember:
    return GzipMember(HEADER, making, len(content), zlib.crc32(content), joins)


def _recipe(_samples: Samples, _stack: ExitStack) -> Rig:
    recipes = [GzipRecipe((_member(making, CONTENT),)).to_bytes() for making in MAKINGS]
    parts = (CONTENT[:1000], CONTENT[1000:])
    two = tuple(_member(MAKINGS[1], part, (10, 10, 700)) for part in parts)
    recipes.append(GzipRecipe(two).to_bytes())

    def read(data: bytes, _folder: Path) -> object:
        recipe = GzipRecipe.from_bytes(data)
        made = b"".join(rebuild(recipe, [CONTENT]))
        deflated = len(made) - sum(len(member.header) + 8 for member in recipe.members)
        joins = sum(len(member.joins) for member in recipe.members)
        if deflated > 2 * len(CONTENT) + 100 * (joins + len(recipe.members)):
            raise Wrong(f"{len(made)} bytes of {len(CONTENT)}")
        return len(made)

    return Rig(lambda chance: edited(chance.choice(recipes), chance), read)


def _made(_samples: Samples, _stack: ExitStack) -> Rig:
    recipes = [GzipRecipe((_member(making, CONTENT),)) for making in MAKINGS]
    files = [b"".join(rebuild(recipe, [CONTENT])) for recipe in recipes]

    def read(data: bytes, _folder: Path) -> object:
        recipe = recognise(io.BytesIO(data))
        if recipe is not None:
            content = gzip.decompress(data)
            if b"".join(rebuild(recipe, [content] if content else [])) != data:
                raise Wrong("recognised, and made again as something else")
        return recipe

    return Rig(
        lambda chance: edited(chance.choice(files), chance) if chance.random() < 0.9 else files[0],
        read,
    )


COMPRESSED = (
    Target("gzip-recipe", ("delta/deflate/recipe.py", "delta/deflate/rebuild.py"), _recipe),
    Target("gzip-made", ("delta/deflate/recognise.py", "delta/deflate/stream.py"), _made),
)
