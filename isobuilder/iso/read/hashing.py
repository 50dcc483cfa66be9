"""Hash a whole ISO and every file on it, reading each byte once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from isobuilder.digest import Digest, Hasher
from isobuilder.iso.read.rawiso import Extent
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.ring import Ring
from isobuilder.progress import SILENT, Progress, task


@dataclass(frozen=True, slots=True)
class IsoDigests:
    """What an ISO and its files hash to."""

    image: Digest | None  # None when it was not asked for
    files: dict[str, Digest]


def hash_iso(reader: IsoReader, *, whole: bool = True, progress: Progress = SILENT) -> IsoDigests:
    """Return the digest of every file and, if ``whole``, of the image.

    One thread reads, one hashes the image, one hashes the files; memory does not grow with them.

    Raises:
        IntegrityError: the image became shorter while it was read.
        EnvironmentProblem: it cannot be read.
    """
    files = _FileHasher(reader)
    image = Hasher()
    if whole:
        run, consumers = Extent(0, reader.size), [image.update, files.update]
    else:
        run, consumers = files.span, [files.update]
    files.position = run.offset
    with (
        task(progress, f"hashing {reader.path.name}", total=run.size) as work,
        Ring(consumers) as ring,
    ):
        at = run.offset
        while at < run.end:
            buffer = ring.take()[: run.end - at]
            count = reader.image.read_into(buffer, at)
            if count < len(buffer):
                raise reader.image.wrong(at + count, "the file ends early")
            ring.give(buffer)
            at += count
            work.advance(count)
    return IsoDigests(image.digest() if whole else None, files.digests())


class _FileHasher:
    """Takes the image as it passes and gives each file's bytes to a hasher of its own."""

    def __init__(self, reader: IsoReader) -> None:
        self._reader = reader
        self._hashers: dict[tuple[Extent, ...], Hasher] = {}
        segments = []
        for entry in reader.files.values():
            if entry.extents in self._hashers or not _ascending(entry.extents):
                continue
            hasher = self._hashers[entry.extents] = Hasher()
            segments += [(extent, hasher) for extent in entry.extents]
        segments.sort(key=lambda segment: segment[0])
        self.span = (
            Extent(segments[0][0].offset, segments[-1][0].end - segments[0][0].offset)
            if segments
            else Extent(0, 0)
        )
        self._segments = segments[::-1]  # the next one is last
        self.position = 0

    def update(self, data: memoryview) -> None:
        end = self.position + len(data)
        while self._segments and self._segments[-1][0].offset < end:
            extent, hasher = self._segments[-1]
            start = max(extent.offset, self.position)
            stop = min(extent.end, end)
            hasher.update(data[start - self.position : stop - self.position])
            if extent.end > end:
                break
            self._segments.pop()
        self.position = end

    def digests(self) -> dict[str, Digest]:
        found = {}
        for path, entry in self._reader.files.items():
            hasher = self._hashers.get(entry.extents)
            if hasher is None:  # extents in an order that one pass cannot follow
                found[path] = Digest.of_stream(self._reader.open(path))
            else:
                found[path] = hasher.digest()
        return found


def _ascending(extents: tuple[Extent, ...]) -> bool:
    return all(before.end <= after.offset for before, after in pairwise(extents))
