from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from isobuilder.content.tree import tree
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.iso.check.contents import IsoCheck, check_iso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.store import Store
from tests.iso.makers import entry, iso_of, joined, small_lock

BLOCK = 2048


@pytest.fixture
def good(store: Store) -> dict[str, IsoEntry]:
    return {one.path: one for one in tree(small_lock(store), store, tool="1").entries}


def checked(entries: Mapping[str, IsoEntry], path: Path, *, label: str = "CDROM") -> IsoCheck:
    iso_of(list(entries.values()), path, label=label)
    with IsoReader(path) as reader:
        return check_iso(reader, label="CDROM")


def facts(check: IsoCheck) -> list[tuple[str, str]]:
    return [(finding.rule, finding.place) for finding in check.findings]


def test_a_good_iso_has_no_findings(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    check = checked(good, tmp_path / "a.iso")
    assert check.findings == ()
    assert check.digest == Digest.of_file(tmp_path / "a.iso")
    assert check.files == {path: Digest.of(joined(one.pieces)) for path, one in good.items()}


def test_the_image_need_not_be_hashed(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    iso_of(list(good.values()), tmp_path / "a.iso")
    with IsoReader(tmp_path / "a.iso") as reader:
        check = check_iso(reader, whole=False)
    assert check.digest is None
    assert check.findings == ()


def test_another_label_is_told(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    check = checked(good, tmp_path / "a.iso", label="ISOIMAGE")
    assert facts(check) == [("iso.label", "volume label")]
    assert "expected 'CDROM', got 'ISOIMAGE'" in check.findings[0].fact


def test_an_unlisted_file_is_told(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    check = checked({**good, "extra": entry("extra", b"x")}, tmp_path / "a.iso")
    assert facts(check) == [("iso.sums", "extra")]
    assert "on the ISO, not listed in SHA256SUMS" in check.findings[0].fact


def test_a_missing_file_is_told(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    del good["network.yaml"]
    check = checked(good, tmp_path / "a.iso")
    assert facts(check) == [("iso.sums", "network.yaml")]


def test_a_changed_file_is_told_with_both_hashes(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    expected = Digest.of(joined(good["k8s/kubeadm"].pieces)).hex
    check = checked({**good, "k8s/kubeadm": entry("k8s/kubeadm", b"evil")}, tmp_path / "a.iso")
    assert facts(check) == [("iso.sums", "k8s/kubeadm")]
    assert f"expected sha256 {expected}" in check.findings[0].fact
    assert f"got {Digest.of(b'evil').hex}" in check.findings[0].fact


def test_a_changed_archive_is_told_once(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    path = next(path for path in good if path.endswith(".tar"))
    check = checked({**good, path: entry(path, b"evil")}, tmp_path / "a.iso")
    assert facts(check) == [("iso.sums", path)]


def test_a_manifest_that_differs_from_sums_that_fit_is_told(
    good: dict[str, IsoEntry], tmp_path: Path
) -> None:
    path = next(path for path in good if path.endswith(".tar"))
    data = json.loads(joined(good["manifest.json"].pieces))
    data["files"][path] = data["images"][0]["sha256"] = "0" * 64
    forged = entry("manifest.json", json.dumps(data).encode())
    old = Digest.of(joined(good["manifest.json"].pieces)).hex
    new = Digest.of(joined(forged.pieces)).hex
    sums = joined(good["SHA256SUMS"].pieces).replace(old.encode(), new.encode())
    tree = {**good, "manifest.json": forged, "SHA256SUMS": entry("SHA256SUMS", sums)}
    check = checked(tree, tmp_path / "a.iso")
    assert facts(check) == [("iso.manifest", path), ("iso.manifest", "manifest.json images[0]")]


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        (b"nonsense\n", "not a checksum: 'nonsense'"),
        (b"\n", "not a checksum: ''"),
        (b"0" * 64 + b"  network.yaml\n", "a second hash for network.yaml"),
        (b"<html>\n", "not a checksum: '<html>'"),
        (b"0" * 64 + b"  ../../etc/passwd\n", "listed in SHA256SUMS, not on the ISO"),
        (b"\xff\xfe\n", "not a checksum"),
    ],
)
def test_a_wrong_line_in_the_sums_is_told(
    line: bytes, fact: str, good: dict[str, IsoEntry], tmp_path: Path
) -> None:
    sums = entry("SHA256SUMS", joined(good["SHA256SUMS"].pieces) + line)
    check = checked({**good, "SHA256SUMS": sums}, tmp_path / "a.iso")
    assert any(fact in finding.fact for finding in check.findings)


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"", "not a manifest"),
        (b"[]", "no object with files"),
        (b"{}", "no object with files"),
        (b'{"files": {}, "lock_sha256": "x"}', "not a manifest: "),
        (b"[" * 100_000, "not a manifest"),
    ],
)
def test_what_is_no_manifest_is_told(
    data: bytes, fact: str, good: dict[str, IsoEntry], tmp_path: Path
) -> None:
    check = checked({**good, "manifest.json": entry("manifest.json", data)}, tmp_path / "a.iso")
    found = [finding for finding in check.findings if finding.rule == "iso.manifest"]
    assert len(found) == 1
    assert fact in found[0].fact


def test_an_iso_without_sums_and_manifest_is_told_and_no_error(tmp_path: Path) -> None:
    (finding,) = checked({"a": entry("a", b"1")}, tmp_path / "a.iso").findings
    assert (finding.rule, finding.severity) == ("iso.sums", "warning")
    assert finding.place == "SHA256SUMS, manifest.json"


@pytest.mark.parametrize("lost", ["SHA256SUMS", "manifest.json"])
def test_one_of_sums_and_manifest_alone_is_an_error(
    lost: str, good: dict[str, IsoEntry], tmp_path: Path
) -> None:
    check = checked({path: one for path, one in good.items() if path != lost}, tmp_path / "a.iso")
    found = {(finding.place, finding.severity) for finding in check.findings}
    assert (lost, "error") in found


def test_manifests_of_other_builders_are_checked_for_their_files(tmp_path: Path) -> None:
    files = {"a": entry("a", b"1")}
    digest = Digest.of(b"1").hex
    manifest = b'{"schema": 1, "source_sha": "abc", "files": {"a": "%s"}}' % digest.encode()
    files["manifest.json"] = entry("manifest.json", manifest)
    sums = f"{digest}  ./a\n{Digest.of(manifest).hex} *manifest.json\n"
    files["SHA256SUMS"] = entry("SHA256SUMS", sums.encode())
    assert checked(files, tmp_path / "a.iso").findings == ()


def test_a_flood_of_wrong_lines_is_cut_short(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    sums = entry("SHA256SUMS", b"nonsense\n" * 100_000)
    check = checked({**good, "SHA256SUMS": sums}, tmp_path / "a.iso")
    assert len(check.findings) == 101
    assert "(and over 10000 more like it, not listed)" in check.findings[-1].fact


@pytest.mark.parametrize("path", ["SHA256SUMS", "manifest.json"])
def test_a_text_that_is_too_large_is_not_read(
    path: str, good: dict[str, IsoEntry], tmp_path: Path
) -> None:
    check = checked({**good, path: entry(path, b"\n" * 17_000_000)}, tmp_path / "a.iso")
    assert any("17000000 bytes, expected at most" in finding.fact for finding in check.findings)
    assert len(check.findings) <= 2


# --- structure ---


def test_bytes_behind_the_volume_are_told(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    path = tmp_path / "a.iso"
    iso_of(list(good.values()), path)
    with path.open("ab") as file:
        file.write(bytes(4096))
    with IsoReader(path) as reader:
        (finding,) = check_iso(reader).findings
    assert (finding.rule, finding.severity) == ("iso.size", "warning")
    assert "4096 bytes behind the volume" in finding.fact


def change(path: Path, at: int, data: bytes) -> IsoCheck:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    with IsoReader(path) as reader:
        return check_iso(reader)


def both(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)


def test_a_volume_larger_than_its_file_is_told(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    path = tmp_path / "a.iso"
    size = iso_of(list(good.values()), path).size
    check = change(path, 16 * BLOCK + 80, both(size // BLOCK + 9))
    found = {(finding.rule, finding.severity) for finding in check.findings}
    assert found == {("iso.size", "error"), ("iso.joliet", "error")}


def test_a_path_table_that_lists_other_folders_is_told(
    good: dict[str, IsoEntry], tmp_path: Path
) -> None:
    path = tmp_path / "a.iso"
    iso_of(list(good.values()), path)
    with IsoReader(path) as reader:
        little, _ = reader.volumes.primary.path_tables
    check = change(path, little.offset + 2, b"\xff\xff")
    assert [rule for rule, _ in facts(check)] == ["iso.path-table"]


def test_a_joliet_tree_that_differs_is_told(good: dict[str, IsoEntry], tmp_path: Path) -> None:
    path = tmp_path / "a.iso"
    iso_of(list(good.values()), path)
    with IsoReader(path) as reader:
        assert reader.joliet is not None
        offset = reader.joliet.files["network.yaml"].offset
        size = reader.files["network.yaml"].size
    check = change(path, offset + 34, b"N")  # network.yaml becomes Network.yaml
    assert sorted(facts(check)) == [("iso.joliet", "Network.yaml"), ("iso.joliet", "network.yaml")]
    # A file that is shorter in one of the trees
    with pytest.raises(IntegrityError, match=r"share some of their bytes|begins inside"):
        change(path, offset + 10, both(size - 1))
