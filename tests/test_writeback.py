from __future__ import annotations

import os
from pathlib import Path

import pytest

from isobuilder.files import Writeback, reserve

MIB = 1024 * 1024


def test_room_that_is_not_there_is_refused_before_a_byte_is_written(small_disk: Path) -> None:
    with (small_disk / "large").open("wb") as file:
        # The small disk is a real one for root, else a limit on the size of files.
        with pytest.raises(OSError, match=r"No space left|File too large"):
            reserve(file.fileno(), 64 * MIB)
        assert os.fstat(file.fileno()).st_size == 0


def test_reserved_room_is_taken_from_the_disk(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        reserve(file.fileno(), 3 * MIB)
        assert os.fstat(file.fileno()).st_blocks * 512 >= 3 * MIB


def test_what_cannot_reserve_or_be_advised_is_written_all_the_same() -> None:
    ours, other = os.pipe()
    try:
        reserve(other, MIB)
        Writeback(other).grown(32 * MIB)
    finally:
        os.close(ours)
        os.close(other)


def test_bytes_stay_as_they_were_written(tmp_path: Path) -> None:
    pieces = [os.urandom(MIB) for _ in range(19)]
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as file:
        writeback = Writeback(file.fileno())
        for piece in pieces:
            file.write(piece)
            writeback.grown(len(piece))
    assert path.read_bytes() == b"".join(pieces)


def test_a_growing_file_is_handed_to_the_disk_stretch_by_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advised = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, *where: advised.append(where[:2]))
    with (tmp_path / "file").open("wb") as file:
        writeback = Writeback(file.fileno(), size=MIB)
        for _ in range(20):
            writeback.grown(MIB)
    assert advised == [(MIB, 8 * MIB), (9 * MIB, 8 * MIB)]
