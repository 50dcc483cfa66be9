"""What disks do: locks that die with their holder, and errors a person can act on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isobuilder.errors import EnvironmentProblem


def disk_problem(error: OSError, place: Path) -> EnvironmentProblem:
    """Return the error a person can act on: which place, and what to do about it."""
    hint = None
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        hint = f"free space on the file system of {place} and run the command again"
    elif may_not_write(error):
        hint = f"make {place} writable for this user, or choose another place"
    elif error.errno in {errno.ENOENT, errno.ENOTDIR}:
        hint = f"there can be no {place}: choose another place"
    return EnvironmentProblem(f"{place}: {error.strerror or error}", hint=hint)


def may_not_write(error: OSError) -> bool:
    """Say if it is a matter of permission."""
    return error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def as_environment_problem(place: Path) -> Iterator[None]:
    """Turn what the system says about a disk into an ``EnvironmentProblem``."""
    try:
        yield
    except OSError as error:
        raise disk_problem(error, place) from error


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file, made if need be; yield False when another has it and not waiting.

    The kernel drops it when its holder dies, however that happens. It keeps threads apart as well
    as processes, for each call opens the file anew.
    """
    handle = _lock(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait=wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _lock(path: Path, kind: int, *, wait: bool) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
            # Housekeeping removes lock files; then ours has no name and protects nothing.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except BaseException:  # a Ctrl-C in the wait above: an open handle would keep the lock
            os.close(handle)
            raise
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Say if somebody holds the lock of an existing file."""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
    return False
