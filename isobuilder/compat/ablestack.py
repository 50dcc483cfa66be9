"""The JSON recipes of the present ABLESTACK builder: read, and turned into a recipe and a lock.

Form: docs/node-contract.md, C.1 and C.3. It is a recipe and a lock in one, for one architecture.
Keys that we have no use for are let through, because that builder may add some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from posixpath import basename
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, field_validator

from isobuilder import __version__
from isobuilder.digest import Digest
from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.errors import InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.reference import ImageReference, spelled_out
from isobuilder.model.base import Architecture, IsoPath, Model, Name
from isobuilder.model.lock import (
    Evidence,
    Lock,
    LockedBoot,
    LockedFile,
    LockedImage,
    answers,
    one_for_each_digest,
    released_epoch,
)
from isobuilder.model.profile import (
    API_SIGNATURE,
    PROFILES,
    REVISION_LABEL,
    SIGNATURE_LABEL,
    MoldProfileName,
    Profile,
)
from isobuilder.model.recipe import (
    FileEntry,
    HttpsUrl,
    ImageText,
    ManifestEntry,
    Recipe,
    check_image,
)
from isobuilder.model.validation import cause_of, load_json

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

# When the .0 of a minor was released. Source: endoflife.date, product kubernetes.
_MINOR_RELEASED = {34: "2025-08-27", 35: "2025-12-17", 36: "2026-04-22"}

_NAMES = {  # where the path alone makes a poor name
    "cri-tools/crictl": "crictl",
    "etcd/etcd-linux": "etcd",
    "provenance/autoscaler.json": "autoscaler-provenance",
    "provenance/provider.json": "provider-provenance",
    "provenance/csi.json": "csi-provenance",
}
_RENDERED = {
    "kubelet.service": "kubelet.service.j2",
    "10-kubeadm.conf": "10-kubeadm.conf.j2",
    "provider-ownership-v1.json": "provider-ownership-v1.json.j2",
    "csi-profile.json": "csi-profile.json.j2",
}


class _Loose(Model):
    model_config = ConfigDict(extra="ignore")


class ImportedFile(_Loose):
    """One file, pinned."""

    path: IsoPath
    url: HttpsUrl
    sha256: Sha256


def _is_whole(text: str) -> bool:
    return "@" in text or ":" in text.rpartition("/")[2]


class ImportedImage(_Loose):
    """One image, pinned to the manifest of one platform."""

    original: str  # the name in the manifest that uses it
    resolved_from: ImageText  # the tag or digest that was locked
    reference: ImageText  # repository@sha256:...
    import_alias: str | None = None  # the name inside the archive

    @property
    def alias(self) -> str:
        """The name inside the archive, with the digest where it has neither tag nor digest.

        Images that a manifest names by digest have an alias that is a repository alone.
        """
        text = self.import_alias or self.resolved_from
        digest = ImageReference.parse(self.reference).digest
        return text if digest is None or _is_whole(text) else f"{text}@{digest}"

    @field_validator("import_alias")
    @classmethod
    def _a_name(cls, text: str | None) -> str | None:
        return text if text is None or not _is_whole(text) else check_image(text)


class ImportedComponent(_Loose):
    """Where a component comes from; all other keys that are text are kept as facts."""

    model_config = ConfigDict(extra="allow")

    source_repository: str
    source_sha: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    api_signature: Literal["HMAC-SHA256"]
    manifest_sha: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    kubernetes_minor: str | None = None
    image: str | None = None  # one of the images, by its reference or tag


class ImportedRecipe(_Loose):
    """A recipe of the present builder."""

    format: Annotated[Literal[1], Field(alias="schema")]
    kubernetes_version: KubeVersion
    architecture: Architecture
    profile: MoldProfileName
    files: tuple[ImportedFile, ...]
    images: tuple[ImportedImage, ...]
    core_images: tuple[str, ...]
    components: dict[Name, ImportedComponent]


def load_imported(path: Path) -> ImportedRecipe:
    """Return the recipe of the present builder in ``path``.

    Raises:
        InputErrors: all that is wrong with it, with places.
    """
    return load_json(path, ImportedRecipe)


def recipe_data(imported: ImportedRecipe, place: str) -> dict[str, Any]:
    """Return the recipe that asks for the same files and images, as the values of a YAML file.

    Digests of files become ``checksum``, so nothing that was known is lost.

    Raises:
        InputErrors: a component whose image cannot be told.
    """
    profile = PROFILES[imported.profile]
    files: list[dict[str, Any]] = []
    manifests: list[dict[str, Any]] = []
    for file in imported.files:
        if file.path in _RENDERED:
            continue
        entry = {
            "name": _name(file.path, imported.architecture),
            "path": file.path,
            "url": file.url,
            "checksum": f"sha256:{file.sha256}",
        }
        if "/" not in file.path and file.path.endswith(".yaml"):
            pin = "keep" if file.path in profile.kept else "pin"
            manifests.append({**entry, "images": pin})
        elif file.path in {"k8s/kubeadm", "k8s/kubelet", "k8s/kubectl"}:
            files.append({**entry, "mode": "0755", "signature": "kubernetes"})
        else:
            files.append(entry)
    renders = [path for path in _RENDERED if path != "csi-profile.json" or profile.kept]
    return {
        "schema": 1,
        "kubernetes": str(imported.kubernetes_version),
        "revision": 1,
        "profile": imported.profile,
        "architectures": [imported.architecture],
        "files": files,
        "manifests": manifests,
        "images": {
            "from": ["kubeadm", "manifests"],
            "replace": {
                image.original: image.alias
                for image in imported.images
                if image.original != image.alias and not _named_by_digest(image, profile)
            },
        },
        "render": [{"path": path, "template": _RENDERED[path]} for path in renders],
        "components": {
            name: _component(name, component, imported, place)
            for name, component in sorted(imported.components.items())
        },
    }


def _named_by_digest(image: ImportedImage, profile: Profile) -> bool:
    """Whether an image is one that a manifest of the driver, which stays as it is, names itself."""
    return bool(profile.kept) and ImageReference.parse(image.alias).tag is None


def _name(path: str, architecture: str) -> str:
    for start, name in _NAMES.items():
        if path.startswith(start):
            return name
    name = basename(path).lower()
    for end in (f"-{architecture}.tgz", f"-{architecture}.tar.gz", ".yaml", ".json", ".txt"):
        name = name.removesuffix(end)
    return name


def _component(
    name: str, component: ImportedComponent, imported: ImportedRecipe, place: str
) -> dict[str, Any]:
    image = _image_of(component, imported)
    if image is None:
        where = f"components.{name}"
        raise InputErrors([Mistake(Mark(place), where, "no image of the recipe belongs to it")])
    extra = component.model_extra or {}
    facts = {key: value for key, value in extra.items() if isinstance(value, str)}
    if isinstance(sdk := extra.get("sdk"), dict):
        facts |= {f"sdk_{key}": value for key, value in sdk.items() if isinstance(value, str)}
    found: dict[str, Any] = {
        "image": image.alias,
        "source_repository": component.source_repository,
        "source_sha": component.source_sha,
        "labels": {SIGNATURE_LABEL: API_SIGNATURE, REVISION_LABEL: component.source_sha},
        "facts": facts,
    }
    if component.kubernetes_minor is not None:
        found["kubernetes_minor"] = component.kubernetes_minor
    if component.manifest_sha not in {None, component.source_sha}:
        found["manifest_sha"] = component.manifest_sha
    return found


def _image_of(component: ImportedComponent, imported: ImportedRecipe) -> ImportedImage | None:
    for image in imported.images:
        if component.image in {image.reference, image.alias, image.resolved_from}:
            return image
    # Without a name to go by: the image that was made from the component's commit.
    made = [image for image in imported.images if component.source_sha in image.alias]
    return made[0] if component.image is None and len(made) == 1 else None


def lock_from(
    imported: ImportedRecipe, recipe: Recipe, place: str, previous: Lock | None = None
) -> Lock:
    """Return the lock that answers ``recipe`` with the digests of ``imported``.

    Sizes stay unknown until the bytes were seen; evidence is "imported". The present builder knows
    no ``runtime/``, which machines that start from the ISO need: that is taken from ``previous``,
    the recipe's lock so far.

    Raises:
        InputErrors: the two do not ask for the same, every difference is named; or what the present
            builder calls something cannot stand in a lock.
    """
    try:
        return _lock_of(imported, recipe, place, previous)
    except ValidationError as error:
        raise InputErrors([Mistake(Mark(place), "", cause_of(error))]) from None


def _lock_of(imported: ImportedRecipe, recipe: Recipe, place: str, previous: Lock | None) -> Lock:
    mistakes: list[Mistake] = []
    before = {} if previous is None else _runtime(previous)
    files = _locked(imported, recipe.files, mistakes, place, before)
    manifests = _locked(imported, recipe.manifests, mistakes, place)
    asked = {file.path for file in recipe.files} | {item.path for item in recipe.render}
    asked |= {manifest.path for manifest in recipe.manifests}
    mistakes += [
        Mistake(Mark(place), f"files[{file.path}]", "not in the recipe")
        for file in imported.files
        if file.path not in asked
    ]
    images = _images(imported, recipe, mistakes, place)
    if mistakes:
        raise InputErrors(mistakes)
    lock = Lock.model_validate(
        {
            "schema": 1,
            "kubernetes": imported.kubernetes_version,
            "revision": recipe.revision,
            "profile": imported.profile,
            "variant": recipe.variant,
            "architecture": imported.architecture,
            "recipe": recipe.digest,
            "epoch": _epoch(recipe),
            "tool": __version__,
            "files": files,
            "manifests": manifests,
            "images": images,
            "render": recipe.render,
            "components": recipe.components,
            "registration": recipe.registration,
            "boot": _boot(recipe),
        }
    )
    if differences := answers(lock, recipe):
        raise InputErrors(Mistake(Mark(place), "", line) for line in differences)
    return lock


def _runtime(lock: Lock) -> dict[str, LockedFile]:
    return {file.path: file for file in lock.files if file.path.startswith("runtime/")}


def _boot(recipe: Recipe) -> LockedBoot | None:
    """Return what the build will choose a payload by; the present builder has none."""
    if not recipe.boot:
        return None
    return LockedBoot(os=recipe.boot.os, kernel=recipe.boot.kernel)


def _locked(
    imported: ImportedRecipe,
    entries: Sequence[FileEntry | ManifestEntry],
    mistakes: list[Mistake],
    place: str,
    before: Mapping[str, LockedFile] = MappingProxyType({}),
) -> tuple[dict[str, Any], ...]:
    known = {file.path: file for file in imported.files}
    found = []
    for entry in entries:
        file = known.get(entry.path)
        where = f"files[{entry.path}]"
        if file is None and (kept := before.get(entry.path)) and kept.url == entry.url:
            found.append(kept.model_dump())
            continue
        if file is None:
            hint = "run isobuilder lock, which asks upstream"
            mistakes.append(Mistake(Mark(place), where, "not there, but the recipe has it", hint))
            continue
        if file.url != entry.url:
            fact = f"its url is {file.url}, that of the recipe {entry.url}"
            mistakes.append(Mistake(Mark(place), where, fact))
        signature = entry.signature if isinstance(entry, FileEntry) else None
        own = "mode" if isinstance(entry, FileEntry) else "images"
        found.append(
            {
                "name": entry.name,
                "path": entry.path,
                "url": entry.url,
                "sha256": Digest.from_hex(file.sha256),
                "size": None,
                own: getattr(entry, own),
                "evidence": Evidence(source="imported", signature=signature),
            }
        )
    return tuple(found)


def _images(
    imported: ImportedRecipe, recipe: Recipe, mistakes: list[Mistake], place: str
) -> tuple[LockedImage, ...]:
    found = []
    for image in imported.images:
        where = f"images[{image.alias}]"
        digest = ImageReference.parse(image.reference).digest
        if digest is None:
            fact = f"no digest in its reference {image.reference}"
            mistakes.append(Mistake(Mark(place), where, fact))
            continue
        renamed = spelled_out(image.original) != spelled_out(image.alias)
        renamed &= not _named_by_digest(image, PROFILES[recipe.profile])
        target = recipe.images.target(image.original)
        if renamed and spelled_out(target or "") != spelled_out(image.alias):
            there = target if target not in {None, image.original} else "nothing"
            fact = f"replaces {image.original}, for which the recipe has {there}"
            mistakes.append(Mistake(Mark(place), where, fact))
        found.append(
            LockedImage(
                reference=image.alias,
                index=None,
                digest=digest,
                size=None,
                archive=f"docker/{digest.hex}.tar",
                original=(image.original,) if renamed else (),
                core=image.resolved_from in imported.core_images,
            )
        )
    return one_for_each_digest(found, recipe.profile)


def _epoch(recipe: Recipe) -> int:
    """Return the day of the release; without one, that of the newest minor known to be older.

    An epoch has to be the same everywhere, not exact. The present builder's form has no date.
    """
    if recipe.released is not None:
        return released_epoch(recipe.released)
    known = [minor for minor in _MINOR_RELEASED if minor <= recipe.kubernetes.minor]
    if not known:
        raise InputError(
            f"when was Kubernetes {recipe.kubernetes} released?",
            hint='write the day into the recipe, such as released: "2025-11-12"',
        )
    return released_epoch(_MINOR_RELEASED[max(known)])
