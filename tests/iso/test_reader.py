"""The reader on ISOs that real tools made, and real tools on ISOs of ours."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.iso.check.structure import check_structure
from isobuilder.iso.read.reader import IsoReader, hash_iso
from isobuilder.iso.write.entries import IsoEntry
from tests.iso.makers import entry, iso_of, subject_of

DIGEST_NAME = "docker/" + "ab" * 32 + ".tar"


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is missing: apt-get install xorriso genisoimage")
    return found


def entries() -> list[IsoEntry]:
    return [
        entry("k8s/kubeadm", b"k" * 5000, 0o755),
        entry("k8s/kubelet", b"", 0o755),
        entry("network.yaml", b"kind: List\n"),
        entry("10-kubeadm.conf", b"[Service]\n"),
        entry(DIGEST_NAME, b"archive" * 1000),
        entry("deep/2/3/4/5/6/7/file", b"deep"),
        *(entry(f"many/file-{number:03}.yaml", b"y" * number) for number in range(120)),
    ]


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    return iso_of(entries(), tmp_path / "ours.iso").path


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return done.stdout + done.stderr


def test_xorriso_lists_the_same_tree(iso: Path) -> None:
    text = output_of(needs("xorriso"), "-indev", iso, "-find", "/", "-exec", "lsdl", "--")
    found = {}
    for line in text.splitlines():
        match = re.match(r"([-dl][rwx-]{9})\s+\d+ 0\s+0\s+(\d+) .* '(/.*)'$", line)
        if match is not None:
            found[match[3].lstrip("/")] = match[1], int(match[2])
    files = {path: facts for path, facts in found.items() if facts[0][0] == "-"}
    folders = {path: facts[0] for path, facts in found.items() if facts[0][0] == "d"}
    assert files == {
        one.path: ("-r-xr-xr-x" if one.mode & 0o111 else "-r--r--r--", one.size)
        for one in entries()
    }
    assert set(folders.values()) == {"dr-xr-xr-x"}
    assert "k8s" in folders


def test_xorriso_finds_label_rock_ridge_and_joliet(iso: Path) -> None:
    text = output_of(needs("xorriso"), "-indev", iso, "-toc")
    assert "Volume id    : 'CDROM'" in text
    assert "ISO offers   : Rock_Ridge Joliet" in text


@pytest.mark.parametrize("option", ["-R", "-J"])
def test_isoinfo_lists_the_same_names(option: str, iso: Path) -> None:
    listed = set(output_of(needs("isoinfo"), option, "-f", "-i", iso).splitlines())
    wanted = {"/" + one.path for one in entries()}
    if option == "-J":
        wanted ^= {"/" + DIGEST_NAME, "/docker/" + "ab" * 30 + ".tar"}
    assert wanted <= listed
    folders = listed - wanted
    assert all(any(name.startswith(folder + "/") for name in wanted) for folder in folders)


def test_isoinfo_and_blkid_see_the_label(iso: Path) -> None:
    assert "Volume id: CDROM\n" in output_of(needs("isoinfo"), "-d", "-i", iso)
    blkid = shutil.which("blkid", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if blkid is not None:
        text = output_of(blkid, "-p", "-o", "export", iso)
        assert {"LABEL=CDROM", "TYPE=iso9660"} <= set(text.split())


def test_isoinfo_reads_the_same_bytes(iso: Path) -> None:
    program = needs("isoinfo")
    done = subprocess.run(
        [program, "-R", "-i", iso, "-x", "/" + DIGEST_NAME], capture_output=True, check=True
    )
    assert done.stdout == b"archive" * 1000


@pytest.mark.parametrize(
    "command",
    [
        ["xorrisofs", "-J", "-R", "-iso-level", "3"],
        ["xorrisofs", "-J", "-joliet-long", "-R"],
        ["xorrisofs", "-R"],
        ["genisoimage", "-J", "-R", "-D"],
        ["genisoimage", "-J", "-joliet-long", "-r", "-D"],
        ["genisoimage", "-J", "-R", "-l", "-iso-level", "4"],
    ],
)
def test_isos_of_other_tools_are_read(command: list[str], tmp_path: Path) -> None:
    program = needs(command[0])
    wanted = {one.path: b"".join(map(bytes, one.pieces)) for one in entries()}  # type: ignore[arg-type]
    wanted["n" * 200] = b"a name that needs a continuation area"
    for path, data in wanted.items():
        target = tmp_path / "tree" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    os.link(tmp_path / "tree/network.yaml", tmp_path / "tree/hard-link.yaml")
    wanted["hard-link.yaml"] = wanted["network.yaml"]
    out = tmp_path / "a.iso"
    output_of(program, *command[1:], "-quiet", "-V", "CDROM", "-o", out, tmp_path / "tree")
    with IsoReader(out) as reader:
        assert reader.label == "CDROM"
        assert {path: reader.open(path).read() for path in reader.files} == wanted
        errors = [f for f in check_structure(subject_of(reader)) if f.severity == "error"]
    assert errors == []


def test_the_enhanced_volume_of_level_4_is_told_and_every_byte_accounted_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "tree/k8s").mkdir(parents=True)
    (tmp_path / "tree/k8s/kubeadm").write_bytes(b"x")
    out = tmp_path / "a.iso"
    options = ["-J", "-R", "-l", "-iso-level", "4", "-V", "CDROM"]
    output_of(needs("genisoimage"), "-quiet", *options, "-o", out, tmp_path / "tree")
    with IsoReader(out) as reader:
        assert reader.files.keys() == {"k8s/kubeadm"}
        assert hash_iso(reader).unclaimed == ()
        found = {f.rule: f.severity for f in check_structure(subject_of(reader))}
    assert found["iso.volume"] == "warning"
    assert "error" not in found.values()


def test_joliet_names_do_without_rock_ridge_unless_they_may_be_cut(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for length, severity in ((63, "warning"), (64, "error")):
        (tmp_path / "tree" / ("n" * length)).write_bytes(b"x")
        out = tmp_path / f"{length}.iso"
        output_of(needs("genisoimage"), "-quiet", "-J", "-o", out, tmp_path / "tree")
        with IsoReader(out) as reader:
            found = [f for f in check_structure(subject_of(reader)) if f.rule == "iso.rock-ridge"]
        assert [one.severity for one in found] == [severity]


@pytest.mark.parametrize("twofold", [False, True], ids=["hidden", "two files of one name"])
def test_without_rock_ridge_both_trees_have_to_hold_the_same_files(
    tmp_path: Path, *, twofold: bool
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/kubeadm").write_bytes(b"good")
    (tmp_path / "tree/KUBEADM").write_bytes(b"evil")
    out = tmp_path / "a.iso"
    options = ["-J", "-V", "CDROM", "-hide-joliet", "KUBEADM"]
    options += ["-hide", "kubeadm"] if twofold else []
    output_of(needs("genisoimage"), "-quiet", *options, "-o", out, tmp_path / "tree")
    with IsoReader(out) as reader:
        errors = [f for f in check_structure(subject_of(reader)) if f.severity == "error"]
    assert [one.rule for one in errors] == ["iso.joliet"]


def test_a_link_is_told_as_a_link_and_not_as_a_file_of_joliet(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(b"x")
    (tmp_path / "tree/link").symlink_to("file")
    out = tmp_path / "a.iso"
    options = ["-J", "-R", "-V", "CDROM"]
    output_of(needs("genisoimage"), "-quiet", *options, "-o", out, tmp_path / "tree")
    with IsoReader(out) as reader:
        errors = [f for f in check_structure(subject_of(reader)) if f.severity == "error"]
    assert [(one.rule, one.place) for one in errors] == [("iso.special", "link")]


@pytest.mark.parametrize("joliet", [True, False])
def test_without_rock_ridge_names_are_what_linux_shows(joliet: bool, tmp_path: Path) -> None:
    (tmp_path / "tree/k8s").mkdir(parents=True)
    (tmp_path / "tree/k8s/Kubeadm").write_bytes(b"x")
    out = tmp_path / "a.iso"
    options = ["-J"] if joliet else []
    output_of(needs("genisoimage"), "-quiet", "-V", "CDROM", *options, "-o", out, tmp_path / "tree")
    with IsoReader(out) as reader:
        assert reader.files.keys() == {"k8s/Kubeadm" if joliet else "k8s/kubeadm"}
        rules = {finding.rule: finding.severity for finding in check_structure(subject_of(reader))}
    assert rules["iso.rock-ridge"] == ("warning" if joliet else "error")


def test_links_and_devices_are_told(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "tree/pipe")
    out = tmp_path / "a.iso"
    output_of(needs("xorrisofs"), "-quiet", "-J", "-R", "-o", out, tmp_path / "tree")
    with IsoReader(out) as reader:
        assert reader.files == {}
        assert reader.tree.specials["link"] == "symbolic link"
        places = {f.place for f in check_structure(subject_of(reader)) if f.rule == "iso.special"}
    assert places == {"link", "pipe"}


def test_a_file_can_be_read_from_any_place(iso: Path) -> None:
    with IsoReader(iso) as reader:
        file = reader.open(DIGEST_NAME)
        assert file.seek(-7, io.SEEK_END) == 6993
        assert file.read() == b"archive"
        assert file.read(1) == b""
        assert file.seek(3) == 3
        assert file.read(4) == b"hive"
        assert file.tell() == 7
        assert file.seek(7000 + 5) == 7005
        assert file.read() == b""
        with pytest.raises(ValueError, match="seek to -1"):
            file.seek(-1)
        assert io.BufferedReader(reader.open("network.yaml")).readline() == b"kind: List\n"  # type: ignore[type-var]


def test_the_other_trees_can_be_read_too(iso: Path) -> None:
    with IsoReader(iso) as reader:
        assert "K8S/KUBEADM.;1" in reader.plain.files
        assert reader.joliet is not None
        assert "docker/" + "ab" * 30 + ".tar" in reader.joliet.files
        assert len(reader.plain.files) == len(reader.joliet.files) == len(reader.files)
        assert reader.rock_ridge == "RRIP_1991A"


def test_a_file_that_is_not_on_the_iso_is_told(iso: Path) -> None:
    with IsoReader(iso) as reader, pytest.raises(InputError, match="no file 'nothing' on the ISO"):
        reader.open("nothing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ISO 9660 image: the file has only 0 bytes"),
        (b"<html>not found</html>", "not an ISO 9660 image"),
        (bytes(100_000), r"expected b'CD001', got b'\\x00"),
    ],
)
def test_what_is_no_iso_is_told(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.iso"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=message):
        IsoReader(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match="expected a file or a disc"):
            IsoReader(path)
    with pytest.raises(EnvironmentProblem, match="No such file"):
        IsoReader(tmp_path / "missing.iso")
