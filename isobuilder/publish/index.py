"""``index.json`` of a published place: what is there, and what was there and is not any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field

from isobuilder.digest import Digest
from isobuilder.documents.json import DOCUMENT
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.sums import written_sums
from isobuilder.model.base import Model, canonical_json
from isobuilder.model.validation import parse_json
from isobuilder.publish.place import FolderPlace, PublishedPlace

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+~-]{0,254}$")]
"""Of a file in the place itself, whatever an index says."""

INDEX = "index.json"
SUMS = "SHA256SUMS"


class Published(Model):
    """One ISO of a published place."""

    name: FileName
    kubernetes: KubeVersion
    profile: str
    architecture: str
    revision: int
    sha256: Digest
    size: int  # bytes
    lock: Digest  # of the lock it was built from, as it lies beside its recipe

    @property
    def base_name(self) -> str:
        """The name that its side files begin with."""
        return self.name.removesuffix(".iso")

    @property
    def order(self) -> tuple[KubeVersion, int]:
        """By which it comes after others of its kind."""
        return self.kubernetes, self.revision

    @property
    def kind(self) -> str:
        """What it shares with its other revisions and versions: profile, variant, architecture."""
        return self.base_name.removeprefix(f"kubernetes-v{self.kubernetes}-").rpartition("-r")[0]

    @property
    def release(self) -> str:
        """What tells it from others of its kind."""
        return f"v{self.kubernetes}-r{self.revision}"


class Retired(Model):
    """An ISO that was taken away. Its name stays its own."""

    name: FileName
    sha256: Digest
    lock: Digest
    day: date
    why: str
    removed: bool = False  # whether its files are gone as well

    @property
    def base_name(self) -> str:
        """The name that its side files began with."""
        return self.name.removesuffix(".iso")

    def as_removed(self) -> Retired:
        """Return it as one whose files are gone."""
        return self.model_copy(update={"removed": True})


class PublishedDelta(Model):
    """A delta of a published place: a site that has ``old`` makes ``new`` with it.

    Its name ends with digits of its own digest, so that no name is ever given to other bytes,
    whichever isobuilder makes it again.
    """

    name: FileName
    sha256: Digest
    size: int  # bytes
    new: FileName  # the name of the ISO that it makes
    new_sha256: Digest
    old: FileName
    old_sha256: Digest


class PublishedIndex(Model):
    """What is published."""

    isos: tuple[Published, ...] = ()
    deltas: tuple[PublishedDelta, ...] = ()
    retired: tuple[Retired, ...] = ()

    @property
    def sums(self) -> bytes:
        """What ``SHA256SUMS`` says about it."""
        files = [(one.sha256, one.name) for one in self.isos]
        files += [(one.sha256, one.name) for one in self.deltas]
        return written_sums(files)

    def with_iso(self, entry: Published) -> PublishedIndex:
        """Return it with one more, or another of that name."""
        return self._of((*self.isos, entry), self.deltas, self.retired)

    def with_delta(self, made: PublishedDelta) -> PublishedIndex:
        """Return it with one more delta, or another between the same ISOs."""
        return self._of(self.isos, (*self.deltas, made), self.retired)

    def without_delta(self, gone: PublishedDelta) -> PublishedIndex:
        """Return it without a delta."""
        return self._of(self.isos, (one for one in self.deltas if one != gone), self.retired)

    def without(self, gone: Retired) -> PublishedIndex:
        """Return it without one that was taken away; its deltas go once its files are gone."""
        isos = (one for one in self.isos if one.name != gone.name)
        deltas = (one for one in self.deltas if one.new != gone.name or not gone.removed)
        return self._of(isos, deltas, (*self.retired, gone))

    def deltas_to(self, name: str) -> tuple[PublishedDelta, ...]:
        """Return the deltas that make the ISO ``name``."""
        return tuple(one for one in self.deltas if one.new == name)

    def before(self, entry: Published, most: int) -> list[Published]:
        """Return the ``most`` newest ISOs before one, of its minor version and of its kind."""
        same = [
            one
            for one in self.isos
            if (one.kind, one.kubernetes.minor_text) == (entry.kind, entry.kubernetes.minor_text)
            and one.order < entry.order
        ]
        return sorted(same, key=lambda one: one.order, reverse=True)[:most]

    def retired_as(self, name: str) -> Retired | None:
        """Return what had that name and was taken away."""
        return next((one for one in self.retired if one.name == name), None)

    def _of(
        self,
        isos: Iterable[Published],
        deltas: Iterable[PublishedDelta],
        retired: Iterable[Retired],
    ) -> PublishedIndex:
        by_name = {one.name: one for one in isos}
        by_pair = {(one.new, one.old): one for one in deltas}
        gone = {one.name: one for one in retired}
        return PublishedIndex(
            isos=tuple(by_name[name] for name in sorted(by_name)),
            deltas=tuple(by_pair[pair] for pair in sorted(by_pair)),
            retired=tuple(gone[name] for name in sorted(gone)),
        )


def read_index(folder: Path) -> PublishedIndex:
    """Return what is published in a folder; nothing if there is no index.

    Raises:
        InputErrors: the index is damaged.
    """
    return index_of(FolderPlace(folder))


def index_of(place: PublishedPlace) -> PublishedIndex:
    """Return what is published in a place; nothing if there is no index.

    Raises:
        InputErrors: the index is damaged.
    """
    return _parsed(place, place.read(INDEX, DOCUMENT.size))


def change_index(place: PublishedPlace, change: Callable[[PublishedIndex], PublishedIndex]) -> None:
    """Change what an index says, and the checksums with it.

    Raises:
        InputErrors: the index is damaged.
    """

    def changed(before: bytes | None) -> bytes:
        data = change(_parsed(place, before)).model_dump(mode="json")
        return canonical_json({key: value for key, value in data.items() if value or key == "isos"})

    after = place.update(INDEX, changed, DOCUMENT.size)
    write_sums(place, _parsed(place, after))


def write_sums(place: PublishedPlace, index: PublishedIndex) -> None:
    """Let ``SHA256SUMS`` say what the index says; where it does, nothing is written."""
    if place.read(SUMS, DOCUMENT.size) != index.sums:
        place.update(SUMS, lambda _: index.sums, DOCUMENT.size)


def _parsed(place: PublishedPlace, data: bytes | None) -> PublishedIndex:
    return (
        PublishedIndex() if data is None else parse_json(data, f"{place}/{INDEX}", PublishedIndex)
    )
