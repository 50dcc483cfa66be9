"""The lock: the exact answer to a recipe for one architecture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PrivateAttr, model_validator

from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.reference import ImageReference
from isobuilder.model.base import (
    Architecture,
    Epoch,
    FileModel,
    IsoPath,
    LockedAddress,
    LockedUrl,
    Model,
    Name,
    Revision,
)
from isobuilder.model.payload import ArtifactName, Kernel, OsPayload, PayloadArtifact
from isobuilder.model.profile import PROFILES, ProfileName
from isobuilder.model.recipe import (
    Chart,
    Component,
    FileEntry,
    ImageText,
    IsoName,
    LocalPath,
    ManifestEntry,
    Mode,
    Recipe,
    Registration,
    Render,
    Variant,
)
from isobuilder.model.trust.claims import CLAIMS, LockedTrust
from isobuilder.text import moment_of


class Evidence(Model):
    """Where a file's digest was learned when it was locked."""

    source: Literal["checksum-file", "recipe", "first-seen", "imported", "rendered"]
    url: LockedUrl | None = None  # the checksum file
    dialect: str | None = None  # its form, a name of sources/checksums.py
    signature: Name | None = None  # the recipe's signature policy; Lock.trust has what was found


class Rendered(Model):
    """What a manifest was rendered of, and with what."""

    program: Literal["helm", "kubectl"]
    version: str  # of the program
    chart: Chart | None = None
    archive: Digest | None = None  # of the chart as its repository serves it
    values: Digest | None = None  # of the file of that name
    kustomize: LocalPath | None = None


class LockedFile(Model):
    """One upstream file, pinned."""

    name: Name
    path: IsoPath
    url: LockedAddress  # the canonical origin; mirrors are configuration
    sha256: Digest
    size: NonNegativeInt | None  # bytes; None only until the file was first seen
    mode: Mode
    evidence: Evidence

    @property
    def source(self) -> str:
        """Where it is from, for people."""
        return self.url


class LockedManifest(Model):
    """One Kubernetes manifest, pinned as upstream serves it."""

    name: Name
    path: IsoPath
    url: LockedAddress
    sha256: Digest
    size: NonNegativeInt | None
    images: Literal["pin", "keep"]
    evidence: Evidence
    rendered: Rendered | None = None  # then url is the file that was written beside the lock

    @property
    def source(self) -> str:
        """Where it is from, for people."""
        chart = self.rendered.chart if self.rendered else None
        return self.url if chart is None else str(chart)


class LockedImage(Model):
    """One container image of one platform, pinned."""

    reference: ImageText  # full reference with tag, e.g. registry.k8s.io/pause:3.10.1
    index: Digest | None  # of the multi-platform index; None when upstream serves a single manifest
    digest: Digest  # of the platform's own manifest, which names the archive
    size: NonNegativeInt | None  # bytes of manifest, config and layers; None until first seen
    archive: IsoPath  # docker/<64 hex digits>.tar
    original: tuple[str, ...] = ()  # names that manifests use for it, where they differ
    core: bool = False  # kubeadm asks for it
    also: tuple[ImageText, ...] = ()  # further references of the same image that nodes must find

    @property
    def parsed(self) -> ImageReference:
        """``reference`` as what it means."""
        return ImageReference.parse(self.reference)

    @property
    def pinned(self) -> str:
        """The name by digest that an import gives to it: ``repository@sha256:...``."""
        return str(self.parsed.with_digest(self.digest))

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference that was locked as this image, the archive's own first."""
        return (self.reference, *self.also)

    @property
    def names(self) -> tuple[str, ...]:
        """The names its archive gives the image, those of ``reference`` first.

        Nodes look for a reference by its digest, where it has one, and else by its tag. An import
        gives only the archive's own repository a name by digest, so the others get theirs here.
        """
        found: dict[str, None] = {}
        own = self.parsed
        for text in self.references:
            reference = ImageReference.parse(text)
            if reference.tag is not None:
                found[str(reference.without_digest())] = None
            if reference.digest is not None:
                found[reference.looked_up] = None
            if reference.name != own.name:
                found[str(reference.with_digest(self.digest))] = None
        return tuple(found)

    @model_validator(mode="after")
    def _named_by_digest(self) -> LockedImage:
        if self.archive != f"docker/{self.digest.hex}.tar":
            raise ValueError(
                f"the archive of {self.reference} must be docker/{self.digest.hex}.tar, "
                f"found {self.archive}"
            )
        return self


