"""Bytes on their way to the disk while more of them come."""

from __future__ import annotations

import contextlib
import errno
import os

_STRETCH = 8 * 1024 * 1024  # bytes: enough for a disk to work on, little for fsync to wait for
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Writeback:
    """Has a growing file written to the disk meanwhile, so that ``fsync`` at its end is short."""

    def __init__(self, fd: int, *, size: int = 0) -> None:
        self._fd = fd
        self._size = size  # bytes so far
        self._begun = size

    def grown(self, count: int) -> None:
        """``count`` more bytes were handed to the system."""
        self._size += count
        if (stretch := self._size - self._begun) < _STRETCH:
            return
        # Linux begins to write such pages and does not wait; those not yet on the disk stay
        # cached, so nothing has to be read again. File systems without it may refuse.
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, self._begun, stretch, os.POSIX_FADV_DONTNEED)
        self._begun = self._size


def reserve(fd: int, size: int) -> None:
    """Make room for ``size`` bytes: a full disk shows before anything is written.

    Raises:
        OSError: the file system has no such room.
    """
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in _FULL:
            raise  # others cannot reserve; there writing itself will tell
