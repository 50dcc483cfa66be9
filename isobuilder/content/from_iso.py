"""The blobs of a lock that lie on an ISO, each proved by its digest before anybody gets it.

Locked files lie there as they are, images in their archives, boot loaders in the FAT image. What
was changed for the ISO, which are pinned manifests and what knows its own place on a disk, is found
again by undoing the change, and counts only if it then has the locked digest.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from isobuilder.cancel import pooled
from isobuilder.content.archives import ARCHIVE, archive_key
from isobuilder.content.blobs import BlobSource
from isobuilder.content.pin import pinned_names
from isobuilder.content.unpin import spellings_of, unpinned
from isobuilder.digest import BlobLike, Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.formats.archive import ImageArchive
from isobuilder.formats.reference import spelled_out
from isobuilder.formats.tar import Member
from isobuilder.iso.boot_names import BIOS, EFI
from isobuilder.iso.read.fat import read_fat
from isobuilder.iso.read.rawiso import Extent
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import Piece
from isobuilder.iso.write.hybrid import without_place, without_places
from isobuilder.medium import Medium
from isobuilder.model.lock import Lock

_WORKERS = 2
_MOST_BETWEEN = 1024 * 1024  # bytes of an archive that are of no blob; in ours a few KiB
_MOST_BOOT = 64 * 1024 * 1024  # bytes of what is read of the FAT image or for BIOS


@dataclass(frozen=True, slots=True)
class IsoBlob:
    """A run of bytes of an ISO whose digest was found out."""

    digest: Digest
    size: int  # bytes
    place: str
    reader: IsoReader
    extents: tuple[Extent, ...]

    def open(self) -> BinaryIO:
        """Open the bytes for reading, unbuffered."""
        return self.reader.image.stream(self.extents)

    def read(self) -> bytes:
        """Return all bytes."""
        with self.open() as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class BytesBlob:
    """Bytes in memory."""

    data: bytes
    place: str

    @property
    def digest(self) -> Digest:
        """What they hash to."""
        return Digest.of(self.data)

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.data)

    def open(self) -> BinaryIO:
        """Open them for reading."""
        return io.BytesIO(self.data)

    def read(self) -> bytes:
        """Return them."""
        return self.data


class IsoBlobs:
    """What an ISO has of the blobs of ``lock``: a ``BlobSource``.

    ``files`` is the digest of every file on the ISO. Archives at the paths of ``whole`` are known
    to hold what the names of their blobs say. ``more`` is asked for small things that the ISO does
    not have as they were, and is not believed either.
    """

    def __init__(
        self,
        lock: Lock,
        reader: IsoReader,
        medium: Medium,
        files: Mapping[str, Digest],
        *,
        whole: Collection[str] = (),
        more: BlobSource | None = None,
    ) -> None:
        self._lock, self._reader, self._medium = lock, reader, medium
        self._files, self._whole = files, whole
        self._blobs: dict[Digest, BlobLike] = {}
        self._notes: dict[Digest, Digest] = {}  # key of an archive -> its digest
        for path, digest in files.items():
            run = Extent(0, reader.files[path].size)
            self._blobs.setdefault(digest, self._blob(digest, path, run))
        self._take_archives()
        for candidate in restored(lock, reader, medium):
            self._blobs.setdefault(candidate.digest, candidate)
        if more is not None:
            self._take_small(more)

    def find(self, digest: Digest, /) -> BlobLike | None:
        """Return the blob, or None when it is not there or not proved."""
        return self._blobs.get(digest)

    def recall(self, kind: str, key: Digest, /) -> bytes | None:
        """Return the digest of an archive that lies on the ISO."""
        known = self._notes.get(key) if kind == ARCHIVE else None
        return None if known is None else known.encode()

    def remember(self, _kind: str, _key: Digest, _value: bytes, /) -> None:
        """Do nothing: an ISO is only read."""

    def _blob(self, digest: Digest, path: str, run: Extent) -> IsoBlob:
        extents = cut(self._reader.files[path].extents, run)
        return IsoBlob(digest, run.size, path, self._reader, extents)

    def _take_archives(self) -> None:
        paths = [image.archive for image in self._lock.images if image.archive in self._files]
        with pooled(_WORKERS, "archives") as pool:
            for path, pieces in zip(paths, pool.map(self._pieces, paths), strict=True):
                if pieces is None:
                    continue
                self._notes[archive_key(pieces)] = self._files[path]
                for piece in pieces:
                    if not isinstance(piece, bytes):
                        self._blobs.setdefault(piece.digest, piece)

    def _pieces(self, path: str) -> list[Piece] | None:
        """Return an archive as it lies there; None if a blob is not what its name says."""
        archive = self._medium.archive(path)
        if isinstance(archive, IntegrityError):
            return None
        pieces: list[Piece] = []
        done = between = 0
        size = self._reader.files[path].size
        with self._reader.open(path) as stream:
            for digest, member in named_blobs(archive):
                between += member.offset - done
                if between > _MOST_BETWEEN or member.offset < done:
                    return None
                stream.seek(done)
                blob = self._blob(digest, path, Extent(member.offset, member.size))
                pieces += [stream.read(member.offset - done), blob]
                if path not in self._whole and Digest.of_stream(blob.open()) != digest:
                    return None
                done = member.offset + member.size
            if between + size - done > _MOST_BETWEEN:
                return None
            stream.seek(done)
            pieces.append(stream.read(size - done))
        return pieces

    def _take_small(self, more: BlobSource) -> None:
        wanted = {item.sha256 for item in self._lock.manifests}
        wanted |= set() if self._lock.boot is None else self._lock.boot.blobs
        for digest in sorted(wanted - self._blobs.keys()):
            with contextlib.suppress(IntegrityError, EnvironmentProblem):  # it is of no help then
                blob = more.find(digest)
                if blob is not None and blob.size <= _MOST_BOOT:
                    self._blobs[digest] = BytesBlob(blob.read(), blob.place)


def restored(lock: Lock, reader: IsoReader, medium: Medium) -> Iterator[BytesBlob]:
    """Give what an ISO of ``lock`` was made from, with what was changed for the ISO undone."""
    yield from _boot_candidates(lock, reader)
    yield from _manifests(lock, medium)


def _boot_candidates(lock: Lock, reader: IsoReader) -> Iterator[BytesBlob]:
    """Give what boot loaders may have been before they were put on this ISO."""
    if lock.boot is None:
        return
    if BIOS in reader.files and reader.files[BIOS].size <= _MOST_BOOT:
        with reader.open(BIOS) as file:
            yield BytesBlob(without_place(file.read()), BIOS)
    with reader.open_image() as image:
        yield BytesBlob(without_places(image.read(512)), "sector 0")
    if EFI not in reader.files:
        return
    with reader.open(EFI) as file:
        try:
            inside = read_fat(file).files
        except IntegrityError:
            return  # the checks of the boot structure say what is wrong with it
        for name, found in inside.items():
            if found.size <= _MOST_BOOT:
                file.seek(found.start)
                yield BytesBlob(file.read(found.size), f"{EFI}: {name}")


def _manifests(lock: Lock, medium: Medium) -> Iterator[BytesBlob]:
    """Give the pinned manifests as they were served."""
    names = pinned_names(lock)
    spellings: dict[str, list[str]] = {}
    for image in lock.images:
        for name in (*image.original, *image.references):
            spellings.setdefault(names[spelled_out(name)], []).extend(spellings_of(name))
    for manifest in lock.manifests:
        if manifest.images != "pin" or manifest.path not in medium.files:
            continue
        try:
            data = medium.read(manifest.path)
        except IntegrityError:
            continue  # no manifest is that large
        found = unpinned(data, spellings, manifest.sha256)
        if found is not None:
            yield BytesBlob(found, manifest.path)


def named_blobs(archive: ImageArchive) -> Iterator[tuple[Digest, Member]]:
    """Give the blobs of an archive that are named by a digest, in their order."""
    for member in archive.members:
        folder, _, name = member.name.rpartition("/")
        if member.regular and folder == "blobs/sha256" and member.size:
            try:
                yield Digest.from_hex(name), member
            except ValueError:
                continue


def cut(extents: Sequence[Extent], run: Extent) -> tuple[Extent, ...]:
    """Return the part ``run`` of a file that lies in ``extents``."""
    found = []
    start = 0
    for extent in extents:
        first, last = max(run.offset, start), min(run.end, start + extent.size)
        if first < last:
            found.append(Extent(extent.offset + first - start, last - first))
        start += extent.size
    return tuple(found)
