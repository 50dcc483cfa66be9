"""The product on real parts: one command gives an ISO; real tools and runtimes agree with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.iso.reader import IsoReader
from isobuilder.model.document import load_lock
from isobuilder.pipeline.verify import verify
from tests.lab import containerd2
from tests.lab.place import HERE, lab_dir
from tests.lab.upstream import lab_upstream
from tests.pipeline.world import run_cli

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (lab_dir() / "ready").is_file(), reason="run make lab first"),
]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
NAMES = ["kubernetes-1.20.2", "kubernetes-1.20.2-csi"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The ISOs of both recipes of the lab, each made by one command."""
    folder = tmp_path_factory.mktemp("product")
    shutil.copytree(HERE / "recipes", folder / "recipes")
    isos = {}
    with lab_upstream(config=folder / "config.yaml"):
        for name in NAMES:
            done = run_cli(
                *("build", folder / "recipes" / f"{name}.yaml", "--out", folder / "out"),
                *("--store", folder / "store", "--config", folder / "config.yaml"),
                *("--progress", "plain"),
            )
            assert "from the built-in table" not in done.stderr  # the real kubeadm was asked
            isos[name] = Path(done.stdout.strip())
    yield isos
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", NAMES)
def test_the_iso_passes_every_check_against_its_lock(built: dict[str, Path], name: str) -> None:
    iso = built[name]
    lock = load_lock(iso.with_suffix(".lock.json"))
    result = verify(iso, lock=lock, expected=Digest.of_file(iso))
    assert [str(finding) for finding in result.findings] == []
    assert "node of " + lock.profile in result.checked


@ROOT_ONLY
@pytest.mark.parametrize("major", ["1", "2"])
def test_a_real_containerd_imports_every_image(built: dict[str, Path], major: str) -> None:
    containerd = containerd2.paths()[major]["containerd"]
    result = verify(built[NAMES[0]], deep=True, containerd=containerd, layers=False)
    assert [str(finding) for finding in result.findings] == []
    assert "containerd import" in result.checked


def test_xorriso_isoinfo_and_our_reader_see_one_tree(built: dict[str, Path]) -> None:
    iso = built[NAMES[0]]
    for tool in ("xorriso", "isoinfo"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install xorriso genisoimage")
    with IsoReader(iso) as reader:
        ours = set(reader.files)
        label = reader.label
        modes = {path: entry.mode & 0o777 for path, entry in reader.files.items()}
    listed = subprocess.run(
        ["xorriso", "-indev", iso, "-find", "/", "-type", "f", "-exec", "lsdl", "--"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = re.findall(r"^(-[rwx-]{9}) .* '/(.*)'$", listed.stdout, re.MULTILINE)
    theirs = {path: mode for mode, path in lines}
    assert set(theirs) == ours
    assert {path: _bits(text) for path, text in theirs.items()} == modes
    isoinfo = subprocess.run(
        ["isoinfo", "-f", "-R", "-i", iso], capture_output=True, text=True, check=True
    )
    found = {line.removeprefix("/") for line in isoinfo.stdout.splitlines()}
    assert {path for path in found if path in ours} == ours
    assert label == "CDROM"
    described = subprocess.run(
        ["isoinfo", "-d", "-i", iso], capture_output=True, text=True, check=True
    ).stdout
    assert "Volume id: CDROM" in described
    assert "Rock Ridge signatures version 1" in described
    assert "Joliet with UCS level 3" in described


def _bits(text: str) -> int:
    return sum(1 << (8 - index) for index, letter in enumerate(text[1:]) if letter != "-")


def test_a_node_accepts_the_checksums_with_its_own_tool(
    built: dict[str, Path], tmp_path: Path
) -> None:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed: apt-get install xorriso")
    subprocess.run(
        [
            "xorriso",
            "-osirrox",
            "on",
            "-indev",
            built[NAMES[0]],
            "-extract",
            "/",
            tmp_path / "disc",
        ],
        capture_output=True,
        check=True,
    )
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=tmp_path / "disc",
        check=True,
    )


def test_the_lock_carries_the_evidence_of_each_dialect(built: dict[str, Path]) -> None:
    lock = json.loads(built[NAMES[0]].with_suffix(".lock.json").read_bytes())
    dialects = {item["name"]: item["evidence"]["dialect"] for item in lock["files"]}
    assert dialects["kubeadm"] == "bare"
    assert dialects["runc"].startswith("clear-signed")
    assert dialects["etcd"] == "gnu"
    core = {image["reference"] for image in lock["images"] if image["core"]}
    assert "k8s.gcr.io/kube-apiserver:v1.20.2" in core
    assert len(core) == 7
