"""What is on an ISO, and how two locks or ISOs differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.iso.boot_names import INITRD, KERNEL, PAYLOAD, ROOT
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import MANIFEST, Medium
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.model.payload import ArtifactName

_AS_THEY_ARE: dict[str, ArtifactName] = {KERNEL: "kernel", INITRD: "initrd", ROOT: "root"}
_NO_SYSTEM = "none"


@dataclass(frozen=True, slots=True)
class IsoFiles:
    """What a lock promises or an ISO has, in one form so that they can be compared."""

    source: Path
    kind: Literal["lock", "iso"]
    facts: Mapping[str, str]  # version, profile, architecture, revision ...
    files: Mapping[str, Digest]  # path -> digest; only what both kinds know
    sizes: Mapping[str, int]  # path -> bytes, where known
    images: Mapping[str, Digest]  # tag reference -> digest of the platform's manifest
    label: str | None = None
    manifest: IsoManifest | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same."""

    what: Literal["fact", "file", "image"]
    name: str
    left: str | None  # None: only on the right
    right: str | None
    growth: int | None = field(default=None)  # bytes more on the right, for files on two ISOs


def contents_of(path: Path) -> IsoFiles:
    """Read a lock or an ISO; of an ISO only its directory and ``manifest.json``.

    Raises:
        InputError: neither a lock nor an ISO made by isobuilder.
        IntegrityError: the ISO contradicts itself.
    """
    if path.suffix == ".json":
        return _of_lock(path, load_lock(path))
    with IsoReader(path) as reader:
        return _of_iso(path, reader)


def _of_lock(path: Path, lock: Lock) -> IsoFiles:
    files = {file.path: file.sha256 for file in lock.files}
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
    )


def _of_iso(path: Path, reader: IsoReader) -> IsoFiles:
    if MANIFEST not in reader.files:
        raise InputError(
            f"{path}: has no manifest.json, so nobody can say what is on it",
            hint="isobuilder verify says more about it",
        )
    manifest = Medium(reader).manifest
    if isinstance(manifest, IntegrityError):
        raise InputError(f"{path}: {MANIFEST}: {manifest}")
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
        sizes={name: entry.size for name, entry in reader.files.items()},
        images={
            image.resolved_from: Digest(image.reference.rpartition("@")[2])
            for image in manifest.images
        },
        label=reader.label,
        manifest=manifest,
    )


def diff(left: IsoFiles, right: IsoFiles) -> tuple[Difference, ...]:
    """Return the differences, facts first, then files and images by name.

    A lock knows less than an ISO: between the two only what the lock pins is compared.
    """
    only_common = left.kind != right.kind
    both_isos = left.kind == right.kind == "iso"
    found = list(_changes("fact", left.facts, right.facts, only_common=False))
    for change in _changes("file", left.files, right.files, only_common=only_common):
        sizes = left.sizes.get(change.name, 0), right.sizes.get(change.name, 0)
        growth = sizes[1] - sizes[0] if both_isos else None
        found.append(Difference("file", change.name, change.left, change.right, growth))
    found += _changes("image", left.images, right.images, only_common=False)
    return tuple(found)


def _changes(
    what: Literal["fact", "file", "image"],
    left: Mapping[str, str],
    right: Mapping[str, str],
    *,
    only_common: bool,
) -> Iterable[Difference]:
    names = left.keys() & right.keys() if only_common else left.keys() | right.keys()
    for name in sorted(names):
        if left.get(name) != right.get(name):
            yield Difference(what, name, left.get(name), right.get(name))


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
