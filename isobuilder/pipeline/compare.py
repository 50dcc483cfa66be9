"""What is on an ISO, what a lock or a recipe says, and how two of them differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from isobuilder.contract.archives import as_imported
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.reference import ImageReference
from isobuilder.iso.boot_names import INITRD, KERNEL, PAYLOAD, ROOT
from isobuilder.iso.read.reader import IsoReader, hash_iso
from isobuilder.medium import MANIFEST, Medium
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.model.lock import Lock, LockedFile, LockedManifest
from isobuilder.model.payload import ArtifactName
from isobuilder.model.recipe import FileEntry, ManifestEntry, Recipe
from isobuilder.model.validation import model_of

_BILL_LIMIT = 32 * 1024 * 1024  # bytes
_AS_THEY_ARE: dict[str, ArtifactName] = {KERNEL: "kernel", INITRD: "initrd", ROOT: "root"}
_NO_SYSTEM = "none"
_IMAGES = "docker/"
_RELEASE = re.compile(
    r"[/_-]v?([0-9]+\.[0-9]+\.[0-9]+(?:[-+](?:alpha|beta|rc|[0-9])[0-9A-Za-z.]*)?)(?![0-9])"
)
_COMMIT = re.compile(r"/([0-9a-f]{40})(?=/|$)")

_NUMBERS = re.compile(r"v?[0-9]+(\.[0-9]+)+")

Kind = Literal["lock", "iso", "recipe"]
What = Literal["fact", "file", "image"]


@dataclass(frozen=True, slots=True)
class IsoFiles:
    """What a recipe wants, a lock promises or an ISO has, in one form that can be compared."""

    source: Path
    kind: Kind
    facts: Mapping[str, str]  # version, profile, architecture, revision ...
    files: Mapping[str, str]  # path -> digest; for a recipe the address
    sizes: Mapping[str, int]  # path -> bytes, where known
    images: Mapping[str, str]  # tag reference -> digest of the platform's manifest
    upstream: Mapping[str, str] = field(default_factory=dict)  # manifests that the build rewrites
    releases: Mapping[str, str] = field(default_factory=dict)  # path -> release or commit
    label: str | None = None
    manifest: IsoManifest | None = None


class _Reference(BaseModel):
    url: str


class _Part(BaseModel):
    name: str
    references: tuple[_Reference, ...] = Field((), alias="externalReferences")


class _Bill(BaseModel):
    """What of a bill of materials says where files are from (CycloneDX 1.6)."""

    components: tuple[_Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same."""

    what: What
    name: str
    left: str | None  # None: only on the right
    right: str | None
    growth: int | None = None  # bytes more on the right, for files whose sizes are known
    releases: tuple[str | None, str | None] = (None, None)  # tags or releases, where known

    @property
    def line(self) -> str:
        """What changed, for a log or release notes."""
        if self.left is None or self.right is None:
            verb, at = ("added", 1) if self.left is None else ("removed", 0)
            release = self.releases[at]
            return f"{self.what} {self.name}: {verb}{f', {release}' if release else ''}"
        old, new = self.releases
        if old and new and old != new:
            return f"{self.what} {self.name}: {old} -> {new}"
        at_release = f" of {new}" if new else ""
        return f"{self.what} {self.name}: {_short(self.left)} -> {_short(self.right)}{at_release}"


def _short(value: str) -> str:
    return value[:19] if value.startswith("sha256:") else value


def contents_of(path: Path) -> IsoFiles:
    """Read a recipe, a lock or an ISO; of an ISO only its directory and ``manifest.json``.

    One that has none is read to its end.

    Raises:
        InputError: none of these.
        IntegrityError: the ISO contradicts itself.
    """
    if path.suffix == ".json":
        return of_lock(load_lock(path), path)
    if path.suffix in {".yaml", ".yml"}:
        return _of_recipe(path, load_recipe(path))
    with IsoReader(path) as reader:
        return of_iso(path, reader)


