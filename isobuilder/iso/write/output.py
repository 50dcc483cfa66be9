"""A file that gets its name only when it is complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isobuilder.errors import EnvironmentProblem
from isobuilder.store import Writeback, disk_problem, reserve

_PREFIX, _SUFFIX = ".isobuilder-", ".part"
_SECTOR = 4096  # bytes: what goes past the cache comes in multiples of it


class OutputFile:
    """A file that is being written, locked for as long as its writer lives.

    Where the file system can, bytes go to the disk past the page cache. An ISO is as long as what
    it is made of and not read again by this process: cached, it would push out blobs that the next
    build needs, and finding so many free pages costs more than copying into them.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._size = 0
        self._cached: Writeback | None = None  # None as long as bytes go past the cache
        if not _set_direct(fd, on=True):
            self._cached = Writeback(fd)

    def write(self, data: memoryview) -> None:
        """Append ``data``; fastest when it lies on a page boundary and is a multiple of a page.

        Raises:
            EnvironmentProblem: the disk is full or failed.
        """
        try:
            while data:
                count = self._write_some(data)
                self._size += count
                data = data[count:]
        except OSError as error:
            raise disk_problem(error, self.path.parent) from error

    def _write_some(self, data: memoryview) -> int:
        if self._cached is None:
            if whole := len(data) // _SECTOR * _SECTOR:
                try:
                    return os.write(self.fd, data[:whole])
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
            # The end of the file, or a disk of larger sectors.
            _set_direct(self.fd, on=False)
            self._cached = Writeback(self.fd, size=self._size)
        count = os.write(self.fd, data)
        self._cached.grown(count)
        return count


@contextmanager
def part_file(target: Path, size: int) -> Iterator[OutputFile]:
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


def _create(folder: Path) -> OutputFile:
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        _lock(fd)
        if os.fstat(fd).st_nlink:  # else another build took it for a leftover before it was locked
            return OutputFile(path, fd)
        os.close(fd)


def _set_direct(fd: int, *, on: bool) -> bool:
    """Have bytes go past the page cache or not; False when the file system cannot."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return True


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
