"""Image archives as ``ctr image import`` reads them, and the names it gives to what it finds.

Source: containerd's ``images/archive`` (importer.go, reference.go) and ``cmd/ctr`` (import.go), and
what containerd 1.6 and 2 did with archives of every form described here. Only names and forms are
looked at; that blobs have the digests they are named by is the business of
``iso.check.archives``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isobuilder.digest import Digest
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.archive import (
    DOCKER_INDEX,
    INDEX,
    LAYOUT,
    ImageArchive,
    blob_name,
    cleaned,
)
from isobuilder.formats.oci import (
    MAX_DOCUMENT,
    Descriptor,
    ImageIndex,
    parse_config,
    parse_index,
    read_document,
)
from isobuilder.formats.reference import ImageReference

_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_MAX_IMAGES = 1000


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image in an archive."""

    full_name: str | None  # taken as it is
    ref_name: str | None  # a full reference, or only a tag
    digest: Digest | None  # of the manifest; None in Docker's form, which has none
    architecture: str | None  # None when the archive does not tell

    @property
    def name(self) -> str | None:
        """The full name the archive gives, if it gives one."""
        if self.full_name:
            return self.full_name
        return self.ref_name if self.ref_name and _is_full(self.ref_name) else None


@dataclass(frozen=True, slots=True)
class ImportedArchive:
    """What ``ctr`` finds in one archive."""

    images: tuple[ArchivedImage, ...]

    def imported(self, base: str) -> frozenset[str]:
        """Return the names there are after ``ctr image import --digests --base-name <base>``.

        A name from Docker's RepoTags or containerd's own annotation is kept; the specification's
        annotation only when it begins with ``base``, a bare tag is put behind it. An empty ``base``
        keeps every full name, as does an import without the option.
        """
        names: set[str] = set()
        for image in self.images:
            if image.full_name:
                names.add(image.full_name)
            elif image.ref_name and _is_full(image.ref_name):
                if not base or _begins_with(image.ref_name, base):
                    names.add(image.ref_name)
            elif image.ref_name and base:
                names.add(f"{base}:{image.ref_name}")
            if base and image.digest:
                names.add(f"{base}@{image.digest}")
        return frozenset(names)


def normal_name(reference: str) -> str:
    """Return the name containerd's CRI looks an image up by: written out, digest before tag.

    Raises:
        ValueError: not an image reference.
    """
    return ImageReference.parse(reference).looked_up


def as_imported(archive: ImageArchive) -> ImportedArchive:
    """Return what ``ctr`` would find in the archive.

    Raises:
        IntegrityError: ``ctr`` would refuse it, in a sentence without place.
    """
    names = archive.files.keys()
    if LAYOUT in names:
        return _oci(archive)
    if DOCKER_INDEX in names:
        return _docker(archive)
    only = " (only blobs/)" if names and all(name.startswith("blobs/") for name in names) else ""
    raise IntegrityError(
        f"neither {LAYOUT} nor {DOCKER_INDEX} in it{only}; ctr: unrecognized image format"
    )


def _oci(archive: ImageArchive) -> ImportedArchive:
    if INDEX not in archive.files:
        raise IntegrityError(f"no {INDEX} beside {LAYOUT}")
    layout = _parsed(archive, LAYOUT)
    if not isinstance(layout, dict) or layout.get("imageLayoutVersion") != "1.0.0":
        raise IntegrityError(f"{LAYOUT} does not say imageLayoutVersion 1.0.0")
    try:
        index = parse_index(_document(archive, INDEX), place=INDEX)
        if not index.manifests or len(index.manifests) > _MAX_IMAGES:
            raise IntegrityError(f"{INDEX} lists {len(index.manifests)} images")
        images = [
            ArchivedImage(
                entry.annotations.get(_FULL_NAME),
                entry.annotations.get(_REF_NAME),
                entry.digest,
                _architecture(entry, archive),
            )
            for entry in index.manifests
        ]
    except InputError as error:
        raise IntegrityError(str(error)) from error
    return ImportedArchive(tuple(images))


def _architecture(entry: Descriptor, archive: ImageArchive) -> str | None:
    """Return what the image runs on, having seen that all of it is in the archive."""
    name = _blob(entry, archive)
    manifest = read_document(_document(archive, name), place=name)
    if isinstance(manifest, ImageIndex):
        return None  # of several platforms; the node takes its own
    for blob in manifest.blobs:
        _blob(blob, archive)
    config = _blob(manifest.config, archive)
    return parse_config(_document(archive, config), place=config).platform.architecture


def _blob(wanted: Descriptor, archive: ImageArchive) -> str:
    name = blob_name(wanted.digest)
    member = archive.files.get(name)
    if member is None:
        raise IntegrityError(f"{name} is missing")
    if member.size != wanted.size:
        raise IntegrityError(f"{name} has {member.size} bytes, expected {wanted.size}")
    return name


def _docker(archive: ImageArchive) -> ImportedArchive:
    entries = _parsed(archive, DOCKER_INDEX)
    if not isinstance(entries, list) or not 0 < len(entries) <= _MAX_IMAGES:
        raise IntegrityError("manifest.json: expected a list of images")
    images: list[ArchivedImage] = []
    for entry in entries:
        config = entry.get("Config") if isinstance(entry, dict) else None
        layers = entry.get("Layers") if isinstance(entry, dict) else None
        if not isinstance(config, str) or not isinstance(layers, list):
            raise IntegrityError("manifest.json: an image without Config or Layers")
        for path in (config, *layers):
            if not isinstance(path, str) or cleaned(path) not in archive.files:
                raise IntegrityError(f"{str(path)[:80]!r}, named by manifest.json, is missing")
        settings = _parsed(archive, cleaned(config))
        architecture = settings.get("architecture") if isinstance(settings, dict) else None
        architecture = architecture if isinstance(architecture, str) else None
        tags = entry.get("RepoTags") or []
        if not isinstance(tags, list):
            raise IntegrityError("manifest.json: RepoTags is not a list")
        names: list[str | None] = [_docker_name(tag) for tag in tags[:_MAX_IMAGES]]
        images += [ArchivedImage(name, None, None, architecture) for name in names or [None]]
        if len(images) > _MAX_IMAGES:
            raise IntegrityError(f"manifest.json gives more than {_MAX_IMAGES} images")
    return ImportedArchive(tuple(images))


def _docker_name(tag: object) -> str:
    try:
        return str(ImageReference.parse(str(tag)))
    except ValueError as error:
        raise IntegrityError(f"manifest.json: {error}") from error


def _parsed(archive: ImageArchive, name: str) -> Any:
    return parse(_document(archive, name), name, OCI, IntegrityError)


def _document(archive: ImageArchive, name: str) -> bytes:
    data = archive.documents.get(name)
    if data is None:
        raise IntegrityError(f"{name}: not JSON of at most {MAX_DOCUMENT} bytes")
    return data


def _is_full(reference: str) -> bool:
    return any(mark in reference for mark in "/:@")


def _begins_with(reference: str, base: str) -> bool:
    rest = reference.removeprefix(base)
    return reference.startswith(base) and (not rest or rest[0] in "/:@")
