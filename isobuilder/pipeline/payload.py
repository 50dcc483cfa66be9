"""Which OS payload a lock means: the one that is served, or one of the store."""

from __future__ import annotations

from collections.abc import Iterator

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.machine.payload import choose_payload, has_payload, read_payload
from isobuilder.model.config import mirror_urls
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.recipe import BootWish, PayloadAt
from isobuilder.sources.download import Download
from isobuilder.sources.session import Session
from isobuilder.store import Store


def with_payload(lock: Lock, wanted: str, store: Store) -> Lock:
    """Return ``lock`` with the one OS payload of ``store`` that ``wanted`` names.

    Raises:
        EnvironmentProblem: there is none, or several.
    """
    payload = choose_payload(store, wanted, architecture=lock.architecture)
    return lock.model_copy(update={"boot": LockedBoot.of(payload)})


def with_chosen_payload(lock: Lock, store: Store) -> Lock:
    """Return ``lock`` with an OS payload of ``store`` where it leaves that open, else as it is.

    Raises:
        EnvironmentProblem: the store has none of that kind, or several.
    """
    if lock.boot is None or lock.boot.payload is not None:
        return lock
    return with_payload(lock, lock.boot.name, store)


def with_own_payload(lock: Lock, wish: BootWish, session: Session) -> Lock:
    """Return ``lock`` with the payload of the store that ``wish`` means, else leave that open.

    Raises:
        EnvironmentProblem: the store has several.
    """
    kind = LockedBoot(os=wish.os, kernel=wish.kernel)
    still_open = lock.model_copy(update={"boot": kind})
    if has_payload(session.store, kind.name, architecture=lock.architecture):
        return with_chosen_payload(still_open, session.store)
    session.progress.step(
        f"no OS payload {kind.name} in the store: the lock leaves it open for the build"
    )
    return still_open


def with_served_payload(lock: Lock, wish: BootWish, at: PayloadAt, session: Session) -> Lock:
    """Return ``lock`` with the OS payload that is served at ``at``.

    Raises:
        UpstreamError, IntegrityError: its description could not be had, or is another.
        InputError: it is not what ``wish`` says.
    """
    session.fetcher.fetch([described(at.url, at.sha256, session)])
    blob = session.store.find(at.sha256)
    if blob is None:
        raise AssertionError  # the fetcher would have raised
    payload = read_payload(blob.read(), place=at.url)
    found = (payload.os, payload.kernel, payload.architecture)
    if found != (wish.os, wish.kernel, lock.architecture):
        raise InputError(
            f"{at.url}: is {payload.name}, the recipe wishes for "
            f"{wish.os}-{wish.kernel}-{lock.architecture}",
            hint="correct boot.os, boot.kernel or boot.payload in the recipe",
        )
    return lock.model_copy(update={"boot": LockedBoot.of(payload, url=at.url)})


def described(url: str, digest: Digest, session: Session) -> Download:
    """Return the description of an OS payload as a thing to fetch."""
    return Download(
        name="the OS payload's description",
        urls=mirror_urls(session.config, url),
        digest=digest,
        size=None,
        ceiling=16 * 1024 * 1024,
    )


def served_payload(lock: Lock, session: Session) -> Iterator[Download]:
    """Return what is to be fetched of the OS payload of ``lock``; nothing if nobody serves it."""
    if lock.boot is None or lock.boot.payload is None or lock.boot.url is None:
        return
    yield described(lock.boot.url, lock.boot.payload, session)
    folder = lock.boot.url.rpartition("/")[0]
    for name, part in lock.boot.artifacts.items():
        yield Download(
            name=f"{name} of {lock.boot.os}",
            urls=mirror_urls(session.config, f"{folder}/{name}"),
            digest=part.digest,
            size=part.size,
            ceiling=part.size,
        )


def check_payload(lock: Lock, store: Store) -> None:
    """Return if the store has the OS payload of ``lock``, which no upstream serves.

    Raises:
        EnvironmentProblem: it has not; the hint says the ways out.
    """
    if lock.boot is None or all(store.find(part) is not None for part in lock.boot.blobs):
        return
    raise EnvironmentProblem(
        f"the store {store.root} lacks the OS payload {lock.boot.os}, {lock.boot.payload}",
        hint="make it with isobuilder os build and lock the recipe again, or build a plain ISO "
        "with --no-boot",
    )
