"""Container images as registries describe them: manifests, indexes and configurations.

Sources: OCI image specification 1.1 (manifest.md, image-index.md, config.md, descriptor.md) and
Docker's "Image Manifest Version 2, Schema 2". Bytes in, frozen values out; no network, no disk.
Everything here was written by strangers, so every size is bounded and every mistake is an error
that names ``place``, the image or file it was found in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from isobuilder.digest import Digest
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import InputError, IntegrityError

MAX_DOCUMENT = OCI.size
"""Bytes of a manifest, index or configuration; registries refuse longer manifests too."""

MAX_LAYER = 1 << 40
"""Bytes of a layer: a size beyond a tebibyte is a mistake or an attack."""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SIGNED_TEXT = "application/vnd.dev.cosign.simplesigning.v1+json"
"""What cosign signs: a text that names an image by its digest (specs/SIGNATURE_SPEC.md)."""
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""containerd reads the first; the second is the specification's, and what older tools read."""

_INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
_MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
ACCEPTED = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
"""What we ask registries for, in this order. Schema 1 is not among it."""

Compression = Literal["none", "gzip", "zstd"]

_LAYER_TYPES: Mapping[str, Compression] = MappingProxyType(
    {
        OCI_LAYER: "none",
        OCI_LAYER + "+gzip": "gzip",
        OCI_LAYER + "+zstd": "zstd",
        DOCKER_LAYER: "none",
        DOCKER_LAYER + ".gzip": "gzip",
        DOCKER_LAYER + ".zstd": "zstd",
    }
)
"""The layers a node can unpack, and how they are compressed."""

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_NOT_FOR_REGISTRIES = ("nondistributable", ".foreign.")
# A variant other than these needs a newer processor than the architecture promises.
_BASELINE = {"amd64": ("", "v1"), "arm64": ("", "v8")}
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's spelling."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def plain(self) -> Platform:
        """Return the same for each way of writing it, as containerd: arm64/v8 is arm64."""
        architecture, variant = self.architecture.lower(), self.variant.lower().lstrip("v")
        usual = {"amd64": "1", "arm64": "8", "arm": "7"}.get(architecture)
        return Platform(self.os.lower(), architecture, "" if variant == usual else variant)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A promise about bytes: type, digest and size."""

    media_type: str
    digest: Digest
    size: int  # bytes
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def compression(self) -> Compression:
        """How a layer says that it is compressed; ``none`` for everything that is not a layer."""
        return _LAYER_TYPES.get(self.media_type, "none")

    @property
    def is_looked_into(self) -> bool:
        """Whether nodes go by a layer's first bytes, whatever compression its type names.

        Not if it is OCI's type without any: then they take it for a tar as it is.
        Source: containerd's ``DiffCompression`` and ``DecompressStream``.
        """
        return self.compression != "none" or self.media_type == DOCKER_LAYER


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """One image of one platform."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configuration and layers, each digest once."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """A list of manifests, one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class RegistryDocument:
    """A manifest or index of any kind as registries keep it: an image, a signature, an SBOM."""

    media_type: str
    manifests: tuple[Descriptor, ...]  # of an index
    blobs: tuple[Descriptor, ...]  # of a manifest: configuration and layers, each digest once
    layers: tuple[Descriptor, ...]  # all of them: two signatures may be over the same text
    subject: Digest | None  # the manifest that it is about
    artifact_type: str
    annotations: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What the image says of itself."""

    platform: Platform
    labels: Mapping[str, str] = field(hash=False)
    diff_ids: tuple[Digest, ...]  # of the uncompressed layers, lowest first


