"""manifest.json: what one finished ISO holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt

from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.reference import ImageReference
from isobuilder.model.base import Architecture, Epoch, FileModel, IsoPath, Model, Name, Revision
from isobuilder.model.payload import OsPayload, PayloadPackage
from isobuilder.model.profile import ProfileName
from isobuilder.model.recipe import Component, Variant

Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _pinned(name: str) -> str:
    if ImageReference.parse(name).digest is None:
        raise ValueError(f"expected a name with a digest, got {name[:120]!r}")
    return name


PinnedName = Annotated[str, AfterValidator(_pinned)]
"""An image by its digest, e.g. registry.k8s.io/pause@sha256:..."""


class ManifestImage(Model):
    """One image archive; the field names are those the existing Mold tooling reads."""

    original: tuple[str, ...]  # names manifests use, where they differ
    resolved_from: str  # the tag reference that was locked
    reference: PinnedName  # repository@sha256:..., the name `ctr import --digests` creates
    import_alias: str  # the full tag reference inside the archive
    path: IsoPath
    sha256: Sha256Hex  # of the archive file
    size: NonNegativeInt
    core: bool
    names: tuple[str, ...] = ()  # further names inside the archive

    @property
    def digest(self) -> Digest:
        """The digest of the image, which ``reference`` names."""
        return Digest(self.reference.rpartition("@")[2])


class ManifestSystem(Model):
    """The operating system that machines start from the ISO."""

    name: str  # of the OS payload, e.g. debian-13-cloud-amd64
    kernel_version: str
    payload_sha256: Sha256Hex  # of boot/kiso/payload.json, which names the artifacts
    packages: tuple[PayloadPackage, ...]

    @classmethod
    def of(cls, payload: OsPayload) -> ManifestSystem:
        """Return what a manifest says of ``payload``."""
        return cls(
            name=payload.name,
            kernel_version=payload.kernel_version,
            payload_sha256=payload.digest.hex,
            packages=payload.packages,
        )


class IsoManifest(FileModel):
    """What is on the ISO, with the digest of every file except itself and SHA256SUMS."""

    left_out = ("operating_system", "ignored_images", "variant")

    format: Annotated[Literal[1], Field(alias="schema")]
    kubernetes_version: KubeVersion
    product_version: str
    architecture: Architecture
    profile: ProfileName
    variant: Variant | None = None
    revision: Revision
    epoch: Epoch
    tool: str
    lock_sha256: Sha256Hex
    recipe_sha256: Sha256Hex
    components: dict[Name, Component]
    features: tuple[str, ...]
    images: tuple[ManifestImage, ...]
    files: dict[IsoPath, Sha256Hex]
    operating_system: ManifestSystem | None = None  # None: the ISO starts no machine
    ignored_images: tuple[str, ...] = ()  # texts of manifests that are no image, or not needed

    def to_data(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values."""
        data = super().to_data()
        for image in data["images"]:
            if not image["names"]:
                del image["names"]
        return data
