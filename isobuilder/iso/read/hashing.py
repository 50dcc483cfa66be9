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
    unclaimed: tuple[Extent, ...] = ()  # bytes other than zero that nothing on the ISO claims


def hash_iso(reader: IsoReader, *, whole: bool = True, progress: Progress = SILENT) -> IsoDigests:
    """Return the digest of every file and, if ``whole``, of the image.

    One thread reads, one hashes the image, one hashes the files; memory does not grow with them.

    Raises:
        IntegrityError: the image became shorter while it was read.
        EnvironmentProblem: it cannot be read.
    """
    files, gaps = _FileHasher(reader), _Gaps(reader)
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
            if whole:
                gaps.look(buffer, at)
            at += count
            work.advance(count)
    digest = image.digest() if whole else None
    return IsoDigests(digest, files.digests(), tuple(gaps.found))


MAX_GAPS = 100
"""Runs of bytes that nothing claims and that are told; the first is reason enough."""


class _Gaps:
    """Looks for bytes other than zero between all that is something.

    Linux, blkid, firmware and whoever carves files out of disks look there as well.
    """

    def __init__(self, reader: IsoReader) -> None:
        ends = [Extent(0, 0), *reader.areas, Extent(reader.size, 0)]
        between = (
            Extent(before.end, after.offset - before.end) for before, after in pairwise(ends)
        )
        self._gaps = [gap for gap in between if gap.size > 0][::-1]  # the next one is last
        self.found: list[Extent] = []

    def look(self, data: memoryview, position: int) -> None:
        """Take the bytes of the image from ``position`` on; they come in order."""
        end = position + len(data)
        while self._gaps and self._gaps[-1].offset < end:
            gap = self._gaps[-1]
            start, stop = max(gap.offset, position), min(gap.end, end)
            part = bytes(data[start - position : stop - position])
            if part.count(0) < len(part) and len(self.found) <= MAX_GAPS:
                first = start + len(part) - len(part.lstrip(b"\0"))
                self.found.append(Extent(first, start + len(part.rstrip(b"\0")) - first))
            if gap.end > end:
                break
            self._gaps.pop()


class _FileHasher:
    """Takes the image as it passes and gives each file's bytes to a hasher of its own."""

    def __init__(self, reader: IsoReader) -> None:
        self._reader = reader
        self._hashers: dict[tuple[Extent, ...], Hasher] = {}
        segments = []
        for entry in reader.files.values():
            if entry.extents in self._hashers:
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
        known = {extents: hasher.digest() for extents, hasher in self._hashers.items()}
        return {path: known[entry.extents] for path, entry in self._reader.files.items()}
