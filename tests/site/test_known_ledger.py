"""What a site got is told by its own ledger, and the next bundle leaves it out: both for real."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.validation import parse_json
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.fetch import note_locks
from isobuilder.store import Store, collect, stored
from tests.cli.calling import call, errors
from tests.pipeline.signed import copied
from tests.pipeline.test_boot import make_payload

NAME = "kubernetes-v1.34.12-mold-cks-amd64-r1"


class Journey:
    """An office, whose store has other things too, and a site that begins with nothing."""

    def __init__(self, office: Store, folder: Path) -> None:
        self.office, self.folder, self.site = office, folder, Store(folder / "store")
        self.paper = folder / "ledger.txt"

    def export(self, *words: str | Path) -> Path:
        bundle = self.folder / "b.tar"
        bundle.unlink(missing_ok=True)
        call("site", "export", *words, "--out", bundle, "--store", self.office.root, "--offline")
        return bundle

    def bring(self, *carried: Path, code: int = 0) -> None:
        out = ("--store", self.site.root, "--out", self.folder / "in")
        call("site", "import", *carried, *out, code=code)

    def tell(self) -> str:
        site = ("--site", "x", "--records", self.folder / "records", "--store", self.site.root)
        return call("site", "ledger", "--blobs", *site, "--out", self.paper).stderr

    def left(self, *sources: Path) -> set[str]:
        """Return which kinds of things are still carried after the site told what it has."""
        known = ("--known", self.paper, "--records", self.folder / "office")
        with tarfile.open(self.export(*sources, *known)) as bundle:
            file = bundle.extractfile("bundle.json")
            assert file is not None
            return {item["kind"] for item in json.load(file)["contents"]}


@pytest.fixture
def journey(built: Built, full_store: Store, tmp_path: Path) -> Journey:
    full_store.add_bytes(b"of nobody")
    return Journey(full_store, tmp_path)


def test_what_a_bundle_brought_is_left_out_of_the_next(built: Built, journey: Journey) -> None:
    """Whatever files went along: statements, signatures, notes, a delta, the lock itself."""
    iso = copied(built, journey.folder / "here")
    for end in ("vex.json", "sigstore.json"):
        iso.with_name(f"{NAME}.{end}").write_text(end)
    added: list[str | Path] = []
    for name in ("note.txt", "one.delta"):
        (journey.folder / name).write_text(name)
        added += ["--add", journey.folder / name]
    journey.bring(journey.export(iso, *added))
    assert "not told: 5 blobs of the store that no lock here needs" in journey.tell()
    assert journey.left(iso.with_suffix(".lock.json")) == {"lock", "extra"}
    journey.bring(journey.folder / "b.tar")
    lock = journey.folder / "in" / f"{NAME}.lock.json"
    dist = ("--offline", "--store", journey.site.root, "--out", journey.folder / "dist")
    call("build", lock, *dist)
    assert Digest.of_file(journey.folder / "dist" / f"{NAME}.iso") == built.digest


def test_parts_and_a_folder_are_counted_as_one_file_is(
    built: Built, full_store: Store, journey: Journey
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    export = ("site", "export", lock, "--store", full_store.root, "--offline", "--out")
    call(*export, journey.folder / "parts" / "p.tar", "--part-size", "40K")
    *first, last = sorted((journey.folder / "parts").glob("*.tar"))
    journey.bring(*first, code=7)
    journey.tell()
    assert "image" in journey.left(lock)  # carried once more rather than told wrongly
    journey.bring(last)
    journey.tell()
    assert journey.left(lock) == {"lock"}
    call(*export, f"{journey.folder}/b/")
    journey.bring(journey.folder / "b")
    journey.tell()
    assert journey.left(lock) == {"lock"}


def test_an_iso_is_counted_by_its_lock(built: Built, journey: Journey) -> None:
    """Its other files are in no lock: who has only the lock cannot know them."""
    iso = Path(shutil.copy(built.iso, journey.folder))
    journey.bring(iso)
    told = journey.tell()
    assert f"not told: {len(stored(journey.site))} blobs of the store" in told
    lock = built.iso.with_suffix(".lock.json")
    assert "file" in journey.left(lock)
    journey.bring(built.iso)
    journey.tell()
    assert journey.left(lock) == {"lock"}


def test_an_os_payload_is_left_out_with_its_description(built: Built, journey: Journey) -> None:
    boot = LockedBoot.of(make_payload(journey.office, mark="known"))
    lock = written(journey, built.lock.model_copy(update={"boot": boot}))
    journey.bring(journey.export(lock))
    journey.tell()
    assert journey.left(lock) == {"lock"}
    assert journey.left(built.iso.with_suffix(".lock.json")) == {"lock"}


def test_an_office_that_removed_some_still_knows_what_a_lock_needed(
    built: Built, journey: Journey
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    journey.office = Store(shutil.copytree(journey.office.root, journey.folder / "copy"))
    journey.bring(journey.export(lock))
    journey.tell()
    gone, *kept = built.lock.files
    collect(journey.office, {blob.digest for blob in stored(journey.office)} - {gone.sha256})
    assert journey.office.own(gone.sha256) is None
    less = written(journey, built.lock.model_copy(update={"files": tuple(kept)}))
    assert journey.left(less) == {"lock"}


def test_what_the_site_got_elsewhere_is_not_told_as_known(built: Built, journey: Journey) -> None:
    """A bundle of another office: exactly is what no ledger can then be read here."""
    boot = LockedBoot.of(make_payload(journey.site, mark="of another"))
    journey.bring(journey.export(built.iso.with_suffix(".lock.json")))
    lock = written(journey, built.lock.model_copy(update={"boot": boot}))
    call("build", lock, "--offline", "--store", journey.site.root, "--out", journey.folder / "d")
    journey.tell()
    words = (built.iso.with_suffix(".lock.json"), "--known", journey.paper, "--offline")
    done = call("site", "export", *words, "--store", journey.office.root, code=3)
    assert "cannot be told exactly" in errors(done)[0]


def test_a_damaged_manifest_of_another_lock_keeps_no_ledger_from_being_made_and_used(
    built: Built, journey: Journey
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    journey.office = Store(shutil.copytree(journey.office.root, journey.folder / "copy"))
    journey.bring(journey.export(lock))
    damaged, *others = built.lock.images
    alone = Digest.of(b"a file that only that lock needs")
    digest = Digest.of(b"no manifest")
    archive = f"docker/{digest.hex}.tar"
    broken = damaged.model_copy(update={"digest": digest, "archive": archive})
    first, *rest = built.lock.files
    files = (first.model_copy(update={"sha256": alone, "size": None}), *rest)
    other = built.lock.model_copy(update={"images": (broken, *others), "files": files})
    assert parse_json(other.to_bytes(), "other", Lock)
    for store in (journey.office, journey.site):
        store.add_bytes(b"no manifest")
        note_locks(store, [other])
    journey.site.add_bytes(b"a file that only that lock needs")
    told = journey.tell()
    place = journey.site.path_of(digest)
    assert told.count(f"{place}: what belongs to this image is not known: ") == 1
    assert journey.left(lock) == {"lock"}


def written(journey: Journey, lock: Lock) -> Path:
    path = journey.folder / "other.lock.json"
    path.write_bytes(lock.to_bytes())
    return path
