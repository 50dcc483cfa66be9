"""What both ways of mending an ISO share: a medium that fails, and where the mended one may go.

A sector that cannot be read is damage like any other.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import as_environment_problem, may_not_write, refuse_special
from isobuilder.pipeline.verify import promised

SECTOR = 2048
"""Bytes that are there or not together."""

ELSEWHERE = "write a mended copy to another disk with --out FILE"
"""The way out where an ISO cannot be mended where it is."""

ANOTHER = "write the ISO that you expect to another file with --out FILE"
"""The way out where mending an ISO would make another one of it."""

_DEAD = {errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ}  # what block devices say


class Unreadable(EnvironmentProblem):
    """A sector cannot be read."""


@dataclass(slots=True)
class Lost:
    """The sectors of a file that could not be read."""

    count: int = 0
    first: int | None = None  # byte at which the first one begins


def readable(path: Path, lost: Lost) -> Iterator[bytes]:
    """Give the bytes of a file in order; ``lost`` counts the sectors that are zeros for others.

    Raises:
        EnvironmentProblem: it is not there, or may not be read at all.
    """
    with as_environment_problem(path), path.open("rb", buffering=0) as file:
        descriptor, size, at = file.fileno(), file.seek(0, os.SEEK_END), 0
        while at < size:
            whole = _read(descriptor, min(BUFFER_SIZE, size - at), at)
            # Only where a piece fails its sectors are read one by one, which takes many calls.
            step = BUFFER_SIZE if whole else SECTOR
            for begin in range(at, min(at + BUFFER_SIZE, size), step):
                wanted = min(step, size - begin)
                data = whole or _read(descriptor, wanted, begin)
                if data is None:
                    lost.count += 1
                    lost.first = begin if lost.first is None else lost.first
                    data = bytes(wanted)
                yield data
            at += BUFFER_SIZE


def reads_as(path: Path) -> Digest:
    """Return the digest of a file, all of which can be read.

    Raises:
        Unreadable: a sector cannot; it names the first one, behind which nothing was read.
        EnvironmentProblem: it is not there, or may not be read.
    """
    hasher, lost = Hasher(), Lost()
    for data in readable(path, lost):
        if lost.count:
            fact = os.strerror(errno.EIO)
            raise Unreadable(f"{path}: byte {lost.first}: {fact}", hint=ELSEWHERE)
        hasher.update(data)
    return hasher.digest()


def copy_is_there(iso: Path, expected: Digest, out: Path, *, replace: bool) -> bool:
    """Say if ``out`` is right already; else it may be written, and its folder is made.

    The ISO itself may be what is written anew.

    Raises:
        InputError: another file has the name, unless ``replace`` lets it go, or a pipe or a device.
        EnvironmentProblem: there can be no such folder.
    """
    refuse_special(out)
    if os.path.lexists(out):
        with contextlib.suppress(Unreadable):
            if out.is_file() and reads_as(out) == expected:
                return True
        if not replace and not is_itself(out, iso):
            raise InputError(
                f"{out}: is there already, and is not {iso.name} of {expected}",
                hint="name another file with --out; --replace lets this one go",
            )
    with as_environment_problem(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    return False


def is_itself(out: Path, iso: Path) -> bool:
    """Say if ``out`` is the ISO, and not a link to it: in the place of a link it would stay bad."""
    with as_environment_problem(out):
        return os.path.lexists(out) and os.path.samestat(out.lstat(), iso.stat())


def refuse_another(iso: Path, expected: Digest) -> None:
    """Raise if ``iso`` is whole, by the sum beside it, and not what it would be made.

    Raises:
        IntegrityError: it is another ISO, and nothing is to be mended of it.
    """
    own = promised(iso)
    if own is None or own == expected:
        return
    with contextlib.suppress(Unreadable):
        if reads_as(iso) == own:
            raise IntegrityError(
                f"{iso}: is whole, and another ISO: {own}, expected {expected}", hint=ANOTHER
            )


@contextmanager
def in_place() -> Iterator[None]:
    """Tell the way out where an ISO may not be written, or its disk does not take it."""
    try:
        yield
    except EnvironmentProblem as problem:
        cause = problem.__cause__
        if isinstance(cause, OSError) and (may_not_write(cause) or cause.errno in _DEAD):
            raise EnvironmentProblem(*problem.lines, hint=ELSEWHERE) from cause
        raise


def _read(descriptor: int, size: int, at: int) -> bytes | None:
    """Return ``size`` bytes from ``at`` on; None if not all of them can be read."""
    done = b""
    while len(done) < size:
        try:
            data = os.pread(descriptor, size - len(done), at + len(done))
        except OSError as error:
            if error.errno in _DEAD:
                return None
            raise
        if not data:  # somebody cuts it off meanwhile
            return None
        done += data
    return done
