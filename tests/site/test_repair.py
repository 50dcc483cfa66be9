"""A damaged ISO becomes the one that was published, or stays as it is."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.iso.read.reader import IsoReader
from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints


@pytest.fixture
def iso(built: Built, tmp_path: Path) -> Path:
    """A copy of the demonstration's ISO with what lies beside it."""
    folder = tmp_path / "site"
    shutil.copytree(built.iso.parent, folder)
    return folder / built.iso.name


def spoil(iso: Path, path: str, *, at: int = 0, size: int = 1) -> None:
    """Overwrite bytes of a file on an ISO."""
    offset = file_at(iso, path) + at
    data = bytearray(iso.read_bytes())
    for place in range(offset, offset + size):
        data[place] ^= 0xFF
    iso.write_bytes(data)


def file_at(iso: Path, path: str) -> int:
    with IsoReader(iso) as reader:
        return reader.files[path].extents[0].offset


def archive_of(built: Built) -> str:
    return built.lock.images[0].archive


@pytest.mark.parametrize("donor", ["store", "iso"])
def test_damaged_files_and_archives_are_mended_from_a_donor(
    donor: str, iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    spoil(iso, "k8s/kubelet", at=10, size=100)
    spoil(iso, archive_of(built), at=2048, size=600)
    source = full_store.root if donor == "store" else built.iso
    command = ("--from", source, "--store", tmp_path / "none", "--offline")
    done = call("site", "repair", iso, *command)
    assert Digest.of_file(iso) == built.digest
    assert "k8s/kubelet" in done.stderr
    assert archive_of(built) in done.stderr
    again = call("site", "repair", iso, *command)
    assert "nothing was damaged" in again.stderr


def test_only_the_damaged_blob_is_asked_of_a_donor(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    kubelet = next(file for file in built.lock.files if file.name == "kubelet")
    blob = full_store.own(kubelet.sha256)
    assert blob is not None
    folder = tmp_path / "donor" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    (folder / kubelet.sha256.hex).write_bytes(blob.read())
    spoil(iso, "k8s/kubelet")
    common = ("--store", tmp_path / "none", "--offline")
    call("site", "repair", iso, "--from", tmp_path / "donor", *common)
    assert Digest.of_file(iso) == built.digest


def test_bytes_of_no_file_and_what_we_wrote_ourselves_need_no_donor(
    iso: Path, built: Built, tmp_path: Path
) -> None:
    spoil(iso, "manifest.json", at=5, size=30)
    data = bytearray(iso.read_bytes())
    data[100] ^= 1
    data += b"something behind the end"
    iso.write_bytes(data)
    common = ("--store", tmp_path / "none", "--offline")
    call("site", "repair", iso, *common)
    assert Digest.of_file(iso) == built.digest


def test_a_medium_that_is_only_read_is_mended_as_a_copy(
    iso: Path,
    built: Built,
    full_store: Store,
    tmp_path: Path,
    read_only: Callable[[Path], None],
) -> None:
    spoil(iso, "k8s/kubelet")
    damaged = iso.read_bytes()
    read_only(iso.parent)
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline")
    done = call("site", "repair", iso, *common, code=6)
    assert "Read-only" in errors(done)[0] or "denied" in errors(done)[0]
    call("site", "repair", iso, *common, "--out", tmp_path / "mended.iso")
    assert Digest.of_file(tmp_path / "mended.iso") == built.digest
    assert iso.read_bytes() == damaged


def test_a_sector_that_stays_unreadable_is_told_with_the_way_out(
    iso: Path, built: Built, full_store: Store, tmp_path: Path, dead: Callable[[Path, int], None]
) -> None:
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline")
    for number, at in enumerate(
        (32768, file_at(iso, "manifest.json"), file_at(iso, "k8s/kubelet"))
    ):
        dead(iso, at)
        done = call("site", "repair", iso, *common, code=6)
        assert errors(done) == [f"error: {iso}: byte {at}: Input/output error"]
        assert "--out" in hints(done)[0]
        out = tmp_path / "copies" / str(number) / "mended.iso"
        call("site", "repair", iso, *common, "--out", out)
        assert Digest.of_file(out) == built.digest


def test_without_a_folder_for_the_copy_nothing_is_worked_out(iso: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    out = tmp_path / "file" / "mended.iso"
    done = call("site", "repair", iso, "--offline", "--out", out, code=6)
    assert errors(done)[0].startswith(f"error: {out.parent}: ")
    assert "working out" not in done.stderr


def test_a_damaged_blob_of_the_own_store_keeps_no_donor_from_its_turn(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(full_store.root, own)
    kubelet = next(file for file in built.lock.files if file.name == "kubelet")
    path = own / "blobs" / "sha256" / kubelet.sha256.hex[:2] / kubelet.sha256.hex
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])  # of the same size
    damaged = path.read_bytes()
    spoil(iso, "k8s/kubelet")
    done = call("site", "repair", iso, "--store", own, "--offline", code=6)
    assert "kubelet" in errors(done)[0]
    assert f"{path}: is damaged" in done.stderr
    call("site", "repair", iso, "--store", own, "--offline", "--from", built.iso)
    assert Digest.of_file(iso) == built.digest
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("kind", ["a file", "a link to nothing"])
def test_another_file_of_the_name_of_the_copy_stays(
    kind: str, iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "mended.iso"
    if kind == "a file":
        out.write_bytes(b"dear")
    else:
        out.symlink_to("nothing")
    mode, damaged = out.lstat().st_mode, b"?" + iso.read_bytes()[1:]
    iso.write_bytes(damaged)
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline", "--out", out)
    done = call("site", "repair", iso, *common, code=3)
    assert f"is there already, and is not {iso.name} of {built.digest}" in errors(done)[0]
    assert "--replace" in hints(done)[0]
    assert out.lstat().st_mode == mode
    assert kind != "a file" or out.read_bytes() == b"dear"
    call("site", "repair", iso, *common, "--replace")
    assert Digest.of_file(out) == built.digest
    assert iso.read_bytes() == damaged
    assert "is there already" in call("site", "repair", iso, *common).stderr


def test_no_copy_takes_the_place_of_a_pipe(iso: Path, full_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "mended.iso"
    os.mkfifo(out)
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline", "--out", out)
    for more in ((), ("--replace",)):
        done = call("site", "repair", iso, *common, *more, code=3)
        assert errors(done) == [f"error: {out}: is there, and is no file"]
    assert out.is_fifo()


def test_the_copy_may_take_the_place_of_the_damaged_one(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    spoil(iso, "k8s/kubelet")
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline")
    call("site", "repair", iso, *common, "--out", iso)
    assert Digest.of_file(iso) == built.digest


def test_a_link_to_the_damaged_iso_stays_where_the_copy_would_go(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    spoil(iso, "k8s/kubelet")
    out = tmp_path / "ln.iso"
    out.symlink_to(iso)
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline", "--out", out)
    for named in (iso, out):
        beside = ("--lock", iso.with_suffix(".lock.json"), "--digest", built.digest)
        done = call("site", "repair", named, *beside, *common, code=3)
        assert "is there already, and is not" in errors(done)[0]
        assert out.is_symlink()


def test_an_iso_that_was_cut_off_is_mended_from_donors(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    iso.write_bytes(iso.read_bytes()[:100_000])
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline")
    done = call("site", "repair", iso, *common)
    assert "nothing of it can be used" in done.stderr
    assert Digest.of_file(iso) == built.digest


def test_without_a_donor_it_says_what_is_damaged_and_writes_nothing(
    iso: Path, tmp_path: Path
) -> None:
    spoil(iso, "k8s/kubelet")
    before = iso.read_bytes()
    done = call("site", "repair", iso, "--store", tmp_path / "none", "--offline", code=6)
    assert "lacks 1 things: kubelet" in errors(done)[0]
    assert iso.read_bytes() == before


def test_a_donor_that_lies_changes_nothing(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    liar = tmp_path / "liar"
    shutil.copytree(full_store.root / "blobs", liar / "blobs")
    kubelet = next(file for file in built.lock.files if file.name == "kubelet")
    path = liar / "blobs" / "sha256" / kubelet.sha256.hex[:2] / kubelet.sha256.hex
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    spoil(iso, "k8s/kubelet")
    before = iso.read_bytes()
    common = ("--from", liar, "--store", tmp_path / "none", "--offline")
    assert "kubelet" in errors(call("site", "repair", iso, *common, code=6))[0]
    assert iso.read_bytes() == before


def test_the_lock_of_another_iso_changes_nothing(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    lock = built.lock.model_copy(update={"revision": 9})
    (tmp_path / "other.lock.json").write_bytes(lock.to_bytes())
    before = iso.read_bytes()
    common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline")
    words = ("site", "repair", iso, "--lock", tmp_path / "other.lock.json", *common)
    said = f"is another ISO, of the lock {built.lock.digest}, expected {lock.digest}"
    done = call(*words, code=5)
    assert errors(done) == [f"error: {iso}: {said}"]
    assert "--out" in hints(done)[0]
    assert iso.read_bytes() == before
    done = call(*words, "--out", tmp_path / "mended.iso", code=5)
    assert f"expected {built.digest}" in errors(done)[0]
    assert not (tmp_path / "mended.iso").exists()
    spoil(iso, "manifest.json", at=5)  # now it does not say which it is
    before = iso.read_bytes()
    assert f"expected {built.digest}" in errors(call(*words, code=5))[0]
    assert iso.read_bytes() == before


@pytest.mark.parametrize("way", ["donors", "parity"])
def test_what_is_whole_and_no_such_iso_is_not_made_into_one(
    way: str, iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    other = iso.with_name("other.iso")
    other.write_bytes(b"the photographs of a summer" * 9000)
    before = other.read_bytes()
    Path(f"{other}.sha256").write_text(f"{Digest.of_file(other).hex}  {other.name}\n")
    common = ("--from", full_store.root, "--offline", "--lock", iso.with_suffix(".lock.json"))
    words = ("--parity",) if way == "parity" else common
    done = call("site", "repair", other, *words, "--digest", built.digest, code=5)
    said = f"is whole, and another ISO: {Digest.of(before)}, expected {built.digest}"
    assert errors(done) == [f"error: {other}: {said}"]
    assert "--out" in hints(done)[0]
    assert other.read_bytes() == before


def test_a_donor_that_is_no_iso_is_told_as_the_donor(iso: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.iso"
    junk.write_bytes(bytes(100_000))
    done = call("site", "repair", iso, "--from", junk, "--offline", code=5)
    assert errors(done)[0].startswith(f"error: {junk}: byte 32769: not an ISO 9660 image")
    assert "nothing of it" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replace"], "--replace belongs to --out, which is missing"),
        (["--parity", "--replace"], "--replace belongs to --out, which is missing"),
        (["--parity", "--lock"], "--parity takes neither --from nor --lock"),
        (["--parity", "--from"], "--parity takes neither --from nor --lock"),
    ],
)
def test_options_that_would_do_nothing_are_refused(iso: Path, words: list[str], said: str) -> None:
    spoil(iso, "k8s/kubelet")
    before = iso.read_bytes()
    value = [iso] if words[-1] in {"--lock", "--from"} else []
    assert errors(call("site", "repair", iso, *words, *value, code=2)) == [f"error: {said}"]
    assert iso.read_bytes() == before


def test_an_iso_of_which_nobody_knows_what_it_was_is_left_alone(iso: Path) -> None:
    Path(f"{iso}.sha256").unlink()
    assert "--digest" in hints(call("site", "repair", iso, code=2))[0]
    iso.with_suffix(".lock.json").unlink()
    known = ("--digest", "0" * 64)
    assert "--lock" in hints(call("site", "repair", iso, *known, code=3))[0]


def test_scattered_damage_anywhere_is_mended(
    iso: Path, built: Built, full_store: Store, tmp_path: Path
) -> None:
    good = iso.read_bytes()
    chance = random.Random(3)
    for _ in range(3):
        data = bytearray(good)
        for _ in range(30):
            place = chance.randrange(len(data) // 2048) * 2048
            data[place : place + 2048] = chance.randbytes(2048)
        iso.write_bytes(data)
        common = ("--from", full_store.root, "--store", tmp_path / "none", "--offline")
        call("site", "repair", iso, *common)
        assert iso.read_bytes() == good
