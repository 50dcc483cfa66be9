"""Lock + blobs -> every file of the ISO: what it must contain, whoever has the blobs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import BinaryIO

from isobuilder import __version__
from isobuilder.cancel import pooled
from isobuilder.content.archives import archive_fact, image_archive
from isobuilder.content.blobs import BlobSource, held
from isobuilder.content.boot import boot_files, locked_payload
from isobuilder.content.images import image_manifest
from isobuilder.content.pin import as_on_iso, pinned_names
from isobuilder.content.render import render_file
from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.formats.sums import written_sums
from isobuilder.iso.write.entries import FileFact, IsoEntry, Piece
from isobuilder.iso.write.hybrid import Boot
from isobuilder.medium import LABEL, MANIFEST, SBOM, SUMS
from isobuilder.model.architecture import ETCD_ARCHIVE
from isobuilder.model.base import check_iso_path
from isobuilder.model.isomanifest import IsoManifest, ManifestSystem
from isobuilder.model.lock import Lock, LockedImage
from isobuilder.model.payload import OsPayload
from isobuilder.model.profile import FORBIDDEN, ONE_OF, PROFILES
from isobuilder.model.trust.claims import CLAIMS
from isobuilder.progress import SILENT, Progress, task
from isobuilder.trust.sbom import sbom

_WORKERS = 4  # archives hashed at once; hashing lets other threads run


@dataclass(frozen=True, slots=True)
class IsoTree:
    """Every file of one ISO, and what else decides its bytes."""

    entries: tuple[IsoEntry, ...]  # by path
    facts: dict[str, FileFact] = field(hash=False)  # of every file, the boot catalogue among them
    manifest: bytes  # also written beside the ISO, as is the SBOM
    sbom: bytes
    epoch: int  # seconds since 1970-01-01 UTC; every time stamp
    label: str = LABEL
    boot: Boot | None = None  # which of the files start a machine

    @property
    def digests(self) -> dict[str, Digest]:
        """What each file hashes to, by path."""
        return {path: digest for path, (digest, _) in self.facts.items()}


@dataclass(frozen=True, slots=True)
class TreeFiles:
    """A tree as what reads an ISO sees it, before anybody has written one."""

    made: IsoTree
    other_labels: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The volume identifier that it will have."""
        return self.made.label

    @property
    def files(self) -> Mapping[str, IsoEntry]:
        """Every file by its path."""
        return {entry.path: entry for entry in self.made.entries}

    def open(self, path: str) -> BinaryIO:
        """Open a file of one piece, such as a program or a text; an archive is none."""
        (piece,) = self.files[path].pieces
        return io.BytesIO(piece) if isinstance(piece, bytes) else piece.open()


def tree(
    lock: Lock, blobs: BlobSource, *, tool: str = __version__, progress: Progress = SILENT
) -> IsoTree:
    """Return the tree of the ISO that ``lock`` describes: a function of lock, blobs and version.

    Locked files are not read, for their digests are those of the lock; ``tool`` is the version of
    isobuilder that the ISO names as its own. ``docker/images.list`` is left out for
    Apache's nodes: they try to import every file in ``docker/`` and would fail three times on it.

    Raises:
        EnvironmentProblem: a blob of the lock is not there.
        IntegrityError: a blob is not what its digest promises.
        InputError: two entries for a path, a name that nodes lose or take for another, more than
            one archive where a node wants one, or a manifest or payload that does not fit the lock.
    """
    files = _Files()
    names = pinned_names(lock)
    for file in lock.files:
        files.add(file.path, held(blobs.find, file.sha256, file.name), mode=int(file.mode, 8))
    for manifest in lock.manifests:
        upstream = held(blobs.find, manifest.sha256, manifest.name).read()
        files.add(manifest.path, as_on_iso(manifest, upstream, names, lock.ignored))
    digests = {path: digest for path, (digest, _) in files.facts.items()}
    for item in lock.render:
        files.add(item.path, render_file(lock, item, digests))
    images = _images(lock, blobs, progress)
    for parts in images:
        files.add(parts.image.archive, *parts.pieces, fact=(parts.digest, parts.size))
    if PROFILES[lock.profile].writes_images_list and images:
        files.add(IMAGES_LIST, images_list(images))
    if lock.trust is not None:
        for path, text in lock.trust.files.items():
            files.add(path, held(blobs.find, text.sha256, path))
        files.add(CLAIMS, lock.trust.on_iso)
    payload = locked_payload(lock, blobs.find)
    boot: Boot | None = None
    if payload is not None:
        planned = (SBOM, MANIFEST, SUMS)
        others = tuple(files.entries.values())
        started = boot_files(lock, payload, blobs.find, others, planned=planned, tool=tool)
        for entry in started.entries:
            files.add(entry.path, *entry.pieces, fact=started.facts[entry.path])
        files.facts |= started.facts  # also the catalogue, which the writer makes
        boot = started.boot
    files.add(SBOM, bill := sbom(lock, files.facts, tool, payload=payload))
    described = manifest_of(lock, files.facts, images, tool=tool, payload=payload).to_bytes()
    files.add(MANIFEST, described)
    files.add(SUMS, sums(files.facts))
    _check_names(files.entries)
    entries = tuple(files.entries[path] for path in sorted(files.entries))
    return IsoTree(entries, files.facts, described, bill, lock.epoch, boot=boot)


@dataclass(slots=True)
class _Files:
    entries: dict[str, IsoEntry] = field(default_factory=dict)
    facts: dict[str, FileFact] = field(default_factory=dict)

    def add(
        self, path: str, *pieces: Piece, mode: int = 0o644, fact: FileFact | None = None
    ) -> None:
        """Add a file; without its ``fact`` it is one piece."""
        if path in self.entries:
            raise InputError(f"two entries for the path {path}")
        if fact is None:
            (piece,) = pieces
            fact = (
                (Digest.of(piece), len(piece))
                if isinstance(piece, bytes)
                else (piece.digest, piece.size)
            )
        self.entries[path] = IsoEntry(path, mode, pieces)
        self.facts[path] = fact


def _images(lock: Lock, blobs: BlobSource, progress: Progress) -> list[ImageParts]:
    images = []
    with (
        task(progress, "image archives", total=len(lock.images), unit="images") as work,
        pooled(_WORKERS, "archives") as pool,
    ):
        for parts in pool.map(lambda image: _parts(image, blobs), lock.images):
            images.append(parts)
            work.advance(1)
    return images


def _parts(image: LockedImage, blobs: BlobSource) -> ImageParts:
    name = image.reference
    manifest = held(blobs.find, image.digest, name)
    parsed = image_manifest(manifest, place=name)
    pieces = image_archive(
        image.names,
        manifest=manifest,
        config=held(blobs.find, parsed.config.digest, name),
        layers=[held(blobs.find, layer.digest, name) for layer in parsed.layers],
        media_type=parsed.media_type,
    )
    digest, size = archive_fact(pieces, blobs)
    return ImageParts(image, pieces, digest, size)


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
        return self.image.parsed.name


def images_list(images: Sequence[ImageParts]) -> bytes:
    """Return ``docker/images.list``: archive and repository, one line for each image."""
    lines = (f"{parts.image.digest.hex}.tar {parts.base_name}\n" for parts in images)
    return "".join(sorted(lines)).encode()


def sums(facts: Mapping[str, FileFact]) -> bytes:
    """Return ``SHA256SUMS`` as ``sha256sum -c`` reads it, sorted by path."""
    return written_sums((facts[path][0], path) for path in sorted(facts))


def _check_names(entries: Iterable[str]) -> None:
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
                    "reference": parts.image.pinned,
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
