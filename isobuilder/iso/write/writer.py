"""Entries -> ISO in one pass, the same bytes every time, the digest known at the last byte."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import cast

from isobuilder.digest import BlobLike, Digest, Hasher
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import Writeback, disk_problem, locked, refuse_special, reserve
from isobuilder.iso.ring import Ring
from isobuilder.iso.write.author import Authored, author
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.hybrid import Boot
from isobuilder.iso.write.proof import FilesProof, prove
from isobuilder.model.base import LAST_EPOCH, check_iso_path
from isobuilder.progress import SILENT, Progress, task

_LABEL = re.compile(r"[A-Z0-9_]{1,32}|cidata|config-2")
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
    digests: Mapping[str, Digest] | None = None,
    naming: Callable[[], object] | None = None,
    progress: Progress = SILENT,
) -> WrittenIso:
    """Write ``entries`` to ``target`` and return the digest and size of the file.

    The same arguments give the same bytes on any machine at any time: entries are sorted, every
    time stamp is ``epoch`` (seconds since 1970-01-01 UTC), owner and modes are fixed, names are
    derived. ``label`` is 1 to 32 characters of A-Z, 0-9 and _ (ECMA-119, volume identifier), or one
    of the two that cloud-init looks for. With ``boot`` the ISO also starts machines, as a CD and as
    a disk.
    ``digests`` promises by path what files hash to, and that is proved while they pass.
    ``naming`` is called when all is on the disk and the file is about to get its name, which it
    does not if that raises.
    The file gets its name when it is complete and on the disk; until then it is
    ``.isobuilder-*.part`` in the same folder, and that is removed when anything goes wrong.

    Raises:
        InputError: an entry, the label or the epoch cannot be on an ISO, or what has the name
            ``target`` is no file; nothing is written.
        IntegrityError: a file is not as promised, or a blob not as long as the store says; nothing
            is written.
        EnvironmentProblem: no space, or the folder may not be written.
    """
    refuse_special(target)
    plan = planned(entries, label=label, epoch=epoch, boot=boot)
    check_space(target.parent, plan.size)
    hasher = Hasher()
    with (
        part_file(target, plan.size, naming) as part,
        task(progress, f"writing {target.name}", total=plan.size) as work,
    ):

        def to_disk(filled: memoryview) -> None:
            part.write(filled)
            work.advance(len(filled))

        proof = _proof(plan, entries, digests or {})
        with Ring([hasher.update, proof.update, to_disk], size=_WRITTEN_AT_ONCE) as ring:
            _Stream(ring).put_image(plan)
    return WrittenIso(target, hasher.digest(), hasher.size)


def iso_digest(
    entries: Sequence[IsoEntry],
    *,
    label: str,
    epoch: int,
    boot: Boot | None = None,
    digests: Mapping[str, Digest] | None = None,
) -> tuple[Digest, int]:
    """Return the digest and size ``write_iso`` would give, without writing anything.

    Raises:
        InputError, IntegrityError: as for ``write_iso``.
    """
    hasher = Hasher()
    pass_image(entries, hasher.update, label=label, epoch=epoch, boot=boot, digests=digests)
    return hasher.digest(), hasher.size


def pass_image(
    entries: Sequence[IsoEntry],
    sink: Callable[[memoryview], None],
    *,
    label: str,
    epoch: int,
    boot: Boot | None = None,
    digests: Mapping[str, Digest] | None = None,
) -> None:
    """Hand the bytes of the image to ``sink``, in order; what it gets is only lent.

    Raises:
        InputError, IntegrityError: as for ``write_iso``.
    """
    plan = planned(entries, label=label, epoch=epoch, boot=boot)
    proof = _proof(plan, entries, digests or {})
    with Ring([sink, proof.update]) as ring:
        _Stream(ring).put_image(plan)


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
    if not 0 <= epoch <= LAST_EPOCH:
        raise InputError(f"epoch: expected 0 to {LAST_EPOCH} (the end of 2155), got {epoch}")
    try:
        for entry in entries:
            check_iso_path(entry.path)
        return author(entries, label=label, epoch=epoch, boot=boot)
    except ValueError as error:
        raise InputError(f"ISO: {error}") from error


def _proof(
    plan: Authored, entries: Sequence[IsoEntry], digests: Mapping[str, Digest]
) -> FilesProof:
    for entry in entries:
        if not entry.size and entry.path in digests:  # no byte of it will pass
            prove(entry, digests[entry.path], Digest.of(b""))
    return FilesProof(plan.bodies, digests)


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


_PREFIX, _SUFFIX = ".isobuilder-", ".part"
_SECTOR = 4096  # bytes: what goes past the cache comes in multiples of it


class OutputFile:
    """A file that is being written, locked for as long as its writer lives.

    Where the file system can, bytes go to the disk past the page cache. An ISO is as long as what
    it is made of and not read again by this process: cached, it would push out blobs that the next
    build needs, and finding so many free pages costs more than copying into them.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._size = 0
        self._cached: Writeback | None = None  # None as long as bytes go past the cache
        if not _set_direct(fd, on=True):
            self._cached = Writeback(fd)

    def write(self, data: memoryview) -> None:
        """Append ``data``; fastest when it lies on a page boundary and is a multiple of a page.

        Raises:
            EnvironmentProblem: the disk is full or failed.
        """
        try:
            while data:
                count = self._write_some(data)
                self._size += count
                data = data[count:]
        except OSError as error:
            raise disk_problem(error, self.path.parent) from error

    def _write_some(self, data: memoryview) -> int:
        if self._cached is None:
            if whole := len(data) // _SECTOR * _SECTOR:
                try:
                    return os.write(self.fd, data[:whole])
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
            # The end of the file, or a disk of larger sectors.
            _set_direct(self.fd, on=False)
            self._cached = Writeback(self.fd, size=self._size)
        count = os.write(self.fd, data)
        self._cached.grown(count)
        return count


