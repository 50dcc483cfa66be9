"""A store is proved and not believed: what its disk changed is on no ISO."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isobuilder.content.archives import ARCHIVE
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.pipeline.build import Built, build, check
from isobuilder.pipeline.fetch import note_locks
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Store, stored
from isobuilder.store import check as check_store
from tests.pipeline.test_boot import make_payload
from tests.pipeline.world import Locked, World, run_cli


@pytest.fixture
def own(full_store: Store, built: Built, world: World, tmp_path: Path) -> Iterator[Session]:
    """A store of its own that has everything of the demo."""
    shutil.copytree(full_store.root, tmp_path / "store")
    with open_session(world.config, Store(tmp_path / "store")) as session:
        yield session


def bootable(lock: Lock, store: Store) -> Lock:
    return lock.model_copy(update={"boot": LockedBoot.of(make_payload(store))})


def image_part(lock: Lock, store: Store, kind: str) -> Digest:
    blob = store.find(lock.images[0].digest)
    assert blob is not None
    parts = json.loads(blob.read())
    return Digest((parts["layers"][0] if kind == "layer" else parts["config"])["digest"])


def payload_part(lock: Lock, store: Store, name: str) -> Digest:
    assert lock.boot is not None
    blob = store.find(lock.boot.payload or Digest.of(b""))
    assert blob is not None
    return Digest(json.loads(blob.read())["artifacts"][name]["digest"])


def blob_of(lock: Lock, store: Store, kind: str) -> Digest:
    """Return the digest of one blob of a kind."""
    if kind == "file":
        return lock.files[0].sha256
    if kind in {"pin", "keep"}:
        return next(item.sha256 for item in lock.manifests if item.images == kind)
    if kind == "image manifest":
        return lock.images[0].digest
    if kind in {"config", "layer"}:
        return image_part(lock, store, kind)
    if kind == "payload":
        assert lock.boot is not None
        assert lock.boot.payload is not None
        return lock.boot.payload
    return payload_part(lock, store, kind)


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(change(data))


def flipped(data: bytes) -> bytes:
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


def flipped_in_front(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


CHANGES = [flipped, flipped_in_front, lambda data: data[:-1], lambda data: data + b"\0"]
KINDS = ["file", "pin", "layer", "config", "image manifest", "payload", "kernel", "grub", "bios"]


@pytest.mark.parametrize("noted", [True, False], ids=["archives noted", "nothing noted"])
@pytest.mark.parametrize("kind", [*KINDS, "root", "bios-mbr"])
def test_a_damaged_blob_stops_the_build_by_its_name_and_leaves_nothing(
    kind: str, noted: bool, own: Session, locked: Locked, tmp_path: Path
) -> None:
    lock, store = bootable(locked.lock, own.store), own.store
    good = build(lock, tmp_path / "good", own) if noted else None
    for path in (store.root / "notes" / ARCHIVE).iterdir() if not noted else ():
        path.unlink()
    digest = blob_of(lock, store, kind)
    damage(store.path_of(digest), flipped)
    out = tmp_path / "out"
    with pytest.raises(IntegrityError, match=digest) as caught:
        build(lock, out, own)
    assert "store check" in str(caught.value.hint)
    assert list(out.iterdir()) == []
    if good is not None:
        with pytest.raises(IntegrityError, match=digest):
            check(lock, good.iso, own)


@pytest.mark.parametrize("change", [*CHANGES, lambda _: b""], ids=range(5))
@pytest.mark.parametrize("kind", ["file", "layer"])
def test_whatever_happened_to_a_blob_checking_and_building_again_mends_it(
    kind: str,
    change: Callable[[bytes], bytes],
    own: Session,
    locked: Locked,
    built: Built,
    tmp_path: Path,
) -> None:
    digest = blob_of(locked.lock, own.store, kind)
    damage(own.store.path_of(digest), change)
    out = tmp_path / "out"
    with pytest.raises(IntegrityError):
        build(locked.lock, out, own)
    assert list(out.iterdir()) == []
    assert [damaged.name for damaged in check_store(own.store).damaged] == [digest.hex]
    assert build(locked.lock, out, own).digest == built.digest


def test_a_wrong_note_of_an_archive_is_told_and_forgotten(
    own: Session, locked: Locked, built: Built, tmp_path: Path
) -> None:
    note = next((own.store.root / "notes" / ARCHIVE).iterdir())
    note.write_bytes(Digest.of(b"other").encode())
    with pytest.raises(IntegrityError, match=r"docker/.*as a note in the store has it"):
        build(locked.lock, tmp_path / "out", own)
    assert list((tmp_path / "out").iterdir()) == []
    assert build(locked.lock, tmp_path / "out", own).digest == built.digest


def test_a_damaged_manifest_of_a_lock_that_nobody_named_stops_no_housekeeping(
    own: Session, locked: Locked, tmp_path: Path
) -> None:
    store, manifest = own.store, locked.lock.images[0]
    note_locks(store, [locked.lock])
    other = tmp_path / "other.lock.json"
    other.write_bytes(locked.lock.model_copy(update={"images": ()}).to_bytes())
    damage(store.path_of(manifest.digest), flipped)
    at = ("--store", store.root)
    listed = run_cli("store", "list", *at)
    assert manifest.digest in listed.stdout
    assert "what belongs to this image is not known" in listed.stderr
    assert json.loads(run_cli("store", "list", *at, "--json").stdout)
    for words in (("--max-size", "1G"), ("--max-size", "1G", "--json"), ()):
        done = run_cli("store", "gc", other, *words, *at)
        assert done.stdout
    assert not store.find(manifest.digest)


def test_a_damaged_payload_is_listed_without_names(own: Session) -> None:
    digest = make_payload(own.store).digest
    damage(own.store.path_of(digest), flipped)
    listed = run_cli("store", "list", "--store", own.store.root)
    assert digest in listed.stdout
    assert "names of OS payloads are not known" in listed.stderr


def test_a_damaged_manifest_of_a_lock_that_is_named_removes_nothing(
    own: Session, locked: Locked
) -> None:
    before = stored(own.store)
    damage(own.store.path_of(locked.lock.images[0].digest), flipped)
    done = run_cli("store", "gc", locked.path, "--store", own.store.root, check=5)
    assert "damaged since it was stored" in done.stderr
    assert "hint: run isobuilder store check" in done.stderr
    assert {blob.digest for blob in stored(own.store)} == {blob.digest for blob in before}


def test_the_command_ends_with_5_and_says_how_to_mend_it(
    own: Session, locked: Locked, world: World, tmp_path: Path
) -> None:
    damage(own.store.path_of(blob_of(locked.lock, own.store, "layer")), flipped)
    arguments: list[str | Path] = ["--config", world.config_file, "--store", own.store.root]
    done = run_cli(*arguments, "build", locked.path, "--out", tmp_path / "out", check=5)
    assert "damaged since it was stored" in done.stderr
    assert "hint: run isobuilder store check" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
