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
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.loading import load_lock
from isobuilder.pipeline.verify import verify
from tests.pipeline.world import run_cli
from tests.site.pulling import assert_all_are_pulled, hosts_on_page
from tests.site.serving import get, served
from tools.lab import containerd2, golang
from tools.lab.kubernetes import CURRENT
from tools.lab.payload import NEEDED, payload_store
from tools.lab.place import CHECKOUT, HERE, lab_dir
from tools.lab.upstream import lab_upstream

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(1800),  # the first of them builds four ISOs
    pytest.mark.skipif(not (lab_dir() / "ready").is_file(), reason="run make lab first"),
]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
NAMES = ["kubernetes-1.37.1", "kubernetes-1.37.1-csi", "kubernetes-1.37.2"]
BOOTABLE = "kubernetes-1.37.1 that boots"
ALL = [*NAMES, BOOTABLE]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The ISOs of both recipes of the lab, and one that boots, each made by one command."""
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
            isos[name] = Path(done.stdout.strip())
        if store := payload_store():
            done = run_cli(
                *("build", folder / "recipes" / f"{NAMES[0]}.yaml", "--out", folder / "boots"),
                *("--store", store, "--config", folder / "config.yaml", "--boot", "debian-13"),
            )
            isos[BOOTABLE] = Path(done.stdout.strip())
    yield isos
    shutil.rmtree(folder)


def iso_of(built: dict[str, Path], name: str) -> Path:
    if name not in built:
        pytest.skip(f"not installed: {', '.join(NEEDED.values())}")
    return built[name]


@pytest.mark.parametrize("name", ALL)
def test_the_iso_passes_every_check_against_its_lock(built: dict[str, Path], name: str) -> None:
    iso = iso_of(built, name)
    lock = load_lock(iso.with_suffix(".lock.json"))
    result = verify(iso, lock=lock, expected=Digest.of_file(iso))
    assert [str(finding) for finding in result.findings] == []
    assert "node of " + lock.profile in result.checked


def test_an_iso_that_boots_is_built_again_from_the_lock_beside_it(built: dict[str, Path]) -> None:
    iso, store = iso_of(built, BOOTABLE), payload_store()
    assert store is not None
    done = run_cli("build", iso.with_suffix(".lock.json"), "--check", iso, "--store", store)
    assert "reproduced" in done.stderr


@ROOT_ONLY
@pytest.mark.parametrize(("name", "major"), [(NAMES[0], "1"), (NAMES[0], "2"), (BOOTABLE, "2")])
def test_a_real_containerd_imports_every_image(
    built: dict[str, Path], name: str, major: str
) -> None:
    containerd = containerd2.paths()[major]["containerd"]
    result = verify(iso_of(built, name), deep=True, containerd=containerd, layers=False)
    assert [str(finding) for finding in result.findings] == []
    assert "containerd import" in result.checked


@ROOT_ONLY
def test_a_real_containerd_pulls_every_image_out_of_the_served_iso(
    built: dict[str, Path], tmp_path: Path
) -> None:
    iso = built[NAMES[0]]
    images = load_lock(iso.with_suffix(".lock.json")).images
    wanted = {name: image.digest for image in images for name in image.references}
    with (
        served(iso, cwd=tmp_path) as (address, _said),
        containerd2.running(containerd2.paths()["2"]) as ctr,
    ):
        hosts = hosts_on_page(get(address, "/")[1].decode(), wanted)
        assert_all_are_pulled(ctr, hosts, wanted, tmp_path / "certs.d")
    assert len(images) > 7  # more than kubeadm's


def test_containerd_2_warns_of_our_settings_by_their_version_alone(tmp_path: Path) -> None:
    program = containerd2.paths()["2"]["containerd"]
    ours = CHECKOUT / "isobuilder/machine/os/tree/usr/lib/kiso/containerd.toml"
    settings = tmp_path / "containerd.toml"
    settings.write_text(ours.read_text("utf-8").replace("@PAUSE@", "registry.k8s.io/pause:3.10.2"))
    words: list[str | Path] = [program, "-c", settings, "config", "migrate"]
    migrated = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    default = subprocess.run(
        [program, "config", "default"], capture_output=True, text=True, check=True, timeout=60
    )
    warned = re.findall(r'level=warning msg="([^,"]*)', migrated.stderr)
    assert warned == ["Configuration migrated from version 2"]
    for name in ("bin_dirs", "conf_dir"):
        (told,) = re.findall(rf"^ *{name} = .*$", migrated.stdout, re.M)
        assert told in default.stdout.splitlines()
    assert "SystemdCgroup = true" in migrated.stdout
    assert "sandbox = 'registry.k8s.io/pause:3.10.2'" in migrated.stdout


@pytest.mark.parametrize("name", [NAMES[0], BOOTABLE])
def test_xorriso_isoinfo_and_our_reader_see_one_tree(built: dict[str, Path], name: str) -> None:
    iso = iso_of(built, name)
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
    # To xorriso the boot catalogue is a thing of its own and no file; isoinfo lists it.
    files = ours - {"boot/grub/boot.cat"}
    assert set(theirs) == files
    assert {path: _bits(text) for path, text in theirs.items()} == {
        path: modes[path] for path in files
    }
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


@pytest.mark.parametrize("name", [NAMES[0], BOOTABLE])
def test_a_node_accepts_the_checksums_with_its_own_tool(
    built: dict[str, Path], name: str, tmp_path: Path
) -> None:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed: apt-get install xorriso")
    subprocess.run(
        [
            "xorriso",
            "-osirrox",
            "on",
            "-indev",
            iso_of(built, name),
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


@pytest.mark.skipif(shutil.which("sgdisk") is None, reason="gdisk is not installed")
def test_partition_tools_accept_an_iso_that_boots(built: dict[str, Path]) -> None:
    iso = iso_of(built, BOOTABLE)
    tables = subprocess.run(["sgdisk", "-v", iso], capture_output=True, text=True, check=True)
    assert "No problems found" in tables.stdout
    words = ["xorriso", "-indev", str(iso), "-report_system_area", "plain"]
    seen = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "protective-msdos-label grub2-mbr" in seen
    assert "GPT partition path :   2  /boot/grub/efi.img" in seen


def test_the_lock_carries_the_evidence_of_each_dialect(built: dict[str, Path]) -> None:
    lock = json.loads(built[NAMES[0]].with_suffix(".lock.json").read_bytes())
    dialects = {item["name"]: item["evidence"].get("dialect") for item in lock["files"]}
    assert dialects["kubelet"] == "bare"
    assert dialects["runc"].startswith("clear-signed")
    assert dialects["etcd"] == "gnu"
    core = {image["reference"] for image in lock["images"] if image["core"]}
    assert "registry.k8s.io/kube-apiserver:v1.37.1" in core
    assert len(core) == 7


def test_the_programs_are_those_of_the_lock_that_is_shipped(built: dict[str, Path]) -> None:
    if golang.version() != CURRENT.compiler:
        pytest.skip(f"upstream used Go {CURRENT.compiler}, this is {golang.version()}")
    shipped = load_lock(CHECKOUT / f"recipes/kubernetes-{CURRENT.version}.amd64.lock.json")
    lock = load_lock(built[NAMES[0]].with_suffix(".lock.json"))
    digests = {file.name: file.sha256 for file in lock.files}
    same = [file.name for file in shipped.files if digests.get(file.name) == file.sha256]
    # kubelet too in a lab that was made again after `make rebuild` had compiled it as upstream.
    assert set(same) - {"kubelet"} == {"kubeadm", "kubectl"}
