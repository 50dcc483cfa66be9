"""What disks do: whole files, locks that die with their holder, errors a person can act on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, InputError

_MIB = 1024 * 1024


_HANDED = re.compile(r"/dev/stdin|/dev/fd/[0-9]+|/proc/self/fd/[0-9]+")
_handed: dict[tuple[int, int], bytes] = {}  # by device and inode: a pipe gives its bytes once


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the bytes of a file that a person names, or that lies where one may.

    Pipes are read only where a shell hands one over (``<(...)``, ``/dev/stdin``), and give the same
    bytes again: whoever should write to one that lies in a folder may never come.

    Raises:
        InputError: it cannot be read, or is larger than ``limit`` bytes (then hardly read at all).
    """
    try:
        with open(path, "rb", opener=without_waiting) as file:
            facts = os.fstat(file.fileno())
            pipe = (facts.st_dev, facts.st_ino) if stat.S_ISFIFO(facts.st_mode) else None
            if pipe and not _HANDED.fullmatch(str(path)):
                raise InputError(
                    f"{path}: is no file", hint="of pipes only /dev/stdin and <(...) are read"
                )
            os.set_blocking(file.fileno(), True)
            data = _handed.get(pipe) if pipe else None
            if data is None:
                data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read: no file has such a name") from error
    if len(data) > limit:
        size = path.stat().st_size
        found = f"{size} bytes" if size > limit else "no end"
        most = f"{limit // _MIB} MiB" if limit >= _MIB else f"{limit} bytes"
        raise InputError(f"{path}: expected at most {most}, got {found}")
    if pipe:
        _handed[pipe] = data
    return data


def holds(path: Path, data: bytes) -> bool:
    """Say if there is a file of these very bytes.

    Raises:
        EnvironmentProblem: it cannot be read.
    """
    with as_environment_problem(path):
        if not is_file(path):
            return False
        with open(path, "rb", opener=without_waiting) as file:
            return file.read(len(data) + 1) == data


def own_path(text: str | Path) -> Path:
    """Return the path that a person wrote, with the folder that a ``~`` at its beginning means.

    Raises:
        InputError: there is no such user, or no file can have such a name.
    """
    if "\0" in str(text):
        raise InputError(f"{str(text)!r}: no file has a name with a NUL character in it")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = Path(text).parts[0]
        raise InputError(
            f"{text}: no home folder is known for {user}", hint="write the whole path, without ~"
        ) from error


def below(folder: Path, name: str) -> Path | None:
    """Return the file that ``name``, which a stranger may have written, means from ``folder``.

    None if that is outside, by its steps or by way of a link: a text that somebody sends does not
    choose which files of this machine are read.
    """
    if "\0" in name:
        return None
    real = Path(os.path.realpath(folder / name))
    return real if real.is_relative_to(os.path.realpath(folder)) else None


def is_file(path: Path) -> bool:
    """Say if there is such a file; none has a name that is too long or has a zero in it."""
    try:
        return path.is_file()
    except ValueError:
        return False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def keeps_bytes(mode: int) -> bool:
    """Say by its ``st_mode`` if it is a file, a disc or a stick, from which one may read again."""
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def without_waiting(path: str, flags: int) -> int:
    """Open a file as ``open`` asks its ``opener`` to, and wait for nobody at a pipe's other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def open_bytes(path: Path) -> int:
    """Open a file, a disc or a stick for reading, and return its descriptor.

    Raises:
        InputError: it is a pipe, a folder or another thing that has no bytes to come back to.
        EnvironmentProblem: it is not there, or may not be read.
    """
    with as_environment_problem(path):
        # Without waiting for whoever is at the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        mode = os.fstat(descriptor).st_mode
    if not keeps_bytes(mode):
        os.close(descriptor)
        raise InputError(
            f"{path}: is no file", hint="bytes are read from it more than once: name a file"
        )
    return descriptor


def files_in(folder: Path, suffix: str) -> list[Path]:
    """Return the files of a folder whose names end so, in order; no folders, no broken links.

    A link that nobody may follow is among them: whoever reads it tells why.

    Raises:
        EnvironmentProblem: it cannot be read.
    """
    with as_environment_problem(folder):
        return sorted(one for one in folder.iterdir() if one.suffix == suffix and may_be_file(one))


def may_be_file(path: Path) -> bool:
    """Say if it is a file, or a link that nobody may follow."""
    try:
        return path.is_file()
    except OSError:
        return True


def refuse_special(path: Path) -> None:
    """Raise if a device, a pipe or the like has the name of a file that is to be written.

    Raises:
        InputError: it would be replaced by a file, which nobody wants of /dev/stdout.
    """
    with as_environment_problem(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: is there, and is no file", hint="name another file")


_ASK_AGAIN = 0.05  # seconds between two looks at a lock that another holds


def disk_problem(error: OSError, place: Path) -> EnvironmentProblem:
    """Return the error a person can act on: which place, and what to do about it."""
    hint = None
    if error.errno == errno.EFBIG:  # FAT32 ends at 4 GiB, and there are limits of a process
        hint = f"files at {place} cannot be that large: choose another place, or smaller parts"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
        hint = f"free space on the file system of {place} and run the command again"
    elif _may_not_read(error, place):
        hint = f"make {place} readable for this user, or choose another place"
    elif may_not_write(error):
        hint = f"make {place} writable for this user, or choose another place"
    elif error.errno in {errno.ENOENT, errno.ENOTDIR}:
        hint = f"there can be no {place}: choose another place"
    elif error.errno in {errno.EEXIST, errno.ELOOP}:
        hint = f"{place} is a link that leads nowhere, or no folder: see to it"
    elif error.errno == errno.EXDEV:
        hint = "blobs and partial of a store have to be on one file system"
    return EnvironmentProblem(f"{place}: {error.strerror or error}", hint=hint)


def may_not_write(error: OSError) -> bool:
    """Say if it is a matter of permission."""
    return error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}


def _may_not_read(error: OSError, place: Path) -> bool:
    """Say if what is there, which may be out of reach, cannot be read by this user."""
    if error.errno != errno.EACCES:
        return False
    try:
        there = place.stat()
        return not os.access(place, os.R_OK | (os.X_OK if stat.S_ISDIR(there.st_mode) else 0))
    except OSError as found:
        return found.errno == errno.EACCES


@contextmanager
def as_environment_problem(place: Path) -> Iterator[None]:
    """Turn what the system says about a disk into an ``EnvironmentProblem``."""
    try:
        yield
    except OSError as error:
        raise disk_problem(error, place) from error


Put = Callable[[bytes | memoryview], object]
"""Takes the next bytes of a file."""


@contextmanager
def new_file(path: Path, *, private: bool = False) -> Iterator[Put]:
    """Give what takes the bytes of a file, which has its name once all of them are on the disk.

    Until then, and if the block fails, an older file of that name stays. Folders on the way are
    made. ``private``: nobody but its owner may read it, from its first byte.

    Raises:
        InputError: what has that name is no file.
        EnvironmentProblem: the folder cannot be written or the disk is full.
    """
    refuse_special(path)
    with as_environment_problem(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = _scratch(path)
        try:
            with os.fdopen(handle, "wb") as file:
                writeback = Writeback(file.fileno())

                def put(data: bytes | memoryview) -> None:
                    file.write(data)
                    writeback.grown(len(data))

                yield put
                file.flush()
                os.fsync(file.fileno())
            if not private:
                scratch.chmod(0o644)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def _scratch(path: Path) -> tuple[int, Path]:
    """Make a file beside ``path``, of mode 0600, which is held until it is closed."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # it was taken for one that nobody holds, before we held it