@contextmanager
def part_file(
    target: Path, size: int, naming: Callable[[], object] | None = None
) -> Iterator[OutputFile]:
    """Give a file beside ``target`` that becomes ``target`` when the block ends without an error.

    Room for ``size`` bytes, all that will be written, is taken at once. ``naming`` is called in
    between: what it raises keeps the file from its name.
    Its bytes are on the disk before the rename, so neither kill -9 nor a power cut leaves a half
    file under the final name. What a killed writer left in the folder is removed.

    Raises:
        EnvironmentProblem: the folder may not be written, or the disk is full; nothing is left.
    """
    folder = target.parent
    try:
        _remove_leftovers(folder)
        part = _create(folder)
    except OSError as error:
        raise disk_problem(error, folder) from error
    try:
        try:
            reserve(part.fd, size)
        except OSError as error:
            raise disk_problem(error, folder) from error
        yield part
        try:
            os.fsync(part.fd)
        except OSError as error:
            raise disk_problem(error, target) from error
        if naming is not None:
            naming()
        try:
            part.path.replace(target)
            _sync_folder(folder)
        except OSError as error:
            raise disk_problem(error, target) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.path.unlink()
        os.close(part.fd)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep others that ask for it out of ``folder`` meanwhile, where its file system has locks.

    For moments alone: builds of many ISOs end in one folder. A file of ours is locked, not the
    folder, for whoever starts us may hold that; a killed one's goes with the next ISO.
    """
    path = folder / f"{_PREFIX}ending{_SUFFIX}"
    with ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(locked(path))
            stack.callback(path.unlink, missing_ok=True)
        yield


def check_space(folder: Path, size: int) -> None:
    """Return if ``folder`` has room for ``size`` bytes more.

    Raises:
        EnvironmentProblem: it has not, or it is not there.
    """
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise disk_problem(error, folder) from error
    free = disk.f_bavail * disk.f_frsize
    if free < size:
        raise EnvironmentProblem(
            f"{folder}: the ISO needs {size} bytes, {free} are free",
            hint="free space there, or choose another folder with --out",
        )


def _create(folder: Path) -> OutputFile:
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        _lock(fd)
        if os.fstat(fd).st_nlink:  # else another build took it for a leftover before it was locked
            return OutputFile(path, fd)
        os.close(fd)


def _set_direct(fd: int, *, on: bool) -> bool:
    """Have bytes go past the page cache or not; False when the file system cannot."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return True


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _lock(fd):
                    path.unlink()
            finally:
                os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by a living writer, or the file system has no locks: leave it alone
        return False
    return True


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
