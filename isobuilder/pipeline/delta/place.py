"""The name that a new ISO gets: who else wants it, what has it already, and how it is given."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from isobuilder.delta.assembling import ByteRun, PutRun
from isobuilder.delta.methods import DeltaError
from isobuilder.delta.plan import Link
from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import (
    Writeback,
    as_environment_problem,
    is_file,
    locked,
    open_own,
    refuse_special,
)
from isobuilder.iso.write.writer import check_space
from isobuilder.progress import Progress, Task, task

ANOTHER_NAME = "name another file with --out; --replace lets this one go"


def is_same(path: Path, out: Path) -> bool:
    """Say if a file that is read would be replaced by ``out``, by whatever name it is read.

    Also if ``out`` is a link on the way to it: that would lead elsewhere then.
    """
    replaced = _entry(out)
    entry = _entry(path)
    for _ in range(_MOST_LINKS_ON_A_WAY):
        if entry == replaced:
            return True
        if not entry.is_symlink():
            break
        entry = _entry(entry.parent / entry.readlink())
    return False


_MOST_LINKS_ON_A_WAY = 40
"""As Linux has it; who reads a file by more of them reads none."""


def _entry(path: Path) -> Path:
    """Return the one name of what a name stands for in its folder, be it a link."""
    return Path(os.path.realpath(path.parent)) / path.name


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Let no other run write a file of that name, whatever it makes, nor what lies beside it."""
    lock = out.with_name(f".{out.name}.lock")
    with as_environment_problem(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        with as_environment_problem(lock):
            mine = closing.enter_context(locked(lock, timeout=0))
        if not mine:
            raise EnvironmentProblem(
                f"{out}: another run is writing it", hint="run the command again once it ended"
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


_LEFT = re.compile(r"\.[0-9a-f]{16}\.(part|sides)")


def sweep(out: Path, *, but: Path | None = None) -> None:
    """Remove what runs that ended early left, also those that made another ISO of that name."""
    with as_environment_problem(out.parent):
        for path in list(out.parent.glob(f".{glob.escape(out.name)}.*")):
            if path != but and _LEFT.fullmatch(path.name.removeprefix(f".{out.name}")):
                path.unlink(missing_ok=True)


def is_there(out: Path, link: Link, *, replace: bool) -> bool:
    """Say if the ISO has its name already.

    Raises:
        InputError: another file has it, and it shall not go (``replace``).
    """
    refuse_special(out)
    if not os.path.lexists(out):  # a link that leads nowhere is another file too
        return False
    if is_file(out) and out.stat().st_size == link.size and Digest.of_file(out) == link.digest:
        return True
    if replace:
        return False
    raise InputError(
        f"{out}: is there already, and is not {link.name} of {link.digest}",
        hint=ANOTHER_NAME,
    )


class Writer:
    """Writes the result of a link."""

    def __init__(self, link: Link, result: ByteRun, out: Path, progress: Progress) -> None:
        assert isinstance(result, PutRun)  # noqa: S101 - so links are read
        self._link, self._result, self._out, self._progress = link, result, out, progress
        self._part = out.with_name(f".{out.name}.{link.digest.hex[:16]}.part")

    def check_space(self) -> None:
        """Raise EnvironmentProblem if there is no room for what is still to be written."""
        there = self._part.stat().st_size if is_file(self._part) else 0
        check_space(self._out.absolute().parent, max(0, self._link.size - there))

    def write(self) -> int:
        """Write it, not yet by its name; return how many bytes of it an earlier run had written."""
        with as_environment_problem(self._out.parent):
            digest, resumed = self._written()
            if digest != self._link.digest and resumed:
                self._progress.step("what an earlier run left is damaged: once more")
                os.truncate(self._part, 0)
                digest, resumed = self._written()
            if digest != self._link.digest:
                self._part.unlink()
                raise IntegrityError(
                    f"{self._out}: {digest} came of it, expected {self._link.digest}; "
                    "it was removed",
                    hint="the delta does not make what it promises: get another one",
                )
        return resumed

    def publish(self, *, replace: bool) -> None:
        """Give it its name, of which another file goes only if it may.

        Raises:
            InputError: another file came to have that name meanwhile.
        """
        with as_environment_problem(self._out.parent):
            if not replace:
                try:
                    os.link(self._part, self._out)
                except OSError as error:
                    if error.errno not in _NO_SECOND_NAME:
                        raise
                else:
                    self._part.unlink()
                    return
            if replace or not is_there(self._out, self._link, replace=False):
                self._part.replace(self._out)

    def _written(self) -> tuple[Digest, int]:
        fd = self._opened_part()
        try:
            sweep(self._out, but=self._part)
            there = min(os.fstat(fd).st_size, self._link.size)
            check_space(self._out.absolute().parent, self._link.size - there)
            begin = self._result.begins(there)
            pieces = self._result.pieces(begin)
            os.ftruncate(fd, begin)
            with task(self._progress, self._out.name, total=self._link.size) as work:
                return self._filled(fd, begin, pieces, work), begin
        except DeltaError as error:
            self._part.unlink()
            raise IntegrityError(f"{self._out}: cannot be made by the delta: {error}") from error
        finally:
            os.close(fd)

    def _opened_part(self) -> int:
        """Open the part. The name is ours alone: a link or no file at all that has it goes."""
        with as_environment_problem(self._part):
            try:
                return open_own(self._part, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
            self._part.unlink()
            return open_own(self._part, os.O_RDWR | os.O_CREAT)

    def _filled(self, fd: int, begin: int, pieces: Iterator[bytes], work: Task) -> Digest:
        hasher = Hasher()
        for at in range(0, begin, BUFFER_SIZE):
            data = os.pread(fd, min(BUFFER_SIZE, begin - at), at)
            hasher.update(data)
            work.advance(len(data))
        writeback = Writeback(fd, size=begin)
        with os.fdopen(os.dup(fd), "r+b") as file:
            file.seek(begin)
            for piece in pieces:
                hasher.update(piece)
                file.write(piece)
                writeback.grown(len(piece))
                work.advance(len(piece))
            file.flush()
            os.fsync(fd)
        return hasher.digest()


_NO_FILE = {errno.ELOOP, errno.ENXIO}
"""What ``open_own`` says of a link and of a pipe, and the system of a socket."""

_NO_SECOND_NAME = {errno.EEXIST, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What a file system says that has no second names; or the first is taken."""