def read_document(
    data: bytes, *, place: str, content_type: str | None = None
) -> ImageManifest | ImageIndex:
    """Return the manifest or index that ``data`` is; the content decides, not a label.

    ``mediaType`` is optional in OCI documents. Where it or ``content_type`` (a registry's header)
    is there and names the other kind, the document is refused, and so is one that could be read as
    both: two readers must never see two images in the same bytes (CVE-2021-41190).

    Raises:
        IntegrityError: malformed, ambiguous or beyond a limit.
        InputError: schema 1, an artifact that is no image, or a layer registries do not serve.
    """
    document = _json_object(data, place)
    media_type = document.get("mediaType", "")
    if not isinstance(media_type, str):
        raise IntegrityError(f"{place}: mediaType: expected text, got {_short(media_type)}")
    if document.get("schemaVersion") == 1 or media_type.startswith(_SCHEMA_1):
        raise InputError(
            f"{place}: a manifest of schema 1, which no current containerd reads",
            hint="push the image again with a current tool, or name a newer tag",
        )
    if document.get("schemaVersion") != 2:
        found = _short(document.get("schemaVersion"))
        raise IntegrityError(f"{place}: schemaVersion: expected 2, got {found}")
    is_index, is_manifest = "manifests" in document, bool({"config", "layers"} & document.keys())
    if is_index == is_manifest:
        which = "both manifests and layers" if is_index else "neither manifests nor layers"
        raise IntegrityError(f"{place}: expected an image manifest or index, got {which}")
    for label, value in (("mediaType", media_type), ("Content-Type", content_type or "")):
        bare = value.partition(";")[0].strip()
        if (bare in _INDEX_TYPES and is_manifest) or (bare in _MANIFEST_TYPES and is_index):
            kind = "a manifest" if is_manifest else "an index"
            raise IntegrityError(f"{place}: {label} says {bare}, but the content is {kind}")
    if is_index:
        return _index(
            document, media_type or _implied(content_type, _INDEX_TYPES, OCI_INDEX), place
        )
    return _manifest(
        document, media_type or _implied(content_type, _MANIFEST_TYPES, OCI_MANIFEST), place
    )


def parse_any(data: bytes, *, place: str) -> RegistryDocument:
    """Return what a manifest or index of any kind says; no judgement whether a node can run it.

    Source: image specification 1.1, manifest.md: without ``artifactType`` the type of the
    configuration counts.

    Raises:
        IntegrityError: malformed, both kinds at once, or beyond a limit.
    """
    document = _json_object(data, place)
    is_index = "manifests" in document
    if is_index == bool({"config", "layers", "blobs"} & document.keys()):
        raise IntegrityError(f"{place}: expected a manifest or an index, and not both")
    implied = OCI_INDEX if is_index else OCI_MANIFEST
    media_type = document.get("mediaType", implied)
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        raise IntegrityError(f"{place}: mediaType: expected one, got {_short(media_type)}")
    config = document.get("config")
    listed = [] if config is None else [config]
    above = len(listed)
    listed += _list(document.get("layers", []), f"{place}: layers")
    found = [_descriptor(value, f"{place}: blobs", limit=MAX_LAYER) for value in listed]
    children = _list(document.get("manifests", []), f"{place}: manifests")
    subject = document.get("subject")
    artifact = document.get("artifactType") or (found[0].media_type if config is not None else "")
    if not isinstance(artifact, str):
        raise IntegrityError(f"{place}: artifactType: expected text, got {_short(artifact)}")
    return RegistryDocument(
        media_type,
        tuple(_descriptor(value, f"{place}: manifests", limit=MAX_LAYER) for value in children),
        tuple({blob.digest: blob for blob in found}.values()),
        tuple(found[above:]),
        None
        if subject is None
        else _descriptor(subject, f"{place}: subject", limit=MAX_LAYER).digest,
        artifact,
        _texts(document.get("annotations"), f"{place}: annotations"),
    )


def parse_manifest(data: bytes, *, place: str, content_type: str | None = None) -> ImageManifest:
    """Return the image manifest that ``data`` is; see ``read_document``.

    Raises:
        IntegrityError: it is none.
        InputError: as in ``read_document``.
    """
    document = read_document(data, place=place, content_type=content_type)
    if isinstance(document, ImageIndex):
        raise IntegrityError(f"{place}: expected the manifest of one platform, got an index")
    return document


