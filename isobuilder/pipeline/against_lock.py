"""ISO + lock -> whether the ISO is what the lock says: every path, every digest, every byte."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from isobuilder import __version__
from isobuilder.content.from_iso import IsoBlobs
from isobuilder.content.needed import DESCRIPTION, Need, missing
from isobuilder.content.tree import IMAGES_LIST, IsoTree, tree
from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.iso.boot_names import PAYLOAD
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.writer import planned
from isobuilder.medium import MANIFEST, SBOM, SUMS, Medium
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.trust.claims import CLAIMS
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
    lock: Lock | None = None  # with the choice made that the lock leaves to the build


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
    return Proof(tuple(found), () if found else PROVED, tuple(open_ends), lock)


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
    if lock.trust is not None:
        places |= {path: path for path in lock.trust.files}
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
        expected |= {CLAIMS, *lock.trust.files} if lock.trust is not None else set()
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


Difference = tuple[str, str]
"""Place and fact, in words."""


def differences(
    reader: IsoReader, files: Mapping[str, Digest], wanted: IsoTree
) -> Iterator[Difference]:
    """Give every path, digest and mode that is not as ``wanted``, else every other byte.

    ``files`` is the digest of every file on the ISO. What no file has is compared with what the
    writer puts there: descriptors, folders, names, boot code, and zeros between files and behind
    them. If nothing is given, the ISO is what ``write_iso`` makes of ``wanted``, byte for byte.
    """
    found = [*_paths(files, wanted), *_modes(reader, wanted)]
    yield from found or _bytes_of_no_file(reader, wanted)


def _paths(files: Mapping[str, Digest], wanted: IsoTree) -> Iterator[Difference]:
    for path in sorted(files.keys() | wanted.facts.keys()):
        digest = wanted.facts[path][0] if path in wanted.facts else None
        if digest is None:
            yield path, "it is on the ISO, and nothing in the lock leads to it"
        elif path not in files:
            yield path, f"the lock leads to {digest}, it is not there"
        elif files[path] != digest:
            yield path, f"the lock leads to {digest}, the ISO has {files[path]}"


def _modes(reader: IsoReader, wanted: IsoTree) -> Iterator[Difference]:
    for entry in wanted.entries:
        mode = 0o555 if entry.mode & 0o111 else 0o444
        found = reader.files.get(entry.path)
        if found is not None and found.mode != mode:
            yield entry.path, f"its mode should be {mode:04o}, it is {found.mode:04o}"


def _bytes_of_no_file(reader: IsoReader, wanted: IsoTree) -> Iterator[Difference]:
    plan = planned(wanted.entries, label=wanted.label, epoch=wanted.epoch, boot=wanted.boot)
    if reader.size != plan.size:
        yield "the image", f"{reader.size} bytes, expected {plan.size}"
        return
    runs = [(0, plan.head)]
    ends = [(at, at + entry.size) for at, entry in plan.bodies]
    tail = plan.size - len(plan.tail)
    for (_, end), (begin, _) in pairwise([*ends, (tail, tail)]):
        runs.append((end, bytes(begin - end)))
    runs.append((tail, plan.tail))
    with reader.open_image() as image:
        for begin, expected in runs:
            image.seek(begin)
            for at in range(0, len(expected), BUFFER_SIZE):
                part = expected[at : at + BUFFER_SIZE]
                got = image.read(len(part))
                if got != part:
                    byte = (
                        begin
                        + at
                        + next(n for n, b in enumerate(part) if got[n : n + 1] != bytes([b]))
                    )
                    yield f"byte {byte}", _what(byte, len(plan.head), tail)
                    return


def _what(byte: int, head: int, tail: int) -> str:
    if byte < 32 * 1024:
        return "before the volume descriptors is something else than the writer puts there"
    if byte < head:
        return "a descriptor, folder, name or mode is not as the writer makes it"
    if byte < tail:
        return "something between the files, where only zeros should be"
    return "something behind the files that the writer does not put there"
