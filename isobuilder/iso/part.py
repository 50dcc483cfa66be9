"""A file that gets its name only when it is complete."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isobuilder.errors import EnvironmentProblem
from isobuilder.store import Writeback, disk_problem, reserve

_PREFIX, _SUFFIX = ".isobuilder-", ".part"


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is being written, locked for as long as its writer lives."""

    path: Path
    fd: int
    writeback: Writeback

    def write(self, data: memoryview) -> None:
        """Append ``data``.

        Raises:
            EnvironmentProblem: the disk is full or failed.
        """
        try:
            while data:
                count = os.write(self.fd, data)
                self.writeback.grown(count)
                data = data[count:]
        except OSError as error:
            raise disk_problem(error, self.path.parent) from error


@contextmanager
def part_file(target: Path, size: int) -> Iterator[Part]:
    """Give a file beside ``target`` that becomes ``target`` when the block ends without an error.

    Room for ``size`` bytes, all that will be written, is taken at once.
    Its bytes are on the disk before the rename, so neither kill -9 nor a power cut leaves a half
    file under the final name. What a killed writer left in the folder is removed.

    Raises:
        EnvironmentProblem: the folder may not be written, or the disk is full; nothing is left.
    """
    folder = target.parent
    try:
        _remove_leftovers(folder)
        part = _create(folder)
    except OSError as error:
        raise disk_problem(error, folder) from error
    try:
        try:
            reserve(part.fd, size)
        except OSError as error:
            raise disk_problem(error, folder) from error
        yield part
        try:
            os.fsync(part.fd)
            part.path.replace(target)
            _sync_folder(folder)
        except OSError as error:
            raise disk_problem(error, target) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.path.unlink()
        os.close(part.fd)


def check_space(folder: Path, size: int) -> None:
    """Return if ``folder`` has room for ``size`` bytes more.

    Raises:
        EnvironmentProblem: it has not, or it is not there.
    """
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise disk_problem(error, folder) from error
    free = disk.f_bavail * disk.f_frsize
    if free < size:
        raise EnvironmentProblem(
            f"{folder}: the ISO needs {size} bytes, {free} are free",
            hint="free space there, or choose another folder with --out",
        )


def _create(folder: Path) -> Part:
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        _lock(fd)
        if os.fstat(fd).st_nlink:  # else another build took it for a leftover before it was locked
            return Part(path, fd, Writeback(fd))
        os.close(fd)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _lock(fd):
                    path.unlink()
            finally:
                os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by a living writer, or the file system has no locks: leave it alone
        return False
    return True


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
