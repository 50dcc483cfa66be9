"""The names on an ISO, and the files that describe the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.formats.reference import ImageReference
from isobuilder.iso.write.entries import FileFact, Piece
from isobuilder.model.architecture import ETCD_ARCHIVE
from isobuilder.model.base import check_iso_path
from isobuilder.model.isomanifest import IsoManifest, ManifestSystem
from isobuilder.model.lock import Lock, LockedImage
from isobuilder.model.payload import OsPayload
from isobuilder.model.profile import FORBIDDEN, ONE_OF

SBOM = "sbom.cdx.json"
IMAGES_LIST = "docker/images.list"

_FEATURES = {
    "autoscaler.yaml": "autoscaler",
    "csi-profile.json": "csi",
    ETCD_ARCHIVE: "etcd",
    "headlamp.yaml": "headlamp",
    "network.yaml": "network",
    "provider.yaml": "provider",
}


@dataclass(frozen=True, slots=True)
class ImageParts:
    """One image archive: what the lock says of it, and its bytes."""

    image: LockedImage
    pieces: tuple[Piece, ...]
    digest: Digest  # of the archive file
    size: int  # bytes of the archive file

    @property
    def base_name(self) -> str:
        """The repository without tag, for ``ctr image import --base-name``."""
        return ImageReference.parse(self.image.reference).name


def images_list(images: Sequence[ImageParts]) -> bytes:
    """Return ``docker/images.list``: archive and repository, one line for each image."""
    lines = (f"{parts.image.digest.hex}.tar {parts.base_name}\n" for parts in images)
    return "".join(sorted(lines)).encode()


def sums(facts: Mapping[str, FileFact]) -> bytes:
    """Return ``SHA256SUMS`` as ``sha256sum -c`` reads it, sorted by path."""
    return "".join(f"{facts[path][0].hex}  {path}\n" for path in sorted(facts)).encode()


def check_names(entries: Iterable[str]) -> None:
    """Return if nodes and our own readers take ``entries`` for what they are.

    Raises:
        InputError: a name that nodes lose or take for another, or more than one archive where a
            node wants one.
    """
    folded: dict[str, str] = {}
    for path in sorted(entries):
        try:
            check_iso_path(path)
        except ValueError as error:
            raise InputError(str(error)) from error
        name = path.rpartition("/")[2]
        if name.lower().startswith(FORBIDDEN):
            raise InputError(
                f"{path}: a node that fetches the tree over HTTP drops names like {name}",
                hint="give the file another name",
            )
        if (other := folded.setdefault(path.lower(), path)) != path:
            raise InputError(f"{other} and {path} differ in case only")
    for pattern in ONE_OF:
        matches = [path for path in sorted(entries) if fnmatchcase(path, pattern)]
        if len(matches) > 1:
            raise InputError(
                f"{' and '.join(matches)}: a node wants exactly one {pattern}",
                hint="one ISO serves one architecture; drop the others from the recipe",
            )


def manifest_of(
    lock: Lock,
    facts: Mapping[str, FileFact],
    images: Sequence[ImageParts],
    *,
    tool: str,
    payload: OsPayload | None,
) -> IsoManifest:
    """Return what manifest.json says of an ISO that has the files of ``facts``."""
    return IsoManifest.model_validate(
        {
            "schema": 1,
            "kubernetes_version": lock.kubernetes,
            "product_version": lock.product_version,
            "architecture": lock.architecture,
            "profile": lock.profile,
            "variant": lock.variant,
            "revision": lock.revision,
            "epoch": lock.epoch,
            "tool": tool,
            "lock_sha256": lock.digest.hex,
            "recipe_sha256": lock.recipe.hex,
            "components": lock.components,
            "features": tuple(_features(facts)),
            "images": tuple(
                {
                    "original": parts.image.original,
                    "resolved_from": parts.image.reference,
                    "reference": f"{parts.base_name}@{parts.image.digest}",
                    "import_alias": parts.image.names[0],
                    "names": parts.image.names[1:],
                    "path": parts.image.archive,
                    "sha256": parts.digest.hex,
                    "size": parts.size,
                    "core": parts.image.core,
                }
                for parts in sorted(images, key=lambda parts: parts.image.reference)
            ),
            "files": {path: digest.hex for path, (digest, _) in facts.items()},
            "operating_system": None if payload is None else ManifestSystem.of(payload),
            "ignored_images": lock.ignored,
        }
    )


def _features(facts: Mapping[str, FileFact]) -> Iterator[str]:
    for path, feature in sorted(_FEATURES.items(), key=lambda item: item[1]):
        if path in facts:
            yield feature
