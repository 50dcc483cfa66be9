"""Small ISOs with images, signatures and what refers to images, for servers and registries."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobuilder.digest import Digest
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from tests.contract.trees import REF_NAME, Tree, tar

EPOCH = 1_700_000_000
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PAUSE, ETCD = "registry.k8s.io/pause:3.10", "registry.k8s.io/etcd:3.6.5-0"
SBOM = "application/vnd.example.sbom"


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest with its blobs, and what it is called; without a name it is found by digest."""

    manifest: bytes
    blobs: tuple[bytes, ...]
    name: str | None = None

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)

    def entry(self) -> dict[str, Any]:
        named = {} if self.name is None else {"annotations": {REF_NAME: self.name}}
        return {**described(MANIFEST, self.manifest), **named}


def described(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}


def image(name: str, *layers: bytes, architecture: str = "amd64", variant: str = "") -> Stored:
    layers = layers or (tar({"name": f"{name} {architecture}".encode()}),)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            **({"variant": variant} if variant else {}),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(layer) for layer in layers]},
        }
    ).encode()
    kind = "application/vnd.oci.image.layer.v1.tar"
    packed = [kind + "+gzip" * layer.startswith(b"\x1f\x8b") for layer in layers]
    listed = [described(one, layer) for one, layer in zip(packed, layers, strict=True)]
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", config),
        "layers": listed,
    }
    return Stored(json.dumps(body).encode(), (config, *layers), name)


def signature(of: Stored, sign: Callable[[bytes], bytes] = lambda _: b"signature") -> Stored:
    """Return what cosign puts beside an image: an image by a tag made of the digest."""
    repository = str(of.name).rpartition(":")[0]
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": of.digest},
        "type": "cosign container image signature",
    }
    payload = json.dumps({"critical": critical, "optional": None}).encode()
    signed = base64.b64encode(sign(payload)).decode()
    layer = {
        **described("application/vnd.dev.cosign.simplesigning.v1+json", payload),
        "annotations": {"dev.cosignproject.cosign/signature": signed},
    }
    rootfs = {"type": "layers", "diff_ids": [Digest.of(payload)]}
    config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": rootfs}).encode()
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", config),
        "layers": [layer],
    }
    tag = f"{repository}:{of.digest.replace(':', '-')}.sig"
    return Stored(json.dumps(body).encode(), (config, payload), tag)


def sbom(of: Stored, text: bytes = b'{"packages": []}') -> Stored:
    """Return a manifest that names its subject, as OCI 1.1 has it."""
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SBOM,
        "config": described("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [described(SBOM, text)],
        "subject": described(MANIFEST, of.manifest),
        "annotations": {"made.by": "somebody"},
    }
    return Stored(json.dumps(body).encode(), (b"{}", text))


def archive_files(*stored: Stored) -> Tree:
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [one.entry() for one in stored]}
    files: Tree = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(body).encode(),
    }
    for one in stored:
        for data in (one.manifest, *one.blobs):
            files[f"blobs/sha256/{Digest.of(data).hex}"] = data
    return files


def archive(*stored: Stored) -> bytes:
    return tar(archive_files(*stored))


def iso(
    path: Path,
    *archives: Sequence[Stored],
    files: Mapping[str, bytes] | None = None,
    epoch: int = EPOCH,
) -> Path:
    """Write an ISO with an archive for each of ``archives``, and with ``files``."""
    tree = {f"docker/{one[0].digest.hex}.tar": archive(*one) for one in archives}
    tree |= files or {}
    sums = "".join(f"{Digest.of(data).hex}  {name}\n" for name, data in sorted(tree.items()))
    tree["SHA256SUMS"] = sums.encode()
    entries = [IsoEntry(name, 0o644, (data,)) for name, data in tree.items()]
    return write_iso(entries, path, label="CDROM", epoch=epoch).path