class LockedBoot(Model):
    """The OS payload of a bootable ISO, pinned; or only which kind of payload it will be.

    Upstream serves no payload, so a lock that is made to be built anywhere leaves it open: the
    build takes that of its store, and the lock beside the ISO pins what it took.
    """

    os: Name
    kernel: Kernel
    payload: Digest | None = None  # of its description, see OsPayload.digest; None: left open
    artifacts: dict[ArtifactName, PayloadArtifact] = {}
    url: LockedUrl | None = None  # of its description; None: nobody serves it

    @model_validator(mode="after")
    def _pinned_or_open(self) -> LockedBoot:
        if self.payload is None and (self.artifacts or self.url is not None):
            raise ValueError("artifacts and url belong to a payload, and payload is missing")
        if self.payload is not None and not self.artifacts:
            raise ValueError("the artifacts of the payload are missing")
        return self

    @property
    def name(self) -> str:
        """How the store's commands call payloads of this kind, e.g. ``debian-13-cloud``."""
        return f"{self.os}-{self.kernel}"

    @property
    def blobs(self) -> set[Digest]:
        """Everything of the payload that the store must have, its description included."""
        if self.payload is None:
            return set()
        return {self.payload, *(artifact.digest for artifact in self.artifacts.values())}

    @classmethod
    def of(cls, payload: OsPayload, *, url: str | None = None) -> LockedBoot:
        """Return what pins ``payload``, which is served at ``url``."""
        return cls(
            os=payload.os,
            kernel=payload.kernel,
            payload=payload.digest,
            artifacts=payload.artifacts,
            url=url,
        )


class Lock(FileModel):
    """Everything a build needs to know; together with a store it decides every byte of the ISO."""

    left_out = ("boot", "core_from", "ignored", "trust", "variant")

    format: Annotated[Literal[1], Field(alias="schema")]
    kubernetes: KubeVersion
    revision: Revision
    profile: ProfileName
    variant: Variant | None = None
    architecture: Architecture
    recipe: Digest  # of the expanded recipe, see Recipe.digest
    epoch: Epoch  # seconds since 1970-01-01 UTC; every time stamp on the ISO
    tool: str  # the isobuilder version that wrote the lock
    files: tuple[LockedFile, ...]
    manifests: tuple[LockedManifest, ...]
    images: tuple[LockedImage, ...]
    render: tuple[Render, ...]
    components: dict[Name, Component]
    registration: Registration
    boot: LockedBoot | None = None  # None: a plain ISO, which starts nothing
    core_from: Literal["kubeadm"] | None = None  # who alone names the core images; None: our table
    ignored: tuple[str, ...] = ()  # texts of manifests that are no image, or none that is needed
    trust: LockedTrust | None = None  # None: no policy expects a signature, or nobody looked

    _folder: Path | None = PrivateAttr(None)

    @property
    def folder(self) -> Path | None:
        """Where the file of the lock is, and what it names by ``file:``; None if nobody said."""
        return self._folder

    def found_in(self, folder: Path) -> Lock:
        """Return the same lock, of a file in ``folder``."""
        entries: tuple[LockedFile | LockedManifest, ...] = (*self.files, *self.manifests)
        if self.trust is None and not any(item.url.startswith("file:") for item in entries):
            return self
        copy = self.model_copy()
        copy._folder = folder
        return copy

    @model_validator(mode="after")
    def _no_two_for_one(self) -> Lock:
        names = [file.name for file in self.files]
        names += [manifest.name for manifest in self.manifests]
        names += [name for image in self.images for name in image.references]
        known: set[str] = set()
        for name in names:
            if name in known:
                raise ValueError(f"two entries for {name}")
            known.add(name)
        paths = [file.path for file in self.files]
        paths += [manifest.path for manifest in self.manifests]
        paths += [item.path for item in self.render]
        paths += [image.archive for image in self.images]
        paths += [CLAIMS, *self.trust.files] if self.trust is not None else []
        seen: set[str] = set()
        for path in paths:
            if path.lower() in seen:
                raise ValueError(f"two entries for the path {path}")
            seen.add(path.lower())
        return self

    @property
    def iso_name(self) -> IsoName:
        """What the ISO is called; a payload that is left open makes nothing bootable yet."""
        return IsoName(
            kubernetes=self.kubernetes,
            profile=self.profile,
            variant=self.variant,
            boots=self.boot is not None and self.boot.payload is not None,
            architecture=self.architecture,
            revision=self.revision,
        )

    @property
    def base_name(self) -> str:
        """The name all outputs begin with."""
        return self.iso_name.base

    @property
    def product_version(self) -> str:
        """The semantic version of the ISO, e.g. ``1.34.12+mold-cks.r1``."""
        return self.iso_name.product_version

    def to_data(self) -> dict[str, Any]:
        """Return the lock as plain JSON values."""
        data = super().to_data()
        if self.trust is not None:
            data["trust"] = self.trust.to_data()
        for image in data["images"]:
            if not image["also"]:
                del image["also"]
        for manifest in data["manifests"]:
            if manifest["rendered"] is None:
                del manifest["rendered"]
            else:
                told = manifest["rendered"].items()
                manifest["rendered"] = {name: value for name, value in told if value is not None}
        return data


def one_for_each_digest(
    images: Iterable[LockedImage], profile: ProfileName
) -> tuple[LockedImage, ...]:
    """Give each image once, though it may be wanted by several tags, digests and repositories.

    An archive is named by the digest, so all names of one image are one archive. What kubeadm asks
    for leads, then names with a tag; so the pause image is listed by the name nodes know it by.
    """
    groups: dict[Digest, dict[str, LockedImage]] = {}
    for image in images:
        groups.setdefault(image.digest, {}).setdefault(image.reference, image)
    found = (_as_one(list(group.values()), profile) for group in groups.values())
    return tuple(sorted(found, key=lambda image: image.reference))


def _as_one(group: list[LockedImage], profile: ProfileName) -> LockedImage:
    group.sort(key=lambda image: (not image.core, "@" in image.reference, image.reference))
    leader = group[0]
    given = {leader.pinned}
    if not PROFILES[profile].imports_by_digest:
        given = set()
    others = [image.reference for image in group[1:]]
    also = [text for text in others if ImageReference.parse(text).looked_up not in given]
    originals = {text for image in group for text in image.original}
    return leader.model_copy(
        update={
            "original": tuple(sorted(originals | (set(others) - set(also)))),
            "core": any(image.core for image in group),
            "also": tuple(also),
        }
    )


def is_of(locked: LockedFile | LockedManifest, entry: FileEntry | ManifestEntry) -> bool:
    """Say if ``locked`` is what ``entry`` asks for, as far as its source tells."""
    if isinstance(entry, FileEntry) or entry.url is not None:
        return locked.url == entry.url
    made = locked.rendered if isinstance(locked, LockedManifest) else None
    return made is not None and (made.chart, made.kustomize) == (entry.chart, entry.kustomize)


def lock_name(kubernetes: KubeVersion, architecture: str) -> str:
    """Return the file name of a lock, beside its recipe."""
    return f"kubernetes-{kubernetes}.{architecture}.lock.json"


def answers(lock: Lock, recipe: Recipe) -> list[str]:
    """Return how ``lock`` differs from what ``recipe`` asks for; nothing means that it answers it.

    Images that kubeadm or a manifest name are only known upstream, so of these the recipe cannot
    tell which must be there; those it names itself can be compared.
    """
    found: list[str] = []
    for name in ("kubernetes", "revision", "profile", "variant", "registration"):
        _compare(found, name, getattr(recipe, name), getattr(lock, name))
    if lock.architecture not in recipe.architectures:
        wanted = " or ".join(recipe.architectures)
        found.append(f"architecture: the recipe has {wanted}, the lock {lock.architecture}")
    if recipe.released is not None:
        _compare(found, "epoch", released_epoch(recipe.released), lock.epoch)
    _compare_entries(found, "files", recipe.files, lock.files)
    _compare_entries(found, "manifests", recipe.manifests, lock.manifests)
    wish = (recipe.boot.os, recipe.boot.kernel) if recipe.boot else None
    _compare(found, "boot", wish, (lock.boot.os, lock.boot.kernel) if lock.boot else None)
    if recipe.boot and recipe.boot.payload and lock.boot:
        served = (recipe.boot.payload.url, recipe.boot.payload.sha256)
        _compare(found, "boot.payload", served, (lock.boot.url, lock.boot.payload))
    _compare(found, "render", _rendered(recipe.render), _rendered(lock.render))
    _compare_components(found, recipe, lock)
    _compare_images(found, recipe, lock)
    if not found and recipe.digest != lock.recipe:
        found.append(f"recipe: its digest is {recipe.digest}, the lock answers {lock.recipe}")
    return found


def released_epoch(released: str) -> int:
    """Return the first second (UTC) of a day written as ``YYYY-MM-DD``."""
    moment = moment_of(released)
    if moment is None:
        raise ValueError(f"expected a day such as 2026-11-28, got {released!r}")
    return int(moment.timestamp())


def _compare(found: list[str], what: str, wanted: object, locked: object) -> None:
    if wanted != locked:
        found.append(f"{what}: the recipe has {wanted}, the lock {locked}")


def _compare_entries(
    found: list[str],
    section: str,
    wanted: Sequence[FileEntry | ManifestEntry],
    locked: Sequence[LockedFile | LockedManifest],
) -> None:
    by_name = {entry.name: entry for entry in locked}
    for entry in wanted:
        other = by_name.pop(entry.name, None)
        if other is None:
            found.append(f"{section}[{entry.name}]: not in the lock")
            continue
        for name in ("path", "url", "mode", "images"):
            if getattr(entry, name, None) is not None:
                what = f"{section}[{entry.name}].{name}"
                _compare(found, what, getattr(entry, name), getattr(other, name))
        if isinstance(entry, ManifestEntry):
            made = getattr(other, "rendered", None)
            for name in ("chart", "kustomize"):
                what = f"{section}[{entry.name}].{name}"
                _compare(found, what, getattr(entry, name), getattr(made, name, None))
        if entry.checksum is not None and entry.checksum.startswith("sha256:"):
            _compare(found, f"{section}[{entry.name}].checksum", entry.checksum, other.sha256)
    found.extend(f"{section}[{name}]: not in the recipe" for name in by_name)


def _rendered(render: Sequence[Render]) -> str:
    return ", ".join(sorted(f"{item.path} from {item.template}" for item in render)) or "nothing"


def _compare_components(found: list[str], recipe: Recipe, lock: Lock) -> None:
    for name in sorted({*recipe.components, *lock.components}):
        wanted, locked = recipe.components.get(name), lock.components.get(name)
        if wanted is None or locked is None:
            where = "recipe" if wanted is None else "lock"
            found.append(f"components.{name}: not in the {where}")
            continue
        for field in Component.model_fields:
            what = f"components.{name}.{field}"
            _compare(found, what, getattr(wanted, field), getattr(locked, field))


def _compare_images(found: list[str], recipe: Recipe, lock: Lock) -> None:
    references = {text for image in lock.images for text in image.references}
    references |= {text for image in lock.images for text in image.original if "@" in text}
    asked = [*recipe.images.extra, *(item.image for item in recipe.components.values())]
    wanted = {str(ImageReference.parse(text)) for text in asked}
    found.extend(f"images: {text} is not in the lock" for text in sorted(wanted - references))
    _compare(found, "images.ignore", recipe.images.ignore, lock.ignored)
    if not recipe.images.sources:
        extra = sorted({image.reference for image in lock.images} - wanted)
        found.extend(f"images: {text} is not in the recipe" for text in extra)
    has_core = any(image.core for image in lock.images)
    if has_core != ("kubeadm" in recipe.images.sources):
        what = "no images that kubeadm asks for" if not has_core else "images of kubeadm"
        found.append(f"images: the lock has {what}, images.from says otherwise")
