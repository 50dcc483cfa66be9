"""What manifests name that looks like an image, and is neither locked, on the disc nor declared."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from isobuilder.content.blobs import Find
from isobuilder.content.pin import as_on_iso, pinned_names
from isobuilder.errors import IntegrityError
from isobuilder.formats.manifests import Manifest, read_manifest
from isobuilder.formats.mentions import Mention
from isobuilder.formats.reference import spelled_out
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import Medium
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.rules.operators import later_images
from isobuilder.sources.named import known_names
from isobuilder.store import Store


@dataclass(frozen=True, slots=True)
class Unlisted:
    """One text of a manifest, or what an operator starts without being told."""

    manifest: str  # its path on the ISO
    line: int | None
    path: str  # where in it
    image: str


def unlisted_images(source: Path, store: Store) -> tuple[Unlisted, ...]:
    """Return what an ISO or a lock misses; of a lock as far as its manifests are in the store.

    Raises:
        InputError: not a lock, or no ISO; or a manifest whose images the lock does not have.
    """
    if source.suffix == ".json":
        return unlisted_of(load_lock(source), store.find)
    with IsoReader(source) as reader:
        return tuple(_of_iso(Medium(reader)))


def unlisted_of(lock: Lock, find: Find) -> tuple[Unlisted, ...]:
    """Return what a lock misses, as far as ``find`` has its manifests.

    Raises:
        InputErrors: a manifest that cannot be read, or whose images the lock does not have.
    """
    return tuple(_of_lock(lock, find))


def _of_lock(lock: Lock, find: Find) -> Iterator[Unlisted]:
    known = known_names(lock.images, lock.ignored)
    names = pinned_names(lock)
    for entry in lock.manifests:
        if (blob := find(entry.sha256)) is not None:
            data = as_on_iso(entry, blob.read(), names, lock.ignored)
            yield from _of_manifest(read_manifest(data, entry.path), known)


def _of_iso(medium: Medium) -> Iterator[Unlisted]:
    said = medium.manifest
    known = _names(said) if isinstance(said, IsoManifest) else set()
    for path in sorted(medium.files):
        if not path.endswith((".yaml", ".yml")):
            continue
        found = medium.kubernetes(path)
        if not isinstance(found, IntegrityError):
            yield from _of_manifest(found, known)


def _names(manifest: IsoManifest) -> set[str]:
    texts = set(manifest.ignored_images)
    for image in manifest.images:
        texts |= {image.resolved_from, image.reference, image.import_alias, *image.names}
    return {spelled_out(text) for text in texts}


def _of_manifest(manifest: Manifest, known: Collection[str]) -> Iterator[Unlisted]:
    for use in manifest.images:
        named = Mention(use.path, use.mark, use.image)
        if spelled_out(use.image) not in known and not (
            named.is_reference and named.is_among(known)
        ):
            yield Unlisted(manifest.place, use.mark.line, use.path, use.image)
    for mention in later_images(manifest):
        if not mention.is_among(known):
            yield Unlisted(manifest.place, mention.mark.line, mention.path, mention.text)
