"""Blobs that lie elsewhere than in the store, each proved by its digest when it is first wanted.

An ISO, somebody's store, a folder that was carried here: what they say of their bytes only tells
where to look. What cannot be read, or is other bytes, is not there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from isobuilder.content.from_iso import BytesBlob, IsoBlob, cut, named_blobs, restored
from isobuilder.digest import BlobLike, Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.formats.archive import blob_name
from isobuilder.formats.sums import sum_line
from isobuilder.iso.read.rawiso import Extent
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import SUMS, Medium
from isobuilder.model.lock import Lock
from isobuilder.store.blobs import Blob, proved_file


class Donor(Protocol):
    """Somebody who may have a blob."""

    @property
    def place(self) -> str:
        """Where it is, for people."""

    def find(self, digest: Digest, /) -> BlobLike | None:
        """Return the blob, whose bytes were just read and are right, or None."""


class FolderDonor:
    """A store of somebody else, an OCI layout, or a bundle as a folder; it is only read."""

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self._folder = folder
        self._proved: dict[Digest, Blob] = {}

    def find(self, digest: Digest, /) -> BlobLike | None:
        """Return the blob, or None when it is not there or is damaged."""
        if digest in self._proved:
            return self._proved[digest]
        names = (blob_name(digest), f"blobs/sha256/{digest.hex[:2]}/{digest.hex}")
        for path in (self._folder / name for name in names):
            with contextlib.suppress(OSError):
                if (blob := proved_file(path, digest)) is not None:
                    return self._proved.setdefault(digest, blob)
        return None


@dataclass(frozen=True, slots=True)
class _Claim:
    """Where an ISO says that a blob lies; nobody has looked if it does."""

    path: str
    size: int  # bytes
    extents: tuple[Extent, ...]


class IsoDonor:
    """What an ISO has: files, blobs in archives and, by its ``lock``, what it was made from.

    Its blobs are read by ``reader``, which whoever opened it closes when nobody needs them.
    """

    def __init__(self, reader: IsoReader, lock: Lock | None) -> None:
        self.place = str(reader.path)
        self.lock = lock
        self._reader, self._medium = reader, Medium(reader)
        self._proved: dict[Digest, BlobLike] = {}
        self._hashed: dict[tuple[Extent, ...], Digest] = {}
        self._claims: dict[Digest, list[_Claim]] = {}
        for digest, path, run in (*self._files(), *self._archived()):
            claim = _Claim(path, run.size, cut(reader.files[path].extents, run))
            self._claims.setdefault(digest, []).append(claim)
        self._restored: list[BytesBlob] | None = None

    @property
    def claims(self) -> list[Digest]:
        """What it says to have, in the order of its files; archives only as their blobs."""
        return list(self._claims)

    def find(self, digest: Digest, /) -> BlobLike | None:
        """Return the blob, or None when it is not there or is damaged."""
        if digest in self._proved:
            return self._proved[digest]
        for claim in self._claims.get(digest, ()):
            with contextlib.suppress(IntegrityError, EnvironmentProblem):
                if self._digest(claim.extents) == digest:
                    place = f"{self.place}: {claim.path}"
                    blob = IsoBlob(digest, claim.size, place, self._reader, claim.extents)
                    return self._proved.setdefault(digest, blob)
        return next((blob for blob in self._made_from() if blob.digest == digest), None)

    def _digest(self, extents: tuple[Extent, ...]) -> Digest:
        """Return what a run of bytes hashes to, read once however many names claim it."""
        if extents not in self._hashed:
            self._hashed[extents] = Digest.of_stream(self._reader.image.stream(extents))
        return self._hashed[extents]

    def _made_from(self) -> list[BytesBlob]:
        if self._restored is None:
            self._restored = []
            if self.lock is not None:
                with contextlib.suppress(IntegrityError, EnvironmentProblem):
                    self._restored = list(restored(self.lock, self._reader, self._medium))
        return self._restored

    def _files(self) -> Iterator[tuple[Digest, str, Extent]]:
        if SUMS not in self._reader.files:
            return
        try:
            lines = self._medium.read(SUMS).decode("utf-8", "replace").splitlines()
        except (IntegrityError, EnvironmentProblem):
            return
        for line in map(sum_line, lines):
            if line is None or not line.is_sha256:
                continue
            file = self._reader.files.get(line.path)
            if file is not None and not line.path.endswith(".tar"):
                yield Digest.from_hex(line.digits), line.path, Extent(0, file.size)

    def _archived(self) -> Iterator[tuple[Digest, str, Extent]]:
        for path in sorted(self._reader.files):
            if not path.endswith(".tar"):
                continue
            try:
                archive = self._medium.archive(path)
            except EnvironmentProblem:
                continue
            if not isinstance(archive, IntegrityError):
                for digest, member in named_blobs(archive):
                    yield digest, path, Extent(member.offset, member.size)
