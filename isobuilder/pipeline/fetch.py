"""Lock -> blobs in the store, and the plan that says beforehand what that means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem
from isobuilder.formats.oci import parse_manifest
from isobuilder.formats.reference import ImageReference
from isobuilder.machine.payload import has_payload
from isobuilder.model.config import mirror_urls
from isobuilder.model.lock import Lock, LockedFile, LockedManifest
from isobuilder.pipeline.payload import check_payload, served_payload, with_chosen_payload
from isobuilder.sources.download import Download
from isobuilder.sources.registry import ImagePin, check_images, image_blobs
from isobuilder.sources.session import Session
from isobuilder.store import Store, lease

Kind = Literal["file", "manifest", "image", "payload"]


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One thing a lock needs, and how much of it is missing."""

    kind: Kind
    name: str
    source: str  # address or image reference
    size: int | None  # bytes; None when nobody has seen it yet
    missing: int | None  # bytes to download; 0 when the store has all of it


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What fetching and building one or more locks will take."""

    items: tuple[PlanItem, ...]
    download: int  # bytes, of what is known; shared layers count once
    unknown: int  # items whose size nobody has seen yet
    iso: int  # bytes the ISO will have, about

    @property
    def disk(self) -> int:
        """Bytes of free disk that fetching and building need together."""
        return self.download + self.iso


def plan(lock: Lock, store: Store) -> DownloadPlan:
    """Say what would be downloaded, what is cached and which disk is needed; touches no network."""
    counted: set[Digest] = set()
    items: list[PlanItem] = []
    entries: tuple[LockedFile | LockedManifest, ...] = (*lock.files, *lock.manifests)
    for entry in entries:
        blob = store.find(entry.sha256)
        size = blob.size if blob else entry.size
        missing = 0 if blob or entry.sha256 in counted else size
        counted.add(entry.sha256)
        kind: Kind = "file" if isinstance(entry, LockedFile) else "manifest"
        items.append(PlanItem(kind, entry.name, entry.url, size, missing))
    for image in lock.images:
        missing_here = _missing_of_image(image.digest, image.size, store, counted)
        items.append(
            PlanItem(
                "image",
                image.reference,
                f"{image.reference}@{image.digest}",
                image.size,
                missing_here,
            )
        )
    items += _payload_items(lock, store)
    return DownloadPlan(
        items=tuple(items),
        download=sum(item.missing or 0 for item in items),
        unknown=sum(1 for item in items if item.missing is None),
        iso=sum(item.size or 0 for item in items),
    )


def _payload_items(lock: Lock, store: Store) -> Iterator[PlanItem]:
    if lock.boot and has_payload(store, lock.boot.name, architecture=lock.architecture):
        lock = with_chosen_payload(lock, store)
    if lock.boot is None:
        return
    if lock.boot.payload is None:
        # Nothing to download: it is made on this machine.
        yield PlanItem("payload", lock.boot.name, "isobuilder os build", None, 0)
        return
    source = lock.boot.url or f"isobuilder os build, {lock.boot.os}"
    for name, part in sorted(lock.boot.artifacts.items()):
        missing = 0 if store.find(part.digest) else part.size
        yield PlanItem("payload", name, source, part.size, missing)


def _missing_of_image(
    digest: Digest, size: int | None, store: Store, counted: set[Digest]
) -> int | None:
    manifest = store.find(digest)
    if manifest is None:
        return size
    missing = 0
    for part in parse_manifest(manifest.read(), place=str(digest)).blobs:
        if part.digest not in counted and store.find(part.digest) is None:
            missing += part.size
        counted.add(part.digest)
    return missing


def fetch(locks: Sequence[Lock], session: Session) -> None:
    """Bring everything the locks name into the store; what is there already is not asked for.

    Raises:
        UpstreamError: something could not be had from any mirror; the rest stays fetched.
        IntegrityError: upstream serves other bytes than were locked.
        EnvironmentProblem: the disk is full, or ``offline`` is set and something is missing.
    """
    with holding(locks, session):
        pass


@contextmanager
def holding(locks: Sequence[Lock], session: Session) -> Iterator[None]:
    """Do as ``fetch`` does, and keep it all from being collected while the block runs."""
    store = session.store
    with lease(store, reachable(locks, store)):
        wanted = _wanted(locks, session)
        # What images consist of is only known now that their manifests are there.
        with lease(store, wanted.keys() | reachable(locks, store)):
            session.fetcher.fetch(list(wanted.values()))
            for architecture, images in _pins(locks).items():
                check_images(store, images, architecture)
            yield


def _wanted(locks: Sequence[Lock], session: Session) -> dict[Digest, Download]:
    wanted: dict[Digest, Download] = {}
    for lock in locks:
        for entry in _entries(lock):
            wanted[entry.sha256] = Download(
                name=entry.name,
                urls=mirror_urls(session.config, entry.url),
                digest=entry.sha256,
                size=entry.size,
                ceiling=session.config.max_file_size,
            )
    if session.config.offline:
        _refuse_missing(locks, session.store)
    if any(missing_blobs(lock, session.store) for lock in locks):
        session.progress.step(f"fetching into {session.store.root}")
    for lock in locks:
        for part in served_payload(lock, session):
            wanted.setdefault(Digest.from_hex(part.key), part)
        if lock.boot is not None and lock.boot.url is None:
            check_payload(lock, session.store)
    for images in _pins(locks).values():
        for blob in image_blobs(session.registry, session.store, images):
            if blob.digest is not None:
                wanted.setdefault(blob.digest, blob)
    return wanted


def _pins(locks: Sequence[Lock]) -> dict[str, list[ImagePin]]:
    """Return the images of all locks by architecture."""
    pins: dict[str, list[ImagePin]] = {}
    for lock in locks:
        for image in lock.images:
            reference = ImageReference.parse(image.reference)
            pins.setdefault(lock.architecture, []).append(ImagePin(reference, image.digest))
    return pins


def _entries(lock: Lock) -> Iterator[LockedFile | LockedManifest]:
    yield from lock.files
    yield from lock.manifests


def _refuse_missing(locks: Sequence[Lock], store: Store) -> None:
    missing = [name for lock in locks for name in missing_blobs(lock, store)]
    if missing:
        shown = ", ".join(missing[:10]) + (
            f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        )
        raise EnvironmentProblem(
            f"offline, and the store {store.root} lacks {len(missing)} things: {shown}",
            hint="fetch them without --offline, or name the store that has them with --store",
        )


def missing_blobs(lock: Lock, store: Store) -> list[str]:
    """Return the names of files, manifests and images that are not completely in the store."""
    missing = [entry.name for entry in _entries(lock) if store.find(entry.sha256) is None]
    if lock.boot is not None and any(store.find(part) is None for part in lock.boot.blobs):
        missing.append(f"the OS payload {lock.boot.os} ({lock.boot.kernel} kernel)")
    for image in lock.images:
        manifest = store.find(image.digest)
        if manifest is None:
            missing.append(image.reference)
            continue
        parts = parse_manifest(manifest.read(), place=image.reference).blobs
        if any(store.find(part.digest) is None for part in parts):
            missing.append(image.reference)
    return missing


def reachable(locks: Sequence[Lock], store: Store) -> set[Digest]:
    """Return the digests of everything the locks need, layers of stored images included."""
    digests: set[Digest] = set()
    for lock in locks:
        digests |= {entry.sha256 for entry in _entries(lock)}
        if lock.boot is not None:
            digests |= lock.boot.blobs
        for image in lock.images:
            digests.add(image.digest)
            manifest = store.find(image.digest)
            if manifest is not None:
                parts = parse_manifest(manifest.read(), place=image.reference).blobs
                digests |= {part.digest for part in parts}
    return digests
