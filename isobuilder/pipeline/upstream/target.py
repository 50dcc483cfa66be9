"""Where a sync publishes, with what it needs beside the place itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isobuilder.documents.json import DOCUMENT
from isobuilder.errors import IntegrityError
from isobuilder.files import as_environment_problem, is_file, locked, write_whole
from isobuilder.medium import TRAVELS
from isobuilder.model.lock import Lock
from isobuilder.model.policy import Publish, Signing
from isobuilder.mold.catalogue import SUFFIX, Item, read_registration
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.provenance.signing import SIGNED, sign_built
from isobuilder.publish.index import Published, index_of
from isobuilder.publish.place import FolderPlace, PublishedPlace
from isobuilder.sources.session import Session
from isobuilder.trust.signature import BUNDLE_FILE
from isobuilder.trust.signers import open_signer

SIDES = ("iso", *TRAVELS)
"""How what is published of an ISO ends."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where ISOs are published, and where they are built before."""

    place: PublishedPlace
    work: Path
    url: str | None

    def settled(self, lock: Lock) -> tuple[bool, Published | None]:
        """Tell whether nothing is to be published for a lock, and the ISO of it that is there.

        One that was taken away is settled and not there.
        """
        index = index_of(self.place)
        known = next((one for one in index.isos if one.lock == lock.digest), None)
        if known is not None and self.place.size_of(known.name) == known.size:
            return True, known
        return any(one.lock == lock.digest for one in index.retired), None

    def clear(self, base_name: str) -> None:
        """Take away what a run that was killed after it had published an ISO left of it here."""
        with as_environment_problem(self.work):
            if any(self.work.glob(f"{base_name}.*")):
                with locked(self.work / ".lock"):
                    for path in self.work.glob(f"{base_name}.*"):
                        path.unlink()

    def lock_of(self, entry: Published) -> Path | None:
        """Return a file with the lock of a published ISO; None if there is none."""
        return self._side(f"{entry.base_name}.lock.json")

    def item(self, entry: Published) -> Item:
        """Return what servers are told of a published ISO.

        Raises:
            IsobuilderError: its registration is not there, or another one.
        """
        url = f"{self.url}/{entry.name}" if self.url else None
        name = f"{entry.base_name}{SUFFIX}"
        if (side := self._side(name)) is None:
            raise IntegrityError(f"{self.place}/{name}: is not there any more")
        registration, iso = read_registration(side)
        return Item(registration, url, iso=iso)

    def copy_sides(self, entry: Published, folder: Path) -> None:
        """Copy what lies beside a published ISO, as far as it is there, into a folder."""
        for end in TRAVELS:
            name = f"{entry.base_name}.{end}"
            if (data := self.place.read(name, BUNDLE_FILE.size)) is not None:
                write_whole(folder / name, data)

    def sign(self, made: Built, signing: Signing) -> None:
        """Sign an ISO beside which its signature then lies; one that is published stays it.

        Raises:
            IsobuilderError: the signer cannot be had, or fails.
        """
        signer = open_signer(signing.key)
        name = f"{made.lock.base_name}{SIGNED}"
        if (known := self.place.read(name, BUNDLE_FILE.size)) is not None:
            write_whole(made.iso.with_name(name), known)
        sign_built(made.iso, made.digest, made.lock, signer, builder=signing.builder)

    def _side(self, name: str) -> Path | None:
        """Return a side file: the published one, or a copy of it."""
        if isinstance(self.place, FolderPlace):
            path = self.place.folder / name
            return path if is_file(path) else None
        data = self.place.read(name, DOCUMENT.size)
        if data is None:
            return None
        copy = self.work / "sides" / name
        write_whole(copy, data)
        return copy


def open_target(publish: Publish, session: Session) -> Target:
    """Return where a policy publishes; a folder is made.

    Raises:
        EnvironmentProblem: it cannot be, or nobody said who may write to the bucket.
    """
    if publish.s3 is None:
        folder = Path(publish.folder or "")
        with as_environment_problem(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return Target(FolderPlace(folder), folder / ".work", publish.url)
    from isobuilder.publish.s3 import BucketPlace

    place = BucketPlace(publish.s3, session.http.settings)
    return Target(place, session.store.root / "publish", publish.url)
