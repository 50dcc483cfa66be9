"""An ISO or a lock -> the bill of materials with depth; a lock and its ISO have the same one."""

from __future__ import annotations

from pathlib import Path

from isobuilder.content.from_iso import named_blobs
from isobuilder.content.tree import tree
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import read_bytes
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import MANIFEST, SBOM, Medium
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.pipeline.fetch import holding
from isobuilder.pipeline.payload import pin_or_plain
from isobuilder.progress import Progress
from isobuilder.sources.session import Session
from isobuilder.store import Store
from isobuilder.trust.bill.depth import BlobSpan, deepened
from isobuilder.trust.bill.model import BILL, Bill, read_bill
from isobuilder.trust.bill.notes import Notes

_BILL_ENDS = ".cdx.json"
"""How the name of a file ends that is a bill itself."""


def bill_of(source: Path, session: Session) -> Bill:
    """Return what is in an ISO, in what a lock builds, or what a bill of ours says.

    Of a lock, what the store lacks is fetched first. What the store noted of a blob is not read
    again.

    Raises:
        InputError: none of these, or an ISO that is not ours.
        IntegrityError: bytes are not what the bill on the ISO says.
    """
    if source.name.endswith(_BILL_ENDS):
        bill = read_bill(read_bytes(source, BILL.size), str(source))
        if bill.deep:
            return bill
        raise InputError(
            f"{source}: says which files and images there are, and not what is inside of them",
            hint="name the ISO, its lock, or what isobuilder sbom write made",
        )
    if source.suffix == ".json":
        return of_lock(load_lock(source), session)
    return of_iso(source, session.store, session.progress)


def of_lock(lock: Lock, session: Session) -> Bill:
    """Return what is in the ISO that ``lock`` builds."""
    lock = pin_or_plain(lock, session.store, session.progress.step)
    with holding([lock], session):
        made = tree(lock, session.store, progress=session.progress)
        bill = read_bill(made.sbom, SBOM)
        store = session.store
        return deepened(bill, _OfStore(store), notes=Notes(store), progress=session.progress)


def of_iso(iso: Path, store: Store, progress: Progress) -> Bill:
    """Return what is in an ISO, of which every byte that is looked at has its promised digest."""
    with IsoReader(iso) as reader:
        medium = Medium(reader)
        bill = _on(medium, iso)
        return deepened(bill, _OfIso(medium, bill), notes=Notes(store), progress=progress)


def _on(medium: Medium, iso: Path) -> Bill:
    """Return the bill on an ISO, which names the files that its manifest names, and no others."""
    if SBOM not in medium.files:
        raise InputError(
            f"{iso}: there is no {SBOM} on it",
            hint="isobuilder makes it for its own ISOs; isobuilder inspect looks at any",
        )
    bill = read_bill(medium.read(SBOM), f"{iso}: {SBOM}")
    manifest = medium.manifest
    if not isinstance(manifest, IsoManifest):
        raise IntegrityError(f"{iso}: {MANIFEST}: {manifest}")
    archives = {part.fact("path"): part.fact("archive-sha256") for part in bill.images}
    told = {part.name: part.sha256 for part in bill.components if part.type == "file"}
    told |= {path: digits for path, digits in archives.items() if path is not None}
    listed = {path: digest.hex for path, digest in _digests(manifest).items() if path != SBOM}
    for path in sorted(told.keys() | listed.keys()):
        if told.get(path) != listed.get(path):
            raise IntegrityError(
                f"{iso}: {path}: {SBOM} says {told.get(path) or 'nothing'}, "
                f"{MANIFEST} {listed.get(path) or 'nothing'}",
                hint="do not use it; isobuilder verify says what else is wrong",
            )
    return bill


def _digests(manifest: IsoManifest) -> dict[str, Digest]:
    return {path: Digest.from_hex(digits) for path, digits in manifest.files.items()}


class _OfStore:
    """The blobs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def span(self, digest: Digest, /) -> BlobSpan | None:
        """Return where the blob is."""
        blob = self._store.find(digest)
        return None if blob is None else BlobSpan(blob.open(), 0, blob.size)


class _OfIso:
    """What an ISO says to have: files by the digests of its bill, blobs by their names."""

    def __init__(self, medium: Medium, bill: Bill) -> None:
        self._medium = medium
        self._places: dict[Digest, tuple[str, int, int]] = {}
        for part in bill.components:
            if part.type == "file" and part.sha256 and part.name in medium.files:
                size = medium.files[part.name].size
                self._places[Digest.from_hex(part.sha256)] = part.name, 0, size
        for part in bill.images:
            self._take(part.fact("path") or "")

    def _take(self, path: str) -> None:
        if path not in self._medium.files:
            return
        archive = self._medium.archive(path)
        if isinstance(archive, IntegrityError):
            raise IntegrityError(f"{path}: {archive}")
        for digest, member in named_blobs(archive):
            self._places.setdefault(digest, (path, member.offset, member.size))

    def span(self, digest: Digest, /) -> BlobSpan | None:
        """Return where the blob is."""
        place = self._places.get(digest)
        if place is None:
            return None
        path, start, size = place
        return BlobSpan(self._medium.open(path), start, size)