def parse_index(data: bytes, *, place: str, content_type: str | None = None) -> ImageIndex:
    """Return the index that ``data`` is; see ``read_document``.

    Raises:
        IntegrityError: it is none.
        InputError: as in ``read_document``.
    """
    document = read_document(data, place=place, content_type=content_type)
    if isinstance(document, ImageManifest):
        raise IntegrityError(f"{place}: expected an index, got the manifest of one platform")
    return document


def parse_config(data: bytes, *, place: str) -> ImageConfig:
    """Return what an image configuration says.

    Raises:
        IntegrityError: malformed or beyond a limit.
    """
    document = _json_object(data, place)
    rootfs = _mapping(document.get("rootfs", {}), f"{place}: rootfs")
    settings = _mapping(document.get("config") or {}, f"{place}: config")
    diff_ids = _list(rootfs.get("diff_ids") or [], f"{place}: rootfs.diff_ids")
    return ImageConfig(
        _platform(document, place),
        _texts(settings.get("Labels"), f"{place}: config.Labels"),
        tuple(
            _digest(value, f"{place}: rootfs.diff_ids[{number}]")
            for number, value in enumerate(diff_ids)
        ),
    )


def choose_platform(index: ImageIndex, architecture: str, *, place: str) -> Descriptor:
    """Return the entry for Linux on ``architecture``, which may itself be an index.

    Entries that describe builds (BuildKit's attestations, platform ``unknown/unknown``) are no
    images. Only variants every processor of the architecture can run are taken, the plain one
    first. Without a match, a single entry without a platform is taken: an index within the index,
    or a manifest whose configuration will tell.

    Raises:
        InputError: the image is not there for this architecture.
    """
    entries = [entry for entry in index.manifests if not _is_attestation(entry)]
    for variant in _BASELINE.get(architecture, ("",)):
        wanted = Platform("linux", architecture, variant)
        for entry in entries:
            if entry.platform == wanted:
                return entry
    unnamed = [entry for entry in entries if entry.platform is None]
    for types in (_INDEX_TYPES, _MANIFEST_TYPES):
        fitting = [entry for entry in unnamed if entry.media_type in types]
        if len(fitting) == 1:
            return fitting[0]
    there = sorted({str(entry.platform) for entry in entries if entry.platform})
    listed = ", ".join(there[:8]) + (" ..." if len(there) > 8 else "") if there else "none"
    raise InputError(
        f"{place}: expected an image for linux/{architecture}, got {listed}",
        hint="drop the architecture from the recipe, or name an image that has it",
    )


def check_config(
    config: ImageConfig, manifest: ImageManifest, architecture: str, *, place: str
) -> None:
    """Return if the configuration fits the manifest and the wanted architecture.

    Raises:
        IntegrityError: it does not: another platform, or another number of layers.
    """
    platform = config.platform
    fits = platform.os == "linux" and platform.architecture == architecture
    if not fits or platform.variant not in _BASELINE.get(architecture, ("",)):
        raise IntegrityError(
            f"{place}: expected an image for linux/{architecture}, "
            f"its configuration says {platform}"
        )
    if len(config.diff_ids) != len(manifest.layers):
        raise IntegrityError(
            f"{place}: the manifest has {len(manifest.layers)} layers, "
            f"the configuration {len(config.diff_ids)}"
        )


