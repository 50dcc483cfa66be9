"""Blobs: how bytes get in and are found again."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from platformdirs import user_cache_path

from isobuilder.digest import BUFFER_SIZE, BlobLike, Digest, Hasher, check
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.files import as_environment_problem, disk_problem, may_not_write, own_path, read_own

_log = logging.getLogger(__name__)

SCRATCH = "add-"
"""How names begin of files that only the process that made them will use."""

DIGITS = re.compile("[0-9a-f]{64}")
"""How files are named that hold a blob, or what was noted for a digest."""

_MOST_READ = 64 * 1024 * 1024  # bytes of a blob in memory: manifests and boot loaders have 16 MiB
_MOST_NOTED = 16 * 1024 * 1024  # bytes of a note: the largest are locks


def default_root() -> Path:
    """Return the user's own store, below the XDG cache directory."""
    return user_cache_path("isobuilder")


class Finder(Protocol):
    """Has blobs that are nobody's business to keep here."""

    def find(self, digest: Digest, /) -> BlobLike | None:
        """Return the blob, which was proved, or None."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that the store hashed; holding one is the proof that they are there and right."""

    digest: Digest
    size: int  # bytes
    path: Path

    @property
    def place(self) -> str:
        """Where they lie, for people."""
        return str(self.path)

    def open(self) -> BinaryIO:
        """Open the bytes for reading, unbuffered: callers read in large pieces.

        Raises:
            EnvironmentProblem: they are there no more.
        """
        with self._there():
            return self.path.open("rb", buffering=0)

    def read(self) -> bytes:
        """Return all bytes, proved once more; for small blobs only.

        Raises:
            IntegrityError: they are not what was hashed, or too many to be what is read so.
            EnvironmentProblem: they cannot be read.
        """
        with as_environment_problem(self.path), self._there(), self.path.open("rb") as file:
            data = file.read(_MOST_READ + 1)
        if len(data) > _MOST_READ:
            raise IntegrityError(f"{self.path}: expected at most {_MOST_READ} bytes, got more")
        check(self, Digest.of(data))
        return data

    @contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise EnvironmentProblem(
                f"{self.path}: was taken away meanwhile",
                hint="run the command again, when no other collects or checks there",
            ) from error


