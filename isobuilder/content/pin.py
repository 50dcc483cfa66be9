"""What images are called after a node's import, and manifests that call them so."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.pinning import pin
from isobuilder.formats.reference import ImageReference, spelled_out
from isobuilder.model.lock import Lock, LockedManifest
from isobuilder.model.profile import PROFILES


def pinned_names(lock: Lock) -> Mapping[str, str]:
    """Return what each image is called after import, by each name a manifest may use for it.

    Mold's nodes import by digest as well as by tag; Apache's only by tag.
    """
    by_digest = PROFILES[lock.profile].imports_by_digest
    names: dict[str, str] = {}
    for image in lock.images:
        for text in image.references[::-1]:
            reference = ImageReference.parse(text)
            target = str(reference.with_digest(image.digest))
            if not by_digest and reference.tag is not None:
                target = str(reference.without_digest())
            elif not by_digest:
                target = reference.looked_up
            names[spelled_out(text)] = target
        names |= {spelled_out(text): target for text in image.original}
    return names


def as_on_iso(
    manifest: LockedManifest,
    upstream: bytes,
    names: Mapping[str, str],
    ignored: Collection[str] = (),
) -> bytes:
    """Return the bytes that a manifest has on the ISO; ``upstream`` are those that are locked.

    Raises:
        InputErrors: an image that the lock does not have, or that cannot be changed.
    """
    if manifest.images == "keep":
        return upstream
    return pin(read_manifest(upstream, manifest.path), names, ignored)
