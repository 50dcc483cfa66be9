"""A damaged ISO -> the ISO that was published, without parity: from whoever has the damaged blobs.

An ISO is a function of its lock and of blobs that have digests, so what it should be is worked out
from those of its own that are still right, and from others only for the rest. Nothing is written
before all of it has the digest that was published.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isobuilder import __version__
from isobuilder.content.tree import IsoTree, tree
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError, IsobuilderError
from isobuilder.files import as_environment_problem
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.writer import iso_digest, pass_image, planned, write_iso
from isobuilder.medium import MANIFEST, SUMS, Medium
from isobuilder.model.lock import Lock
from isobuilder.pipeline.build import manifest_of
from isobuilder.pipeline.fetch import holding
from isobuilder.progress import Task, task
from isobuilder.site.mending import (
    ANOTHER,
    SECTOR,
    copy_is_there,
    in_place,
    reads_as,
    refuse_another,
)
from isobuilder.sources.checksums import parse
from isobuilder.sources.session import Session


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done to an ISO."""

    iso: Path  # the one that is right now
    digest: Digest
    places: tuple[str, ...]  # what was damaged; with parity that is not known
    written: int  # bytes in place; of a copy and with parity all


def repair(
    iso: Path,
    lock: Lock,
    expected: Digest,
    session: Session,
    *,
    out: Path | None = None,
    replace: bool = False,
) -> Mended:
    """Make ``iso`` what it was, in place, or write what it was to ``out``.

    The store of ``session`` is helped by the ISO itself, first, and by donors. What none of them
    has is fetched like for a build, unless ``offline`` is set.

    Raises:
        InputError: another file has the name ``out`` already, unless ``replace`` lets it go, or
            a pipe or a device has it.
        EnvironmentProblem: nobody has a damaged blob, or the ISO cannot be written, or read then.
        IntegrityError: the lock is of another ISO, or what would be mended is; nothing was written.
    """
    if out is not None and copy_is_there(iso, expected, out, replace=replace):
        return Mended(out, expected, (), 0)
    if lock.boot is not None and lock.boot.payload is None:
        lock = lock.model_copy(update={"boot": None})  # as a build makes it without a payload
    if out is None:
        refuse_another(iso, expected)
        _refuse_other_lock(iso, lock)
    manifest = manifest_of(iso)
    tool = __version__ if manifest is None else manifest.tool
    with holding([lock], session):
        made = tree(lock, session.store, tool=tool, progress=session.progress)
        session.progress.step("working out what the ISO has to be")
        digest, size = iso_digest(
            made.entries, label=made.label, epoch=made.epoch, boot=made.boot, digests=made.digests
        )
        if digest != expected:
            raise IntegrityError(
                f"{iso}: from its lock comes {digest}, expected {expected}",
                hint=f"mend it with isobuilder {tool}, which made it, and with its own lock",
            )
        if out is not None:
            write_iso(
                made.entries,
                out,
                label=made.label,
                epoch=made.epoch,
                boot=made.boot,
                digests=made.digests,
                progress=session.progress,
            )
            return Mended(out, digest, (), size)
        with in_place(), task(session.progress, iso.name, total=size) as work:
            places, written = _put(iso, made, size, work)
    found = reads_as(iso)
    if found != expected:
        raise IntegrityError(
            f"{iso}: was written and reads as {found}, expected {expected}",
            hint="its disk does not keep what is written: use --out on another one",
        )
    return Mended(iso, found, places, written)


def _refuse_other_lock(iso: Path, lock: Lock) -> None:
    """Raise if ``iso`` says itself, where it is not damaged, that it is of another lock."""
    try:
        with IsoReader(iso) as reader:
            medium = Medium(reader)
            manifest, found = medium.manifest, medium.digest(MANIFEST)
            sums = medium.read(SUMS) if SUMS in reader.files else b""
            right = parse(sums, place=SUMS).sha256_for(MANIFEST) == found
    except IsobuilderError:
        return  # it is damaged, and says nothing
    if isinstance(manifest, IntegrityError) or not right:
        return
    if (said := Digest.from_hex(manifest.lock_sha256)) != lock.digest:
        raise IntegrityError(
            f"{iso}: is another ISO, of the lock {said}, expected {lock.digest}", hint=ANOTHER
        )


def _put(iso: Path, made: IsoTree, size: int, work: Task) -> tuple[tuple[str, ...], int]:
    """Write every sector that differs; return the files they are of, and how many bytes it was."""
    plan = planned(made.entries, label=made.label, epoch=made.epoch, boot=made.boot)
    with as_environment_problem(iso), iso.open("r+b", buffering=0) as file:
        mender = _Mender(file, work)
        pass_image(
            made.entries,
            mender.take,
            label=made.label,
            epoch=made.epoch,
            boot=made.boot,
            digests=made.digests,
        )
        file.truncate(size)
        os.fsync(file.fileno())
    places = []
    for at, entry in plan.bodies:
        if any(at < place + SECTOR and place < at + entry.size for place in mender.damaged):
            places.append(entry.path)
    if mender.damaged and not places:
        places.append("what is no file")
    return tuple(places), mender.written


class _Mender:
    """Compares an image with what it should be, and writes what differs."""

    def __init__(self, file: BinaryIO, work: Task) -> None:
        self._file, self._work = file, work
        self._at = 0
        self.damaged: list[int] = []  # where sectors begin
        self.written = 0  # bytes

    def take(self, data: memoryview) -> None:
        """Take the next bytes that should be there."""
        for start in range(0, len(data), SECTOR):
            wanted = data[start : start + SECTOR]
            if self._read(len(wanted)) != wanted:
                os.pwrite(self._file.fileno(), wanted, self._at)
                self.damaged.append(self._at)
                self.written += len(wanted)
            self._at += len(wanted)
        self._work.advance(len(data))

    def _read(self, size: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), size, self._at)
        except OSError:
            return b""  # a sector that cannot be read; writing it may bring it back
