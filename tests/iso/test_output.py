from __future__ import annotations

import errno
import fcntl
import mmap
import os
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.iso.write.writer import OutputFile, part_file

PIECE = 64 * 1024


def pages(data: bytes) -> memoryview:
    """Return ``data`` where a page begins, as the writer has it."""
    memory = mmap.mmap(-1, len(data))
    memory.write(data)
    return memoryview(memory)


def written(folder: Path, sizes: list[int]) -> None:
    """Write pieces of these sizes and compare what is in the file."""
    pieces = [os.urandom(size) for size in sizes]
    with part_file(folder / "a.iso", sum(sizes)) as part:
        for piece in pieces:
            part.write(pages(piece))
    assert (folder / "a.iso").read_bytes() == b"".join(pieces)
    assert [path.name for path in folder.iterdir()] == ["a.iso"]


@pytest.mark.parametrize(
    "sizes",
    [
        [PIECE, PIECE],
        [PIECE, PIECE + 2048],  # ISO 9660 has blocks of 2048 bytes, disks often of 4096
        [2048],
        [PIECE, 1, PIECE, 4095, 4097],
    ],
)
def test_bytes_are_what_was_written_whatever_their_number(sizes: list[int], tmp_path: Path) -> None:
    written(tmp_path, sizes)


def test_a_file_system_that_must_cache_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    written(tmp_path, [PIECE, PIECE + 2048])


def test_a_disk_of_larger_sectors_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(fd: int, data: memoryview) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT and len(data) % (32 * 1024):
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    written(tmp_path, [PIECE, 8192, PIECE])


def test_a_disk_that_takes_only_a_part_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5000]))
    written(tmp_path, [PIECE, PIECE + 2048])


def test_another_error_is_not_taken_for_a_matter_of_sectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int, data: memoryview) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(EnvironmentProblem, match="Input/output error"):
        written(tmp_path, [PIECE])
    assert list(tmp_path.iterdir()) == []


def test_what_a_disk_can_take_goes_past_the_cache(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb", buffering=0) as file:
        part = OutputFile(tmp_path / "file", file.fileno())
        if not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            pytest.skip("this file system has no way past the cache")
        part.write(pages(bytes(PIECE)))
        assert fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT
        part.write(pages(bytes(2048)))
        assert not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT
