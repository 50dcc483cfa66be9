"""What a person names as having blobs: ISOs, stores, folders that were carried here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from isobuilder.content.donor import Donor, FolderDonor, IsoDonor
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import is_file
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import Medium
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.store import Store, hold_collections

_log = logging.getLogger(__name__)


def open_donors(
    paths: Iterable[Path], locks: Sequence[Lock], closing: ExitStack
) -> tuple[Donor, ...]:
    """Return what ``paths`` have, in their order; files stay open until ``closing`` closes.

    ``locks`` are those that blobs are wanted for: one may be of an ISO that has none beside it.

    Raises:
        InputError: a path is nothing that has blobs.
        IntegrityError: an ISO contradicts itself.
    """
    return tuple(_open(path, locks, closing) for path in paths)


def _open(path: Path, locks: Sequence[Lock], closing: ExitStack) -> Donor:
    if path.is_dir():
        if not (path / "blobs" / "sha256").is_dir():
            raise InputError(
                f"{path}: has no blobs/sha256, so it is no store and no bundle",
                hint="parts of a bundle are brought into the store by isobuilder site import",
            )
        _hold_collections(path, closing)
        return FolderDonor(path)
    return open_iso(path, locks, closing)


def _hold_collections(folder: Path, closing: ExitStack) -> None:
    """Keep collections of a store of somebody else waiting, where that can be done."""
    if (folder / "locks").is_dir() and (folder / "leases").is_dir():
        # On a medium without locks, or that may only be read, it is used as it is.
        with suppress(EnvironmentProblem):
            closing.enter_context(hold_collections(Store(folder)))


def open_iso(path: Path, locks: Sequence[Lock], closing: ExitStack) -> IsoDonor:
    """Return what an ISO has.

    Raises:
        IntegrityError: it is none, or contradicts itself.
        EnvironmentProblem: it cannot be read.
    """
    reader = closing.enter_context(IsoReader(path))
    return IsoDonor(reader, lock_of(path, reader, locks))


def lock_of(path: Path, reader: IsoReader, locks: Sequence[Lock] = ()) -> Lock | None:
    """Return the lock from which an ISO says it was made: beside it, or one of ``locks``.

    If its damage keeps it from saying so, the one beside it: whatever follows from it is proved.
    """
    try:
        manifest = Medium(reader).manifest
    except EnvironmentProblem as problem:  # where it lies a sector cannot be read
        manifest = IntegrityError(*problem.lines)
    beside = beside_iso(path)
    found = list(locks)
    if is_file(beside):
        try:
            found.append(load_lock(beside))
        except InputError as error:
            _log.warning("%s: is not read: %s", beside, error.lines[0])
    if isinstance(manifest, IntegrityError):
        return found[-1] if found else None
    return next((lock for lock in found if lock.digest.hex == manifest.lock_sha256), None)


def beside_iso(path: Path) -> Path:
    """Return where the lock of an ISO lies, as ``isobuilder build`` writes it."""
    return path.with_suffix(".lock.json")


def why_no_lock(path: Path) -> str:
    """Say why ``lock_of`` has found none for an ISO, in a sentence about it.

    Raises:
        IntegrityError: it is no ISO.
        EnvironmentProblem: it cannot be read.
    """
    beside = beside_iso(path)
    if not is_file(beside):
        return "its lock is not beside it"
    try:
        lock = load_lock(beside)
    except InputError:
        return "the lock beside it cannot be read"
    with IsoReader(path) as reader:
        manifest = Medium(reader).manifest
    if isinstance(manifest, IntegrityError):
        return "its lock is not beside it"  # lock_of takes any for such an ISO
    wanted = Digest.from_hex(manifest.lock_sha256)
    return f"the lock beside it is of another ISO: {lock.digest}, expected {wanted}"


def lock_needed(path: Path, lock: Lock | None) -> Lock:
    """Return the lock of an ISO.

    Raises:
        InputError: there is none.
    """
    if lock is None:
        raise InputError(
            f"{path}: {why_no_lock(path)}",
            hint=f"put {beside_iso(path).name} there, which isobuilder build wrote",
        )
    return lock
