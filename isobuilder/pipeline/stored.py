"""What the blobs of a store are: the names that locks have for them."""

from __future__ import annotations

from collections.abc import Iterable

from isobuilder.content.needed import needed
from isobuilder.digest import Digest
from isobuilder.errors import IsobuilderError
from isobuilder.machine.payload import payloads
from isobuilder.model.lock import Lock
from isobuilder.model.validation import parse_json
from isobuilder.store import Store

_NOTE = "lock"


def note_locks(store: Store, locks: Iterable[Lock]) -> None:
    """Keep what the blobs that are fetched for ``locks`` are called."""
    for lock in locks:
        if store.recall(_NOTE, lock.digest) is None:
            store.remember(_NOTE, lock.digest, lock.to_bytes())


def forget_locks(store: Store) -> None:
    """Forget the names of which no blob is left, and notes that cannot be read."""
    for key in store.remembered(_NOTE):
        note = store.recall(_NOTE, key)
        lock = None if note is None else _read(note)
        if lock is None or not any(store.find(need.digest) for need in needed(lock, store.find)):
            store.forget(_NOTE, key)


def names_of(store: Store, locks: Iterable[Lock] = ()) -> dict[Digest, list[str]]:
    """Return what blobs are called by ``locks``, by all that were fetched here, and as payloads."""
    found: dict[Digest, dict[str, None]] = {}
    for lock in (*_noted(store), *locks):
        for need in needed(lock, store.find):
            title = (
                f"{lock.boot.name} {need.name}" if need.kind == "payload" and lock.boot else None
            )
            release = f"{need.name} of {lock.kubernetes}-{lock.architecture}"
            name = need.name if need.kind == "image" else title or release
            found.setdefault(need.digest, {})[name] = None
    for payload in payloads(store):
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
