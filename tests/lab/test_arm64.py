"""Parts of arm64 on a machine of another kind: what is said where they cannot be made, and them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isobuilder.model.loading import load_recipe
from tools.lab import arm64, cross, prepare
from tools.lab.images import read_catalogue
from tools.lab.place import HERE, LabError, lab_dir

READY = arm64.folder(lab_dir()) / "ready"
prepared = pytest.mark.skipif(not READY.is_file(), reason="no arm64; run make test-boot-arm64")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, and a kernel that starts no programs of arm64."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(cross, "_BINFMT", tmp_path / "binfmt_misc")
    return folder


def put(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_missing_programs_are_told_by_their_packages(programs: Path) -> None:
    put(programs / "mmdebstrap", "exit 0")
    with pytest.raises(LabError) as caught:
        cross.check_programs()
    packages = "arch-test pkg-config qemu-system-arm qemu-user-static squashfs-tools"
    assert str(caught.value) == (
        f"arm64: not installed: {packages}\nhint: apt-get install {packages}"
    )


def test_a_kernel_that_starts_such_programs_is_left_as_it_is(programs: Path) -> None:
    put(programs / "arch-test", "echo arm64: ok")
    with cross.emulated():
        assert not (programs.parent / "binfmt_misc").exists()


def test_who_is_not_root_is_told_what_root_can_do(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(programs / "arch-test", "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with (
        pytest.raises(LabError, match=r"only root .*\nhint: .* qemu-user-static binfmt-support"),
        cross.emulated(),
    ):
        pass


def test_binfmt_misc_that_cannot_be_mounted_is_told_with_the_reason(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(programs / "arch-test", "exit 1")
    put(programs / "mount", "echo 'mount: permission denied' >&2; exit 32")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with (
        pytest.raises(LabError, match=r"mount: permission denied\nhint: .* may mount binfmt_misc"),
        cross.emulated(),
    ):
        pass


def test_what_the_kernel_was_told_is_taken_back(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = programs.parent / "binfmt_misc"
    told.mkdir()
    (told / "register").write_text("")
    put(programs / "arch-test", f'[ -s "{told}/register" ] && echo arm64: ok')
    put(programs / cross.EMULATOR, "exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with cross.emulated():
        words = (told / "register").read_text().removeprefix(":").split(":")
        assert not (told / words[0]).exists()
    name, kind, _, magic, mask, program, flags = words
    assert (kind, program, flags) == ("M", str(programs / cross.EMULATOR), "OCF")
    # 183 is aarch64, in a program (2); the mask lets a library (3) pass too.
    assert magic.endswith("\\x02\\x00\\xb7\\x00")
    assert len(mask) == len(magic)
    assert mask.endswith("\\xfe\\xff\\xff\\xff")
    assert (told / name).read_text() == "-1"


def test_what_arm64_lacks_does_not_touch_the_lab(programs: Path, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "ready").write_text("")
    with pytest.raises(LabError, match="arm64: not installed"):
        prepare.prepare_arm64(lab)
    assert [path.name for path in lab.iterdir()] == ["ready"]


@pytest.mark.lab
@prepared
def test_programs_and_files_of_the_recipe_are_there_and_for_arm64() -> None:
    files = arm64.folder(lab_dir()) / "files"
    recipe = load_recipe(HERE / f"recipes/{arm64.RECIPE}.yaml", arm64.NAME)
    urls = [file.url for file in recipe.files]
    urls += [manifest.source for manifest in recipe.manifests]
    urls += [file.checksum for file in recipe.files if file.checksum]
    for url in urls:
        assert (files / url.removeprefix("https://")).is_file(), url
    for name in ("kubeadm", "kubelet", "kubectl"):
        entry = next(file for file in recipe.files if file.name == name)
        head = (files / entry.url.removeprefix("https://")).read_bytes()[:64]
        assert head[18:20] == b"\xb7\0", name  # the machine of an ELF file: 183, aarch64


@pytest.mark.lab
@prepared
def test_images_are_those_of_the_recipe_and_for_arm64() -> None:
    images = read_catalogue(arm64.folder(lab_dir()) / "images/catalogue.json")
    recipe = load_recipe(HERE / f"recipes/{arm64.RECIPE}.yaml", arm64.NAME)
    tags = {image.reference for image in images}
    assert len(tags) == len(images) == 13
    assert {component.image for component in recipe.components.values()} <= tags
    assert {*recipe.images.extra, *recipe.images.replace.values()} <= tags
