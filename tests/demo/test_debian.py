"""containerd and runc of Debian's packages become what their projects release."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from isobuilder.demo import debian
from isobuilder.demo.debian import fetch_runtime, upstream_version
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, UpstreamError
from tests.demo.debs import CONTAINERD, make_both, make_deb, put_apt

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="apt-get install dpkg")


@pytest.fixture
def debs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that apt-get on the PATH has; nothing is in it yet."""
    folder, programs = tmp_path / "debs", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    put_apt(programs, folder)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return folder


def fetched(folder: Path) -> debian.Runtime:
    folder.mkdir()
    return fetch_runtime(folder)


def test_they_have_the_shape_of_upstreams_releases(debs: Path, tmp_path: Path) -> None:
    make_both(debs)
    runtime = fetched(tmp_path / "one")
    assert (runtime.containerd.version, runtime.runc.version) == ("1.7.24", "1.1.15")
    assert runtime.containerd.package == "containerd 1.7.24~ds1-6+deb13u1"
    with tarfile.open(runtime.containerd.path) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [f"bin/{name}" for name in CONTAINERD]
        assert {(member.mode, member.uid, member.gid) for member in members} == {(0o755, 0, 0)}
    assert runtime.runc.path.read_bytes() == b"#!/bin/sh\necho usr/sbin/runc\n"
    containerd, runc = runtime.releases
    assert list(containerd.files) == ["containerd-1.7.24-linux-amd64.tar.gz"]
    assert (list(runc.files), runc.version) == (["runc.amd64"], "1.1.15")


def test_the_same_packages_give_the_same_bytes(debs: Path, tmp_path: Path) -> None:
    make_both(debs)
    found = [fetched(tmp_path / name).containerd.path for name in ("one", "two")]
    assert Digest.of_file(found[0]) == Digest.of_file(found[1])


def test_only_packages_for_amd64_are_asked_for(debs: Path, tmp_path: Path) -> None:
    make_both(debs)
    fetched(tmp_path / "one")
    assert "download containerd:amd64 runc:amd64" in (debs / "calls").read_text()


def test_a_package_without_the_programs_is_refused(debs: Path, tmp_path: Path) -> None:
    make_deb(debs, "containerd", "1.7.24-1", ["usr/bin/containerd"])
    make_deb(debs, "runc", "1.1.15-1", ["usr/bin/runc"])
    with pytest.raises(EnvironmentProblem, match=r"1\.7\.24-1 has no containerd-shim-runc-v2, ctr"):
        fetched(tmp_path / "one")


def test_a_machine_without_lists_is_told_to_update(debs: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem) as caught:  # debs is empty
        fetched(tmp_path / "one")
    assert "apt-get update" in str(caught.value.hint)
    assert debs.is_dir()


def test_a_mirror_that_does_not_answer_is_the_networks_fault(debs: Path, tmp_path: Path) -> None:
    apt = debs.parent / "programs/apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Failed to fetch http://mirror.example/a' >&2; exit 100\n")
    with pytest.raises(UpstreamError, match=r"mirror\.example") as caught:
        fetched(tmp_path / "one")
    assert "network" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.7.24~ds1-6+deb13u1", "1.7.24"),
        ("1:2.1.4-3", "2.1.4"),
        ("1.1.5+ds1-1+deb12u1", "1.1.5"),
    ],
)
def test_upstreams_version_is_read_from_debians(text: str, version: str) -> None:
    assert upstream_version(text) == version


def test_a_version_that_upstream_would_not_have_is_refused() -> None:
    with pytest.raises(EnvironmentProblem, match="20240101"):
        upstream_version("20240101-1")
