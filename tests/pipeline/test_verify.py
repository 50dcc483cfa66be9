from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.formats.sums import written_sums
from isobuilder.model.lock import Lock
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.verify import promised, verify
from tests.pipeline.world import Locked


def rules(iso: Path, **options: object) -> set[str]:
    found = verify(iso, **options).findings  # type: ignore[arg-type]
    return {finding.rule for finding in found if finding.severity == "error"}


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    """A copy of the demo's ISO, and of the checksum file beside it."""
    for path in (built.iso, built.side_files[0]):
        shutil.copy(path, tmp_path)
    return tmp_path / built.iso.name


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_the_demo_iso_is_good(built: Built, locked: Locked) -> None:
    result = verify(built.iso, lock=locked.lock, expected=built.digest)
    assert result.findings == ()
    assert result.digest == built.digest
    assert result.profile == "mold-cks"
    assert set(result.checked) >= {"structure", "checksums", "lock", "digest"}


@pytest.mark.parametrize("seed", range(40))
def test_one_flipped_bit_anywhere_is_noticed(copy: Path, seed: int) -> None:
    flip(copy, random.Random(seed).randrange(copy.stat().st_size))
    assert rules(copy)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_iso_is_noticed_without_a_checksum_file_too(copy: Path, share: float) -> None:
    (copy.parent / f"{copy.name}.sha256").unlink()
    with copy.open("r+b") as file:
        file.truncate(int(copy.stat().st_size * share))
    assert rules(copy)


def test_another_iso_than_the_expected_one_is_noticed(built: Built) -> None:
    assert rules(built.iso, expected=Digest.of(b"another")) == {"iso.digest"}


def test_a_checksum_file_about_another_file_promises_nothing(copy: Path) -> None:
    renamed = copy.rename(copy.with_name("renamed.iso"))
    assert rules(renamed) == set()


def test_a_lock_with_another_image_is_noticed(built: Built, locked: Locked) -> None:
    image = locked.lock.images[0]
    digest = Digest.of(b"another image")
    other = image.model_copy(update={"digest": digest, "archive": f"docker/{digest.hex}.tar"})
    lock = locked.lock.model_copy(update={"images": (other, *locked.lock.images[1:])})
    assert rules(built.iso, lock=lock) == {"lock.pin"}


def test_a_lock_with_another_file_names_the_file(built: Built, locked: Locked) -> None:
    changed = locked.lock.files[0].model_copy(update={"sha256": Digest.of(b"another kubeadm")})
    lock: Lock = locked.lock.model_copy(update={"files": (changed, *locked.lock.files[1:])})
    places = [finding.place for finding in verify(built.iso, lock=lock).findings]
    assert places == ["k8s/kubeadm", "manifest.json"]


@pytest.mark.parametrize(
    "content", [b"", b"<html>", bytes(100_000), b"\x00" * 32768 + b"\x01CD001"]
)
def test_what_is_no_iso_is_one_finding(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.iso"
    path.write_bytes(content)
    result = verify(path)
    assert [finding.rule for finding in result.findings] == ["iso.structure"]
    assert result.digest is None


def test_playing_another_profile_finds_what_that_node_would(built: Built) -> None:
    # Apache's nodes do not know images by digest, and the manifests of a Mold ISO name them so.
    assert "A.4.manifest-images" in rules(built.iso, profile="cloudstack-cks")


@pytest.mark.parametrize("wrong", [b"g", b"G", b"\x1f"])
def test_a_name_in_the_manifest_that_is_no_reference_is_a_finding(copy: Path, wrong: bytes) -> None:
    data = copy.read_bytes()
    at = data.index(b"@sha256:", data.index(b'"reference"')) + 20
    copy.write_bytes(data[:at] + wrong + data[at + 1 :])
    assert {"iso.sums", "iso.manifest"} <= rules(copy)


@pytest.mark.parametrize("name", [b"x\xff.iso", b" a.iso", b"a.iso ", b"a\r.iso", b"a\\b\nc.iso"])
def test_our_own_side_file_is_read_whatever_the_name_of_the_iso(
    name: bytes, tmp_path: Path
) -> None:
    iso, digest = tmp_path / os.fsdecode(name), Digest.of(b"iso")
    iso.with_name(f"{iso.name}.sha256").write_bytes(written_sums([(digest, iso.name)]))
    assert promised(iso) == digest


@pytest.mark.parametrize("room", range(8))
def test_a_name_that_leaves_no_room_for_those_beside_it_promises_nothing(
    built: Built, locked: Locked, tmp_path: Path, room: int
) -> None:
    iso = Path(shutil.copy(built.iso, tmp_path / f"{'n' * (251 - room)}.iso"))
    assert promised(iso) is None
    assert verify(iso, lock=locked.lock, layers=False).passed
