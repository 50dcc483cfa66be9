from __future__ import annotations

import random
from pathlib import Path

import pytest

from isobuilder.site.bundles.packing import Packing, packing
from tests.pipeline.conftest import built, full_store, locked, session, world

__all__ = ["built", "full_store", "locked", "session", "world"]

PART = 200_000  # bytes


@pytest.fixture
def packed(tmp_path: Path) -> Packing:
    """Four files that fit into no part of ``PART`` bytes, ready to be exported in five or more."""
    folder = tmp_path / "carried"
    folder.mkdir()
    chance = random.Random(4)
    paths: list[Path] = []
    for name in ("one", "two", "three", "four"):
        path = folder / name
        path.write_bytes(chance.randbytes(250_000 + len(paths)))
        paths.append(path)
    return packing([], lambda _: None, extras=paths, part_size=PART)
