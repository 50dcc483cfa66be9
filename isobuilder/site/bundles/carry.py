"""Locks -> a bundle; and what was carried -> the store of a site, with all that went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isobuilder.content.needed import digests, missing_names
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IsobuilderError, PartlyDone
from isobuilder.model.lock import Lock
from isobuilder.pipeline.fetch import holding, needed_here
from isobuilder.pipeline.payload import pin_if_there
from isobuilder.progress import SILENT, Progress
from isobuilder.site.bundles.admit import Arrived, Knowing, incomplete
from isobuilder.site.bundles.arrival import Taken, locks_in, settle, spread, take, write_lock
from isobuilder.site.bundles.bundle import Bundle
from isobuilder.site.bundles.export import (
    Exported,
    write_folder,
    write_parts,
    write_stream,
)
from isobuilder.site.bundles.packing import packing
from isobuilder.site.ledgers.ledger import Ledger, among
from isobuilder.sources.session import Session
from isobuilder.store import ProvedStore, Store, lease, stored


def export_bundle(
    locks: Sequence[Lock],
    out: Path | BinaryIO,
    session: Session,
    *,
    extras: Sequence[Path] = (),
    recipes: Mapping[Digest, Path] | None = None,
    part_size: int | None = None,
    only: int | None = None,
    known: Ledger | None = None,
    folder: bool = False,
    replace: bool = False,
) -> Exported:
    """Write what a site needs to build ``locks``; what the store lacks is fetched first.

    ``out`` is a file, which also names the parts of at most ``part_size`` bytes; a folder if
    ``folder`` is set; or a pipe. ``extras`` are carried by their names, ``recipes``, told by
    the digests of locks, by those of their locks. Blobs that the site holds by its ledger ``known``
    are left out. ``only`` makes one part again. ``replace`` lets files go
    that have the names of parts; a folder is never replaced.

    Raises:
        InputError: it is too much for one bundle, something else is there, or the ledger is not
            exact.
        UpstreamError: what is missing cannot be fetched.
        IntegrityError, EnvironmentProblem: as ``write_parts``.
    """
    whose = [(recipes or {}).get(lock.digest) for lock in locks]
    locks = [pin_if_there(lock, session.store) for lock in locks]
    # As locks are, and not as people call them: the next journey brings another of that name.
    named = {
        f"{lock.base_name}.yaml": path for lock, path in zip(locks, whose, strict=True) if path
    }
    with holding(locks, session):
        without = () if known is None else _held_by(known, locks, session.store)
        packed = packing(
            locks,
            session.store.find,
            extras=extras,
            named=named,
            part_size=part_size,
            without=without,
        )
        if not isinstance(out, Path):
            return write_stream(packed, out, progress=session.progress)
        if folder:
            return write_folder(packed, out, progress=session.progress)
        return write_parts(packed, out, only=only, replace=replace, progress=session.progress)


def _held_by(known: Ledger, locks: Iterable[Lock], store: Store) -> frozenset[Digest]:
    """Return what a ledger says the site holds, if that can be told exactly.

    Raises:
        InputError: it cannot, or it is a ledger of ISOs.
    """
    place = f"ledger {known.number}"
    if known.kind != "blobs":
        raise InputError(f"{place}: is of ISOs", hint="make one at the site with --blobs")
    here = {blob.digest for blob in stored(store)} | needed_here(store)
    answer = among(known, here | digests(locks, store.find))
    if not answer.exact:
        raise InputError(
            f"{place}: what the site holds cannot be told exactly: {answer.unknown} of its blobs "
            "are not known here",
            hint="use the store from which the site was filled, or export without --known",
        )
    return answer.there


@dataclass(frozen=True, slots=True)
class Lacking:
    """A lock that came and cannot be built yet."""

    place: str  # the ISO that it came with, or the file that it became
    missing: tuple[str, ...]  # what it needs and the store does not wholly have


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of all that was carried."""

    taken: tuple[Taken, ...]
    bundles: tuple[Arrived, ...]
    locks: tuple[Path, ...]  # of what can be built now, in the folder that was named
    lacking: tuple[Lacking, ...]
    done: int  # of the files and folders, those that no failure is about: their bundle is whole
    failures: tuple[IsobuilderError, ...]  # why something was refused, or is missing


