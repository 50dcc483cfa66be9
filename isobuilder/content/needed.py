"""Lock -> every blob that its ISO is made of, told once; what else asks is a filter over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from isobuilder.content.blobs import Find
from isobuilder.content.images import image_manifest
from isobuilder.digest import Digest
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.trust.claims import EVIDENCE, LockedTrust

Kind = Literal["file", "manifest", "image", "payload", "evidence"]

DESCRIPTION = "description"
"""What the need of an OS payload's own description is called, beside its artifacts."""


@dataclass(frozen=True, slots=True)
class Need:
    """One blob, and what it is for."""

    digest: Digest
    size: int | None  # bytes; None when nobody has seen it yet
    kind: Kind
    name: str  # of the lock's entry; of a payload the artifact, or DESCRIPTION
    source: str | None  # canonical address or image reference; None: nobody serves it


def needed(lock: Lock, find: Find) -> list[Need]:
    """Return what the ISO of ``lock`` is made of, in the order of the lock, once for each use.

    What an image consists of is known only when ``find`` has its manifest; until then that
    manifest stands for all of it, with the size of all. An OS payload that the lock leaves open is
    not told.

    Raises:
        IntegrityError: a manifest that ``find`` has is none.
    """
    needs = [Need(file.sha256, file.size, "file", file.name, file.url) for file in lock.files]
    needs += [
        Need(item.sha256, item.size, "manifest", item.name, item.url) for item in lock.manifests
    ]
    for image in lock.images:
        name = image.reference
        manifest = find(image.digest)
        if manifest is None:
            needs.append(Need(image.digest, image.size, "image", name, name))
            continue
        needs.append(Need(image.digest, manifest.size, "image", name, name))
        needs += [
            Need(part.digest, part.size, "image", name, name)
            for part in image_manifest(manifest, place=name).blobs
        ]
    if lock.boot is not None:
        needs += _of_payload(lock.boot)
    if lock.trust is not None:
        needs += _of_trust(lock.trust)
    return needs


def missing(lock: Lock, find: Find) -> list[Need]:
    """Return the needs that ``find`` does not have."""
    return [need for need in needed(lock, find) if find(need.digest) is None]


def missing_names(lock: Lock, find: Find) -> list[str]:
    """Return, each once, what ``find`` does not wholly have, as a person calls it."""
    return list(dict.fromkeys(_title(lock, need) for need in missing(lock, find)))


def digests(locks: Iterable[Lock], find: Find) -> set[Digest]:
    """Return the digests of everything that the locks need, as far as it is known."""
    return {need.digest for lock in locks for need in needed(lock, find)}


def _of_payload(boot: LockedBoot) -> Iterator[Need]:
    if boot.payload is None:
        return
    yield Need(boot.payload, None, "payload", DESCRIPTION, boot.url)
    folder = None if boot.url is None else boot.url.rpartition("/")[0]
    for name, part in sorted(boot.artifacts.items()):
        source = None if folder is None else f"{folder}/{name}"
        yield Need(part.digest, part.size, "payload", name, source)


def _of_trust(trust: LockedTrust) -> Iterator[Need]:
    for path, text in trust.files.items():
        name = path.removeprefix(f"{EVIDENCE}/")
        source = None if trust.folder is None else f"file:{trust.folder}/{name}"
        yield Need(text.sha256, text.size, "evidence", path, source)


def _title(lock: Lock, need: Need) -> str:
    if need.kind == "payload" and lock.boot is not None:
        return f"the OS payload {lock.boot.os} ({lock.boot.kernel} kernel)"
    return need.name