def _manifest(document: dict[str, Any], media_type: str, place: str) -> ImageManifest:
    config = _descriptor(document.get("config"), f"{place}: config", limit=MAX_DOCUMENT)
    if config.media_type not in CONFIG_TYPES:
        raise InputError(f"{place}: not a container image: its config is {config.media_type}")
    layers = []
    sizes = {config.digest: config.size}
    for number, value in enumerate(_list(document.get("layers"), f"{place}: layers")):
        where = f"{place}: layers[{number}]"
        layer = _descriptor(value, where, limit=MAX_LAYER)
        if any(mark in layer.media_type for mark in _NOT_FOR_REGISTRIES):
            raise InputError(
                f"{where}: {layer.media_type} may not be redistributed, so it cannot go on an ISO",
                hint="use an image without foreign layers",
            )
        if layer.media_type not in _LAYER_TYPES:
            raise InputError(f"{where}: no node can unpack a layer of type {layer.media_type}")
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise IntegrityError(
                f"{where}: {layer.digest} has {layer.size} bytes here "
                f"and {sizes[layer.digest]} elsewhere in the manifest"
            )
        layers.append(layer)
    if media_type not in _MANIFEST_TYPES:
        raise InputError(f"{place}: not a container image: its manifest is {media_type}")
    return ImageManifest(media_type, config, tuple(layers))


def _index(document: dict[str, Any], media_type: str, place: str) -> ImageIndex:
    if media_type not in _INDEX_TYPES:
        raise InputError(f"{place}: not a container image: its index is {media_type}")
    entries = _list(document["manifests"], f"{place}: manifests")
    return ImageIndex(
        media_type,
        tuple(
            _descriptor(value, f"{place}: manifests[{number}]", limit=MAX_LAYER)
            for number, value in enumerate(entries)
        ),
    )


def _descriptor(value: object, place: str, *, limit: int) -> Descriptor:
    entry = _mapping(value, place)
    media_type, size = entry.get("mediaType"), entry.get("size")
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        raise IntegrityError(f"{place}: mediaType: expected a media type, got {_short(media_type)}")
    if type(size) is not int or not 0 <= size <= limit:
        raise IntegrityError(f"{place}: size: expected 0 to {limit} bytes, got {_short(size)}")
    platform = entry.get("platform")
    return Descriptor(
        media_type,
        _digest(entry.get("digest"), f"{place}: digest"),
        size,
        None if platform is None else _platform(_mapping(platform, f"{place}: platform"), place),
        _texts(entry.get("annotations"), f"{place}: annotations"),
    )


def _platform(entry: Mapping[str, Any], place: str) -> Platform:
    parts = []
    for key in ("os", "architecture", "variant"):
        part = entry.get(key) or ""
        if not isinstance(part, str):
            raise IntegrityError(f"{place}: {key}: expected text, got {_short(part)}")
        parts.append(part[:64])
    return Platform(*parts)


def _is_attestation(entry: Descriptor) -> bool:
    platform = entry.platform
    if platform is not None and "unknown" in {platform.os, platform.architecture}:
        return True
    return entry.annotations.get("vnd.docker.reference.type") == "attestation-manifest"


def _implied(content_type: str | None, types: frozenset[str], otherwise: str) -> str:
    bare = (content_type or "").partition(";")[0].strip()
    return bare if bare in types else otherwise


def _json_object(data: bytes, place: str) -> dict[str, Any]:
    return _mapping(parse(data, place, OCI, IntegrityError), place)


def _mapping(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise IntegrityError(f"{place}: expected a JSON object, got {_short(value)}")
    return value


def _list(value: object, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise IntegrityError(f"{place}: expected a list, got {_short(value)}")
    return value


def _texts(value: object, place: str) -> Mapping[str, str]:
    if value is None:
        return MappingProxyType({})
    entries = _mapping(value, place)
    for key, text in entries.items():
        if not isinstance(text, str):
            raise IntegrityError(f"{place}[{key[:60]!r}]: expected text, got {_short(text)}")
    return MappingProxyType(entries)


def _digest(value: object, place: str) -> Digest:
    try:
        return Digest(value if isinstance(value, str) else "")
    except ValueError as error:
        raise IntegrityError(f"{place}: expected a sha256 digest, got {_short(value)}") from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
