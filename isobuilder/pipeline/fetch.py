"""Lock -> blobs in the store, and the plan that says beforehand what that means."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from isobuilder.cancel import pooled
from isobuilder.content.blobs import Find
from isobuilder.content.images import check_images, image_manifest
from isobuilder.content.needed import (
    DESCRIPTION,
    Kind,
    Need,
    digests,
    missing_names,
    needed,
)
from isobuilder.digest import BlobLike, Digest
from isobuilder.errors import IntegrityError, IsobuilderError, UpstreamError
from isobuilder.formats.manifests import MAX_MANIFEST
from isobuilder.formats.reference import ImageReference
from isobuilder.machine.payload import LARGEST_DESCRIPTION, payload_digests, payloads
from isobuilder.model.config import Config
from isobuilder.model.lock import Lock, LockedFile, LockedImage, LockedManifest
from isobuilder.model.validation import parse_json
from isobuilder.pipeline.payload import check_payload, pin_if_there
from isobuilder.progress import SILENT, Progress
from isobuilder.sources.beside import addresses_of
from isobuilder.sources.download import FILE_IS_LARGER, TEXT_IS_LARGER, Download
from isobuilder.sources.fetch import offline_problem
from isobuilder.sources.mirrors import first_good
from isobuilder.sources.registry import ImagePin, fetch_manifests
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Collected, Store, hold_collections, lease
from isobuilder.store import collect as collect_store

_log = logging.getLogger(__name__)

_MADE_HERE = "isobuilder os build"

T = TypeVar("T")
E = TypeVar("E", LockedFile, LockedManifest)


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
    lock = pin_if_there(lock, store)
    groups: dict[tuple[Kind, str], list[Need]] = {}
    for need in needed(lock, store.find):
        groups.setdefault((need.kind, need.name), []).append(need)
    counted: set[Digest] = set()
    items = [
        _item(needs, store, counted) for (_, name), needs in groups.items() if name != DESCRIPTION
    ]
    if lock.boot is not None and lock.boot.payload is None:
        # Nothing to download: it is made on this machine.
        items.append(PlanItem("payload", lock.boot.name, _MADE_HERE, None, 0))
    return DownloadPlan(
        items=tuple(items),
        download=sum(item.missing or 0 for item in items),
        unknown=sum(1 for item in items if item.missing is None),
        iso=sum(item.size or 0 for item in items),
    )


def _item(needs: Sequence[Need], store: Store, counted: set[Digest]) -> PlanItem:
    """Return the item of one entry of the lock; what another item ``counted`` costs nothing."""
    first = needs[0]
    sizes: list[int | None] = []
    absent: list[int | None] = []
    for need in needs:
        blob = store.find(need.digest)
        sizes.append(blob.size if blob else need.size)
        if blob is None and need.digest not in counted:
            absent.append(need.size)
        counted.add(need.digest)
    source = f"{first.source}@{first.digest}" if first.kind == "image" else first.source
    return PlanItem(first.kind, first.name, source or _MADE_HERE, _sum(sizes), _sum(absent))


def _sum(sizes: Sequence[int | None]) -> int | None:
    """Return the sum; None when a size is not known."""
    return None if None in sizes else sum(size for size in sizes if size is not None)


_TOGETHER = 8  # questions at the same time
_PATIENCE = 5.0  # seconds for a connection: who asks how large something is does not wait for it


@dataclass(frozen=True, slots=True)
class Sized:
    """A lock with the sizes that were told, and why others were not."""

    lock: Lock
    errors: tuple[IsobuilderError, ...]


@contextmanager
def impatient_session(
    config: Config, store: Store, *, progress: Progress = SILENT
) -> Iterator[Session]:
    """Give a session that asks once and waits for nobody."""
    connect = min(config.connect_timeout, _PATIENCE)
    hasty = config.model_copy(
        update={"retries": 0, "connect_timeout": connect, "remote_store": None}
    )
    with open_session(hasty, store, progress=progress) as session:
        yield session


def with_sizes(lock: Lock, session: Session) -> Sized:
    """Return ``lock`` with the sizes of its files and manifests, as upstream or a mirror tells.

    Of an image the manifest is brought into the store, which has the sizes of its parts. Of all
    else the head of the answer is read and no body. What nobody tells stays unknown.
    """
    errors: list[IsobuilderError] = []
    silent: Counter[str] = Counter()  # hosts that gave no answer, and how often
    answered: set[str] = set()  # while none has, there may be no network at all

    def asked(host: str, ask: Callable[[], T]) -> T | None:
        if silent[host] > 1 or (not answered and silent.total() >= _TOGETHER):
            errors.append(UpstreamError(f"{host}: not asked again"))
            return None
        try:
            told = ask()
        except IsobuilderError as error:
            silent[host] += 1
            errors.append(error)
            return None
        answered.add(host)
        return told

    def size(entry: LockedFile | LockedManifest) -> int | None:
        if entry.size is not None or session.store.find(entry.sha256) is not None:
            return entry.size

        def ask() -> int:
            places = addresses_of(session.config, entry.url, lock.folder, session.http)
            return first_good(entry.name, places, lambda place: _length(session, place))

        return asked(urlsplit(entry.url).hostname or "", ask)

    def look(image: LockedImage) -> None:
        pins = [ImagePin(image.parsed, image.digest)]
        registry = image.parsed.registry
        asked(registry, lambda: fetch_manifests(session.registry, session.store, pins))

    with pooled(_TOGETHER, "size", end=session.http.close) as pool:
        files, manifests = pool.map(size, lock.files), pool.map(size, lock.manifests)
        images = pool.map(look, lock.images)
        known = {
            "files": tuple(map(_sized, lock.files, files)),
            "manifests": tuple(map(_sized, lock.manifests, manifests)),
        }
        list(images)
    return Sized(lock.model_copy(update=known), tuple(errors))


def _sized(entry: E, size: int | None) -> E:
    return entry.model_copy(update={"size": size})


def _length(session: Session, place: str) -> int:
    with session.http.get(place) as answer:
        if answer.length is None:
            raise UpstreamError(f"{place}: the server does not say how long it is")
        return answer.length


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
    with ExitStack() as closing:
        with hold_collections(store):  # else a manifest goes before it is read and leased
            closing.enter_context(lease(store, digests(locks, store.find)))
        _announce(locks, session)
        fetch_manifests(session.registry, store, _pins(locks), session.remote)
        # What images consist of is only known now that their manifests are there.
        with lease(store, digests(locks, store.find)):
            session.fetcher.fetch(list(_downloads(locks, session).values()))
            for lock in locks:
                check_images(lock, store.find)
            note_locks(store, locks)
            yield


def _announce(locks: Sequence[Lock], session: Session) -> None:
    """Refuse what can be known to fail, and say that it begins."""
    store = session.store
    absent = [name for lock in locks for name in missing_names(lock, store.find)]
    if absent and session.config.offline:
        raise offline_problem(absent, store)
    if absent:
        session.progress.step(f"fetching into {store.root}")
    for lock in locks:
        check_payload(lock, store)


def _pins(locks: Sequence[Lock]) -> list[ImagePin]:
    return [ImagePin(image.parsed, image.digest) for lock in locks for image in lock.images]


def _downloads(locks: Sequence[Lock], session: Session) -> dict[Digest, Download]:
    wanted: dict[Digest, Download] = {}
    for lock in locks:
        for need in needed(lock, session.store.find):
            if need.source is None:
                continue
            known = wanted.setdefault(need.digest, _download(lock, need, session))
            if None not in {need.size, known.size} and need.size != known.size:
                raise IntegrityError(
                    f"{need.name}: {need.digest} has {need.size} bytes here "
                    f"and {known.size} as {known.name}"
                )
    return wanted


def _download(lock: Lock, need: Need, session: Session) -> Download:
    if need.kind == "image":
        reference = ImageReference.parse(need.name)
        return session.registry.blob_wanted(reference, need.digest, need.size)
    name, hint = need.name, TEXT_IS_LARGER
    ceiling = MAX_MANIFEST
    if need.kind == "file":
        ceiling, hint = session.config.max_file_size, FILE_IS_LARGER
    if need.kind == "payload" and lock.boot is not None:
        name, ceiling = f"{need.name} of {lock.boot.os}", need.size or LARGEST_DESCRIPTION
    urls = addresses_of(session.config, need.source or "", lock.folder, session.http)
    return Download(name, urls, need.digest, need.size, ceiling, if_larger=hint)


def collect(
    store: Store,
    locks: Sequence[Lock],
    *,
    everything: bool = False,
    max_size: int | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Collected:
    """Remove what no lock needs from ``store``, see ``store.collect``.

    OS payloads that the store remembers stay, for no upstream has them, unless ``everything`` is
    set; what the locks need of them stays then too. What nothing is left of loses its names.

    Raises:
        IntegrityError: a manifest of one of ``locks`` is damaged, and nothing is removed: what
            belongs to its image is not known. Or what describes an OS payload is.
        EnvironmentProblem: as ``store.collect``.
    """
    kept = digests(locks, store.find)
    if not everything:
        kept |= payload_digests(store)
    result = collect_store(store, kept, max_size=max_size, dry_run=dry_run, progress=progress)
    if not dry_run:
        _forget_locks(store)
    return result


_NOTE = "lock"


def note_locks(store: Store, locks: Iterable[Lock]) -> None:
    """Keep what the blobs that are fetched for ``locks`` are called."""
    for lock in locks:
        if store.recall(_NOTE, lock.digest) is None:
            store.remember(_NOTE, lock.digest, lock.to_bytes())


def needed_here(store: Store) -> set[Digest]:
    """Return what all locks need that were fetched, or brought, here, be it there or not.

    A manifest that is damaged is told, and stands for all of its image, as one that is not there.
    """
    return digests(_noted(store), _found_sound(store))


def _found_sound(store: Store) -> Find:
    """Return what finds manifests as ``store.find`` does, but tells a damaged one as not there.

    So one of a lock that nobody asked about stops nothing.
    """
    told: set[Digest] = set()

    def find(digest: Digest) -> BlobLike | None:
        manifest = None if digest in told else store.find(digest)
        if manifest is None:
            return None
        try:
            image_manifest(manifest, place=manifest.place)
        except IsobuilderError as error:
            told.add(digest)
            fact = "%s: what belongs to this image is not known: %s"
            _log.warning(fact, manifest.place, error.lines[0].removeprefix(f"{manifest.place}: "))
            return None
        return manifest

    return find


def _forget_locks(store: Store) -> None:
    """Forget the names of which no blob is left, and notes that cannot be read."""
    find = _found_sound(store)
    for key in store.remembered(_NOTE):
        note = store.recall(_NOTE, key)
        lock = None if note is None else _read(note)
        if lock is None or not any(store.find(need.digest) for need in needed(lock, find)):
            store.forget(_NOTE, key)


def names_of(store: Store, locks: Iterable[Lock] = ()) -> dict[Digest, list[str]]:
    """Return what blobs are called by ``locks``, by all that were fetched here, and as payloads."""
    find = _found_sound(store)
    found: dict[Digest, dict[str, None]] = {}
    for lock in (*_noted(store), *locks):
        for need in needed(lock, find):
            title = (
                f"{lock.boot.name} {need.name}" if need.kind == "payload" and lock.boot else None
            )
            release = f"{need.name} of {lock.kubernetes}-{lock.architecture}"
            name = need.name if need.kind == "image" else title or release
            found.setdefault(need.digest, {})[name] = None
    try:
        known = payloads(store)
    except IntegrityError as error:
        known = []
        _log.warning("names of OS payloads are not known: %s", error.lines[0])
    for payload in known:
        found.setdefault(payload.digest, {})[f"{payload.name} description"] = None
        for part, artifact in payload.artifacts.items():
            found.setdefault(artifact.digest, {})[f"{payload.name} {part}"] = None
    return {digest: list(names) for digest, names in found.items()}


def _noted(store: Store) -> Iterable[Lock]:
    for note in store.recall_all(_NOTE):
        if (lock := _read(note)) is not None:
            yield lock


def _read(note: bytes) -> Lock | None:
    """Return a lock; None for one of another version or a damaged one: its blobs have no names."""
    try:
        return parse_json(note, "a note in the store", Lock)
    except IsobuilderError:
        return None
