"""ISO -> files: our own reader, which trusts nothing and shares no code with the writer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from isobuilder.errors import InputError
from isobuilder.iso.read.rawiso import BLOCK, Extent, RawIso
from isobuilder.iso.read.tree import IsoFile, Naming, Tree, rock_ridge, walk
from isobuilder.iso.read.volume import Volumes, read_volumes

_Area = tuple[Extent, tuple[Extent, ...], str]  # a run of bytes, all runs of its owner, the owner


class IsoReader:
    """An ISO as a Linux node sees it: Rock Ridge names, else Joliet's, else the plain ones.

    Is a ``model.medium.Medium``. Safe to read from several threads; close it or use ``with``.
    Opening walks the whole tree, so what ``files`` lists lies inside the image, has a name that
    stays inside the tree and shares no byte with anything else but a whole file.

    Raises:
        IntegrityError: not an ISO 9660 image, or one that contradicts itself; names the byte.
        EnvironmentProblem: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.image = RawIso(path)
        try:
            self.volumes: Volumes = read_volumes(self.image)
            if self.image.is_device:
                # A disc, disk or stick is larger than what was written to it.
                written = self.volumes.primary.blocks * BLOCK
                self.image.size = min(self.image.size, written)
            self._rock_ridge = rock_ridge(self.image, self.volumes.primary)
            self.tree = self._node_tree()
            self.areas = _checked(self.image, self._areas())  # all that is something, in order
        except BaseException:  # whatever ends it: nobody else has the file to close it
            self.close()
            raise

    def __enter__(self) -> IsoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

    def _areas(self) -> Iterator[_Area]:
        whole: tuple[Extent, ...] = (self.volumes.area,)
        yield whole[0], whole, "the volume descriptors"
        for volume in (self.volumes.primary, self.volumes.joliet):
            if volume is not None:
                for table in volume.path_tables:
                    yield table, (table,), "a path table"
        trees = [self.tree]
        if self.joliet is not None and self.joliet is not self.tree:
            trees.append(self.joliet)
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
