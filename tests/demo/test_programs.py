"""Stand-in programs are real ones: they run, and tell what they are."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from isobuilder.demo.programs import elf_stand_in, program
from isobuilder.formats.elf import inspect_binary


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("name", ["kubeadm", "kubelet", "kubectl"])
def test_a_stand_in_tells_its_architecture_and_version(architecture: str, name: str) -> None:
    data = elf_stand_in("1.34.12", architecture, name=name)
    facts = inspect_binary(io.BytesIO(data), name)
    assert facts.architecture == architecture
    assert facts.kubernetes_version == "1.34.12"
    assert facts.package == f"k8s.io/kubernetes/cmd/{name}"
    assert facts.settings["GOARCH"] == architecture
    assert facts.settings["-tags"] == "stand_in"
    assert facts.kind == "static"
    assert len(data) < 2048


def test_a_program_tells_its_module() -> None:
    data = program("amd64", prints="", package="github.com/containernetworking/plugins/loopback")
    facts = inspect_binary(io.BytesIO(data), "loopback")
    assert facts.module == "github.com/containernetworking/plugins"


GO = shutil.which("go") or shutil.which("go", path="/usr/lib/go-1.19/bin") or ""

RUNNERS = [
    pytest.param("amd64", [], marks=pytest.mark.skipif(platform.machine() != "x86_64", reason="")),
    pytest.param(
        *("arm64", ["qemu-aarch64-static"]),
        marks=[
            pytest.mark.lab,
            pytest.mark.skipif(not shutil.which("qemu-aarch64-static"), reason="qemu-user-static"),
        ],
    ),
]


@pytest.mark.parametrize(("architecture", "runner"), RUNNERS)
def test_a_stand_in_runs(tmp_path: Path, architecture: str, runner: list[str]) -> None:
    path = tmp_path / "kubeadm"
    text = "registry.k8s.io/pause:3.10.1\n" * 9
    path.write_bytes(elf_stand_in("1.34.12", architecture, name="kubeadm", prints=text))
    path.chmod(0o755)
    done = subprocess.run([*runner, path, "config"], check=True, capture_output=True, timeout=60)
    assert done.stdout.decode() == text


@pytest.mark.skipif(not shutil.which("readelf"), reason="apt-get install binutils")
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_readelf_finds_nothing_wrong(tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "kubeadm"
    path.write_bytes(elf_stand_in("1.34.12", architecture, name="kubeadm"))
    done = subprocess.run(
        ["readelf", "-W", "-a", path], check=True, capture_output=True, timeout=60
    )
    assert done.stderr == b""
    assert b".go.buildinfo" in done.stdout


@pytest.mark.lab
@pytest.mark.skipif(not GO, reason="apt-get install golang-go")
def test_go_reads_the_build_information(tmp_path: Path) -> None:
    path = tmp_path / "kubeadm"
    path.write_bytes(elf_stand_in("1.34.12", "amd64", name="kubeadm"))
    path.chmod(0o755)
    done = subprocess.run([GO, "version", "-m", path], check=True, capture_output=True, timeout=60)
    said = done.stdout.decode()
    assert ": go1.24.6\n" in said
    assert "\tpath\tk8s.io/kubernetes/cmd/kubeadm\n" in said
    assert "gitVersion=v1.34.12" in said
