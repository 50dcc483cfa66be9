"""Small container images, the same bytes every time, each labelled as a stand-in."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from isobuilder.digest import Digest
from isobuilder.formats import oci

STAND_IN = "io.isobuilder.stand-in"
"""The label of every image made here: nobody shall take one for the real thing."""

EPOCH = 1704067200  # 2024-01-01: the time stamp of everything that is served

Style = Literal["docker", "oci"]


@dataclass(frozen=True, slots=True)
class ImageDocument:
    """A manifest or index, byte for byte as a registry serves it."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        """The digest it is asked for by."""
        return Digest.of(self.data)

    def entry(self, **extra: Any) -> dict[str, Any]:
        """Return what an index says of it."""
        size = len(self.data)
        return {"mediaType": self.media_type, "digest": self.digest, "size": size, **extra}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as it travels, and the digest of what is inside."""

    data: bytes
    diff_id: Digest
    compression: oci.Compression


@dataclass(frozen=True, slots=True)
class Image:
    """Everything a registry needs to serve one tag."""

    top: ImageDocument  # what the tag names: an index, or the manifest of the only platform
    manifests: tuple[
        ImageDocument, ...
    ]  # one for each platform, the top itself if there is no index
    blobs: tuple[bytes, ...]


def layer(files: Mapping[str, bytes], *, compression: Literal["none", "gzip"] = "gzip") -> Layer:
    """Return a layer with ``files`` by path."""
    plain = tar(files, mode=0o755)
    data = plain
    if compression == "gzip":
        data = gzipped(plain)
    return Layer(data, Digest.of(plain), compression)


def tar(files: Mapping[str, bytes], *, mode: int) -> bytes:
    """Return an uncompressed tar of ``files`` that is the same at any time and place."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(files[path]), mode
            archive.addfile(entry, io.BytesIO(files[path]))
    return target.getvalue()


def gzipped(data: bytes) -> bytes:
    """Return ``data`` in gzip's form without name and time."""
    target = io.BytesIO()
    # gzip.compress writes another header byte from one Python to the next; GzipFile does not.
    with gzip.GzipFile(filename="", fileobj=target, mode="wb", mtime=0) as file:
        file.write(data)
    return target.getvalue()


def image(
    layers: Sequence[Layer],
    *,
    architecture: str = "amd64",
    labels: Mapping[str, str] | None = None,
    style: Style = "docker",
    media_type: bool = True,
) -> Image:
    """Return the image of one platform; ``media_type`` False leaves the optional key out."""
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Labels": {STAND_IN: "true", **(labels or {})}, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [item.diff_id for item in layers]},
        }
    )
    config_type = oci.DOCKER_CONFIG if style == "docker" else oci.OCI_CONFIG
    manifest_type = oci.DOCKER_MANIFEST if style == "docker" else oci.OCI_MANIFEST
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "config": ImageDocument(config, config_type).entry(),
        "layers": [ImageDocument(item.data, _layer_type(item, style)).entry() for item in layers],
    }
    if media_type:
        body["mediaType"] = manifest_type
    manifest = ImageDocument(_json(body), manifest_type)
    return Image(manifest, (manifest,), (config, *(item.data for item in layers)))


def index(
    images: Mapping[str, Image], *, style: Style = "docker", attestations: bool = False
) -> Image:
    """Return one image out of several, by architecture.

    ``attestations`` adds what BuildKit adds: a manifest for ``unknown/unknown`` beside each image.
    """
    entries: list[dict[str, Any]] = []
    manifests: list[ImageDocument] = []
    blobs: list[bytes] = []
    for architecture, single in images.items():
        entries.append(single.top.entry(platform={"os": "linux", "architecture": architecture}))
        manifests += single.manifests
        blobs += single.blobs
    for single in images.values() if attestations else ():
        statement, content = _attestation(single.top.digest)
        entries.append(
            statement.entry(
                platform={"os": "unknown", "architecture": "unknown"},
                annotations={
                    "vnd.docker.reference.digest": single.top.digest,
                    "vnd.docker.reference.type": "attestation-manifest",
                },
            )
        )
        manifests.append(statement)
        blobs += content
    kind = oci.DOCKER_INDEX if style == "docker" else oci.OCI_INDEX
    body = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    return Image(ImageDocument(_json(body), kind), tuple(manifests), tuple(dict.fromkeys(blobs)))


def _attestation(subject: Digest) -> tuple[ImageDocument, list[bytes]]:
    statement = _json({"_type": "https://in-toto.io/Statement/v0.1", "subject": [subject]})
    config = _json(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(statement)]},
        }
    )
    body = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": ImageDocument(config, oci.OCI_CONFIG).entry(),
        "layers": [ImageDocument(statement, "application/vnd.in-toto+json").entry()],
    }
    return ImageDocument(_json(body), oci.OCI_MANIFEST), [config, statement]


def _layer_type(item: Layer, style: Style) -> str:
    separator = "." if style == "docker" else "+"
    base = oci.DOCKER_LAYER if style == "docker" else oci.OCI_LAYER
    return base if item.compression == "none" else f"{base}{separator}{item.compression}"


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()
