"""ISO + lock -> whether the ISO is what the lock says: every path, every digest, every byte."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from isobuilder import __version__
from isobuilder.content.compare import differences
from isobuilder.content.from_iso import IsoBlobs
from isobuilder.content.needed import DESCRIPTION, Need, missing
from isobuilder.content.tree import IMAGES_LIST, SBOM, tree
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.iso.boot_names import PAYLOAD
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import MANIFEST, SUMS, Medium
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.store import Store

PROVED = (
    "files",
    "manifests",
    "images",
    "what isobuilder makes of them",
    "names, modes and times",
    "bytes of no file",
)
"""What is proved of an ISO without a difference."""

_OURS = (IMAGES_LIST, MANIFEST, SBOM, SUMS)
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,39}")
_OWN = "build the ISO from this lock, or name its own"


@dataclass(frozen=True, slots=True)
class Proof:
    """What comparing with a lock gave."""

    findings: tuple[Finding, ...] = ()
    proved: tuple[str, ...] = ()
    not_proved: tuple[str, ...] = ()


def against_lock(
    lock: Lock,
    reader: IsoReader,
    medium: Medium,
    files: Mapping[str, Digest],
    whole: Collection[str],
    store: Store | None,
) -> Proof:
    """Return how the ISO differs from what ``lock`` says, and what could not be told.

    ``files`` is the digest of every file on the ISO, ``whole`` the paths of archives whose blobs
    were all hashed. What the ISO must contain is worked out from the lock and from blobs that are
    on the ISO and have a locked digest. ``store`` is asked for manifests as they were served, and
    for parts of the OS payload, if the ISO does not lead to them.
    """
    manifest = medium.manifest
    ours = None if isinstance(manifest, IntegrityError) else manifest
    asked, lock = lock, _as_built(lock, medium)
    blobs = IsoBlobs(lock, reader, medium, files, whole=whole, more=store)
    tool = _tool(ours)
    found: list[Finding] = []
    absent = missing(lock, blobs.find)
    if lock.boot is not None and lock.boot.payload is None:
        found.append(_payload_absent(lock.boot, files))
    elif absent:
        found += _gaps(lock, absent, files)
    else:
        try:
            wanted = tree(lock, blobs, tool=tool)
        except (InputError, IntegrityError) as error:
            found.append(_pin("the lock", str(error)))
        else:
            remedy = _OWN if tool == __version__ else _other_version(tool)
            found += [
                _pin(place, fact, remedy) for place, fact in differences(reader, files, wanted)
            ]
    found += _of_another_lock(lock, ours)
    open_ends = []
    if asked != lock:
        open_ends.append("which OS payload it should have, if any: the lock leaves that open")
    if tool != __version__:
        open_ends.append(f"that isobuilder {tool} made it: this is {__version__}")
    return Proof(tuple(found), () if found else PROVED, tuple(open_ends))


def _as_built(lock: Lock, medium: Medium) -> Lock:
    """Return ``lock`` with the ISO's own OS payload, where it leaves that to the build."""
    if lock.boot is None or lock.boot.payload is not None:
        return lock
    if PAYLOAD not in medium.files:
        return lock.model_copy(update={"boot": None})  # as a build makes it without a payload
    payload = medium.payload(PAYLOAD)
    if isinstance(payload, IntegrityError):
        return lock  # the checks of the boot structure say what is wrong with it
    own = LockedBoot.of(payload)
    return lock.model_copy(update={"boot": own}) if own.name == lock.boot.name else lock


def _tool(manifest: IsoManifest | None) -> str:
    """Return the version that made the ISO, as far as it says so."""
    if manifest is None or not _VERSION.fullmatch(manifest.tool):
        return __version__
    return manifest.tool


def _of_another_lock(lock: Lock, manifest: IsoManifest | None) -> Iterator[Finding]:
    if manifest is not None and manifest.lock_sha256 != lock.digest.hex:
        fact = f"made from the lock {manifest.lock_sha256}, this lock is {lock.digest.hex}"
        yield _pin(MANIFEST, fact)


def _gaps(lock: Lock, absent: list[Need], files: Mapping[str, Digest]) -> Iterator[Finding]:
    """Give what of the lock is neither on the ISO nor to be had."""
    places = {file.name: file.path for file in lock.files}
    places |= {manifest.name: manifest.path for manifest in lock.manifests}
    places |= {image.reference: image.archive for image in lock.images}
    changed = {manifest.name for manifest in lock.manifests if manifest.images == "pin"}
    for need in absent:
        place = places.get(need.name, PAYLOAD)
        is_there = f"the ISO has {files[place]}" if place in files else "it is not there"
        if need.kind == "payload" and need.name != DESCRIPTION:
            yield _pin(PAYLOAD, f"the lock pins {need.name} {need.digest}, it is not there")
        elif need.kind == "image":
            yield _pin(place, f"the lock pins {need.name}, its {need.digest} is not there")
        elif need.name in changed and place in files:
            yield _pin(
                place,
                f"the lock pins {need.digest} with its images pinned, {is_there}, and nothing "
                "proves that it was made of that",
                "to have it proved, run isobuilder fetch with the lock and verify again, or name "
                "the store that has it with --store",
            )
        else:
            yield _pin(place, f"the lock pins {need.digest}, {is_there}")
    if lock.boot is None:
        expected = {*places.values(), *(item.path for item in lock.render), *_OURS}
        for path in sorted(files.keys() - expected):
            yield _pin(path, "it is on the ISO, and nothing in the lock leads to it")


def _payload_absent(boot: LockedBoot, files: Mapping[str, Digest]) -> Finding:
    fact = f"the ISO has {files[PAYLOAD]}" if PAYLOAD in files else "it is not there"
    return _pin(PAYLOAD, f"the lock wants an OS payload {boot.name}, {fact}")


def _other_version(tool: str) -> str:
    return (
        f"verify it with isobuilder {tool}, which it says made it: this is {__version__}, and may "
        "make another ISO of the same lock"
    )


def _pin(place: str, fact: str, remedy: str = _OWN) -> Finding:
    return Finding(rule="lock.pin", place=place, fact=fact, remedy=remedy)
