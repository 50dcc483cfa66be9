"""Container images, written as blobs and manifests for a registry or an OCI layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.lab.archives import Entry, pack

STAND_IN = "io.isobuilder.stand-in"
CREATED = "2026-09-23T17:06:22Z"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The media types of one of the two families of image formats."""

    index: str
    manifest: str
    config: str
    layer: str


OCI = Dialect(
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
)
DOCKER = Dialect(
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob or manifest by digest (``sha256:<hex>``), with its size in bytes."""

    media_type: str
    digest: str
    size: int
    uncompressed: str = ""  # digest of a layer's tar

    def as_json(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Tagged:
    """One image as upstream offers it: what its tag points to, and all that hangs on it."""

    reference: str
    top: Descriptor
    platform: Descriptor  # the manifest for linux/amd64, which may be the top itself
    manifests: tuple[Descriptor, ...]  # in the order a registry wants them: the top last
    blobs: tuple[Descriptor, ...]


class Builder:
    """Writes layers, configs and manifests into a directory of blobs."""

    def __init__(self, blobs: Path) -> None:
        self.blobs = blobs
        blobs.mkdir(parents=True, exist_ok=True)

    def layer(self, entries: Iterable[Entry], *, compress: bool = True) -> Descriptor:
        """Return a layer of ``entries``; its media type is OCI's."""
        draft = self.blobs / "draft"
        packed = pack(entries, draft, compress=compress)
        draft.rename(self.blobs / packed.sha256)
        media_type = OCI.layer if compress else OCI.layer.removesuffix("+gzip")
        return Descriptor(
            media_type,
            f"sha256:{packed.sha256}",
            packed.size,
            f"sha256:{packed.uncompressed_sha256}",
        )

    def put(self, content: bytes, media_type: str) -> Descriptor:
        """Keep a small blob or manifest."""
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return Descriptor(media_type, f"sha256:{digest}", len(content))

    def image(
        self,
        layers: Sequence[Descriptor],
        *,
        entrypoint: Sequence[str] = (),
        labels: Mapping[str, str],
        dialect: Dialect = OCI,
        architecture: str = "amd64",
    ) -> tuple[Descriptor, tuple[Descriptor, ...]]:
        """Return the manifest of a single-platform image and the blobs it needs."""
        config = self.put(
            _json(
                {
                    "architecture": architecture,
                    "os": "linux",
                    "created": CREATED,
                    "config": {
                        "Env": [
                            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                        ],
                        "Entrypoint": list(entrypoint),
                        "WorkingDir": "/",
                        "Labels": dict(labels),
                    },
                    "rootfs": {
                        "type": "layers",
                        "diff_ids": [layer.uncompressed for layer in layers],
                    },
                    "history": [
                        {"created": CREATED, "created_by": "isobuilder lab"} for _ in layers
                    ],
                }
            ),
            dialect.config,
        )
        if dialect is DOCKER:
            layers = [
                Descriptor(DOCKER.layer, layer.digest, layer.size, layer.uncompressed)
                for layer in layers
            ]
        manifest = self._manifest(dialect.manifest, config, layers)
        return manifest, (config, *layers)

    def attestation(self, subject: Descriptor) -> tuple[Descriptor, tuple[Descriptor, ...]]:
        """Return a manifest as BuildKit adds one for provenance; it is no image."""
        statement = self.put(
            _json({"_type": "https://in-toto.io/Statement/v0.1", "predicate": {}, "subject": []}),
            "application/vnd.in-toto+json",
        )
        config = self.put(
            _json(
                {
                    "architecture": "unknown",
                    "os": "unknown",
                    "config": {},
                    "rootfs": {"type": "layers", "diff_ids": [statement.digest]},
                }
            ),
            OCI.config,
        )
        manifest = self._manifest(OCI.manifest, config, [statement])
        return manifest, (config, statement)

    def index(
        self,
        platforms: Mapping[str, Descriptor],
        *,
        attestation: Descriptor | None = None,
        dialect: Dialect = OCI,
    ) -> Descriptor:
        """Return an index over manifests by architecture, in the order they come."""
        entries: list[dict[str, Any]] = [
            manifest.as_json() | {"platform": {"architecture": architecture, "os": "linux"}}
            for architecture, manifest in platforms.items()
        ]
        if attestation is not None:
            entries.append(
                attestation.as_json()
                | {
                    "platform": {"architecture": "unknown", "os": "unknown"},
                    "annotations": {
                        "vnd.docker.reference.type": "attestation-manifest",
                        "vnd.docker.reference.digest": platforms["amd64"].digest,
                    },
                }
            )
        value = {"schemaVersion": 2, "mediaType": dialect.index, "manifests": entries}
        return self.put(_json(value), dialect.index)

    def _manifest(
        self, media_type: str, config: Descriptor, layers: Sequence[Descriptor]
    ) -> Descriptor:
        value = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.as_json(),
            "layers": [layer.as_json() for layer in layers],
        }
        return self.put(_json(value), media_type)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()


def write_catalogue(images: Sequence[Tagged], path: Path) -> None:
    """Write down what ``read_catalogue`` reads again."""
    path.write_bytes(_json([asdict(image) for image in images]))


def read_catalogue(path: Path) -> list[Tagged]:
    """Return the images that ``write_catalogue`` wrote down."""
    return [
        Tagged(
            reference=entry["reference"],
            top=Descriptor(**entry["top"]),
            platform=Descriptor(**entry["platform"]),
            manifests=tuple(Descriptor(**item) for item in entry["manifests"]),
            blobs=tuple(Descriptor(**item) for item in entry["blobs"]),
        )
        for entry in json.loads(path.read_bytes())
    ]


def oci_archive(image: Tagged, blobs: Path, target: Path) -> Path:
    """Write the image for amd64 as an OCI layout in a tar, named by its full reference."""
    index = {
        "schemaVersion": 2,
        "manifests": [
            image.platform.as_json()
            | {"annotations": {"org.opencontainers.image.ref.name": image.reference}}
        ],
    }
    needed = _needed(image.platform, blobs)
    pack(
        [
            Entry("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
            Entry("index.json", _json(index)),
            *(Entry(f"blobs/sha256/{hex_}", blobs / hex_) for hex_ in needed),
        ],
        target,
        compress=False,
    )
    return target


def _needed(manifest: Descriptor, blobs: Path) -> list[str]:
    name = manifest.digest.removeprefix("sha256:")
    content = json.loads((blobs / name).read_bytes())
    digests = [manifest.digest, content["config"]["digest"]]
    digests += [layer["digest"] for layer in content["layers"]]
    return sorted({digest.removeprefix("sha256:") for digest in digests})
