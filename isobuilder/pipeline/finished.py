"""A finished ISO by what its manifest says: what it is made from, and if a lock means it."""

from __future__ import annotations

from pathlib import Path

from isobuilder import __version__
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.iso.boot_names import PAYLOAD
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import Medium
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import parse_manifest_json
from isobuilder.model.lock import Lock
from isobuilder.pipeline.payload import pin_payload
from isobuilder.sources.session import Session

_MANIFEST_LIMIT = 32 * 1024 * 1024  # bytes


def manifest_of(iso: Path) -> IsoManifest | None:
    """Return the manifest on the ISO, else the one beside it, else None: it says nothing."""
    try:
        with IsoReader(iso) as reader:
            found = Medium(reader).manifest
    except (IsobuilderError, OSError):
        found = None
    if isinstance(found, IsoManifest):
        return found
    beside = iso.with_suffix(".manifest.json")
    try:
        with beside.open("rb") as file:
            return parse_manifest_json(file.read(_MANIFEST_LIMIT), str(beside))
    except (IsobuilderError, OSError):
        return None


def refuse_other_bytes(lock: Lock, target: Path) -> None:
    """Return if ``target`` may be written: it is not there, or it would get the bytes it has.

    Raises:
        InputError: another ISO has that name.
    """
    if not target.exists():
        return
    manifest = manifest_of(target)
    if manifest is None:
        fact = "is there already, and what it is made from cannot be told"
    elif manifest.lock_sha256 != lock.digest.hex:
        fact = f"is there already, made from the lock {manifest.lock_sha256}, "
        fact += f"this lock is {lock.digest.hex}"
    elif manifest.tool != __version__:
        fact = f"is there already, made by isobuilder {manifest.tool}, this one is {__version__}"
    else:
        return
    raise InputError(
        f"{target}: {fact}",
        hint="raise the revision in the recipe or with --revision, or give the recipe a variant; "
        "--replace lets the other ISO go",
    )


def as_on(iso: Path, lock: Lock, session: Session) -> Lock:
    """Return ``lock`` with the choice that it leaves open made as it was for ``iso``.

    Raises:
        EnvironmentProblem: the ISO starts machines and the store has no OS payload of that kind.
        IntegrityError: the ISO says of itself that it is another one than the lock's.
    """
    manifest = manifest_of(iso)
    if lock.boot is not None and lock.boot.payload is None:
        if manifest is not None and PAYLOAD not in manifest.files:
            lock = lock.model_copy(update={"boot": None})
        else:
            lock = pin_payload(lock, None, session)
    if manifest is not None:
        _refuse_another(iso, manifest, lock)
    return lock


def _refuse_another(iso: Path, manifest: IsoManifest, lock: Lock) -> None:
    wanted = f"{lock.product_version} for {lock.architecture}"
    found = f"{manifest.product_version} for {manifest.architecture}"
    if found != wanted:
        raise IntegrityError(
            f"{iso}: not reproduced: it is {found}, the lock is {wanted}",
            hint=f"name the lock it was made from: {iso.with_suffix('.lock.json').name} beside it",
        )


def not_reproduced(iso: Path, found: Digest, again: Digest, lock: Lock) -> IntegrityError:
    """Return the error that says two builds differ, with what most likely explains it."""
    manifest = manifest_of(iso)
    hint = "compare the files with isobuilder diff"
    if manifest is not None and manifest.tool != __version__:
        hint = f"it was made by isobuilder {manifest.tool}, this one is {__version__}"
    elif manifest is not None and manifest.lock_sha256 != lock.digest.hex:
        hint = f"it was made from the lock {manifest.lock_sha256}, this lock is {lock.digest.hex}"
    return IntegrityError(
        f"{iso}: not reproduced: the file is {found}, built again it is {again}", hint=hint
    )