def proved_file(path: Path, digest: Digest) -> Blob | None:
    """Return a file of somebody else as a blob, None if its bytes are others.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    # Not a pipe or a device, which somebody may have put there.
    if not path.is_file() or Digest.of_file(path) != digest:
        return None
    return Blob(digest, path.stat().st_size, path)


def copy_to(blob: BlobLike, target: Path) -> None:
    """Write the bytes of ``blob`` to a new file, proved once more while they pass.

    Raises:
        IntegrityError: they are not what was hashed; nothing is left there.
        OSError: the disk is full, or one of the two may not be used.
    """
    hasher = Hasher()
    try:
        with blob.open() as source, target.open("wb") as copy:
            while chunk := source.read(BUFFER_SIZE):
                hasher.update(chunk)
                copy.write(chunk)
        check(blob, hasher.digest())
    except BaseException:  # whatever ends it, a Ctrl-C too: no half or damaged copy stays
        target.unlink(missing_ok=True)
        raise


class Store:
    """A folder of blobs, shared by any number of processes.

    A blob gets its name by a rename after size and hash agree, so a reader never meets half a blob,
    and neither kill -9 nor a full disk leaves one. What it lacks and one of ``more`` has, such as
    an ISO, counts as there and stays where it is.
    """

    def __init__(self, root: Path, more: Sequence[Finder] = ()) -> None:
        self.root = root
        self._more = tuple(more)

    def path_of(self, digest: Digest) -> Path:
        """Return where the blob is, if it is there."""
        return self.root / "blobs" / "sha256" / digest.hex[:2] / digest.hex

    def find(self, digest: Digest) -> BlobLike | None:
        """Return the blob, or None when neither the store nor who helps it has it."""
        if (own := self.own(digest)) is not None:
            return own
        return next(filter(None, (more.find(digest) for more in self._more)), None)

    def own(self, digest: Digest) -> Blob | None:
        """Return the blob, or None when it is not in the store's own folder."""
        path = self.path_of(digest)
        try:
            facts = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_problem(error, path) from error
        # A folder or a pipe that somebody put there is no blob, and opening one may take for ever.
        return Blob(digest, facts.st_size, path) if stat.S_ISREG(facts.st_mode) else None

    def add(
        self, chunks: Iterable[bytes], *, digest: Digest, name: str, size: int | None = None
    ) -> Blob:
        """Keep ``chunks`` if, and only if, they are the promised bytes.

        Raises:
            IntegrityError: size or hash is not the promised one; nothing is kept.
            EnvironmentProblem: the disk is full or may not be written; nothing is kept.
        """
        if (known := self.own(digest)) is not None:
            return known
        with self._scratch() as (file, path):
            hasher = Hasher()
            for chunk in chunks:
                hasher.update(chunk)
                if size is not None and hasher.size > size:
                    raise IntegrityError(f"{name}: longer than the promised {size} bytes")
                file.write(chunk)
            if size is not None and hasher.size != size:
                raise IntegrityError(f"{name}: expected {size} bytes, got {hasher.size}")
            if hasher.digest() != digest:
                raise IntegrityError(f"{name}: expected {digest}, got {hasher.digest()}")
            file.flush()
            os.fsync(file.fileno())
            return self.keep(path, digest, hasher.size)

    def add_bytes(self, data: bytes) -> Blob:
        """Keep bytes we made or checked ourselves."""
        return self.add([data], digest=Digest.of(data), name="bytes")

    def remember(self, kind: str, key: Digest, value: bytes) -> None:
        """Keep a small fact that was costly to find out and can be found out again.

        ``kind`` is a folder name, ``key`` the digest of everything the fact depends on. In a store
        that this user may not write nothing is kept.
        """
        try:
            with self._scratch() as (file, path):
                file.write(value)
                file.flush()
                target = self.root / "notes" / kind / key.hex
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
        except EnvironmentProblem as problem:
            if not (isinstance(problem.__cause__, OSError) and may_not_write(problem.__cause__)):
                raise
            _log.info("%s: not writable, nothing is noted there", self.root)

    def recall(self, kind: str, key: Digest) -> bytes | None:
        """Return what was remembered; None also for what cannot be read, or is none of ours."""
        try:
            return read_own(self.root / "notes" / kind / key.hex, _MOST_NOTED)
        except OSError:
            return None

    def forget(self, kind: str, key: Digest) -> None:
        """Forget what was remembered, if it was."""
        (self.root / "notes" / kind / key.hex).unlink(missing_ok=True)

    def remembered(self, kind: str) -> list[Digest]:
        """Return the keys of everything that is remembered of a kind, sorted."""
        folder = self.root / "notes" / kind
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        # Others leave files too, such as NFS those that were removed while they were open.
        return sorted(Digest.from_hex(name) for name in names if DIGITS.fullmatch(name))

    def recall_all(self, kind: str) -> Iterator[bytes]:
        """Give all that was remembered of one kind."""
        folder = self.root / "notes" / kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                yield read_own(path, _MOST_NOTED)

    def keep(self, path: Path, digest: Digest, size: int) -> Blob:
        """Give a whole, checked file below ``partial`` its name; ``path`` is gone afterwards.

        For the modules of the store: nobody else can promise that the bytes are the right ones.
        """
        target = self.path_of(digest)
        with as_environment_problem(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(0o444)
            path.replace(target)
        return Blob(digest, size, target)

    @contextmanager
    def _scratch(self) -> Iterator[tuple[BinaryIO, Path]]:
        folder = self.root / "partial"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=SCRATCH, dir=folder)
        except OSError as error:
            raise disk_problem(error, folder) from error
        path = Path(name)
        try:
            # Buffered: a plain write may take only a part, and says so to nobody.
            with os.fdopen(handle, "wb", buffering=BUFFER_SIZE) as file:
                # Housekeeping takes an unlocked scratch file for one whose process was killed.
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file, path
        except OSError as error:
            raise disk_problem(error, folder) from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


class ProvedStore(Store):
    """A store of which a blob counts as there once its bytes were read and are right.

    What is damaged or cannot be read is told and left where it is; what is added takes its place.
    """

    def __init__(self, root: Path, more: Sequence[Finder] = ()) -> None:
        super().__init__(root, more)
        self._proved: dict[Digest, Blob] = {}
        self._damaged: set[Digest] = set()

    def own(self, digest: Digest) -> Blob | None:
        """Return the blob; None when the store's own folder lacks it, or it is not proved."""
        if digest in self._proved or digest in self._damaged:
            return self._proved.get(digest)
        if (blob := super().own(digest)) is None:
            return None
        why = "is damaged"
        try:
            if proved_file(blob.path, digest) is not None:
                return self._proved.setdefault(digest, blob)
        except OSError as error:  # of a sector that cannot be read, too
            why = error.strerror or str(error)
        self._damaged.add(digest)
        _log.warning("%s: %s, so it counts as not there", blob.path, why)
        return None

    def keep(self, path: Path, digest: Digest, size: int) -> Blob:
        """Give a whole, checked file its name, as of any store."""
        self._damaged.discard(digest)
        self._proved[digest] = blob = super().keep(path, digest, size)
        return blob


def open_store(folder: str | None = None) -> Store:
    """Return the store in ``folder``, which may begin with ``~``; without one, this user's own."""
    return Store(own_path(folder) if folder else default_root())
