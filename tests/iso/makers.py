"""Small true things for the tests of ``iso``: entries, images, locks, ISOs."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobuilder.content.archives import image_archive
from isobuilder.digest import Digest
from isobuilder.formats.oci import DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from isobuilder.iso.check.subject import Subject
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry, Piece
from isobuilder.iso.write.writer import WrittenIso, write_iso
from isobuilder.medium import Medium
from isobuilder.model.lock import Lock
from isobuilder.store import Blob, Store

EPOCH = 1_700_000_000

NETWORK = b"kind: Pod\nspec:\n  containers:\n  - image: %s\n"
"""A manifest as upstream serves it, with one image."""

CNI = "cni/cni-plugins-amd64.tgz"
CRICTL = "cri-tools/crictl-linux-amd64.tar.gz"


def entry(path: str, data: bytes = b"", mode: int = 0o644) -> IsoEntry:
    return IsoEntry(path, mode, (data,) if data else ())


def iso_of(entries: Sequence[IsoEntry], target: Path, *, label: str = "CDROM") -> WrittenIso:
    return write_iso(entries, target, label=label, epoch=EPOCH)


def joined(pieces: Sequence[Piece]) -> bytes:
    return b"".join(piece if isinstance(piece, bytes) else piece.read() for piece in pieces)


def layer_tar(text: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("hello")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


@dataclass(frozen=True)
class SmallImage:
    """An image of one platform, in the store."""

    reference: str
    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]
    media_type: str

    @property
    def archive(self) -> tuple[Piece, ...]:
        return image_archive(
            [self.reference],
            manifest=self.manifest,
            config=self.config,
            layers=self.layers,
            media_type=self.media_type,
        )


def small_image(
    store: Store,
    reference: str = "registry.k8s.io/pause:3.10.1",
    *,
    layers: Sequence[tuple[str, bytes, bytes]] | None = None,
    media_type: str = OCI_MANIFEST,
    architecture: str = "amd64",
) -> SmallImage:
    """``layers``: (suffix of OCI's) media type, the blob, what it is uncompressed."""
    if layers is None:
        tar = layer_tar(reference.encode())
        layers = [("+gzip", gzip.compress(tar, mtime=0), tar)]
    blobs = tuple(store.add_bytes(blob) for _, blob, _ in layers)
    config = store.add_bytes(
        json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar) for _, _, tar in layers]},
            }
        ).encode()
    )
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size},
        "layers": [
            {
                "mediaType": suffix if "/" in suffix else OCI_LAYER + suffix,
                "digest": blob.digest,
                "size": blob.size,
            }
            for (suffix, _, _), blob in zip(layers, blobs, strict=True)
        ],
    }
    manifest = store.add_bytes(json.dumps(document).encode())
    return SmallImage(reference, manifest, config, blobs, media_type)


def docker_image(store: Store, reference: str) -> SmallImage:
    return small_image(store, reference, media_type=DOCKER_MANIFEST)


def small_lock(
    store: Store,
    *,
    profile: str = "mold-cks",
    extra: dict[str, bytes] | None = None,
    references: Sequence[str] = ("registry.k8s.io/pause:3.10.1", "docker.io/library/busybox:1.36"),
) -> Lock:
    """Return a lock, everything of which is in ``store``."""
    contents = {
        "k8s/kubeadm": b"\x7fELF kubeadm",
        "k8s/kubelet": b"\x7fELF kubelet",
        "k8s/kubectl": b"\x7fELF kubectl",
        CNI: b"cni archive",
        CRICTL: b"crictl archive",
        **(extra or {}),
    }
    files = {path: store.add_bytes(data) for path, data in contents.items()}
    network = store.add_bytes(NETWORK % references[0].encode())
    images = [small_image(store, reference) for reference in references]
    return Lock.model_validate(
        {
            "schema": 1,
            "kubernetes": "1.34.12",
            "revision": 1,
            "profile": profile,
            "architecture": "amd64",
            "recipe": Digest.of(b"recipe"),
            "epoch": EPOCH,
            "tool": "0.1.0",
            "files": tuple(_locked_file(path, blob) for path, blob in files.items()),
            "manifests": (
                {
                    "name": "network",
                    "path": "network.yaml",
                    "url": "https://example.org/calico/v3.32.2/calico.yaml",
                    "sha256": network.digest,
                    "size": network.size,
                    "images": "pin",
                    "evidence": {"source": "recipe"},
                },
            ),
            "images": tuple(
                {
                    "reference": image.reference,
                    "index": Digest.of(b"index"),
                    "digest": image.manifest.digest,
                    "size": 1,
                    "archive": f"docker/{image.manifest.digest.hex}.tar",
                    "core": True,
                }
                for image in images
            ),
            "render": ({"path": "kubelet.service", "template": "kubelet.service.j2"},),
            "components": {},
            "registration": {},
        }
    )


def _locked_file(path: str, blob: Blob) -> dict[str, Any]:
    name = path.rpartition("/")[2].lower()
    return {
        "name": name,
        "path": path,
        "url": f"https://dl.k8s.io/release/v1.34.12/bin/linux/amd64/{name}",
        "sha256": blob.digest,
        "size": blob.size,
        "mode": "0755" if path.startswith("k8s/") else "0644",
        "evidence": {"source": "recipe"},
    }


def subject_of(
    reader: IsoReader, files: Mapping[str, Digest] | None = None, *, label: str | None = None
) -> Subject:
    """Return what checks look at; ``files`` need not be true."""
    return Subject(reader, Medium(reader), files or {}, label)
