"""What images are called after a node's import, and manifests that call them so."""

from __future__ import annotations

from collections.abc import Mapping

from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.pinning import pin
from isobuilder.formats.reference import ImageReference, spelled_out
from isobuilder.model.lock import Lock, LockedManifest


def pinned_names(lock: Lock) -> Mapping[str, str]:
    """Return what each image is called after import, by each name a manifest may use for it.

    Mold's nodes import by digest as well as by tag; Apache's only by tag.
    """
    by_digest = lock.profile != "cloudstack-cks"
    names: dict[str, str] = {}
    for image in lock.images:
        reference = ImageReference.parse(image.reference)
        target = str(reference.with_digest(image.digest)) if by_digest else image.reference
        for name in (image.reference, *image.original):
            names[spelled_out(name)] = target
    return names


def as_on_iso(manifest: LockedManifest, upstream: bytes, names: Mapping[str, str]) -> bytes:
    """Return the bytes that a manifest has on the ISO; ``upstream`` are those that are locked.

    Raises:
        InputErrors: an image that the lock does not have, or that cannot be changed.
    """
    if manifest.images == "keep":
        return upstream
    return pin(read_manifest(upstream, manifest.path), names)
