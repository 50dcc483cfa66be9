"""The demonstration that boots, up to the machine itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from isobuilder.demo.boot import check_needed, said_in, share_payload, write_seed
from isobuilder.demo.debian import Part, Runtime
from isobuilder.demo.tour import embedded_upstream
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem
from isobuilder.iso.read.reader import IsoReader
from isobuilder.machine.payload import payloads
from isobuilder.model.loading import load_recipe
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.pipeline.test_boot import make_payload


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    archive, runc = tmp_path / "containerd.tar.gz", tmp_path / "runc"
    archive.write_bytes(b"containerd" * 99)
    runc.write_bytes(b"runc" * 99)
    return Runtime(
        Part("containerd 1.7.24~ds1-6", "1.7.24", archive), Part("runc 1.1.15-2", "1.1.15", runc)
    )


def test_all_missing_programs_are_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem) as caught:
        check_needed(builds_payload=True)
    for program in ("qemu-system-x86_64", "mmdebstrap", "sqfstar", "apt-get", "dpkg-deb"):
        assert program in str(caught.value)
    for package in ("qemu-system-x86", "mmdebstrap", "squashfs-tools"):
        assert f" {package}" in str(caught.value.hint)


def test_root_needs_no_user_namespaces_and_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for user, wanted in ((0, False), (1000, True)):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        with pytest.raises(EnvironmentProblem) as caught:
            check_needed(builds_payload=True)
        assert ("newuidmap" in str(caught.value)) == wanted
        assert ("uidmap" in str(caught.value.hint)) == wanted


def test_with_a_payload_at_hand_nothing_is_needed_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("qemu-system-x86_64", "apt-get", "dpkg-deb"):
        (tmp_path / program).symlink_to(shutil.which("true") or "/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    check_needed(builds_payload=False)
    with pytest.raises(EnvironmentProblem, match="mmdebstrap"):
        check_needed(builds_payload=True)


def test_the_lock_pins_the_real_runtime_and_the_payload(tmp_path: Path, runtime: Runtime) -> None:
    out = tmp_path / "out"
    store = Store(out / "store")
    payload = make_payload(store)
    with embedded_upstream(out, runtime=runtime) as config:
        recipe = out / "kubernetes-1.34.12-boot.yaml"
        with open_session(config, store) as session:
            lock = lock_recipe(recipe, "amd64", session).lock
    files = {file.name: file for file in lock.files}
    assert files["containerd"].url.endswith("/v1.7.24/containerd-1.7.24-linux-amd64.tar.gz")
    assert files["containerd"].sha256 == Digest.of_file(runtime.containerd.path)
    assert files["runc"].url.endswith("/v1.1.15/runc.amd64")
    assert files["runc"].sha256 == Digest.of_file(runtime.runc.path)
    assert lock.boot is not None
    assert lock.boot.payload == payload.digest
    assert load_recipe(recipe, "amd64").architectures == ("amd64",)


def test_its_iso_does_not_take_the_place_of_the_plain_one(tmp_path: Path, runtime: Runtime) -> None:
    with embedded_upstream(tmp_path, runtime=runtime):
        plain = load_recipe(tmp_path / "kubernetes-1.34.12.yaml", "amd64")
        bootable = load_recipe(tmp_path / "kubernetes-1.34.12-boot.yaml", "amd64")
    assert plain.revision != bootable.revision


def test_without_a_runtime_there_is_no_recipe_that_boots(tmp_path: Path) -> None:
    with embedded_upstream(tmp_path):
        assert not (tmp_path / "kubernetes-1.34.12-boot.yaml").exists()


def test_a_payload_is_shared_and_not_copied(tmp_path: Path) -> None:
    theirs, own = Store(tmp_path / "theirs"), Store(tmp_path / "own")
    payload = make_payload(theirs)
    share_payload(payload, own, theirs)
    share_payload(payload, own, theirs)
    assert payloads(own) == [payload]
    digest = payload.artifacts["root"].digest
    assert own.path_of(digest).samefile(theirs.path_of(digest))


def test_the_seed_is_what_cloud_init_looks_for(tmp_path: Path) -> None:
    with IsoReader(write_seed(tmp_path / "seed")) as reader:
        assert sorted(reader.files) == ["meta-data", "user-data"]
        with reader.open("user-data") as file:
            assert file.read().startswith(b"#cloud-config\n")


def test_what_the_node_says_is_found_among_the_kernels_lines() -> None:
    lines = ["[    1.0] Linux version 6", "[  99.1] demo: 13 images are imported\r", "demo: none"]
    assert list(said_in(lines)) == ["13 images are imported"]
