from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
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


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Let one sector of a file be unreadable, from a byte on, until another one is."""
    places: dict[tuple[int, int], range] = {}

    def refuse(descriptor: int, at: int, size: int) -> None:
        facts = os.fstat(descriptor)
        sector = places.get((facts.st_dev, facts.st_ino), range(0))
        if at < sector.stop and sector.start < at + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def pread(descriptor: int, size: int, at: int, /) -> bytes:
        refuse(descriptor, at, size)
        return ordinary[0](descriptor, size, at)

    def preadv(descriptor: int, buffers: list[memoryview], at: int, /) -> int:
        refuse(descriptor, at, sum(map(len, buffers)))
        return ordinary[1](descriptor, buffers, at)

    def kill(path: Path, at: int) -> None:
        facts = path.stat()
        places[facts.st_dev, facts.st_ino] = range(at, at + 2048)

    ordinary = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(os, "preadv", preadv)
    return kill