_SCRATCH = re.compile(r"\.(.+)\.[a-z0-9_]{8}", re.DOTALL)  # as mkstemp calls it


def clear_scratch(folder: Path, wanted: Callable[[str], object]) -> None:
    """Remove what runs of ``new_file`` that were killed left of the files ``wanted`` by name.

    What another process is writing stays, and so does what cannot be removed.
    """
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            found = _SCRATCH.fullmatch(path.name)
            if found and wanted(found[1]):
                _remove_unheld(path)


def _remove_unheld(path: Path) -> None:
    with contextlib.suppress(OSError):
        handle = open_own(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(handle)


def write_whole(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file so that it is either the old one or the whole new one, on the disk.

    Raises:
        InputError, EnvironmentProblem: see ``new_file``; the old file stays.
    """
    with new_file(path, private=private) as put:
        put(data)


def open_own(path: Path, flags: int) -> int:
    """Open a file that only we make, in a folder where others may write too, and never a link.

    Raises:
        OSError: as ``os.open``; ELOOP also when the file has another name elsewhere.
    """
    # Without waiting for whoever is at the other end of a pipe that somebody put there.
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.ELOOP, "a link or no file at all", str(path))
    return descriptor


def read_own(path: Path, limit: int) -> bytes:
    """Return what we once wrote to a file of at most ``limit`` bytes, see ``open_own``.

    Raises:
        OSError: as ``open_own``; EFBIG also when there is more than we ever write.
    """
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def private_folder(folder: Path) -> Path:
    """Make ``folder`` for its owner only; one that is there stays as it is, its files are private.

    It may be anything, such as /tmp or a home, whose mode is for others to choose.

    Raises:
        EnvironmentProblem: it cannot be made.
    """
    with as_environment_problem(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path, *, shared: bool = False, timeout: float | None = None) -> Iterator[bool]:
    """Hold the lock of a file, made if need be; False when another had it for ``timeout`` seconds.

    None waits for ever. The kernel drops the lock when its holder dies, however that happens. It
    keeps threads apart as well as processes, for each call opens the file anew.
    """
    handle = _lock(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _lock(path: Path, kind: int, timeout: float | None) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        handle = _open_lock(path)
        try:
            fcntl.flock(handle, kind if deadline is None else kind | fcntl.LOCK_NB)
            # Housekeeping removes lock files; then ours has no name and protects nothing.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                os.close(handle)
                return None
        except FileNotFoundError:
            pass
        except BaseException:  # a Ctrl-C in the wait above: an open handle would keep the lock
            os.close(handle)
            raise
        os.close(handle)
        if deadline is not None:
            time.sleep(_ASK_AGAIN)


def _open_lock(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if not may_not_write(error):
            raise
        with contextlib.suppress(OSError):
            return os.open(path, flags | os.O_RDONLY)  # another user's can be held as well
        raise


def is_locked(path: Path) -> bool:
    """Say if somebody holds the lock of an existing file; nobody holds one through a link."""
    if path.is_symlink():
        return False
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            # Shared is enough to meet whoever holds it, and all that NFS allows without writing.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
    return False


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
