"""Image archives as ``ctr image import`` reads them, and the names it gives to what it finds.

Source: containerd's ``images/archive`` (importer.go, reference.go) and ``cmd/ctr`` (import.go), and
what containerd 1.6 and 2 did with archives of every form described here. Only names and forms are
looked at; that blobs have the digests they are named by is the business of ``iso.archive_check``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.oci import (
    MAX_DOCUMENT,
    Descriptor,
    ImageIndex,
    parse_config,
    parse_index,
    read_document,
)
from isobuilder.formats.reference import ImageReference
from isobuilder.formats.tar import SeekSource, walk

_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_MAX_KEPT = 32 * 1024 * 1024  # bytes of small documents kept of one archive
_DOCUMENT = 512 * 1024  # what is kept of each small blob: manifests and configurations
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
class ImageArchive:
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
    parsed = ImageReference.parse(reference)
    return str(parsed.with_digest(parsed.digest) if parsed.digest else parsed)


def read_archive(stream: BinaryIO) -> ImageArchive:
    """Return what ``ctr`` would find in the archive.

    Raises:
        IntegrityError: ``ctr`` would refuse it, in a sentence without place.
    """
    documents: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    kept = 0
    for member, content in walk(SeekSource(stream), head=_DOCUMENT):
        if not member.regular:
            continue
        name = _clean(member.name)
        sizes[name] = member.size
        small = member.size <= len(content)
        if small and (name in {"oci-layout", "index.json", "manifest.json"} or _json(content)):
            kept += len(content)
            if kept > _MAX_KEPT:
                raise IntegrityError(f"more than {_MAX_KEPT} bytes of JSON in one archive")
            documents[name] = content
    if "oci-layout" in sizes:
        return _oci(documents, sizes)
    if "manifest.json" in sizes:
        return _docker(documents, sizes)
    only = " (only blobs/)" if sizes and all(n.startswith("blobs/") for n in sizes) else ""
    raise IntegrityError(
        f"neither oci-layout nor manifest.json in it{only}; ctr: unrecognized image format"
    )


def _oci(documents: Mapping[str, bytes], sizes: Mapping[str, int]) -> ImageArchive:
    if "index.json" not in sizes:
        raise IntegrityError("no index.json beside oci-layout")
    layout = _parsed(documents, "oci-layout")
    if not isinstance(layout, dict) or layout.get("imageLayoutVersion") != "1.0.0":
        raise IntegrityError("oci-layout does not say imageLayoutVersion 1.0.0")
    try:
        index = parse_index(_document(documents, "index.json"), place="index.json")
        if not index.manifests or len(index.manifests) > _MAX_IMAGES:
            raise IntegrityError(f"index.json lists {len(index.manifests)} images")
        images = [
            ArchivedImage(
                entry.annotations.get(_FULL_NAME),
                entry.annotations.get(_REF_NAME),
                entry.digest,
                _architecture(entry, documents, sizes),
            )
            for entry in index.manifests
        ]
    except InputError as error:
        raise IntegrityError(str(error)) from error
    return ImageArchive(tuple(images))


def _architecture(
    entry: Descriptor, documents: Mapping[str, bytes], sizes: Mapping[str, int]
) -> str | None:
    """Return what the image runs on, having seen that all of it is in the archive."""
    name = _blob(entry, sizes)
    manifest = read_document(_document(documents, name), place=name)
    if isinstance(manifest, ImageIndex):
        return None  # of several platforms; the node takes its own
    for blob in manifest.blobs:
        _blob(blob, sizes)
    config = _blob(manifest.config, sizes)
    return parse_config(_document(documents, config), place=config).platform.architecture


def _blob(wanted: Descriptor, sizes: Mapping[str, int]) -> str:
    name = f"blobs/sha256/{wanted.digest.hex}"
    if name not in sizes:
        raise IntegrityError(f"{name} is missing")
    if sizes[name] != wanted.size:
        raise IntegrityError(f"{name} has {sizes[name]} bytes, expected {wanted.size}")
    return name


def _docker(documents: Mapping[str, bytes], sizes: Mapping[str, int]) -> ImageArchive:
    entries = _parsed(documents, "manifest.json")
    if not isinstance(entries, list) or not 0 < len(entries) <= _MAX_IMAGES:
        raise IntegrityError("manifest.json: expected a list of images")
    images: list[ArchivedImage] = []
    for entry in entries:
        config = entry.get("Config") if isinstance(entry, dict) else None
        layers = entry.get("Layers") if isinstance(entry, dict) else None
        if not isinstance(config, str) or not isinstance(layers, list):
            raise IntegrityError("manifest.json: an image without Config or Layers")
        for path in (config, *layers):
            if not isinstance(path, str) or _clean(path) not in sizes:
                raise IntegrityError(f"{str(path)[:80]!r}, named by manifest.json, is missing")
        settings = _parsed(documents, _clean(config))
        architecture = settings.get("architecture") if isinstance(settings, dict) else None
        architecture = architecture if isinstance(architecture, str) else None
        tags = entry.get("RepoTags") or []
        if not isinstance(tags, list):
            raise IntegrityError("manifest.json: RepoTags is not a list")
        names: list[str | None] = [_docker_name(tag) for tag in tags[:_MAX_IMAGES]]
        images += [ArchivedImage(name, None, None, architecture) for name in names or [None]]
    return ImageArchive(tuple(images))


def _docker_name(tag: object) -> str:
    try:
        return str(ImageReference.parse(str(tag)))
    except ValueError as error:
        raise IntegrityError(f"manifest.json: {error}") from error


def _parsed(documents: Mapping[str, bytes], name: str) -> Any:
    try:
        return json.loads(_document(documents, name))
    except RecursionError as error:
        raise IntegrityError(f"{name}: nested too deeply") from error
    except ValueError as error:
        raise IntegrityError(f"{name}: not JSON") from error


def _document(documents: Mapping[str, bytes], name: str) -> bytes:
    data = documents.get(name)
    if data is None:
        raise IntegrityError(f"{name}: not JSON of at most {_DOCUMENT} bytes")
    return data[:MAX_DOCUMENT]


def _json(content: bytes) -> bool:
    return content[:64].lstrip()[:1] in {b"{", b"["}


def _clean(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in {"", "."})


def _is_full(reference: str) -> bool:
    return any(mark in reference for mark in "/:@")


def _begins_with(reference: str, base: str) -> bool:
    rest = reference.removeprefix(base)
    return reference.startswith(base) and (not rest or rest[0] in "/:@")
