"""OS payloads in the store: kept, listed, found again."""

from __future__ import annotations

from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem
from isobuilder.files import disk_problem, write_whole
from isobuilder.model.payload import OsPayload, read_payload
from isobuilder.store import Store, copy_to

DESCRIPTION = "payload.json"

LARGEST_DESCRIPTION = 16 * 1024 * 1024
"""Bytes; a real one has a few hundred KiB."""

_KIND = "os-payload"


def keep_payload(store: Store, payload: OsPayload) -> None:
    """Remember ``payload``, whose artifacts are in ``store``; its description becomes a blob."""
    blob = store.add_bytes(payload.to_bytes())
    store.remember(_KIND, payload.digest, blob.digest.encode())


def export_payload(store: Store, payload: OsPayload, folder: Path) -> Path:
    """Write ``payload`` into ``folder`` as a recipe's ``boot.payload`` reads it.

    Returns the path of its description, which has the digest to write into the recipe.

    Raises:
        EnvironmentProblem: the store lacks an artifact, or the folder cannot be written.
        IntegrityError: an artifact was damaged since it was stored.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(payload.artifacts):
            digest = payload.artifacts[name].digest
            blob = store.find(digest)
            if blob is None:
                raise EnvironmentProblem(
                    f"the store {store.root} lacks {name} of {payload.name}, {digest}",
                    hint="make the payload again with isobuilder os build",
                )
            copy_to(blob, folder / name)
        description = folder / DESCRIPTION
        write_whole(description, payload.to_bytes())
    except OSError as error:
        raise disk_problem(error, folder) from error
    return description


def forget_payload(store: Store, payload: OsPayload) -> None:
    """Forget ``payload``; its bytes go with the next collection that no lock forbids."""
    store.forget(_KIND, payload.digest)


def replace_payload(store: Store, payload: OsPayload) -> None:
    """Remember ``payload`` and forget older ones of its name; locks that pin those still build."""
    keep_payload(store, payload)
    for other in payloads(store):
        if other.name == payload.name and other != payload:
            forget_payload(store, other)


def payloads(store: Store) -> list[OsPayload]:
    """Return the payloads that ``store`` knows and has every artifact of, sorted by name."""
    found = []
    for digest in store.remembered(_KIND):
        description = store.find(digest)
        if description is None:
            continue
        payload = read_payload(description.read(), place=description.place)
        if all(store.find(artifact.digest) for artifact in payload.artifacts.values()):
            found.append(payload)
    return sorted(found, key=lambda payload: (payload.name, payload.kernel_version, payload.digest))


def choose_payload(store: Store, wanted: str, *, architecture: str) -> OsPayload:
    """Return the one payload that ``wanted`` names.

    ``wanted`` is whole words from the beginning of a name (``debian-13``, ``debian-13-generic``)
    or the beginning of a digest (at least six characters after ``sha256:``).

    Raises:
        EnvironmentProblem: there is none, or several; the hint says the ways out.
    """
    matching = _matching(store, wanted, architecture)
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise EnvironmentProblem(
            f"the store {store.root} has no OS payload {wanted} for {architecture}",
            hint="make one with isobuilder os build, or build a plain ISO with --no-boot",
        )
    names = ", ".join(f"{payload.name} {payload.digest[:19]}" for payload in matching)
    raise EnvironmentProblem(
        f"several OS payloads are {wanted} for {architecture}: {names}",
        hint="name one in full, or by its digest",
    )


def has_payload(store: Store, wanted: str, *, architecture: str) -> bool:
    """Return whether ``store`` has a payload that ``wanted`` names, as ``choose_payload`` does."""
    return bool(_matching(store, wanted, architecture))


def _matching(store: Store, wanted: str, architecture: str) -> list[OsPayload]:
    return [
        payload
        for payload in payloads(store)
        if payload.architecture == architecture
        and (
            f"{payload.name}-".startswith(f"{wanted}-")
            or payload.digest.startswith(_digest_form(wanted))
        )
    ]


def payload_digests(store: Store) -> set[Digest]:
    """Return the blobs that payloads need, so that housekeeping keeps them."""
    return {digest for payload in payloads(store) for digest in needed_by(payload)}


def needed_by(payload: OsPayload) -> set[Digest]:
    """Return the blobs that ``payload`` consists of, its description among them."""
    return {payload.digest, *(artifact.digest for artifact in payload.artifacts.values())}


def _digest_form(wanted: str) -> str:
    return wanted if wanted.startswith("sha256:") and len(wanted) >= 13 else "\0"