def _of_recipe(path: Path, recipe: Recipe) -> IsoFiles:
    data = recipe.to_data()
    facts = {
        name: str(data.get(name))
        for name in ("kubernetes", "profile", "variant", "revision", "released")
        if data.get(name) is not None
    }
    facts["architecture"] = ", ".join(recipe.architectures)
    facts |= {f"vars.{name}": value for name, value in recipe.vars.items()}
    for section in ("registration", "boot", "components"):
        facts |= _flat(section, data.get(section))
    facts["images.from"] = ", ".join(recipe.images.sources)
    facts |= {f"images.replace {old}": new for old, new in recipe.images.replace.items()}
    entries: tuple[FileEntry | ManifestEntry, ...] = (*recipe.files, *recipe.manifests)
    files = {entry.path: entry.source for entry in entries}
    files |= {item.path: item.template for item in recipe.render}
    facts |= {
        f"checksum of {entry.path}": entry.checksum
        for entry in entries
        if entry.checksum and entry.checksum.startswith("sha256:")
    }
    return IsoFiles(
        source=path,
        kind="recipe",
        facts=facts,
        files=files,
        sizes={},
        images={text: text for text in recipe.images.extra},
        releases=_releases({entry.path: entry.source for entry in entries}),
    )


def _flat(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {} if value is None or value is False else {name: str(value)}
    return {
        key: text for part in value for key, text in _flat(f"{name}.{part}", value[part]).items()
    }


def of_lock(lock: Lock, path: Path = Path("lock")) -> IsoFiles:
    """Return what ``lock`` promises, which is in the file ``path``."""
    entries: tuple[LockedFile | LockedManifest, ...] = (*lock.files, *lock.manifests)
    files: dict[str, str] = {file.path: file.sha256 for file in lock.files}
    # A manifest that is pinned gets other bytes on the ISO than upstream serves.
    files |= {item.path: item.sha256 for item in lock.manifests if item.images == "keep"}
    sizes = {file.path: file.size for file in lock.files if file.size is not None}
    system = _NO_SYSTEM
    if lock.boot is not None:
        system = f"{lock.boot.name}-{lock.architecture}"
        if lock.boot.payload is not None:
            files[PAYLOAD] = lock.boot.payload
            for place, name in _AS_THEY_ARE.items():
                if (part := lock.boot.artifacts.get(name)) is not None:
                    files[place], sizes[place] = part.digest, part.size
    return IsoFiles(
        source=path,
        kind="lock",
        facts={
            "kubernetes": str(lock.kubernetes),
            "product version": lock.product_version,
            "profile": lock.profile,
            "architecture": lock.architecture,
            "revision": str(lock.revision),
            "operating system": system,
        },
        files=files,
        sizes=sizes,
        images={image.reference: image.digest for image in lock.images},
        upstream={item.path: item.sha256 for item in lock.manifests if item.images == "pin"},
        releases=_releases({entry.path: entry.url for entry in entries}),
    )


def of_iso(path: Path, reader: IsoReader) -> IsoFiles:
    """Return what is on the ISO that ``reader`` reads, see ``contents_of``."""
    if MANIFEST not in reader.files:
        return _of_other_iso(path, reader)
    manifest = Medium(reader).manifest
    if isinstance(manifest, IntegrityError):
        raise InputError(f"{path}: {MANIFEST}: {manifest}")
    return of_manifest(
        manifest,
        path,
        sizes={name: entry.size for name, entry in reader.files.items()},
        releases=_releases_on(reader),
        label=reader.label,
    )


def of_manifest(
    manifest: IsoManifest,
    path: Path,
    *,
    sizes: Mapping[str, int],
    releases: Mapping[str, str],
    label: str | None = None,
) -> IsoFiles:
    """Return what an ISO has by its manifest, and sizes and releases as far as they are known."""
    system = manifest.operating_system
    return IsoFiles(
        source=path,
        kind="iso",
        facts={
            "kubernetes": str(manifest.kubernetes_version),
            "product version": manifest.product_version,
            "profile": manifest.profile,
            "architecture": manifest.architecture,
            "revision": str(manifest.revision),
            "operating system": system.name if system else _NO_SYSTEM,
        },
        files={name: Digest.from_hex(sha256) for name, sha256 in manifest.files.items()},
        sizes=sizes,
        images={
            image.resolved_from: Digest(image.reference.rpartition("@")[2])
            for image in manifest.images
        },
        releases=releases,
        label=label,
        manifest=manifest,
    )


def _of_other_iso(path: Path, reader: IsoReader) -> IsoFiles:
    """Return what can be read of an ISO that has no manifest.json, as CloudStack's script makes it.

    Nobody says which profile it is of. Every file is hashed.
    """
    medium = Medium(reader)
    images: dict[str, str] = {}
    for name in reader.files:
        if name.endswith(".tar") and name.startswith(_IMAGES):
            archive = medium.archive(name)
            try:
                imported = (
                    () if isinstance(archive, IntegrityError) else as_imported(archive).images
                )
            except IntegrityError:  # isobuilder verify says what is wrong with it
                imported = ()
            images |= {image.name: image.digest or "" for image in imported if image.name}
    facts = {"kubernetes": "unknown", "profile": "unknown", "architecture": "unknown"}
    kubeadm = medium.binary("k8s/kubeadm") if "k8s/kubeadm" in reader.files else None
    if kubeadm is not None and not isinstance(kubeadm, IntegrityError):
        facts["kubernetes"] = kubeadm.kubernetes_version or "unknown"
        facts["architecture"] = kubeadm.architecture
    return IsoFiles(
        source=path,
        kind="iso",
        facts=facts,
        files=dict(hash_iso(reader, whole=False).files),
        sizes={name: entry.size for name, entry in reader.files.items()},
        images=images,
        label=reader.label,
    )


def _releases(addresses: Mapping[str, str]) -> dict[str, str]:
    """Return by path the release, or the commit, that an address names."""
    found = {}
    for path, url in addresses.items():
        place = urlsplit(url).path
        if commits := _COMMIT.findall(place):
            found[path] = commits[-1][:12]
        elif releases := _RELEASE.findall(place):
            found[path] = releases[-1]
    return found


def _releases_on(reader: IsoReader) -> dict[str, str]:
    """Return what the bill of materials on the ISO says of where its files are from."""
    if "sbom.cdx.json" not in reader.files:
        return {}
    with reader.open("sbom.cdx.json") as file:
        data = file.read(_BILL_LIMIT)
    try:
        bill = model_of(data, "sbom.cdx.json", _Bill)
    except InputError:
        return {}  # isobuilder verify says what is wrong with it
    references = ((part.name, part.references) for part in bill.components)
    return _releases({name: found[0].url for name, found in references if found})


def diff(left: IsoFiles | Lock | Path, right: IsoFiles | Lock | Path) -> tuple[Difference, ...]:
    """Return the differences, facts first, then files and images by name.

    A path is that of a lock, an ISO or a recipe, see ``contents_of``.
    What is one thing in two versions is one difference: images of one repository, files whose paths
    differ in a version only. Archives of images that only one side has are not listed again as
    files. A lock knows less than an ISO: between the two only what the lock pins is compared.

    Raises:
        InputError: one is a recipe and the other is not, or a path is of none of these.
        IntegrityError: an ISO contradicts itself.
    """
    left, right = _read(left), _read(right)
    if "recipe" in {left.kind, right.kind} and left.kind != right.kind:
        recipe = left if left.kind == "recipe" else right
        raise InputError(
            f"{left.source} and {right.source}: expected two recipes, got one",
            hint=f"name a lock of {recipe.source} in its place, or two recipes",
        )
    found = list(_facts(left.facts, right.facts))
    files = _files_of(left, right), _files_of(right, left)
    if left.kind != right.kind:
        files = _common(*files)
    growing = left.kind == right.kind == "iso"
    for old, new in _pairs(*files, _file_key):
        growth = _growth(left, old, right, new) if growing else None
        releases = left.releases.get(old or ""), right.releases.get(new or "")
        name = new or old or ""
        values = files[0].get(old or ""), files[1].get(new or "")
        found.append(Difference("file", name, *values, growth, releases))
    for old, new in _pairs(left.images, right.images, _image_key):
        values = left.images.get(old or ""), right.images.get(new or "")
        if old is not None and new is not None and old != new:
            found.append(
                Difference("image", _image_key(new), *values, None, (_tag(old), _tag(new)))
            )
        else:
            found.append(Difference("image", new or old or "", *values))
    return tuple(found)


def _read(side: IsoFiles | Lock | Path) -> IsoFiles:
    if isinstance(side, Lock):
        return of_lock(side)
    return side if isinstance(side, IsoFiles) else contents_of(side)


def _facts(left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[Difference]:
    for name in [*left, *(name for name in right if name not in left)]:
        if left.get(name) != right.get(name):
            yield Difference("fact", name, left.get(name), right.get(name))


def _files_of(own: IsoFiles, other: IsoFiles) -> dict[str, str]:
    """Return the files to compare: no archives that the images tell of, manifests as they are."""
    archives = {image.path for image in own.manifest.images} if own.manifest else set()
    files = {p: value for p, value in own.files.items() if p not in archives or p in other.files}
    return files | dict(own.upstream) if own.kind == other.kind else files


def _common(left: dict[str, str], right: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    both = left.keys() & right.keys()
    return {name: left[name] for name in both}, {name: right[name] for name in both}


def _pairs(
    left: Mapping[str, str], right: Mapping[str, str], key: Callable[[str], str]
) -> Iterator[tuple[str | None, str | None]]:
    """Give the names of what differs, those that belong together in one pair, sorted by name."""
    found: list[tuple[str | None, str | None]] = [
        (name, name) for name in left.keys() & right.keys() if left[name] != right[name]
    ]
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((left.keys() - right.keys(), right.keys() - left.keys())):
        for name in sorted(names):
            groups.setdefault(key(name), ([], []))[side].append(name)
    for olds, news in groups.values():
        found += zip_longest(olds, news)
    return iter(sorted(found, key=lambda pair: pair[1] or pair[0] or ""))


def _file_key(path: str) -> str:
    return _NUMBERS.sub("*", path)


def _image_key(reference: str) -> str:
    return ImageReference.parse(reference).name


def _tag(reference: str) -> str:
    parsed = ImageReference.parse(reference)
    return parsed.tag or str(parsed.digest)


def _growth(left: IsoFiles, old: str | None, right: IsoFiles, new: str | None) -> int | None:
    """Return how many bytes more there are on the right; None if a size is not known."""
    before = 0 if old is None else left.sizes.get(old)
    after = 0 if new is None else right.sizes.get(new)
    return None if before is None or after is None else after - before


def summary(contents: IsoFiles) -> dict[str, Any]:
    """Return what ``inspect --json`` prints."""
    manifest = contents.manifest
    return {
        "source": str(contents.source),
        "kind": contents.kind,
        "label": contents.label,
        "facts": dict(contents.facts),
        "tool": manifest.tool if manifest else None,
        "epoch": manifest.epoch if manifest else None,
        "features": list(manifest.features) if manifest else [],
        "size": sum(contents.sizes.values()),
        "files": [
            {"path": path, "size": contents.sizes.get(path), "digest": contents.files.get(path)}
            for path in sorted(contents.files.keys() | contents.sizes.keys())
        ],
        "images": [
            {"reference": name, "digest": digest}
            for name, digest in sorted(contents.images.items())
        ],
    }
