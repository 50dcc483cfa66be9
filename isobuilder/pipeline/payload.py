"""Which OS payload a lock means: the one that is served, or one of the store."""

from __future__ import annotations

from collections.abc import Callable

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.machine.payload import LARGEST_DESCRIPTION, choose_payload, has_payload
from isobuilder.model.config import mirror_urls
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.payload import read_payload
from isobuilder.model.recipe import BootWish, PayloadAt
from isobuilder.sources.download import TEXT_IS_LARGER, Download
from isobuilder.sources.session import Session
from isobuilder.store import Store


def pin_payload(lock: Lock, choice: BootWish | str | None, session: Session) -> Lock:
    """Return ``lock`` with the OS payload that ``choice`` means.

    A text names a payload of the store. A recipe's wish means the payload that is served where it
    says, else that of the store, which the lock leaves open as long as there is none. None means
    what the lock itself says: where that leaves it open, the payload of the store.

    Raises:
        EnvironmentProblem: the store has none of that name or kind, or several.
        UpstreamError, IntegrityError: the served description could not be had, or is another.
        InputError: it is not what the recipe wishes for.
    """
    if isinstance(choice, str):
        return _chosen(lock, choice, session.store)
    if choice is None:
        if lock.boot is None or lock.boot.payload is not None:
            return lock
        return _chosen(lock, lock.boot.name, session.store)
    if choice.payload is not None:
        return _served(lock, choice, choice.payload, session)
    lock = lock.model_copy(update={"boot": LockedBoot(os=choice.os, kernel=choice.kernel)})
    pinned = pin_if_there(lock, session.store)
    if pinned == lock:
        session.progress.step(
            f"no OS payload {choice.os}-{choice.kernel} in the store: "
            "the lock leaves it open for the build"
        )
    return pinned


def pin_if_there(lock: Lock, store: Store) -> Lock:
    """Return ``lock`` with the payload of ``store`` where it leaves that open and there is one.

    Raises:
        EnvironmentProblem: the store has several.
    """
    if lock.boot is None or lock.boot.payload is not None:
        return lock
    there = has_payload(store, lock.boot.name, architecture=lock.architecture)
    return _chosen(lock, lock.boot.name, store) if there else lock


def pin_or_plain(lock: Lock, store: Store, tell: Callable[[str], None]) -> Lock:
    """Return ``lock`` with the OS payload of ``store`` where it leaves that open, else plain.

    Nodes of Mold and CloudStack start from their own template, so an ISO without one serves them;
    ``tell`` is told of it.

    Raises:
        EnvironmentProblem: the store has several.
    """
    lock = pin_if_there(lock, store)
    if lock.boot is None or lock.boot.payload is not None:
        return lock
    tell(
        f"no OS payload {lock.boot.name} for {lock.architecture} in the store, so the ISO will not "
        "start machines; isobuilder os build makes one, --boot insists on it"
    )
    return lock.model_copy(update={"boot": None})


def check_payload(lock: Lock, store: Store) -> None:
    """Return if the store has the OS payload of ``lock``, or somebody serves it.

    Raises:
        EnvironmentProblem: it has not, and nobody does; the hint says the ways out.
    """
    if lock.boot is None or lock.boot.url is not None:
        return
    if any(store.find(part) is None for part in lock.boot.blobs):
        raise EnvironmentProblem(
            f"the store {store.root} lacks the OS payload {lock.boot.os}, {lock.boot.payload}",
            hint="make it with isobuilder os build and lock the recipe again, or build a plain ISO "
            "with --no-boot",
        )


def _chosen(lock: Lock, name: str, store: Store) -> Lock:
    payload = choose_payload(store, name, architecture=lock.architecture)
    return lock.model_copy(update={"boot": LockedBoot.of(payload)})


def _served(lock: Lock, wish: BootWish, at: PayloadAt, session: Session) -> Lock:
    (blob,) = session.fetcher.fetch(
        [
            Download(
                name="the OS payload's description",
                urls=mirror_urls(session.config, at.url),
                digest=at.sha256,
                size=None,
                ceiling=LARGEST_DESCRIPTION,
                if_larger=TEXT_IS_LARGER,
            )
        ]
    )
    payload = read_payload(blob.read(), place=at.url)
    found = (payload.os, payload.kernel, payload.architecture)
    if found != (wish.os, wish.kernel, lock.architecture):
        raise InputError(
            f"{at.url}: is {payload.name}, the recipe wishes for "
            f"{wish.os}-{wish.kernel}-{lock.architecture}",
            hint="correct boot.os, boot.kernel or boot.payload in the recipe",
        )
    return lock.model_copy(update={"boot": LockedBoot.of(payload, url=at.url)})
