"""What the images of a lock consist of: each manifest is parsed once, whoever asks how often."""

from __future__ import annotations

from isobuilder.content.blobs import Find, held
from isobuilder.digest import BlobLike, Digest
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import ImageManifest, check_config, parse_config, parse_manifest
from isobuilder.model.lock import Lock

_parsed: dict[Digest, ImageManifest] = {}
_MOST = 4096  # manifests that are kept; a lock has a few dozen


def image_manifest(blob: BlobLike, *, place: str) -> ImageManifest:
    """Return the image manifest that ``blob`` is.

    Raises:
        IntegrityError: it is none, or its bytes are not those of its digest.
        InputError: no image that a node can have.
    """
    known = _parsed.get(blob.digest)
    if known is None:
        known = parse_manifest(blob.read(), place=place)
        if len(_parsed) >= _MOST:
            _parsed.clear()
        _parsed[blob.digest] = known
    return known


def check_images(lock: Lock, find: Find) -> None:
    """Return if every image, all of which are there, is one for the architecture of ``lock``.

    Raises:
        IntegrityError: one is not, its configuration does not fit its layers, or its size is not
            what the lock says.
        EnvironmentProblem: a part of it is not there.
    """
    for image in lock.images:
        place = image.reference
        blob = held(find, image.digest, place)
        manifest = image_manifest(blob, place=place)
        size = blob.size + sum(part.size for part in manifest.blobs)
        if image.size not in {None, size}:
            raise IntegrityError(
                f"{place}: the lock says {image.size} bytes, its manifest and what it lists are "
                f"{size}",
                hint="lock the recipe again, for somebody changed the lock",
            )
        config = parse_config(held(find, manifest.config.digest, place).read(), place=place)
        check_config(config, manifest, lock.architecture, place=place)
