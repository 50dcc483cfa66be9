"""ISO -> files: our own reader, which trusts nothing and shares no code with the writer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from isobuilder.digest import Digest, Hasher
from isobuilder.errors import InputError
from isobuilder.iso.read.rawiso import BLOCK, Extent, RawIso
from isobuilder.iso.read.tree import IsoFile, Naming, Tree, rock_ridge, walk
from isobuilder.iso.read.volume import IsoVolumes, read_volumes
from isobuilder.iso.ring import Ring
from isobuilder.progress import SILENT, Progress, task

_Area = tuple[Extent, tuple[Extent, ...], str]  # a run of bytes, all runs of its owner, the owner


class IsoReader:
    """An ISO as a Linux node sees it: Rock Ridge names, else Joliet's, else the plain ones.

    Is a ``model.medium.Medium``. Safe to read from several threads; close it or use ``with``.
    Opening walks the whole tree, so what ``files`` lists lies inside the image, has a name that
    stays inside the tree and shares no byte with anything else but a whole file. ``node_only``
    passes over names that such a node does not see: Joliet's beside Rock Ridge.

    Raises:
        IntegrityError: not an ISO 9660 image, or one that contradicts itself; names the byte.
        EnvironmentProblem: the file cannot be read.
    """

    def __init__(self, path: Path, *, node_only: bool = False) -> None:
        self.image = RawIso(path)
        try:
            self.volumes: IsoVolumes = read_volumes(self.image)
            if self.image.is_device:
                # A disc, disk or stick is larger than what was written to it.
                written = self.volumes.primary.blocks * BLOCK
                self.image.size = min(self.image.size, written)
            self._rock_ridge = rock_ridge(self.image, self.volumes.primary)
            self.tree = self._node_tree()
            # All that is something, in order.
            self.areas = _checked(self.image, self._areas(node_only=node_only))
        except BaseException:  # whatever ends it: nobody else has the file to close it
            self.close()
            raise

    def __enter__(self) -> IsoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the image; streams of ``open`` end with it."""
        self.image.close()

    @property
    def path(self) -> Path:
        """Where the image is."""
        return self.image.path

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return self.image.size

    @property
    def label(self) -> str:
        """The volume identifier."""
        return self.volumes.primary.label

    @property
    def other_labels(self) -> tuple[str, ...]:
        """What else is a volume identifier: Joliet's, by which blkid knows an ISO that has one."""
        joliet = self.volumes.joliet
        return () if joliet is None else (joliet.label,)

    @property
    def rock_ridge(self) -> str | None:
        """The name of the extension; None without Rock Ridge."""
        return None if self._rock_ridge is None else self._rock_ridge[0]

    @property
    def files(self) -> Mapping[str, IsoFile]:
        """Every regular file by its path."""
        return self.tree.files

    @cached_property
    def joliet(self) -> Tree | None:
        """The Joliet tree, if there is one; IntegrityError as in the constructor."""
        volume = self.volumes.joliet
        return None if volume is None else walk(self.image, volume, Naming.JOLIET)

    @cached_property
    def plain(self) -> Tree:
        """The tree under its plain ISO 9660 names; IntegrityError as in the constructor."""
        return walk(self.image, self.volumes.primary, Naming.PLAIN)

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading and seeking, unbuffered.

        Raises:
            InputError: there is no such file.
        """
        try:
            entry = self.tree.files[path]
        except KeyError as error:
            raise InputError(f"{self.path}: no file {path!r} on the ISO") from error
        return self.image.stream(entry.extents)

    def open_image(self) -> BinaryIO:
        """Open the whole image for reading and seeking, unbuffered."""
        return self.image.stream((Extent(0, self.image.size),))

    def _node_tree(self) -> Tree:
        if self._rock_ridge is not None:
            areas = self._rock_ridge[1]
            return walk(self.image, self.volumes.primary, Naming.ROCK_RIDGE, areas)
        if self.joliet is not None:
            return self.joliet
        return walk(self.image, self.volumes.primary, Naming.MAPPED)

    def _areas(self, *, node_only: bool) -> Iterator[_Area]:
        whole: tuple[Extent, ...] = (self.volumes.area,)
        yield whole[0], whole, "the volume descriptors"
        for volume in (self.volumes.primary, self.volumes.joliet):
            if volume is not None:
                for table in volume.path_tables:
                    yield table, (table,), "a path table"
        trees = [self.tree]
        if not node_only and self.joliet is not None and self.joliet is not self.tree:
            trees.append(self.joliet)
        if self._rock_ridge is None and self.tree is self.joliet:
            trees.append(self.plain)
        for tree in trees:
            for extent in tree.areas.found:
                yield extent, (extent,), "a Rock Ridge area"
            for path, extent in tree.folders.items():
                yield extent, (extent,), f"the {tree.naming.value} folder {path!r}"
            for path, entry in tree.files.items():
                for extent in entry.extents:
                    yield extent, entry.extents, repr(path)


def _checked(image: RawIso, areas: Iterator[_Area]) -> tuple[Extent, ...]:
    """Return the areas in order; refuse things that share bytes, so that each is read once.

    Two names for exactly the same extents are one file with two names, which is fine.
    """
    owners: dict[Extent, tuple[tuple[Extent, ...], str]] = {}
    for extent, whole, name in areas:
        if not extent.size:
            continue
        image.check_inside(extent, name, at=extent.offset)
        known, other = owners.setdefault(extent, (whole, name))
        if known != whole:
            raise image.wrong(extent.offset, f"{name} and {other} share some of their bytes")
    before, owner = Extent(0, 0), ""
    ordered = sorted(owners)
    for extent in ordered:
        if extent.offset < before.end:
            raise image.wrong(extent.offset, f"{owners[extent][1]} begins inside {owner}")
        before, owner = extent, owners[extent][1]
    return tuple(ordered)


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


_MAX_GAPS = 100
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
            if part.count(0) < len(part) and len(self.found) <= _MAX_GAPS:
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