def import_carried(
    paths: Iterable[Path],
    store: Store,
    out: Path,
    *,
    stdin: BinaryIO | None = None,
    expected: Digest | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Bring parts, bundles in folders and ISOs into ``store``, and locks and files into ``out``.

    ``expected`` is the identity of the bundle that parts have to be of. What is damaged in the
    store comes again. What is refused keeps nothing else from its turn; the answer has the errors.
    """
    store = ProvedStore(store.root)
    taken: list[Taken] = []
    failures: list[IsobuilderError] = []
    states: list[Arrived] = []
    came: list[_Came] = []
    undone: set[str] = set()
    with ExitStack() as closing:
        knowing = _leasing(store, closing)
        for path in spread(paths, failures):
            try:
                one = take(
                    path,
                    store,
                    closing,
                    stdin=stdin,
                    expected=expected,
                    knowing=knowing,
                    progress=progress,
                )
                taken.append(one)
                failures += one.failures
                undone |= {one.place} if one.failures else set()
            except IsobuilderError as error:
                failures.append(error)
        for bundle, places in _bundles(taken):
            try:
                states.append(settle(bundle, store, out))
                if states[-1].missing:
                    undone |= places
                    continue
                found = locks_in(bundle, store).items()
                came += [_Came(lock, places, out / name) for name, lock in found]
            except IsobuilderError as error:
                failures.append(error)
                undone |= places
        came += [_Came(one.lock, {one.place}) for one in taken if one.lock is not None]
        locks, lacking = _sorted_out(came, store, out, failures, undone)
    failures += [incomplete(state) for state in states if state.missing]
    return Imported(
        tuple(taken),
        tuple(states),
        tuple(dict.fromkeys(locks)),
        tuple(lacking),
        sum(one.place not in undone for one in taken),
        tuple(failures),
    )


@dataclass(frozen=True, slots=True)
class _Came:
    """A lock that came."""

    lock: Lock
    places: set[str]  # whence
    path: Path | None = None  # where it is now; None: beside an ISO, not yet in the folder

    @property
    def place(self) -> str:
        return min(self.places) if self.path is None else str(self.path)


def _sorted_out(
    came: Iterable[_Came],
    store: Store,
    out: Path,
    failures: list[IsobuilderError],
    undone: set[str],
) -> tuple[list[Path], list[Lacking]]:
    """Return which locks can be built, and which cannot; why, goes to ``failures``."""
    locks: list[Path] = []
    lacking: list[Lacking] = []
    for item in came:
        try:
            # Only now: what one of them lacks another may have brought.
            absent = missing_names(item.lock, store.own)
            if not absent:
                locks.append(item.path or write_lock(item.lock, out))
                continue
            lacking.append(Lacking(item.place, tuple(absent)))
            undone |= item.places
            failures.append(_lacking(item, absent))
        except IsobuilderError as error:
            failures.append(error)
            undone |= item.places
    return locks, lacking


def _leasing(store: Store, closing: ExitStack) -> Knowing:
    """Return what keeps all of a bundle from being collected until ``closing`` closes."""
    leased: set[Digest] = set()

    def lease_all(bundle: Bundle) -> None:
        if bundle.identity not in leased:
            closing.enter_context(lease(store, [item.digest for item in bundle.contents]))
            leased.add(bundle.identity)

    return lease_all


def _bundles(taken: Iterable[Taken]) -> list[tuple[Bundle, set[str]]]:
    """Return each bundle once, with the places that its parts came from."""
    found: dict[Digest, tuple[Bundle, set[str]]] = {}
    for one in taken:
        if one.bundle is not None:
            found.setdefault(one.bundle.identity, (one.bundle, set()))[1].add(one.place)
    return list(found.values())


def _lacking(one: _Came, absent: Sequence[str]) -> PartlyDone:
    names = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if absent[5:] else "")
    if one.path is None:
        return PartlyDone(
            f"{one.place}: does not have {names} as it was",
            hint="the store keeps the rest; isobuilder verify tells what is wrong with it",
        )
    return PartlyDone(
        f"{one.place}: cannot be built yet, for the store lacks {names}",
        hint="import what carries that as well; site export leaves nothing out without --known",
    )
