"""What a person carried, whatever it is: parts, folders with parts, bundles as folders, ISOs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from isobuilder.content.blobs import Find
from isobuilder.content.from_iso import BytesBlob
from isobuilder.content.needed import needed
from isobuilder.digest import BUFFER_SIZE, BlobLike, Digest, Hasher, check
from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.files import (
    as_environment_problem,
    clear_scratch,
    keeps_bytes,
    may_be_file,
    new_file,
    write_whole,
)
from isobuilder.machine.payload import keep_payload
from isobuilder.model.lock import Lock
from isobuilder.model.payload import read_payload
from isobuilder.model.validation import model_of
from isobuilder.pipeline.fetch import note_locks
from isobuilder.progress import SILENT, Progress, task
from isobuilder.site.bundles.admit import (
    Arrived,
    Knowing,
    StoreKeeper,
    arrived,
    is_stored,
    take_folder,
    take_part,
)
from isobuilder.site.bundles.bundle import Bundle
from isobuilder.site.bundles.parts import BUNDLE
from isobuilder.site.donors import open_iso, why_no_lock
from isobuilder.store import Store, lease

_STDIN = Path("-")

_ISO_MARK = b"CD001"  # at byte 32769, of every ISO 9660 image; Source: ECMA-119, 8.1
_CARRIED_NAME = re.compile(r"[^.].*\.(tar|iso)")  # not the ._x.tar that macOS puts beside x.tar


@dataclass(frozen=True, slots=True)
class Taken:
    """One thing that was read to its end."""

    place: str
    added: int  # blobs that are new in the store
    bundle: Bundle | None  # None: an ISO
    lock: Lock | None = None  # of an ISO
    no_lock: str | None = None  # of an ISO without its lock: why, in a sentence about it
    failures: tuple[IsobuilderError, ...] = ()  # of a folder: why some of its blobs are not taken


def take(
    path: Path,
    store: Store,
    closing: ExitStack,
    *,
    stdin: BinaryIO | None = None,
    expected: Digest | None = None,
    knowing: Knowing | None = None,
    progress: Progress = SILENT,
) -> Taken:
    """Bring what ``path`` holds into ``store``; see ``take_part`` for what is refused.

    A folder is a bundle; what was carried in others ``spread`` tells. What an ISO has is not
    collected until ``closing`` closes; of a bundle ``knowing`` is told.

    Raises:
        InputError: a newer isobuilder made it.
        IntegrityError, EnvironmentProblem: as ``take_part``.
    """
    keeper = StoreKeeper(store)
    part = partial(take_part, expected=expected, knowing=knowing, progress=progress)
    if path == _STDIN and stdin is not None:
        done = part(stdin, "standard input", keeper)
    elif path.is_dir():
        done = take_folder(path, keeper, expected=expected, knowing=knowing, progress=progress)
    elif is_iso(path):
        return take_iso(path, store, closing, progress=progress)
    else:
        with as_environment_problem(path), path.open("rb", buffering=0) as file:
            done = part(file, str(path), keeper)
    return Taken(done.place, done.added, done.bundle, failures=done.failures)


def is_iso(path: Path) -> bool:
    """Say if a file is an ISO, whatever its name is; a pipe is not opened, for it opens once."""
    if not opens_again(path):
        return False
    with as_environment_problem(path), path.open("rb", buffering=0) as file:
        return file.seek(32769) > 0 and file.read(5) == _ISO_MARK


def opens_again(path: Path) -> bool:
    """Say if it is a file or a disk, of which one may read a bit before all of it is read.

    Raises:
        EnvironmentProblem: it is not there.
    """
    with as_environment_problem(path):
        return keeps_bytes(path.stat().st_mode)


def spread(paths: Iterable[Path], failures: list[IsobuilderError]) -> Iterator[Path]:
    """Give each path, and for a folder what was carried in it; a bundle that is one stays one.

    A folder that has neither parts nor ISOs, or cannot be read, is told in ``failures``.
    """
    for path in paths:
        if path.is_dir() and not (path / BUNDLE).exists():
            try:
                found = _carried_in(path)
            except IsobuilderError as error:
                failures.append(error)
                continue
            yield from found
        else:
            yield path


def _carried_in(folder: Path) -> list[Path]:
    """Return the files of a folder that may be parts or ISOs, sorted by name.

    Raises:
        InputError: there is none.
    """
    with as_environment_problem(folder):
        found = sorted(
            path
            for path in folder.iterdir()
            if _CARRIED_NAME.fullmatch(path.name) and may_be_file(path)
        )
    if not found:
        raise InputError(
            f"{folder}: neither a bundle, nor parts of one, nor an ISO",
            hint="parts are files called *.tar, ISOs *.iso",
        )
    return found


def take_iso(path: Path, store: Store, closing: ExitStack, *, progress: Progress = SILENT) -> Taken:
    """Bring into ``store`` what an ISO was made of, as far as it can be told.

    With its lock beside it that is everything. Without, manifests that were pinned to digests
    cannot be made what they were. None of it is collected until ``closing`` closes.

    Raises:
        IntegrityError: it is no ISO, or contradicts itself.
    """
    with ExitStack() as reading:
        iso = open_iso(path, (), reading)
        if iso.lock is None:
            wanted = {digest: str(digest) for digest in iso.claims}
        else:
            find = _either(iso.find, store.own)
            wanted = {need.digest: need.name for need in needed(iso.lock, find)}
        closing.enter_context(lease(store, wanted))  # else a collection takes what just came
        added = 0
        with task(progress, str(path), total=None) as work:
            for digest, name in wanted.items():
                blob = iso.find(digest)
                if is_stored(store, digest, None if blob is None else blob.size) or blob is None:
                    continue
                store.add(_chunks(blob), digest=digest, name=f"{path}: {name}", size=blob.size)
                work.advance(blob.size)
                added += 1
        if iso.lock is not None:
            note_locks(store, [iso.lock])
            _remember_payload(store, iso.lock)
    without = why_no_lock(path) if iso.lock is None else None
    return Taken(str(path), added, None, iso.lock, without)


def _either(*finds: Find) -> Find:
    """Return what asks all: behind a manifest that one lacks is what another may have."""

    def find(digest: Digest) -> BlobLike | None:
        return next((blob for ask in finds if (blob := ask(digest)) is not None), None)

    return find


def settle(bundle: Bundle, store: Store, out: Path | None) -> Arrived:
    """Say how much of a bundle is there, and if it is whole, give what it holds its names.

    Locks, and other files that were carried, are written into ``out``; the store learns what its
    blobs are called, and which OS payloads it has.

    Raises:
        IntegrityError: pieces do not make what they were cut from, or a lock is none.
        InputError: another file of such a name is in ``out``, or a newer isobuilder made a lock.
        EnvironmentProblem: ``out`` cannot be written.
    """
    with lease(store, [item.digest for item in bundle.contents]):
        state = arrived(bundle, store)
        if not state.missing:
            _name(bundle, store, out)
    return state


def write_lock(lock: Lock, out: Path) -> Path:
    """Write the lock that an ISO came with into ``out``, by the name that a bundle gives it.

    Raises:
        InputError: another file of that name is there.
        EnvironmentProblem: ``out`` cannot be written.
    """
    path = out / f"{lock.base_name}.lock.json"
    _write(BytesBlob(lock.to_bytes(), path.name), path, is_text=True)
    return path


def locks_in(bundle: Bundle, store: Store) -> dict[str, Lock]:
    """Return the locks of a bundle that is whole in ``store``, by the names of their files.

    Raises:
        InputError: a newer isobuilder made one of them.
        IntegrityError: one of them is none.
    """
    locks = {}
    for item in bundle.contents:
        blob = store.own(item.digest) if item.kind == "lock" else None
        if blob is not None:
            locks[item.names[0]] = carried_lock(blob.read(), item.names[0])
    return locks


def carried_lock(text: bytes, name: str) -> Lock:
    """Return a lock that came in a bundle.

    Raises:
        InputError: a newer isobuilder made it.
        IntegrityError: it is none.
    """
    return model_of(text, f"{name}: carried as a lock", Lock, error=IntegrityError)


def _name(bundle: Bundle, store: Store, out: Path | None) -> None:
    locks = locks_in(bundle, store).values()
    note_locks(store, locks)
    for lock in locks:
        _remember_payload(store, lock)
    if out is None:
        return
    names = {name for item in bundle.contents if item.is_document for name in item.names}
    clear_scratch(out, names.__contains__)
    for item in bundle.contents:
        blob = store.own(item.digest) if item.is_document else None
        if blob is not None:
            for name in item.names:
                _write(blob, out / name, is_text=item.kind == "lock")


def _write(blob: BlobLike, path: Path, *, is_text: bool) -> None:
    with as_environment_problem(path):
        if path.exists():
            if path.is_file() and Digest.of_file(path) == blob.digest:
                return
            raise InputError(
                f"{path}: is there already and something else", hint="choose another folder: --out"
            )
        if is_text:
            write_whole(path, blob.read())
            return
        hasher = Hasher()
        with new_file(path) as put:
            for chunk in _chunks(blob):
                hasher.update(chunk)
                put(chunk)
            check(blob, hasher.digest())


def _remember_payload(store: Store, lock: Lock) -> None:
    """Let an OS payload that came with a lock be found by its name as well."""
    if lock.boot is None or lock.boot.payload is None:
        return
    blob = store.own(lock.boot.payload)
    if blob is not None and all(store.own(digest) is not None for digest in lock.boot.blobs):
        keep_payload(store, read_payload(blob.read(), place=f"the OS payload {lock.boot.os}"))


def _chunks(blob: BlobLike) -> Iterator[bytes]:
    with blob.open() as file:
        while chunk := file.read(BUFFER_SIZE):
            yield chunk
