"""Entries -> ISO in one pass, the same bytes every time, the digest known at the last byte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import cast

from isobuilder.digest import BlobLike, Digest, Hasher
from isobuilder.errors import InputError, IntegrityError
from isobuilder.iso.ring import Ring
from isobuilder.iso.write.author import Authored, author
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.hybrid import Boot
from isobuilder.iso.write.output import check_space, part_file
from isobuilder.model.base import check_iso_path
from isobuilder.progress import SILENT, Progress, task
from isobuilder.store import disk_problem

_LABEL = re.compile(r"[A-Z0-9_]{1,32}|cidata|config-2")
_LAST_EPOCH = 5_869_583_999  # 2155-12-31 23:59:59 UTC: ISO 9660 counts years in a byte from 1900
_WRITTEN_AT_ONCE = 2 * 1024 * 1024  # bytes: past the cache, each write waits for the disk
_ZEROS = memoryview(bytes(64 * 1024))


@dataclass(frozen=True, slots=True)
class WrittenIso:
    """What was written: enough for every side file."""

    path: Path
    digest: Digest
    size: int  # bytes


def write_iso(
    entries: Sequence[IsoEntry],
    target: Path,
    *,
    label: str,
    epoch: int,
    boot: Boot | None = None,
    progress: Progress = SILENT,
) -> WrittenIso:
    """Write ``entries`` to ``target`` and return the digest and size of the file.

    The same arguments give the same bytes on any machine at any time: entries are sorted, every
    time stamp is ``epoch`` (seconds since 1970-01-01 UTC), owner and modes are fixed, names are
    derived. ``label`` is 1 to 32 characters of A-Z, 0-9 and _ (ECMA-119, volume identifier), or one
    of the two that cloud-init looks for. With ``boot`` the ISO also starts machines, as a CD and as
    a disk.
    The file gets its name when it is complete and on the disk; until then it is
    ``.isobuilder-*.part`` in the same folder, and that is removed when anything goes wrong.

    Raises:
        InputError: an entry, the label or the epoch cannot be on an ISO; nothing is written.
        IntegrityError: a blob is not as long as the store says.
        EnvironmentProblem: no space, or the folder may not be written.
    """
    plan = planned(entries, label=label, epoch=epoch, boot=boot)
    check_space(target.parent, plan.size)
    hasher = Hasher()
    with (
        part_file(target, plan.size) as part,
        task(progress, f"writing {target.name}", total=plan.size) as work,
    ):

        def to_disk(filled: memoryview) -> None:
            part.write(filled)
            work.advance(len(filled))

        with Ring([hasher.update, to_disk], size=_WRITTEN_AT_ONCE) as ring:
            _Stream(ring).put_image(plan)
    return WrittenIso(target, hasher.digest(), hasher.size)


def iso_digest(
    entries: Sequence[IsoEntry], *, label: str, epoch: int, boot: Boot | None = None
) -> tuple[Digest, int]:
    """Return the digest and size ``write_iso`` would give, without writing anything.

    Raises:
        InputError, IntegrityError: as for ``write_iso``.
    """
    hasher = Hasher()
    plan = planned(entries, label=label, epoch=epoch, boot=boot)
    with Ring([hasher.update]) as ring:
        _Stream(ring).put_image(plan)
    return hasher.digest(), hasher.size


def planned(
    entries: Sequence[IsoEntry], *, label: str, epoch: int, boot: Boot | None = None
) -> Authored:
    """Return where everything goes on the ISO that ``write_iso`` would write.

    Raises:
        InputError: as for ``write_iso``.
    """
    if not _LABEL.fullmatch(label):
        raise InputError(
            f"volume label: expected 1 to 32 of A-Z, 0-9 and _, cidata or config-2, got {label!r}"
        )
    if not 0 <= epoch <= _LAST_EPOCH:
        raise InputError(f"epoch: expected 0 to {_LAST_EPOCH} (the end of 2155), got {epoch}")
    try:
        for entry in entries:
            check_iso_path(entry.path)
        return author(entries, label=label, epoch=epoch, boot=boot)
    except ValueError as error:
        raise InputError(f"ISO: {error}") from error


class _Stream:
    """The image as one run of bytes, cut into the buffers of a ring."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._buffer = ring.take()
        self._filled = 0  # bytes of this buffer
        self._passed = 0  # bytes of all buffers before

    def put_image(self, plan: Authored) -> None:
        self._put(memoryview(plan.head))
        for offset, entry in plan.bodies:
            self._pad(offset)
            for piece in entry.pieces:
                if isinstance(piece, bytes):
                    self._put(memoryview(piece))
                else:
                    self._put_blob(piece)
        self._pad(plan.size - len(plan.tail))
        self._put(memoryview(plan.tail))
        self._ring.give(self._buffer[: self._filled])

    def _pad(self, offset: int) -> None:
        while (missing := offset - self._passed - self._filled) > 0:
            self._put(_ZEROS[:missing])

    def _put(self, data: memoryview) -> None:
        while data:
            room = len(self._buffer) - self._filled
            now, data = data[:room], data[room:]
            self._buffer[self._filled : self._filled + len(now)] = now
            self._advance(len(now))

    def _put_blob(self, blob: BlobLike) -> None:
        left = blob.size
        try:
            with cast("RawIOBase", blob.open()) as file:
                while left and (count := file.readinto(self._buffer[self._filled :][:left])):
                    left -= count
                    self._advance(count)
                longer = bool(file.read(1))
        except OSError as error:
            raise disk_problem(error, Path(blob.place)) from error
        if left or longer:
            raise IntegrityError(
                f"{blob.place}: {'longer' if longer else f'{left} bytes shorter'} than the "
                f"{blob.size} bytes that were stored as {blob.digest}",
                hint="run isobuilder store check, then fetch and build again",
            )

    def _advance(self, count: int) -> None:
        self._filled += count
        if self._filled == len(self._buffer):
            self._ring.give(self._buffer)
            self._passed += self._filled
            self._filled = 0
            self._buffer = self._ring.take()
