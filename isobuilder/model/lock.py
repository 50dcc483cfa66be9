"""The lock: the exact answer to a recipe for one architecture."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from isobuilder.digest import Digest
from isobuilder.model.base import Architecture, IsoPath, Model, Name, canonical_json
from isobuilder.model.kube import KubeVersion
from isobuilder.model.recipe import Component, HttpsUrl, Mode, ProfileName, Registration, Render

FORMAT = 1


class Evidence(Model):
    """Where a file's digest was learned when it was locked."""

    source: Literal["checksum-file", "recipe", "first-seen", "imported"]
    url: HttpsUrl | None = None  # the checksum file
    dialect: str | None = None  # its form, a name of sources/checksums.py
    signature: Name | None = None  # the recipe's signature policy; no check is recorded here yet


class LockedFile(Model):
    """One upstream file, pinned."""

    name: Name
    path: IsoPath
    url: HttpsUrl  # the canonical origin; mirrors are configuration
    sha256: Digest
    size: NonNegativeInt | None  # bytes; None only until the file was first seen
    mode: Mode
    evidence: Evidence


class LockedManifest(Model):
    """One Kubernetes manifest, pinned as upstream serves it."""

    name: Name
    path: IsoPath
    url: HttpsUrl
    sha256: Digest
    size: NonNegativeInt | None
    images: Literal["pin", "keep"]
    evidence: Evidence


class LockedImage(Model):
    """One container image of one platform, pinned."""

    reference: str  # full reference with tag, e.g. registry.k8s.io/pause:3.10.1
    index: Digest | None  # of the multi-platform index; None when upstream serves a single manifest
    digest: Digest  # of the platform's own manifest, which names the archive
    size: NonNegativeInt | None  # bytes of manifest, config and layers; None until first seen
    archive: IsoPath  # docker/<64 hex digits>.tar
    original: tuple[str, ...] = ()  # names that manifests use for it, where they differ
    core: bool = False  # kubeadm asks for it


class Lock(Model):
    """Everything a build needs to know; together with a store it decides every byte of the ISO."""

    format: Annotated[Literal[1], Field(alias="schema")]
    kubernetes: KubeVersion
    revision: PositiveInt
    profile: ProfileName
    architecture: Architecture
    recipe: Digest  # of the expanded recipe, see Recipe.digest
    epoch: NonNegativeInt  # seconds since 1970-01-01 UTC; every time stamp on the ISO
    tool: str  # the isobuilder version that wrote the lock
    files: tuple[LockedFile, ...]
    manifests: tuple[LockedManifest, ...]
    images: tuple[LockedImage, ...]
    render: tuple[Render, ...]
    components: dict[Name, Component]
    registration: Registration

    @model_validator(mode="after")
    def _no_two_for_one(self) -> Lock:
        paths = [file.path for file in self.files]
        paths += [manifest.path for manifest in self.manifests]
        paths += [item.path for item in self.render]
        paths += [image.archive for image in self.images]
        seen: set[str] = set()
        for path in paths:
            if path.lower() in seen:
                raise ValueError(f"two entries for the path {path}")
            seen.add(path.lower())
        for image in self.images:
            if image.archive != f"docker/{image.digest.hex}.tar":
                raise ValueError(
                    f"the archive of {image.reference} must be docker/{image.digest.hex}.tar"
                )
        return self

    @property
    def base_name(self) -> str:
        """The name all outputs begin with."""
        return f"kubernetes-v{self.kubernetes}-{self.profile}-{self.architecture}-r{self.revision}"

    @property
    def product_version(self) -> str:
        """The semantic version of the ISO, e.g. ``1.34.12+mold-cks.r1``."""
        return f"{self.kubernetes}+{self.profile}.r{self.revision}"

    def to_data(self) -> dict[str, Any]:
        """Return the lock as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def to_bytes(self) -> bytes:
        """Return the canonical text: the same lock, the same bytes."""
        return canonical_json(self.to_data())

    @property
    def digest(self) -> Digest:
        """The digest of the canonical text."""
        return Digest.of(self.to_bytes())


def lock_name(kubernetes: KubeVersion, architecture: str) -> str:
    """Return the file name of a lock, beside its recipe."""
    return f"kubernetes-{kubernetes}.{architecture}.lock.json"
