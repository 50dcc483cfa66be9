"""Lock + bytes -> every file of the ISO, with the files that describe the others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.reference import ImageReference
from isobuilder.iso.write.bootable import BootParts, boot_tree
from isobuilder.iso.write.entries import FileFact, IsoEntry, Piece
from isobuilder.iso.write.hybrid import Boot
from isobuilder.model.base import check_iso_path
from isobuilder.model.isomanifest import IsoManifest, ManifestSystem
from isobuilder.model.lock import Lock, LockedImage
from isobuilder.model.payload import OsPayload
from isobuilder.store import Blob

MANIFEST, SUMS, SBOM = "manifest.json", "SHA256SUMS", "sbom.cdx.json"
IMAGES_LIST = "docker/images.list"

SbomMaker = Callable[[Lock, Mapping[str, FileFact], str], bytes]
"""Lock, facts of all files, version of this tool -> SBOM; ``trust.sbom.sbom`` is one."""

ONE_OF = ("cni/cni-plugins-*64.tgz", "cri-tools/crictl-linux-*64.tar.gz")
"""Patterns a node expands in a shell and passes to tar: each may match one file only."""

_FEATURES = {
    "autoscaler.yaml": "autoscaler",
    "csi-profile.json": "csi",
    "etcd/etcd-linux-amd64.tar.gz": "etcd",
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


@dataclass(frozen=True, slots=True)
class IsoTree:
    """Every file of one ISO, and the two of them that are also written beside it."""

    entries: tuple[IsoEntry, ...]
    manifest: bytes
    sbom: bytes
    boot: Boot | None = None  # which of them start a machine


def build_tree(
    lock: Lock,
    *,
    files: Mapping[str, Blob],
    made: Mapping[str, bytes],
    images: Sequence[ImageParts],
    tool: str,
    sbom: SbomMaker,
    boot: BootParts | None = None,
    payload: OsPayload | None = None,
) -> IsoTree:
    """Return the tree of the ISO that ``lock`` describes.

    ``files`` are the locked files, ``made`` the manifests and rendered files in their final form,
    both by path; ``tool`` is the version of isobuilder. ``docker/images.list`` is left out for
    ``cloudstack-cks``: Apache's nodes try to import every file in ``docker/`` and would fail three
    times on it. The digests in ``SHA256SUMS`` are those of the lock and of bytes in hand, so no
    file is read. With ``boot`` the tree also has what starts a machine, made of ``payload``.

    Raises:
        InputError: two entries for a path, a name that nodes lose or take for another, or more
            than one archive where a node wants one.
        IntegrityError: what was handed over is not what the lock names.
    """
    _check_complete(lock, files, made, images)
    modes = {file.path: int(file.mode, 8) for file in lock.files}
    tree = _Tree({}, {})
    for path, blob in files.items():
        tree.add(path, (blob,), blob.digest, blob.size, mode=modes[path])
    for path, data in made.items():
        tree.add_bytes(path, data)
    for parts in images:
        tree.add(parts.image.archive, parts.pieces, parts.digest, parts.size)
    if lock.profile != "cloudstack-cks" and images:
        tree.add_bytes(IMAGES_LIST, images_list(images))
    if boot is not None:
        started = boot_tree(
            boot, tuple(tree.entries.values()), planned=(SBOM, MANIFEST, SUMS), epoch=lock.epoch
        )
        for entry in started.entries:
            tree.add(entry.path, entry.pieces, *started.facts[entry.path])
        tree.facts |= started.facts  # also the catalogue, which the writer makes
    tree.add_bytes(SBOM, sbom_bytes := sbom(lock, tree.facts, tool))
    described = _manifest(lock, tree.facts, images, tool, payload)
    tree.add_bytes(MANIFEST, manifest := described.to_bytes())
    tree.add_bytes(SUMS, sums(tree.facts))
    _check_names(tree.entries)
    entries = tuple(tree.entries[path] for path in sorted(tree.entries))
    return IsoTree(entries, manifest, sbom_bytes, None if boot is None else started.boot)


def images_list(images: Sequence[ImageParts]) -> bytes:
    """Return ``docker/images.list``: archive and repository, one line for each image."""
    lines = (f"{parts.image.digest.hex}.tar {parts.base_name}\n" for parts in images)
    return "".join(sorted(lines)).encode()


def sums(facts: Mapping[str, FileFact]) -> bytes:
    """Return ``SHA256SUMS`` as ``sha256sum -c`` reads it, sorted by path."""
    return "".join(f"{facts[path][0].hex}  {path}\n" for path in sorted(facts)).encode()


@dataclass(slots=True)
class _Tree:
    entries: dict[str, IsoEntry]
    facts: dict[str, FileFact]

    def add(
        self, path: str, pieces: tuple[Piece, ...], digest: Digest, size: int, *, mode: int = 0o644
    ) -> None:
        if path in self.entries:
            raise InputError(f"two entries for the path {path}")
        self.entries[path] = IsoEntry(path, mode, pieces)
        self.facts[path] = digest, size

    def add_bytes(self, path: str, data: bytes) -> None:
        self.add(path, (data,), Digest.of(data), len(data))


def _check_complete(
    lock: Lock, files: Mapping[str, Blob], made: Mapping[str, bytes], images: Sequence[ImageParts]
) -> None:
    wanted = {file.path: file.sha256 for file in lock.files}
    if (got := {path: blob.digest for path, blob in files.items()}) != wanted:
        raise IntegrityError(f"files: {_difference(wanted, got)}")
    texts = dict.fromkeys([item.path for item in lock.manifests], "made")
    texts |= dict.fromkeys([item.path for item in lock.render], "made")
    if made.keys() != texts.keys():
        raise IntegrityError(f"manifests: {_difference(texts, dict.fromkeys(made, 'made'))}")
    archives = {image.archive: image.digest for image in lock.images}
    if (found := {parts.image.archive: parts.image.digest for parts in images}) != archives:
        raise IntegrityError(f"images: {_difference(archives, found)}")


def _difference(wanted: Mapping[str, str], got: Mapping[str, str]) -> str:
    path = min(path for path in wanted.keys() | got.keys() if wanted.get(path) != got.get(path))
    return f"{path}: the lock says {wanted.get(path, 'nothing')}, got {got.get(path, 'nothing')}"


def _check_names(entries: Mapping[str, IsoEntry]) -> None:
    folded: dict[str, str] = {}
    for path in sorted(entries):
        try:
            check_iso_path(path)
        except ValueError as error:
            raise InputError(str(error)) from error
        name = path.rpartition("/")[2]
        if name.lower().startswith("index.html"):
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


def _manifest(
    lock: Lock,
    facts: Mapping[str, FileFact],
    images: Sequence[ImageParts],
    tool: str,
    payload: OsPayload | None,
) -> IsoManifest:
    return IsoManifest.model_validate(
        {
            "schema": 1,
            "kubernetes_version": lock.kubernetes,
            "product_version": lock.product_version,
            "architecture": lock.architecture,
            "profile": lock.profile,
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
                    "import_alias": parts.image.reference,
                    "path": parts.image.archive,
                    "sha256": parts.digest.hex,
                    "size": parts.size,
                    "core": parts.image.core,
                }
                for parts in sorted(images, key=lambda parts: parts.image.reference)
            ),
            "files": {path: digest.hex for path, (digest, _) in facts.items()},
            "operating_system": None if payload is None else ManifestSystem.of(payload),
        }
    )


def _features(facts: Mapping[str, FileFact]) -> Iterator[str]:
    for path, feature in sorted(_FEATURES.items(), key=lambda item: item[1]):
        if path in facts:
            yield feature
